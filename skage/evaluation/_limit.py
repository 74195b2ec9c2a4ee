"""What an evaluation says about a limit of age, such as 18."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, roc_auc_score

from ..metrics import (
    age_range_table,
    binomial_interval,
    det_curve,
    over_limit_probability,
    pass_rates,
    smallest_challenge_age,
)
from ._figures import ratio
from ._groups import YEAR, sex_column
from ._predictions import Predictions
from ._tables import Resampled, mean_of_known

_N_CHALLENGES = 13
_WANTED = (0.05, 0.01, 0.001)  # rates of false passes


@dataclass(frozen=True)
class LimitResult:
    """The figures of a limit of age.

    Parameters
    ----------
    limit, challenge_age : float
        In years. Who is estimated at the challenge age or above passes.
    pass_rates : DataFrame
        Share that passes of those of each year of true age below the limit, at several
        challenge ages.
    challenge_ages : DataFrame
        For each challenge age, the share of those below the limit that passes, and the share
        of those from the limit on that does not; with exact bounds.
    smallest : DataFrame
        The smallest challenge age that keeps the rate of false passes below a wanted one.
    figures : DataFrame
        NIST's false positive rate, and the figures of the probability of being over the
        limit.
    age_range : DataFrame or None
        NIST's figures of the ages 13 to 16.
    det : DataFrame or None
        Error rates at all thresholds of that probability.
    """

    limit: float
    challenge_age: float
    pass_rates: pd.DataFrame
    challenge_ages: pd.DataFrame
    smallest: pd.DataFrame
    figures: pd.DataFrame
    age_range: pd.DataFrame | None
    det: pd.DataFrame | None

    @property
    def chosen(self) -> pd.Series:
        """The row of `challenge_ages` of the challenge age."""
        found = self.challenge_ages
        return found[found["challenge_age"] == self.challenge_age].iloc[0]

    def __str__(self) -> str:
        row = self.chosen
        return (
            f"aged below {self.limit:g} and estimated at {self.challenge_age:g} or above: "
            f"{100 * row['false_pass_rate']:.1f} % "
            f"({round(row['false_pass_rate'] * row['false_pass_n'])} of {row['false_pass_n']:.0f})"
        )


def pass_values(
    predictions: Predictions, ages: np.ndarray, challenge_age: float
) -> dict[str, np.ndarray]:
    """Values of each image for `CellSums`: whether it passes."""
    passes = predictions.has_age & (np.nan_to_num(predictions.ages, nan=-1) >= challenge_age)
    return {"passes": passes.astype(float)}


def limit_result(
    predictions: Predictions,
    ages: np.ndarray,
    columns: pd.DataFrame,
    resampled: Resampled,
    limit: float,
    challenge_age: float,
) -> LimitResult:
    """Compute the figures of a limit.

    Raises
    ------
    ValueError
        If no image with a prediction is of an age below the limit.
    """
    known = predictions.has_age
    y, found = ages[known], predictions.ages[known]
    if not (y < limit).any():
        raise ValueError(
            f"limit={limit:g}: no image with a prediction is of an age below it, so that false "
            "passes cannot be counted. Add such images, or leave the limit out."
        )
    challenges = np.union1d(limit + np.arange(_N_CHALLENGES), [challenge_age])
    det = None
    rows = _nist_row(resampled, columns, limit, challenge_age)
    distribution, binner = predictions.distribution, predictions.binner
    if distribution is not None and binner is not None and (y >= limit).any():
        # A binner spreads the whole year 18 over 17.5 to 18.5.
        start = limit - 0.5 if (y == np.floor(y)).all() else limit
        p = over_limit_probability(distribution[known], binner, start)
        det = pd.DataFrame(
            dict(
                zip(
                    ("false_pass_rate", "false_fail_rate", "threshold"),
                    det_curve(y, p, limit),
                    strict=True,
                )
            )
        )
        rows += _probability_rows(y >= limit, p, limit)
    return LimitResult(
        limit,
        challenge_age,
        pass_rates(y, found, limit=limit, challenge_ages=challenges),
        _challenge_table(ages, predictions, limit, challenges),
        _smallest(y, found, limit),
        pd.DataFrame(rows),
        _age_range(y, found),
        det,
    )


def _age_range(y: np.ndarray, found: np.ndarray) -> pd.DataFrame | None:
    if not all(((y >= age) & (y < age + 1)).any() for age in range(13, 17)):
        return None
    return age_range_table(y, found).reset_index()


def _challenge_table(
    ages: np.ndarray, predictions: Predictions, limit: float, challenges: np.ndarray
) -> pd.DataFrame:
    rows = []
    under = ages < limit
    known = predictions.has_age
    found = np.nan_to_num(predictions.ages, nan=-np.inf)
    for challenge in challenges:
        passes = found >= challenge
        row: dict[str, Any] = {"challenge_age": challenge}
        for name, of, hit in (
            ("false_pass", under & known, passes),
            ("refused_from_limit", ~under & known & (ages < challenge), ~passes),
            ("refused_from_challenge", ~under & known & (ages >= challenge), ~passes),
        ):
            k, n = int((of & hit).sum()), int(of.sum())
            low, high = binomial_interval(k, n)
            row |= {f"{name}_n": n, f"{name}_rate": k / n if n else np.nan}
            row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        n_over = int((~under).sum())
        row["false_pass_rate_all"] = float((under & passes).sum() / under.sum())
        row["refused_rate_all"] = float((~under & ~passes).sum() / n_over) if n_over else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _smallest(y: np.ndarray, found: np.ndarray, limit: float) -> pd.DataFrame:
    rows = []
    wide = limit + np.arange(31)
    for rate in _WANTED:
        age = smallest_challenge_age(y, found, limit=limit, max_rate=rate, challenge_ages=wide)
        rows.append({"max_rate": rate, "challenge_age": np.nan if age is None else float(age)})
    return pd.DataFrame(rows)


def _nist_row(
    resampled: Resampled, columns: pd.DataFrame, limit: float, challenge_age: float
) -> list[dict[str, Any]]:
    """NIST's rate of false positives in the year below the limit, over sexes and groups."""
    if limit != int(limit):
        return []
    by = cell_columns(columns)
    i = resampled.index(*by, YEAR)
    keys, point = resampled.groupings[i].keys, resampled.point[i]
    chosen = ((keys[YEAR] == limit - 1) & (point["n"] > 0)).to_numpy()
    for name in by:
        chosen = chosen & (keys[name] != "unknown").to_numpy()
    if not chosen.any():
        return []
    rate, drawn = (
        mean_of_known(ratio(s["passes"], s["n"])[..., chosen])
        for s in (point, resampled.samples[i])
    )
    low, high = resampled.interval(drawn)
    if rate in (0, 1):  # of every sample too, which says nothing of how sure that is
        low, high = np.full(2, np.nan)
    n_images = f"{int(point['n'][chosen].sum()):,} images"
    of = f"the mean of the rates of {chosen.sum()} groups by {' and '.join(by)} ({n_images})"
    return [
        {
            "figure": "nist_fpr",
            "label": f"Share of those aged {limit - 1:g} who pass at {challenge_age:g}",
            "value": float(rate),
            "low": float(low),
            "high": float(high),
            "definition": f"NIST's false positive rate: {of if by else f'the rate of {n_images}'}.",
        }
    ]


def cell_columns(columns: pd.DataFrame) -> tuple[str, ...]:
    """Sex and one more column, over whose cells NIST averages; as far as they are there."""
    sex = sex_column(columns)
    if sex is None:
        return ()
    return (sex, *[name for name in columns if name != sex][:1])


def _probability_rows(over: np.ndarray, p: np.ndarray, limit: float) -> list[dict[str, Any]]:
    p = np.clip(p, 0, 1)
    rows = [
        (
            "auc",
            f"Area under the ROC curve of P(age >= {limit:g})",
            roc_auc_score(over, p) if 0 < over.sum() < len(over) else np.nan,
            "Probability that someone over the limit gets a higher value than someone below it.",
        ),
        (
            "brier",
            f"Brier score of P(age >= {limit:g})",
            brier_score_loss(over, p) if 0 < over.sum() < len(over) else np.nan,
            "Mean squared difference between the probability and what is true (0 or 1).",
        ),
    ]
    return [
        {
            "figure": name,
            "label": label,
            "value": float(value),
            "low": np.nan,
            "high": np.nan,
            "definition": definition,
        }
        for name, label, value, definition in rows
    ]
