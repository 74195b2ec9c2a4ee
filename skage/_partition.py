"""Cut counts into runs as equal as ties permit."""

from __future__ import annotations

from collections import deque

import numpy as np


def balanced_cuts(counts: np.ndarray, n_bins: int) -> np.ndarray:
    """Where to cut `counts` into runs with the least sum of squared totals.

    Returns the first index of every run but the first, shape (n_bins - 1,).
    """
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    # Ties seldom stand in the way of continuous ages: the plain quantile cut,
    # where its totals differ by one at most, cannot be improved on.
    targets = np.round(cumulative[-1] * np.arange(1, n_bins) / n_bins)
    cuts = np.searchsorted(cumulative, targets)
    totals = np.diff(cumulative[np.concatenate([[0], cuts, [len(counts)]])])
    if counts.dtype.kind == "i" and totals.min() > 0 and np.ptp(totals) <= 1:
        return cuts

    c = cumulative.tolist()
    best = [value * value for value in c]  # one run over the first j counts
    came_from = np.zeros((n_bins, len(c)), dtype=np.int32)
    for run in range(1, n_bins):
        # best'[j] = c[j]^2 + min over i < j of (best[i] + c[i]^2 - 2 c[i] c[j]): the
        # minimum of lines in c[j], whose slopes fall and whose queries rise.
        lines: deque[tuple[int, float, float]] = deque()
        after = [float("inf")] * len(c)
        for j in range(run + 1, len(c)):
            i = j - 1
            _add_line(lines, (i, -2 * c[i], best[i] + c[i] * c[i]))
            while len(lines) > 1 and _at(lines[1], c[j]) <= _at(lines[0], c[j]):
                lines.popleft()
            after[j] = c[j] * c[j] + _at(lines[0], c[j])
            came_from[run, j] = lines[0][0]
        best = after
    found = [len(c) - 1]
    for run in range(n_bins - 1, 0, -1):
        found.append(came_from[run, found[-1]])
    return np.array(found[:0:-1], dtype=np.int64)


def _at(line: tuple[int, float, float], x: float) -> float:
    return line[1] * x + line[2]


def _add_line(lines: deque[tuple[int, float, float]], new: tuple[int, float, float]) -> None:
    """Append a line to a lower envelope, dropping those it makes useless."""
    while len(lines) > 1:
        (_, m1, b1), (_, m2, b2) = lines[-2], lines[-1]
        if (new[2] - b1) * (m1 - m2) > (b2 - b1) * (m1 - new[1]):
            break
        lines.pop()
    lines.append(new)
