"""What a network learns from: labels, ages and distributions, a row an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    column_or_1d,
)
from torch import Tensor

from .._checks import check_ages, check_weights
from .._targets import AgeTargets


@dataclass
class Targets:
    """What the network learns from, a row an image.

    Parameters
    ----------
    codes : ndarray (n,), int64
        Index of the class.
    weight : ndarray (n,), float32
        Weight in the loss, 1 on average.
    ages : ndarray (n,), float32, or None
        Ages in years.
    distribution : ndarray (n, n_classes), float32, or None
        Over the classes; None puts all on `codes`.
    """

    codes: np.ndarray
    weight: np.ndarray
    ages: np.ndarray | None = None
    distribution: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def years(self) -> np.ndarray:
        """The ages, or the codes where they are not known: what a split is even in."""
        return self.codes if self.ages is None else self.ages

    def take(self, rows: np.ndarray) -> Targets:
        """Those of some images, by mask or positions."""
        return Targets(**{name: values[rows] for name, values in self._fields()})

    def tensors(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: torch.from_numpy(values[rows]) for name, values in self._fields()}

    def _fields(self) -> list[tuple[str, np.ndarray]]:
        return [(name, values) for name, values in vars(self).items() if values is not None]


@dataclass
class Labels:
    """What fit is told about its images, checked.

    Parameters
    ----------
    rows : ndarray (n,), int
        Positions of the images whose weight is not zero.
    classes : ndarray (n_classes,)
        Their labels, sorted.
    targets : Targets (n)
        Of these images.
    bin_values : ndarray (n_classes,) or None
        Ages in years that the classes stand for.
    """

    rows: np.ndarray
    classes: np.ndarray
    targets: Targets
    bin_values: np.ndarray | None

    def targets_of(self, positions: np.ndarray) -> Targets:
        """Of some of these images, by their positions among all."""
        targets = self.targets.take(np.isin(self.rows, positions))
        targets.weight /= targets.weight.mean()
        return targets


def check_labels(
    y: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    targets: AgeTargets | None = None,
) -> Labels:
    """Check what goes with n images; see `VGG16Classifier.fit`.

    Raises
    ------
    ValueError
        If the labels are not classes; if ages, bin values, distributions or weights do
        not match them; or if all weights are zero.
    """
    y = column_or_1d(y, warn=True)
    if targets is None:  # codes of bins may be many
        check_classification_targets(y)
    ages = bin_values = distributions = None
    if targets is not None:
        bin_values, distributions = targets.bin_values, targets.distributions
        ages = check_ages(targets.ages).astype(np.float32)
        check_consistent_length(y, ages)
        n_bins = len(bin_values)
        if y.dtype.kind not in "iu" or not 0 <= y.min() <= y.max() < n_bins:
            raise ValueError(
                f"targets has {n_bins} bins, so the labels must be whole numbers from 0 to "
                f"{n_bins - 1}; they are {np.unique(y)}."
            )
        if distributions is not None and np.shape(distributions) != (len(y), n_bins):
            raise ValueError(
                f"The distributions of targets must have a row a label and a column a bin, shape "
                f"({len(y)}, {n_bins}); got {np.shape(distributions)}."
            )
    weight = check_weights(sample_weight, len(y))
    if class_weight is not None:
        balance = check_weights(_balance(class_weight, y, weight > 0, ages), len(y))
        with np.errstate(under="ignore"):
            weight = check_weights(weight * balance, len(y))
    rows = np.flatnonzero(weight)
    classes, codes = np.unique(y[rows], return_inverse=True)
    if distributions is not None:
        distributions = np.asarray(distributions, np.float32)
        distributions = distributions[rows][:, classes]
        totals = distributions.sum(axis=1, keepdims=True)
        if not (totals > 0).all():
            raise ValueError("A distribution has no probability on any label that is there.")
        distributions /= totals
    return Labels(
        rows,
        classes,
        Targets(
            codes.astype(np.int64),
            _on_average_1(weight[rows]),
            None if ages is None else ages[rows],
            distributions,
        ),
        None if bin_values is None else np.asarray(bin_values)[classes],
    )


def _on_average_1(weight: np.ndarray) -> np.ndarray:
    with np.errstate(under="ignore"):
        return (weight / weight.mean()).astype(np.float32)


def _balance(
    class_weight: Any, y: np.ndarray, counts: np.ndarray, ages: np.ndarray | None
) -> np.ndarray:
    """Weight of each image's label, or of its year of age; `counts` are those that matter."""
    if isinstance(class_weight, str) and class_weight == "balanced_ages":
        if ages is None:
            raise ValueError(
                "class_weight='balanced_ages' needs ages: put the classifier into "
                "BinnedAgeRegressor, or pass targets to fit."
            )
        y = np.floor(ages)
    present = np.unique(y[counts])
    if isinstance(class_weight, dict):
        balance = np.array([class_weight.get(label, 1.0) for label in present])
        if not (np.isfinite(balance).all() and (balance >= 0).all()):
            raise ValueError(f"class_weight={class_weight!r} must hold numbers >= 0.")
    else:
        balance = compute_class_weight("balanced", classes=present, y=y[counts])
    return balance[np.searchsorted(present, y).clip(0, len(present) - 1)]
