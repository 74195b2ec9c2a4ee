"""Conformal prediction with distributions of age: recalibration, scores, bands and intervals.

Where an age stands in a predicted distribution is its position: the probability F(age) below
it, or, beyond the ages that the distribution holds possible, the distance to them in years,
as a number below 0 or above 1. An interval of ages is an interval of positions, so that every
true age is reached by some interval, however certain the model was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..binning import AgeBinner
from ..metrics import pit_values

_IMPOSSIBLE = 1e-6  # probability in each tail beyond which positions are in years
KNOTS = np.array([0, 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975, 1])
_N_PRIOR = 100  # images of a perfectly calibrated model that are added to each band
_ROUNDING = 1e-6  # years


def normalised(distribution: np.ndarray) -> np.ndarray:
    """Return distributions in float64 whose rows sum to 1."""
    distribution = np.asarray(distribution, dtype=np.float64)
    return distribution / distribution.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------------------- bands


def band_edges(ages: np.ndarray, width: float | np.ndarray, min_size: int) -> np.ndarray:
    """Return the ages between bands that each hold at least `min_size` of the given ages.

    The smallest band is merged with the smaller of its neighbours until all are large
    enough, or one is left.
    """
    if np.ndim(width) == 0:
        first, last = np.floor(np.array([ages.min(), ages.max()]) / width)
        edges = width * np.arange(first + 1, last + 1)
    else:
        edges = np.asarray(width, dtype=np.float64)
    sizes = np.bincount(band_codes(ages, edges), minlength=len(edges) + 1)
    while len(edges) and sizes.min() < min_size:
        smallest = int(sizes.argmin())
        around = [j for j in (smallest - 1, smallest + 1) if 0 <= j < len(sizes)]
        left = min(smallest, min(around, key=lambda j: sizes[j]))
        sizes[left] += sizes[left + 1]
        sizes, edges = np.delete(sizes, left + 1), np.delete(edges, left)
    return edges


def band_codes(ages: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the band of each age; an age on an edge belongs to the band above."""
    return np.searchsorted(edges, ages, side="right")


def rows_of_bands(codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over the bands that occur, with the positions of their rows."""
    for code in np.unique(codes):
        yield int(code), np.flatnonzero(codes == code)


# ------------------------------------------------------------------ recalibration


def recalibration(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the recalibrated probability at each of a few predicted ones.

    It is the share of calibration images below each probability (Kuleshov, Fenner and Ermon,
    ICML 2018, algorithm 1), as if further images had been seen on which the model is right.

    Parameters
    ----------
    low, high : ndarray of shape (n_images,)
        F at the beginning and end of the true year of age, over which an image is spread
        (Czado, Gneiting and Held, Biometrics 2009), or twice F at the true age.
    """
    width = (high - low)[:, None]
    share = np.divide(
        KNOTS - low[:, None], width, out=(low[:, None] <= KNOTS) * 1.0, where=width > 0
    )
    found = (share.clip(0, 1).sum(axis=0) + _N_PRIOR * KNOTS) / (len(low) + _N_PRIOR)
    found[[0, -1]] = 0, 1
    return found


def recalibrated(distribution: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return distributions over the bins whose cumulative probabilities follow a curve."""
    below = np.cumsum(normalised(distribution), axis=1)
    below[:, -1] = 1
    return np.diff(np.interp(below, KNOTS, curve), axis=1, prepend=0)


# ---------------------------------------------------------------------- intervals


def positions(ages: np.ndarray, distribution: np.ndarray, binner: AgeBinner) -> np.ndarray:
    """Return the position of each age in the distribution of its row."""
    first, last = (binner.quantile(distribution, p) for p in (_IMPOSSIBLE, 1 - _IMPOSSIBLE))
    within = pit_values(ages, distribution, binner)
    return np.where(ages < first, ages - first, np.where(ages > last, 1 + ages - last, within))


def ages_at(position: float, distribution: np.ndarray, binner: AgeBinner) -> np.ndarray:
    """Return the age at a position in each distribution: the inverse of `positions`."""
    level = float(np.clip(position, _IMPOSSIBLE, 1 - _IMPOSSIBLE))
    return binner.quantile(distribution, level) + min(position, 0) + max(position - 1, 0)


def n_needed(coverage: float, joint: bool) -> int:
    """Return the smallest number of calibration images for intervals of this coverage."""
    tail = (1 - coverage) if joint else (1 - coverage) / 2
    return math.ceil(round(1 / tail - 1, 9))


def limits(low: np.ndarray, high: np.ndarray, coverage: float, joint: bool) -> tuple[float, float]:
    """Return the lowest and highest position of conformal intervals.

    Parameters
    ----------
    low, high : ndarray of shape (n_images,)
        Positions of the beginning and the end of the true year of age of at least `n_needed`
        calibration images.
    coverage : float
    joint : bool
        Whether the two tails are taken together: all positions at most so far from 1/2
        (Chernozhukov, Wüthrich and Zhu, PNAS 2021), or each tail has its half.
    """
    n = len(low)
    if joint:
        scores = np.maximum(np.maximum(low - 0.5, 0.5 - high), 0)
        radius = np.sort(scores)[math.ceil(round((n + 1) * coverage, 9)) - 1]
        return 0.5 - radius, 0.5 + radius
    k = math.floor(round((n + 1) * (1 - coverage) / 2, 9))
    return min(np.sort(high)[k - 1], 0.5), max(np.sort(low)[n - k], 0.5)


def interval(
    between: tuple[float, float], distribution: np.ndarray, binner: AgeBinner, step: float
) -> np.ndarray:
    """Return the ages between two positions, (n, 2).

    With a step, they are the multiples of it whose surroundings of half a step on both sides
    reach such positions.
    """
    low, high = (ages_at(position, distribution, binner) for position in between)
    if step:
        low = step * np.ceil(low / step - 0.5 - _ROUNDING)
        high = step * np.floor(high / step + 0.5 + _ROUNDING)
    return np.stack([low, high], axis=1)
