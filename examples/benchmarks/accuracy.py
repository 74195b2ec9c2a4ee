"""What each part of a recipe is worth on UTKFace: five folds, a table, a plot.

    python examples/benchmarks/accuracy.py --data UTKFACE --weights vgg16_features.safetensors \
        --network faceres.onnx --scratch SCRATCH --plot accuracy.png

Nothing is chosen by the fold that is reported: learning rate and weight decay of the
frozen rows are searched within the other four. Rows that differ from "classifier" in one
thing take both over, or search the learning rate anew where the loss or the inputs are
of another scale. The rows that train convolutions have fixed settings; docs/benchmarks.md
says where they come from.

The rows of "face network" need --network: HSE-FaceRec's MobileNet as an ONNX file, with
the outputs global_pooling/Mean and age_pred/Softmax. It has seen VGGFace2's millions of
faces, and ages of an unnamed source.

A second table leaves out the test images that have a near-duplicate in another fold.

Each fit is written to --scratch as it ends, so that a run that was cut off goes on;
--rows and --folds take some of them only; the table has all that is there of these folds.
All take many hours on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accuracy_table import Rows, plot_bins, table
from earlier import earlier_attempt
from folds import read_folds
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from skage import (
    AgeBinner,
    AgeEnsemble,
    BinnedAgeRegressor,
    Preprocessing,
    Runtime,
    VGG16Classifier,
    load_age_network,
    presets,
)
from skage.augment import Jitter
from skage.datasets import group_near_duplicates
from skage.schedules import OneCycle, StepDecay

N_BINS = (10, 20, 50, 101)
GRID = {
    "classifier__lr": [0.01, 0.02, 0.04, 0.08],
    "classifier__weight_decay": [0.0005, 0.005, 0.05],
}
FACE_GRID = {
    "classifier__lr": [0.003, 0.01, 0.02],
    "classifier__weight_decay": [0.001, 0.005, 0.02],
}
# Of losses and inputs of another scale.
RATES = (0.001, 0.003, 0.01, 0.03)
SIGMA = 4.0  # years, of Gaussian targets


@dataclass
class Fit:
    """A model that is fitted once a fold, and what is predicted with it.

    Parameters
    ----------
    changes : dict
        Parameters in which it differs from the base of its kind.
    default : bool
        Whether the base is the default model, whose parameters are not searched.
    deep : bool
        Whether the base trains convolutions.
    face : bool
        Whether the base is the preset of face networks.
    searched : bool
        Whether learning rate and weight decay of that preset are chosen.
    rates : tuple of float
        Learning rates to choose from in place of the base's.
    n_members : tuple of int
        Of an ensemble, so many networks of it make a row each.
    mirror : bool
        Whether the average with the mirror image makes rows too.
    decodings : tuple of str
        Each makes a row.
    """

    changes: dict[str, Any]
    deep: bool = False
    face: bool = False
    searched: bool = False
    default: bool = False
    rates: tuple[float, ...] = ()
    n_members: tuple[int, ...] = (1,)
    mirror: bool = False
    decodings: tuple[str, ...] = ("mean", "median", "mode")


def frozen_model(weights: str, cache: Path) -> BinnedAgeRegressor:
    """Fresh dense layers on the frozen convolutions."""
    classifier = VGG16Classifier(
        weights=weights,
        hidden_layer_sizes=(512,),
        n_components=768,
        batch_size=128,
        max_epochs=20,
        validation_fraction=0,
        loss="cross_entropy",
        weight_decay=5e-4,
        test_augment=None,
        runtime=Runtime(feature_cache=cache),
        random_state=0,
    )
    return BinnedAgeRegressor(classifier, AgeBinner(50))


def deep_model(weights: str, cache: Path, scratch: Path) -> BinnedAgeRegressor:
    """Convolutions trained too."""
    classifier = VGG16Classifier(
        weights=weights,
        trainable="block5",
        image_size=192,
        hidden_layer_sizes=(512,),
        augment=Jitter(2),
        loss={"cross_entropy": 1, "expectation_l1": 0.1},
        optimizer="adamw",
        lr=5e-4,
        lr_schedule=OneCycle(),
        weight_decay=0.05,
        max_epochs=10,
        validation_fraction=0,
        batch_size=64,
        test_augment=None,
        runtime=Runtime(feature_cache=cache, checkpoint=scratch / "checkpoints"),
        random_state=0,
    )
    return BinnedAgeRegressor(classifier, AgeBinner(50, encoding="gaussian", sigma=SIGMA))


def face_options(output: str) -> dict[str, Any]:
    """How HSE-FaceRec's MobileNet is fed, as its authors feed it."""
    pixels = Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68))
    return {"preprocessing": pixels, "output": output}


