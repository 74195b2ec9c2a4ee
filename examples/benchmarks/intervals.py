"""Coverage and width of calibrated intervals on UTKFace, beside those of MAPIE.

    python examples/benchmarks/intervals.py --data UTKFACE --network faceres.onnx --scratch SCRATCH

Each image is predicted by a model of the face network that was fitted to the other four
folds. Of these predictions one random half calibrates and the other is tested, 20 times.
All methods get the same distributions and the same halves. Ages are whole years, and the
width in whole years is the distance between the oldest and the youngest whole year in an
interval, which is the same as the width for skage.

MAPIE must be installed. The predictions are kept in SCRATCH/out_of_fold.joblib.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from folds import read_folds
from mapie.conformity_scores import StdConformityScore
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator

from skage import AgeBinner, AgeEnsemble, CalibratedAgeRegressor, Preprocessing, Runtime, presets
from skage.metrics import crps, negative_log_likelihood, winkler_score

LEVELS = (0.8, 0.9, 0.95)
SKAGE = {
    "skage, all images together": {"by": None},
    "skage, all images together, tails apart": {"by": None, "tails": "apart"},
    "skage, by predicted age": {"by": "predicted"},
    "skage, by predicted age, tails apart": {"by": "predicted", "tails": "apart"},
    "skage, by true age": {"by": "true"},
}


class Stored(RegressorMixin, BaseEstimator):
    """A regressor to which X is the distribution that it predicts.

    Parameters
    ----------
    binner : AgeBinner
    level : float or None
        Of the quantile to predict, if it is not the mean.
    """

    def __init__(self, binner: AgeBinner, level: float | None = None):
        self.binner = binner
        self.level = level

    def fit(self, X: Any, y: Any) -> Stored:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def binner_(self) -> AgeBinner:
        return self.binner

    def predict_dist(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        if self.level is not None:
            return self.binner.quantile(X, self.level)
        ages = self.binner.inverse_transform(X)
        return (ages, self.binner.std(X)) if return_std else ages


def out_of_fold(data: Path, network: str, scratch: Path) -> list[dict[str, Any]]:
    """Rows, ages, distributions and binner of each fold."""
    file = scratch / "out_of_fold.joblib"
    if not file.exists():
        paths, ages, fold = read_folds(data)
        model = presets.face(
            network,
            output="global_pooling/Mean",
            preprocessing=Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68)),
            runtime=Runtime(feature_cache=scratch / "cache"),
            random_state=0,
        )
        folds = []
        for k in range(5):
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            model.fit(paths[train], ages[train])
            distribution = model.predict_dist(paths[test])
            folds.append(
                {
                    "rows": test,
                    "ages": ages[test],
                    "distribution": distribution,
                    "binner": model.binner_,
                }
            )
        joblib.dump(folds, file)
    return joblib.load(file)


def on_one_axis(folds: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, AgeBinner]:
    """Distributions and ages of all images, over bins that represent those of each fold."""
    members = [(str(k), FrozenEstimator(Stored(f["binner"]))) for k, f in enumerate(folds)]
    found = []
    for k, fold in enumerate(folds):
        weights = np.eye(len(folds))[k].tolist()
        average = AgeEnsemble(members, weights=weights).fit(fold["distribution"], fold["ages"])
        found.append(average.predict_dist(fold["distribution"]).astype(float))
    distribution = np.concatenate(found)
    distribution /= distribution.sum(axis=1, keepdims=True)
    return distribution, np.concatenate([f["ages"] for f in folds]), average.binner_


def of_mapie(binner, calibration, test):
    """Intervals of each method and level."""
    model = Stored(binner)
    for name, score in (("absolute", "absolute"), ("StdConformityScore", StdConformityScore())):
        mapie = SplitConformalRegressor(model, LEVELS, conformity_score=score, prefit=True)
        found = mapie.conformalize(*calibration).predict_interval(test)[1]
        yield from ((f"MAPIE, {name}", level, found[..., i]) for i, level in enumerate(LEVELS))
    for level in LEVELS:
        tails = (1 - level) / 2, (1 + level) / 2, 0.5
        quantiles = [Stored(binner, tail) for tail in tails]
        mapie = ConformalizedQuantileRegressor(quantiles, level, prefit=True)
        found = mapie.conformalize(*calibration).predict_interval(test)[1]
        yield "MAPIE, CQR", level, found[..., 0]


def of_skage(binner, calibration, test):
    """Intervals of each method and level."""
    for name, options in SKAGE.items():
        model = CalibratedAgeRegressor(FrozenEstimator(Stored(binner)), **options)
        model.fit(*calibration)
        distribution = model.predict_dist(test)
        yield from ((name, level, model.decode_interval(distribution, level)) for level in LEVELS)


def row(ages: np.ndarray, interval: np.ndarray, level: float, decades: list[int]) -> dict[str, Any]:
    """What is measured of the intervals of a half."""
    low, high = interval.T
    first, last = np.ceil(low - 1e-6), np.floor(high + 1e-6)
    covered = (first <= ages) & (ages <= last)
    return {
        "coverage": covered.mean(),
        "width": (high - low).mean(),
        "whole years": np.maximum(last - first, 0).mean(),
        "Winkler": winkler_score(ages, interval, level),
    } | {f"{d}s": covered[ages // 10 == d / 10].mean() for d in decades}


def measured(distribution, ages, binner, n_splits) -> pd.DataFrame:
    """Means over the splits, a row for each level and method."""
    decades = [d for d in range(0, 120, 10) if (ages // 10 == d / 10).sum() >= 100]
    rows = []
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(ages))
        known, new = np.array_split(order, 2)
        halves = binner, (distribution[known], ages[known]), distribution[new]
        for make in (of_mapie, of_skage):
            for name, level, interval in make(*halves):
                found = row(ages[new], interval, level, decades)
                rows.append({"level": level, "method": name} | found)
    return pd.DataFrame(rows).groupby(["level", "method"], sort=False).mean()


def table(means: pd.DataFrame) -> str:
    decades = [name for name in means if name.endswith("0s")]
    lines = [
        "| intervals | coverage | width, years | whole years | Winkler | decades: least, most |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for level in LEVELS:
        for name, found in means.loc[level].iterrows():
            by_decade = found[decades]
            lines.append(
                f"| {level:.0%} {name} | {found['coverage']:.3f} | {found['width']:.2f} "
                f"| {found['whole years']:.2f} | {found['Winkler']:.2f} "
                f"| {by_decade.min():.3f} ({by_decade.idxmin()}), {by_decade.max():.3f} |"
            )
    return "\n".join(lines)


def scores(distribution, ages, binner, n_splits) -> str:
    """CRPS, log-likelihood and error of the distributions, before and after."""
    rows = []
    for seed in range(n_splits):
        known, new = np.array_split(np.random.default_rng(seed).permutation(len(ages)), 2)
        model = CalibratedAgeRegressor(FrozenEstimator(Stored(binner)))
        after = model.fit(distribution[known], ages[known]).predict_dist(distribution[new])
        for name, p in (("as predicted", distribution[new]), ("calibrated", after)):
            errors = np.abs(binner.inverse_transform(p) - ages[new])
            given = ages[new], p, binner
            rows.append((name, crps(*given), negative_log_likelihood(*given), errors.mean()))
    columns = ["distributions", "CRPS", "NLL", "MAE"]
    means = pd.DataFrame(rows, columns=columns).groupby("distributions", sort=False).mean()
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---:|---:|"]
    for name, found in means.iterrows():
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in found)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--network", required=True, help="ONNX file of HSE-FaceRec's MobileNet")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="mapie")
    folds = out_of_fold(options.data, options.network, options.scratch)
    given = on_one_axis(folds)
    print(table(measured(*given, options.splits)))
    print()
    print(scores(*given, options.splits))


if __name__ == "__main__":
    main()
