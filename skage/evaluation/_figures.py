"""The figures of an evaluation: values of each image, and what is made of their sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..metrics._distributions import crps_values, nll_values
from ._predictions import Predictions

AREA = 10  # years, up to which the area under the cumulative score is taken
CLOSE = 5  # years, of the cumulative score

Sums = dict[str, np.ndarray]


@dataclass(frozen=True)
class Figure:
    """A figure that is a function of sums over images.

    Parameters
    ----------
    name : str
        Name of a column.
    label : str
    unit : {"years", "share", ""}
    definition : str
    needs : str
        Name of the values without which the figure is not known.
    of : callable
        From sums by name, each of any one shape, to the figure.
    of_all : callable, default=None
        The same with images without a prediction counted as failures, for figures that
        are rates.
    """

    name: str
    label: str
    unit: str
    definition: str
    needs: str
    of: Callable[[Sums], np.ndarray]
    of_all: Callable[[Sums], np.ndarray] | None = None


def image_values(
    predictions: Predictions, ages: np.ndarray, constant: float, coverage: float
) -> dict[str, np.ndarray]:
    """The values whose sums make the figures, by name; 0 for images without a prediction."""
    has_age = predictions.has_age
    error = np.where(has_age, predictions.ages - ages, 0.0)
    size = np.abs(error)
    values = {
        "all": np.ones(len(ages)),
        "n": has_age.astype(float),
        "error": error,
        "absolute": size,
        "squared": error**2,
        "close": has_age & (size <= CLOSE),
        "area": has_age * np.clip(1 - size / AREA, 0, None),
        "constant": np.abs(constant - ages),
    }
    if predictions.interval is not None:
        interval = np.where(has_age[:, None], predictions.interval, 0.0)
        values["covered"] = has_age & (interval[:, 0] <= ages) & (ages <= interval[:, 1])
        values["width"] = interval[:, 1] - interval[:, 0]
        outside = np.clip(interval[:, 0] - ages, 0, None) + np.clip(ages - interval[:, 1], 0, None)
        values["winkler"] = has_age * (values["width"] + 2 / (1 - coverage) * outside)
    if predictions.distribution is not None and predictions.binner is not None:
        for name, of_rows in (("crps", crps_values), ("nll", nll_values)):
            values[name] = np.zeros(len(ages))
            values[name][has_age] = of_rows(
                ages[has_age], predictions.distribution[has_age], predictions.binner
            )
    return {name: np.asarray(column, dtype=float) for name, column in values.items()}


def _mean(name: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: ratio(sums[name], sums["n"])


def _share_of_all(name: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: ratio(sums[name], sums["all"])


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where there are no images."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _spread(sums: Sums) -> np.ndarray:
    variance = ratio(sums["squared"], sums["n"]) - ratio(sums["absolute"], sums["n"]) ** 2
    return np.sqrt(np.clip(variance, 0, None))


FIGURES = (
    Figure(
        "mae",
        "Mean absolute error (MAE)",
        "years",
        "Mean of |predicted - true|.",
        "absolute",
        _mean("absolute"),
    ),
    Figure(
        "mae_std",
        "Standard deviation of the absolute error",
        "years",
        "Given beside the MAE in certificates of age checks.",
        "absolute",
        _spread,
    ),
    Figure(
        "bias",
        "Bias",
        "years",
        "Mean of predicted - true: above 0, people are taken for older than they are.",
        "error",
        _mean("error"),
    ),
    Figure(
        "rmse",
        "Root mean squared error (RMSE)",
        "years",
        "Square root of the mean of (predicted - true)^2.",
        "squared",
        lambda sums: np.sqrt(ratio(sums["squared"], sums["n"])),
    ),
    Figure(
        "cs5",
        f"Within {CLOSE} years (CS@{CLOSE})",
        "share",
        f"Share of images whose error is at most {CLOSE} years (Geng et al., TPAMI 2007).",
        "close",
        _mean("close"),
        _share_of_all("close"),
    ),
    Figure(
        "cs_area",
        f"Area under the cumulative score, 0 to {AREA} years",
        "share",
        "Mean share of images within k years, over all k of the range.",
        "area",
        _mean("area"),
        _share_of_all("area"),
    ),
    Figure(
        "coverage",
        "Coverage of the intervals",
        "share",
        "Share of images whose true age is in the predicted interval.",
        "covered",
        _mean("covered"),
        _share_of_all("covered"),
    ),
    Figure(
        "width",
        "Width of the intervals",
        "years",
        "Mean of upper minus lower bound.",
        "width",
        _mean("width"),
    ),
    Figure(
        "winkler",
        "Winkler score",
        "years",
        "Mean width, plus 2 / (1 - coverage) times the distance of ages outside (Winkler, 1972).",
        "winkler",
        _mean("winkler"),
    ),
    Figure(
        "crps",
        "Continuous ranked probability score (CRPS)",
        "years",
        "Integral of the squared difference between the predicted distribution function and "
        "that of the true age (Gneiting and Raftery, JASA 2007).",
        "crps",
        _mean("crps"),
    ),
    Figure(
        "nll",
        "Negative log-likelihood",
        "",
        "Mean of -log of the predicted density, per year, at the true age.",
        "nll",
        _mean("nll"),
    ),
    Figure(
        "constant_mae",
        "MAE of a constant",
        "years",
        "Error of predicting the same age, the median, for everyone.",
        "constant",
        _share_of_all("constant"),
    ),
)