class Stored(BaseEstimator):
    """A member of an average, whose distributions are known."""

    def __init__(self, binner: AgeBinner, distribution: np.ndarray):
        self.binner, self.distribution = binner, distribution
        self.binner_ = binner

    def fit(self, X: Any, y: Any) -> Stored:
        return self

    def predict_dist(self, X: Any) -> np.ndarray:
        return self.distribution


def regression(kind: str) -> dict[str, Any]:
    """One output; bins as fine as may be, since it cannot leave their values."""
    bins = {"binner__n_bins": 101, "binner__encoding": "hard"}
    return {"classifier__loss": kind} | bins


def loss(**terms: float) -> dict[str, Any]:
    return {"classifier__loss": terms}


def target(encoding: str, sigma: float = SIGMA) -> dict[str, Any]:
    return {"binner__encoding": encoding, "binner__sigma": sigma}


# The paper's bins, loss and optimizer, as commonly quoted; its schedule in 10 epochs.
AS_DEX = {
    "binner": AgeBinner(101, strategy="uniform", age_range=(-0.5, 100.5)),
    "classifier__loss": "cross_entropy",
    "classifier__optimizer": "sgd",
    "classifier__lr": 1e-3,
    "classifier__lr_ratio": 0.1,
    "classifier__lr_schedule": StepDecay(step=4),
    "classifier__weight_decay": 5e-4,
}
SOFT = target("gaussian") | loss(cross_entropy=1, expectation_l1=0.1)
FINE = SOFT | {"classifier__n_components": 2048}
SMALL = {"classifier__image_size": 128}
VALIDATED = {"classifier__validation_fraction": 0.1, "classifier__early_stopping": 20}
FITS: dict[str, Fit] = {
    "default": Fit({}, default=True, mirror=True),
    "output layer": Fit({"classifier__hidden_layer_sizes": ()}, rates=RATES),
    "classifier": Fit({}),
    "all activations": Fit({"classifier__n_components": None}, rates=(0.001, 0.003)),
    "Gaussian, 2 years": Fit(target("gaussian", 2.0)),
    "Gaussian, 4 years": Fit(target("gaussian")),
    "Gaussian, 6 years": Fit(target("gaussian", 6.0)),
    "SORD, 2 years": Fit(target("sord", 2.0)),
    "two-hot": Fit(target("two_hot")),
    "cumulative": Fit(loss(cumulative=1), rates=RATES),
    "ranked probability": Fit(loss(ranked_probability=1), rates=RATES),
    "cross-entropy + 0.1 L1": Fit(loss(cross_entropy=1, expectation_l1=0.1)),
    "cross-entropy + 0.1 L2": Fit(loss(cross_entropy=1, expectation_l2=0.1), rates=RATES),
    "mean-variance": Fit(loss(cross_entropy=1, expectation_l2=0.2, variance=0.05), rates=RATES),
    "Gaussian + 0.1 L1": Fit(SOFT),
    "Gaussian + 0.1 L1, 2,048 components": Fit(
        FINE | {"classifier__n_members": 5}, n_members=(1, 5), mirror=True
    ),
    "Gaussian + 0.1 L1, 2,048 components, copies": Fit(
        FINE | {"classifier__augment": Jitter(1)}, mirror=True
    ),
    "regression, L1": Fit(regression("l1"), rates=RATES, decodings=("mean",)),
    "regression, L2": Fit(regression("l2"), rates=RATES, decodings=("mean",)),
    "balanced ages": Fit({"classifier__class_weight": "balanced_ages"}, rates=RATES),
    "ensemble, Gaussian + 0.1 L1": Fit(
        VALIDATED | SOFT | {"classifier__n_members": 20},
        n_members=(1, 5, 20),
    ),
    **{
        f"{n_bins} {strategy}": Fit({"binner__n_bins": n_bins, "binner__strategy": strategy})
        for strategy in ("uniform", "balanced")
        for n_bins in N_BINS
    },
    "block5": Fit({}, deep=True, mirror=True),
    "block5, no copies": Fit({"classifier__augment": None}, deep=True),
    "block5, cross-entropy": Fit(
        {"binner__encoding": "hard", "classifier__loss": "cross_entropy"}, deep=True
    ),
    "block5, regression": Fit(regression("l1"), deep=True, decodings=("mean",)),
    "block5, as DEX trains": Fit(AS_DEX, deep=True),
    "block4": Fit({"classifier__trainable": "block4"}, deep=True, mirror=True),
    "block5, 128 pixels": Fit(SMALL, deep=True, mirror=True),
    "block5, 128 pixels, 20 epochs": Fit(
        SMALL | {"classifier__max_epochs": 20}, deep=True, mirror=True
    ),
    "face network": Fit({"classifier__n_members": 3}, face=True, n_members=(1, 3), mirror=True),
    "face network, searched": Fit({}, face=True, searched=True, mirror=True),
    **{
        f"block5, seed {seed}": Fit({"classifier__random_state": seed}, deep=True, mirror=True)
        for seed in range(1, 5)
    },
}


