"""Partition counts into runs whose totals are as equal as ties permit."""

from __future__ import annotations

from collections import deque

import numpy as np


def balanced_cuts(counts: np.ndarray, n_bins: int) -> np.ndarray:
    """Partition `counts` into runs with the smallest sum of squared totals.

    Parameters
    ----------
    counts : ndarray of shape (n,)
        Counts or sums of weights, at least `n_bins` of them.
    n_bins : int

    Returns
    -------
    cuts : ndarray of shape (n_bins - 1,), int64
        First index of every run but the first.
    """
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    # Continuous ages are rarely tied: the plain quantile cut is optimal wherever its
    # totals differ by at most one.
    targets = np.round(cumulative[-1] * np.arange(1, n_bins) / n_bins)
    cuts = np.searchsorted(cumulative, targets)
    totals = np.diff(cumulative[np.concatenate([[0], cuts, [len(counts)]])])
    if counts.dtype.kind == "i" and totals.min() > 0 and np.ptp(totals) <= 1:
        return cuts

    c = cumulative.tolist()
    best = [value * value for value in c]  # one run over the first j counts
    came_from = np.zeros((n_bins, len(c)), dtype=np.int32)
    for run in range(1, n_bins):
        # best'[j] = c[j]^2 + min over i < j of (best[i] + c[i]^2 - 2 c[i] c[j]). This is a
        # minimum of lines at c[j]; slopes decrease and queries increase (convex hull trick).
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
    """Append a line to a lower envelope, dropping lines that it makes redundant."""
    while len(lines) > 1:
        (_, m1, b1), (_, m2, b2) = lines[-2], lines[-1]
        if (new[2] - b1) * (m1 - m2) > (b2 - b1) * (m1 - new[1]):
            break
        lines.pop()
    lines.append(new)
