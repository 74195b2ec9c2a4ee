"""Thresholds that keep a rate of wrong decisions below a wanted one, with exact confidence."""

from __future__ import annotations

import math

import numpy as np

from ..metrics import binomial_interval

DIGITS = 6  # to which scores are compared: further ones depend on the order of a sum
STEP = 10.0**-DIGITS


def allowed_errors(n: int, max_rate: float, confidence: float) -> int:
    """Return the most errors in `n` trials whose upper bound is at most `max_rate`.

    The bound is the one-sided one of Clopper and Pearson (Biometrika 1934).

    Returns
    -------
    k : int
        -1 if even no error in `n` trials is too few trials.
    """
    k = np.arange(min(math.floor(n * max_rate), n) + 1)
    _, high = binomial_interval(k, np.full(len(k), n), 2 * confidence - 1)
    return int((high <= max_rate).sum()) - 1


def n_needed(max_rate: float, confidence: float) -> int:
    """Return the fewest trials without an error whose upper bound is at most `max_rate`."""
    n = max(math.ceil(math.log(1 - confidence) / math.log1p(-max_rate)), 1)
    return n if allowed_errors(n, max_rate, confidence) >= 0 else n + 1


def pass_threshold(scores: np.ndarray, max_rate: float, confidence: float) -> float:
    """Return the lowest threshold that so few scores like these reach.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        At least `n_needed` of them, of independent images that should not pass, to `DIGITS`.
    max_rate : float
        The share of such scores at or above the threshold stays at most this.
    confidence : float
        It does so with this probability over the draw of `scores`.

    Notes
    -----
    The thresholds are tested from the strictest down, each at the level 1 - `confidence`,
    until the bound of one exceeds `max_rate`. This is fixed sequence testing, which needs no
    correction for the number of thresholds (Angelopoulos et al., "Learn then Test", arXiv
    2110.01052, 2021). As the bound depends on the number of scores above the threshold alone,
    the threshold is an order statistic, as the tolerance limits of Wilks are (Annals of
    Mathematical Statistics 1941). Ties make it stricter.
    """
    k = allowed_errors(len(scores), max_rate, confidence)
    return float(np.round(np.sort(scores)[-(k + 1)] + STEP, DIGITS))


def fail_threshold(scores: np.ndarray, max_rate: float, confidence: float) -> float:
    """Return the highest threshold that so few scores like these stay below.

    As `pass_threshold`, from the other end: `scores` are of images that should not fail.
    """
    k = allowed_errors(len(scores), max_rate, confidence)
    return float(np.sort(scores)[k])