ZERO_SHOT = "face network, zero-shot"
SHARES = np.linspace(0, 1, 21)  # of the first of two members


@dataclass(frozen=True)
class Average:
    """The average of the distributions of other rows.

    Parameters
    ----------
    members : dict of str to int
        How many networks of which row.
    weighted : bool
        Whether the share of the first of two members is the one with the smallest error of
        the median in the other folds. Otherwise all weigh alike.
    """

    members: dict[str, int]
    weighted: bool = False


AVERAGES = {
    f"block5, {n} networks": Average(
        {"block5": 1} | {f"block5, seed {seed}": 1 for seed in range(1, n)}
    )
    for n in (2, 3, 5)
} | {"face network, 3 networks + zero-shot": Average({"face network": 3, ZERO_SHOT: 1})}
for _row in ("block5", *(name for name in FITS if name.startswith("block5, 128"))):
    _members = {"face network": 3, _row: 1}
    AVERAGES[f"face network, 3 networks + {_row}"] = Average(_members)
    AVERAGES[f"face network, 3 networks + {_row}, weighted"] = Average(_members, weighted=True)


class Benchmark:
    """The fits of all folds, in files.

    Parameters
    ----------
    data, scratch : Path
    weights : str
    network : str
        A face network, if its rows are wanted.
    """

    def __init__(self, data: Path, weights: str, scratch: Path, network: str = ""):
        self.paths, self.ages, self.fold = read_folds(data)
        self.weights, self.scratch, self.network = weights, scratch, network
        self.cache = scratch / "cache"
        self.shares: dict[Any, np.ndarray] = {}  # see errors
        (scratch / "fits").mkdir(parents=True, exist_ok=True)

    def file(self, name: str, fold: int) -> Path:
        """Another model, other weights: another file."""
        fit = FITS.get(name, Fit({}))
        model = self.base(fit).set_params(**fit.changes)
        elsewhere = {"classifier__runtime": None}
        parameters = model.set_params(**elsewhere).get_params()
        pretrained = self.network if fit.face or name == ZERO_SHOT else self.weights
        facts = [pretrained, fit, GRID, sorted(parameters.items(), key=lambda item: item[0])]
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=4).hexdigest()
        return self.scratch / "fits" / f"{name.replace(' ', '_')}-{digest}-{fold}.json"

    def run(self, name: str, fold: int, make: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        """What a fit gave, from its file if it has one."""
        file = self.file(name, fold)
        if not file.exists():
            print(f"{time.strftime('%H:%M')} {name}, fold {fold}", flush=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(make(fold)))
            partial.replace(file)
        return json.loads(file.read_text())

    def base(self, fit: Fit) -> BinnedAgeRegressor:
        cache = {"runtime__feature_cache": self.cache}
        if fit.default:
            return presets.fast(weights=self.weights, random_state=0, **cache)
        if fit.face:
            options = face_options("global_pooling/Mean") | cache
            return presets.face(self.network, random_state=0, **options)
        if fit.deep:
            return deep_model(self.weights, self.cache, self.scratch)
        return frozen_model(self.weights, self.cache)

    def searched(self, fold: int) -> dict[str, Any]:
        """Learning rate and weight decay of "classifier"."""
        return self.search(frozen_model(self.weights, self.cache), GRID, fold)

    def search(self, model: BinnedAgeRegressor, grid: dict[str, Any], fold: int) -> dict[str, Any]:
        """What the next fold finds best after training on the other three."""
        train = np.flatnonzero(self.fold != fold)
        is_valid = self.fold[train] == (fold + 1) % 5
        search = GridSearchCV(
            clone(model).set_params(decode="median"),
            grid,
            scoring="neg_mean_absolute_error",
            cv=PredefinedSplit(np.where(is_valid, 0, -1)),
            refit=False,
        )
        with warnings.catch_warnings():  # training diverges at some of the rates
            warnings.simplefilter("ignore")
            search.fit(self.paths[train], self.ages[train])
        return search.best_params_

    def fit(self, fit: Fit, fold: int) -> dict[str, Any]:
        model = self.base(fit)
        if fit.searched:
            model.set_params(**self.search(model, FACE_GRID, fold))
        elif not (fit.deep or fit.default or fit.face):
            model.set_params(**self.run("search", fold, self.searched))
        model.set_params(**fit.changes)
        if fit.rates:
            model.set_params(**self.search(model, {"classifier__lr": fit.rates}, fold))
        train, test = np.flatnonzero(self.fold != fold), np.flatnonzero(self.fold == fold)
        try:
            model.fit(self.paths[train], self.ages[train])
        except ValueError as error:
            if "diverged" not in str(error):
                raise
            print(f"    {error}", flush=True)
            return {}
        classifier = model.classifier_
        n_trained, nets, rows = n_trainable(classifier), classifier.nets_, {}
        for n_members in fit.n_members:
            classifier.nets_ = nets[:n_members]
            history = [row for row in classifier.history_ if row.get("member", 0) < n_members]
            seconds = sum(row["dur"] for row in history)
            for view in (None, "mirror") if fit.mirror else (None,):
                classifier.set_params(test_augment=view)
                distribution = model.predict_dist(self.paths[test])
                for decode in fit.decodings:
                    ages = model.set_params(decode=decode).decode_dist(distribution)
                    cells = row(ages, seconds, n_trained, model.classifier.lr)
                    if (fit.deep or fit.face) and decode == "mean":  # for averages
                        cells["distribution"] = distribution.astype(float).round(6).tolist()
                    rows[variant(n_members, view, decode)] = cells
        return rows

    def known(self, name: str, fold: int) -> dict[str, Any] | None:
        """The rows of a fit or an average, if they are there."""
        if name in AVERAGES:
            return self.average(name, fold)
        file = self.file(name, fold)
        return json.loads(file.read_text()) if file.exists() else None

    def average(self, name: str, fold: int) -> dict[str, Any] | None:
        average = AVERAGES[name]
        needed = range(5) if average.weighted else [fold]
        if not all(self.known(member, k) for member in average.members for k in needed):
            return None
        rows = {}
        for view in (None, "mirror"):
            share = None
            if average.weighted:
                others = [self.errors(name, view, other) for other in range(5) if other != fold]
                share = float(SHARES[np.mean(others, axis=0).argmin()])
                print(f"    {name}, {view or 'no view'}, fold {fold}: share {share:.2f}")
            cells = self.cells(name, view, fold)
            model, distribution = self.averaged(cells, fold, share)
            totals = (sum(of[k] for of in cells.values()) for k in ("seconds", "n_trained"))
            seconds, n_trained = totals
            for decode in ("mean", "median", "mode"):
                ages = model.set_params(decode=decode).decode_dist(distribution)
                rows[variant(1, view, decode)] = row(ages, seconds, n_trained)
        return rows

    def cells(self, name: str, view: str | None, fold: int) -> dict[str, Any]:
        """What is known of each member of an average."""
        members = AVERAGES[name].members.items()
        return {of: self.known(of, fold)[variant(n, view, "mean")] for of, n in members}

    def averaged(
        self, cells: dict[str, Any], fold: int, share: float | None
    ) -> tuple[AgeEnsemble, np.ndarray]:
        """An average and its distributions of a fold's images."""
        stored = [
            (of, FrozenEstimator(Stored(self.binner(of, fold), np.array(row["distribution"]))))
            for of, row in cells.items()
        ]
        weights = None if share is None else (share, 1 - share)
        test = self.fold == fold
        model = AgeEnsemble(stored, weights=weights).fit(self.paths[test], self.ages[test])
        return model, model.predict_dist(self.paths[test])

    def errors(self, name: str, view: str | None, fold: int) -> np.ndarray:
        """Mean absolute errors of the median by share of the first member."""
        key = name, view, fold
        if key not in self.shares:
            self.shares[key] = np.empty(len(SHARES))
            cells = self.cells(name, view, fold)
            for i, share in enumerate(SHARES):
                model, distribution = self.averaged(cells, fold, share)
                ages = model.set_params(decode="median").decode_dist(distribution)
                self.shares[key][i] = np.abs(ages - self.ages[self.fold == fold]).mean()
        return self.shares[key]

    def binner(self, name: str, fold: int) -> AgeBinner:
        """The fitted bins of a row."""
        if name == ZERO_SHOT:
            return self.zero_shot_model().binner_
        fit = FITS[name]
        model = self.base(fit).set_params(**fit.changes)
        return clone(model.binner).fit(self.ages[self.fold != fold])

    def zero_shot_model(self) -> BinnedAgeRegressor:
        model = load_age_network(self.network, **face_options("age_pred/Softmax"))
        model.classifier_.runtime = Runtime(feature_cache=self.cache)
        return model

    def zero_shot(self, fold: int) -> dict[str, Any]:
        """The network's own ages, without training."""
        model, test = self.zero_shot_model(), np.flatnonzero(self.fold == fold)
        rows = {}
        for view in (None, "mirror"):
            model.classifier_.set_params(test_augment=view)
            distribution = model.predict_dist(self.paths[test])
            for decode in ("mean", "median", "mode"):
                cells = row(model.set_params(decode=decode).decode_dist(distribution), 0.0, 0)
                if decode == "mean":
                    cells["distribution"] = distribution.astype(float).round(6).tolist()
                rows[variant(1, view, decode)] = cells
        return rows

    def is_unique(self) -> np.ndarray:
        """Whether an image has no near-duplicate in another fold, (n,), bool.

        Pixels and, if there is a network, its features are compared.
        """
        groups = group_near_duplicates(self.paths)
        if self.network:
            features = self.base(FITS["face network"]).classifier.embed(self.paths)
            groups = group_near_duplicates(
                self.paths, groups=groups, features=features, threshold=0.9
            )
        n_folds = pd.Series(self.fold).groupby(groups).transform("nunique")
        return (n_folds == 1).to_numpy()

    def rows(self, folds: Sequence[int]) -> Rows:
        """All that is there of some folds."""
        rows: Rows = {}
        for name in ("constant median", "the earlier attempt", ZERO_SHOT, *FITS, *AVERAGES):
            for fold in folds:
                found = self.known(name, fold)
                if found == {}:
                    rows.setdefault(name, {})[fold] = {}
                for kind, cells in (found or {}).items():
                    of, _, decode = kind.rpartition(", ")
                    label = f"{name}, {of}" if of else name
                    rows.setdefault(label, {}).setdefault(fold, {})[decode] = cells
        return rows

    def constant(self, fold: int) -> dict[str, Any]:
        median = float(np.median(self.ages[self.fold != fold]))
        n_test = int((self.fold == fold).sum())
        return {"median": row(np.full(n_test, median), 0.0, 0)}

    def earlier(self, fold: int) -> dict[str, Any]:
        train, test = np.flatnonzero(self.fold != fold), np.flatnonzero(self.fold == fold)
        start = time.perf_counter()
        data = self.paths, self.ages, train, test
        ages, n_trained = earlier_attempt(*data, self.weights, self.cache)
        return {"mean": row(ages, time.perf_counter() - start, n_trained)}


def row(
    ages: np.ndarray, seconds: float, n_trained: int, lr: float | None = None
) -> dict[str, Any]:
    return {"ages": ages.tolist(), "seconds": seconds, "n_trained": n_trained, "lr": lr}


def variant(n_members: int, view: str | None, decode: str) -> str:
    networks = f"{n_members} networks, " if n_members > 1 else ""
    return f"{networks}{'mirror image, ' if view else ''}{decode}"


def n_trainable(classifier: Any) -> int:
    """Parameters that one network trained."""
    module = classifier.net_.module_
    total = sum(parameter.numel() for parameter in module.parameters())
    options = classifier.get_params(deep=False)
    is_dense = options.get("trainable") in ("output", "classifier")
    if is_dense and options["n_components"] is not None:  # folded into the first dense layer since
        folded = module.classifier[0] if options["hidden_layer_sizes"] else module.classifier[1]
        n_components = 2048 if options["n_components"] == "auto" else options["n_components"]
        total -= (folded.in_features - n_components) * folded.out_features
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--network", default="", help="ONNX file of HSE-FaceRec's MobileNet")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for what is computed")
    parser.add_argument("--rows", nargs="*", choices=FITS, help="fits to run; default: all")
    parser.add_argument("--folds", nargs="*", type=int, default=list(range(5)), help="of 0 to 4")
    parser.add_argument("--plot", type=Path, help="where to draw the errors by bins")
    options = parser.parse_args()

    benchmark = Benchmark(options.data, options.weights, options.scratch, options.network)
    names = options.rows or [name for name in FITS if options.network or not FITS[name].face]
    for fold in options.folds:
        benchmark.run("constant median", fold, benchmark.constant)
        if options.rows is None:
            benchmark.run("the earlier attempt", fold, benchmark.earlier)
        if options.network:
            benchmark.run(ZERO_SHOT, fold, benchmark.zero_shot)
    for name in names:
        for fold in options.folds:
            benchmark.run(name, fold, partial(benchmark.fit, FITS[name]))
    rows = benchmark.rows(options.folds)
    print(table(rows, benchmark.ages, benchmark.fold))
    unique = benchmark.is_unique()
    print(f"\nWithout the {(~unique).sum()} images that have a near-duplicate in another fold:\n")
    print(table(rows, benchmark.ages, benchmark.fold, unique))
    if options.plot:
        plot_bins(rows, N_BINS, benchmark.ages, benchmark.fold, options.plot)


if __name__ == "__main__":
    main()
