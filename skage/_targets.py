"""The ages behind bin codes, as BinnedAgeRegressor hands them to a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AgeTargets:
    """What `AgeBinner.targets` makes of ages, for a classifier that learns more than labels.

    Parameters
    ----------
    ages : ndarray of shape (n_samples,)
        In years.
    bin_values : ndarray of shape (n_bins,)
        The ages in years that the codes 0, 1, ... stand for.
    distributions : ndarray of shape (n_samples, n_bins), default=None
        Over the bins; None puts all on the bin of each age.
    """

    ages: np.ndarray
    bin_values: np.ndarray
    distributions: np.ndarray | None = None


class LearnsAges:
    """Mixin of classifiers whose ``fit(X, y, targets=...)`` takes `AgeTargets`."""
