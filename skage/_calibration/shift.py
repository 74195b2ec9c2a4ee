"""Whether predicted distributions are as wide as those of other images of the same age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, rankdata

_BAND = 20  # images of both kinds, at least, whose predicted ages count as the same
_MIN_IMAGES = 50
_MAX_P = 1e-4
_MIN_RATIO = 1.05


@dataclass(frozen=True)
class Shift:
    """Whether images are of the kind that a model was calibrated on.

    Parameters
    ----------
    statistic : float
        Largest difference between the distributions of both kinds' ranks of width, 0 to 1.
    p_value : float
        Probability of a difference at least so large among images of one kind.
    is_shifted : bool
        Whether the images are clearly of another kind.
    n_images : int
        Number of distinct new images that were compared.
    ratio : float
        Standard deviation of the new images' distributions, divided by the median of those of
        calibration images of about the same predicted age: its median.
    """

    statistic: float
    p_value: float
    is_shifted: bool
    n_images: int
    ratio: float

    def __str__(self) -> str:
        figures = f"(Kolmogorov-Smirnov statistic {self.statistic:.2f}, p = {self.p_value:.1g})"
        if self.is_shifted:
            wider = "wider" if self.ratio > 1 else "narrower"
            return (
                f"The distributions of these {self.n_images} images are "
                f"{abs(self.ratio - 1):.0%} {wider} than those of calibration images of the same "
                f"predicted age {figures}: intervals may not have their coverage. Check it, or "
                "call recalibrate with a few hundred such images of known age."
            )
        if self.n_images < _MIN_IMAGES:
            return f"{self.n_images} images are too few to tell; {_MIN_IMAGES} or more are needed."
        return (
            f"The distributions of these {self.n_images} images are about as wide as those of "
            f"calibration images of the same predicted age {figures}."
        )


def compare_spread(
    ages: np.ndarray, spread: np.ndarray, new_ages: np.ndarray, new_spread: np.ndarray
) -> Shift:
    """Compare the spread of new distributions with those of the same predicted age.

    Parameters
    ----------
    ages, spread : ndarray of shape (n_reference,)
        Predicted ages and standard deviations in years.
    new_ages, new_spread : ndarray of shape (n_new,)

    Notes
    -----
    The images of both kinds are sorted by age together and cut into bands. Ranks of spread
    within a band do not depend on age. If all images are of one kind, which of them are new
    is chance, so that the p-value of the two-sample test holds. Copies of an image count once.
    """
    new_ages, new_spread = np.unique(np.stack([new_ages, new_spread]), axis=1)
    n_new = len(new_ages)
    if n_new < _MIN_IMAGES:
        return Shift(0.0, 1.0, False, n_new, 1.0)
    all_ages, all_spread = np.concatenate([ages, new_ages]), np.concatenate([spread, new_spread])
    order = np.argsort(all_ages, kind="stable")
    n_bands = max(len(order) // _BAND, 1)
    rank = np.empty(len(order))
    for rows in np.array_split(order, n_bands):
        rank[rows] = (rankdata(all_spread[rows]) - 0.5) / len(rows)
    is_new = np.arange(len(order)) >= len(ages)
    found = ks_2samp(rank[~is_new], rank[is_new], method="asymp")
    ratio = _median_ratio(ages, spread, new_ages, new_spread)
    clear = found.pvalue < _MAX_P and abs(np.log(ratio)) > np.log(_MIN_RATIO)
    return Shift(float(found.statistic), float(found.pvalue), bool(clear), n_new, ratio)


def _median_ratio(ages, spread, new_ages, new_spread):
    order = np.argsort(ages)
    nearest = np.searchsorted(ages[order], new_ages)
    first = (nearest - _BAND // 2).clip(0, max(len(ages) - _BAND, 0))
    around = (first[:, None] + np.arange(_BAND)).clip(0, len(ages) - 1)
    usual = np.median(spread[order][around], axis=1)
    return float(np.median(new_spread / np.maximum(usual, 1e-9)))
