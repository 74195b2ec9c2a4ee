"""The ages behind bin codes, which BinnedAgeRegressor passes to a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AgeTargets:
    """Targets for a classifier that learns more than labels, as `AgeBinner.targets` makes them.

    Parameters
    ----------
    ages : ndarray of shape (n_samples,)
        Ages in years.
    bin_values : ndarray of shape (n_bins,)
        Ages in years that the codes 0, 1, ... stand for.
    distributions : ndarray of shape (n_samples, n_bins), default=None
        Target distributions over the bins; None stands for all mass on the bin of each
        age.
    """

    ages: np.ndarray
    bin_values: np.ndarray
    distributions: np.ndarray | None = None


class LearnsAges:
    """Mixin of classifiers whose ``fit(X, y, targets=...)`` takes `AgeTargets`."""
