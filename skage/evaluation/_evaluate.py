"""evaluate: measure predicted ages as an expert and an auditor would."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length
from tqdm.auto import tqdm

from .._checks import check_ages
from .._held_out import trained_on
from .._sklearn import Interval, validate_params
from ..metrics import pit_values
from ._figures import image_values
from ._groups import YEAR, Cells, group_columns, sex_column
from ._limit import cell_columns, limit_result, pass_values
from ._options import check_bands, check_challenge_age, generator, person_codes
from ._overlap import find_overlap
from ._predictions import Predictions, as_predictions
from ._resampling import CellSums
from ._result import Evaluation
from ._tables import Resampled, gap_table, group_table, overall_table, resample
from ._variability import variability_table

BANDS = (0, 10, 20, 30, 40, 50, 60, 70)
_N_LEVELS = 100  # of probability, as calibration_error has

_PARAMETERS = {
    "limit": [Interval(Real, 0, None, closed="neither"), None],
    "challenge_age": [Interval(Real, 0, None, closed="neither"), None],
    "coverage": [Interval(Real, 0, 1, closed="neither")],
    "variability": [Interval(Integral, 0, None, closed="left")],
    "min_count": [Interval(Integral, 1, None, closed="left")],
    "n_resamples": [Interval(Integral, 0, None, closed="left")],
    "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def evaluate(
    predictions: Any,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    by: Any = None,
    bands: Sequence[float] = BANDS,
    limit: float | None = None,
    challenge_age: float | None = None,
    coverage: float = 0.9,
    X_train: Any = None,
    groups_train: Any = None,
    variability: int = 0,
    about: dict[str, str] | None = None,
    min_count: int = 30,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    random_state: Any = 0,
    verbose: int = 0,
) -> Evaluation:
    """Measure predicted ages: how wrong they are, for whom, and how sure that is.

    Parameters
    ----------
    predictions : estimator, array-like, DataFrame or path
        A fitted model, also in a Pipeline or a search; predicted ages in years, NaN for
        images without one; a DataFrame with the column age, and low and high if there are
        intervals; or a CSV of another tool, as `read_predictions` reads it.
    X : sequence of n_samples images, default=None
        Needed for a model and a CSV.
    y : array-like of shape (n_samples,)
        True ages in years.
    groups : array-like of shape (n_samples,), default=None
        Persons. Bootstrap samples draw persons rather than images, since images of one
        person have similar errors.
    by : DataFrame or dict of columns, default=None
        Sex, ethnicity or anything else with few values, for each image. Figures are given
        for each value, by band of age, and for each pair of columns.
    bands : sequence of float, default=(0, 10, 20, 30, 40, 50, 60, 70)
        Lower ends of the bands of true age in years; the last has no upper end.
    limit : float, default=None
        A limit of age in years, such as 18, for which errors of age checks are measured.
    challenge_age : float, default=None
        Who is estimated at this age or above passes the check. None is 7 years above the
        limit, as in Challenge 25.
    coverage : float, default=0.9
        Nominal coverage of the intervals.
    X_train : sequence of images, default=None
        Images that the model was trained on; those that are in X too, or nearly, are
        counted. Without it, a model of images still knows identical ones.
    groups_train : array-like, default=None
        Their persons, named as in `groups`.
    variability : int, default=0
        For a model, how many images to predict again after changes that leave the age as
        it is: saved as JPEG, mirrored, shifted.
    about : dict of str to str, default=None
        Facts that the report prints, such as {"data": ..., "split": ..., "licence": ...}.
    min_count : int, default=30
        Groups of fewer images are shown, but not named as the worst or the best.
    n_resamples : int, default=1000
        Bootstrap samples for the intervals of the figures; 0 computes none.
    confidence_level : float, default=0.95
        Of these intervals.
    random_state : int, RandomState instance or None, default=0
        Seeds the bootstrap and the choice of images for `variability`.
    verbose : int, default=0
        1 shows the progress of the bootstrap.

    Returns
    -------
    evaluation : Evaluation
        Tables and plots; ``evaluation.to_html(path)`` writes a report.

    Raises
    ------
    ValueError
        If lengths differ, an age is not a finite number, no image has a prediction, or
        what an option needs is missing.
    TypeError
        If `predictions` is of another kind.

    See Also
    --------
    compare : The difference between two models on the same images.

    Notes
    -----
    Intervals are percentile bootstrap intervals; figures of a single person have none. The
    bounds of the calibration error are corrected for bias: chance alone makes it larger in a
    sample than it is, so that the percentiles would often not contain the estimate. Images
    without a prediction are left out of errors and counted; rates are also given with such
    images counted as failures. A `CalibratedAgeRegressor` by "group" is measured with the
    intervals that it predicts without groups.

    Examples
    --------
    >>> import skage
    >>> evaluation = skage.evaluate(
    ...     [21.0, 33.0, 38.0, float("nan")], y=[20, 30, 42, 50], by={"sex": ["f", "f", "m", "m"]}
    ... )
    >>> evaluation.overall.loc["mae", "value"].round(2)
    np.float64(2.67)
    >>> evaluation.by["sex"][["sex", "n_images", "n_failed", "mae"]]
      sex  n_images  n_failed  mae
    0   f         2         0  2.0
    1   m         2         1  4.0
    """
    if y is None:
        raise ValueError("An evaluation needs the true ages. Pass them as y, in years.")
    y = check_ages(y)
    check_consistent_length(y, X, groups)
    columns = group_columns(by, len(y))
    bands = check_bands(bands)
    challenge_age = check_challenge_age(limit, challenge_age)
    if about is not None and not isinstance(about, dict):
        raise ValueError(f"about={about!r} is not a dict. Pass facts by name: {{'data': '...'}}.")
    found = as_predictions(predictions, X, len(y), coverage)
    persons = person_codes(groups, len(y))
    constant = float(np.median(y))
    values = image_values(found, y, constant, coverage)
    if challenge_age is not None:
        values |= pass_values(found, y, challenge_age)
    rng = generator(random_state)
    cells = Cells(y, columns, bands)
    with tqdm(
        total=n_resamples, desc="bootstrap", unit="sample", disable=not verbose, leave=False
    ) as bar:
        resampled = resample(
            values,
            cells,
            _groupings(cells, columns),
            persons,
            found.has_age,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            rng=rng,
            progress=bar.update,
        )
    overall = overall_table(resampled, columns, min_count)
    pit = _pit(found, y)
    if pit is not None:
        overall.loc["calibration_error"] = _calibration_row(pit, persons, resampled, rng)
    shown = [grouping.by for grouping in cells.shown()]
    seen = trained_on(predictions, X) if hasattr(predictions, "predict") else None
    overlap = find_overlap(X, groups, X_train, groups_train, seen)
    return Evaluation(
        name=found.name,
        about={str(name): str(fact) for name, fact in (about or {}).items()},
        images=_image_table(found, y, columns, groups, pit, values),
        overall=overall,
        by={" x ".join(names): group_table(resampled, resampled.index(*names)) for names in shown},
        by_age=group_table(resampled, resampled.index(YEAR)),
        gaps=gap_table(resampled, min_count),
        limit=None
        if limit is None or challenge_age is None
        else limit_result(found, y, columns, resampled, limit, challenge_age),
        variability=_variability(predictions, X, variability, rng),
        overlap=overlap,
        settings={
            "n_persons": int(persons.max()) + 1 if groups is not None else None,
            "coverage": coverage if found.interval is not None else None,
            "constant": constant,
            "min_count": min_count,
            "n_resamples": n_resamples,
            "confidence_level": confidence_level,
            "limit": limit,
            "challenge_age": challenge_age,
        },
    )


def _groupings(cells: Cells, columns: pd.DataFrame) -> list[Any]:
    """All groupings that a figure is computed of, each once."""
    sex = sex_column(columns)
    wanted = [(), (YEAR,), *(grouping.by for grouping in cells.shown())]
    wanted += [(sex, YEAR)] if sex is not None else []
    wanted += [(*cell_columns(columns), YEAR)]
    return [cells.grouping(*by) for by in dict.fromkeys(wanted)]


def _pit(found: Predictions, y: np.ndarray) -> np.ndarray | None:
    """The predicted distribution function at the true ages; NaN without a prediction."""
    if found.distribution is None or found.binner is None:
        return None
    pit = np.full(len(y), np.nan)
    known = found.has_age
    pit[known] = pit_values(y[known], found.distribution[known], found.binner)
    return pit


def _calibration_row(
    pit: np.ndarray,
    persons: np.ndarray,
    resampled: Resampled,
    rng: np.random.Generator,
) -> dict[str, Any]:
    known = ~np.isnan(pit)
    n_resamples = len(resampled.samples[resampled.index()]["n"])
    levels = np.minimum((pit[known] * _N_LEVELS).astype(int), _N_LEVELS - 1)
    cells = np.concatenate([levels, np.arange(_N_LEVELS)])  # none is empty
    ones = np.concatenate([np.ones(known.sum()), np.zeros(_N_LEVELS)])[:, None]
    who = np.concatenate([pd.factorize(persons[known])[0], np.zeros(_N_LEVELS, dtype=int)])
    sums = CellSums(ones, cells, who)
    batches = [_calibration_errors(batch) for batch in sums.samples(n_resamples, rng)]
    drawn = np.concatenate(batches) if batches else np.empty(0)
    value = float(_calibration_errors(sums.once()[None])[0])
    low, high = resampled.interval(drawn)
    if len(drawn):
        # The estimate is too large by chance, and a sample's by chance again. Percentiles alone
        # would often be above the estimate.
        excess = drawn.mean() - value
        low, high = np.clip(low - 2 * excess, 0, value), np.maximum(high - excess, value)
    return {
        "label": "Calibration error",
        "unit": "share",
        "definition": "Mean difference between a level of probability and the share of true ages "
        "below the predicted quantile of that level (Kuleshov et al., ICML 2018).",
        "value": value,
        "low": float(low),
        "high": float(high),
    }


def _calibration_errors(counts: np.ndarray) -> np.ndarray:
    """Of histograms of the PIT, (n_resamples, n_levels, 1)."""
    share = counts[..., 0].cumsum(axis=1) / counts[..., 0].sum(axis=1, keepdims=True)
    return np.abs(share - np.arange(1, _N_LEVELS + 1) / _N_LEVELS)[:, :-1].mean(axis=1)


def _image_table(
    found: Predictions,
    y: np.ndarray,
    columns: pd.DataFrame,
    groups: Any,
    pit: np.ndarray | None,
    values: dict[str, np.ndarray],
) -> pd.DataFrame:
    known = found.has_age
    table = pd.DataFrame({"true": y, "predicted": found.ages, "error": found.ages - y})
    if found.interval is not None:
        table["low"], table["high"] = np.where(known[:, None], found.interval, np.nan).T
    for name in ("crps", "nll"):
        if name in values:
            table[name] = np.where(known, values[name], np.nan)
    if pit is not None:
        table["pit"] = pit
    if groups is not None:
        table["person"] = np.asarray(groups)
    return table.assign(**columns)


def _variability(
    predictions: Any, X: Any, n_images: int, rng: np.random.Generator
) -> pd.DataFrame | None:
    if not n_images:
        return None
    if not hasattr(predictions, "predict"):
        raise ValueError(
            f"variability={n_images} needs a model, which predicts changed images; got a "
            f"{type(predictions).__name__}. Leave it out."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More than")
        return variability_table(predictions, X, n_images, rng)
