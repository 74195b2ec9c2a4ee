"""Age bins on UTKFace: skage against an earlier attempt at the same method.

    python examples/utkface.py --data UTKFACE --weights vgg16_features.safetensors

Trains on folds 0 to 3 and tests on fold 4. The bins are chosen by
cross-validation within folds 0 to 3. Frozen activations are computed once and
kept in --cache; the first run passes every image through VGG16 twice, once
for each recipe's preprocessing.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit
from torch import nn

from skage import AgeBinner, BinnedAgeRegressor, VGG16Classifier
from skage.cache import FrozenPrefix, collect_activations
from skage.datasets import load_utkface
from skage.metrics import cumulative_score, mean_absolute_error
from skage.network import build
from skage.store import open_store

N_BINS = [10, 20, 50, 101]
TEST_FOLD = 4


def folds_of(data: Path, faces) -> np.ndarray:
    """The folds of table.csv where the folder has one, else five new ones."""
    table = data / "table.csv"
    if table.exists():
        with open(table, newline="") as file:
            fold = {row["file"]: int(row["fold"]) for row in csv.DictReader(file)}
        return np.array([fold[Path(path).name] for path in faces.data])
    folds = np.empty(len(faces.data), dtype=int)
    splits = GroupKFold(5).split(faces.data, groups=faces.groups)
    for k, (_, rows) in enumerate(splits):
        folds[rows] = k
    return folds


def earlier_attempt(paths, ages, train, test, weights, cache, seed=0) -> np.ndarray:
    """Rebuild the earlier attempt faithfully, its mistakes included.

    VGG16's convolutions frozen, at 200 pixels, inputs divided by 255 only; two
    dense layers of 200 (ReLU, dropout 0.2, norms of at most 4); quantile bins,
    15 asked and 14 made, fitted on all the data; the midpoints of their edges
    as values; cross-entropy + 0.1 x MSE of the expectation; Adam of 1e-3 with
    betas (0.9, 0.9), divided by 10 at epochs 0, 10 and 20; batches of 256 and
    25 epochs.
    """
    prefix, _ = build(
        2,
        weights=weights,
        trainable="classifier",
        hidden_layer_sizes=(200, 200),
        dropout=0.2,
        image_size=200,
    )
    prefix.mean, prefix.std = torch.zeros(3), torch.full((3,), 255.0)
    frozen = FrozenPrefix(prefix, 200, torch.float32, torch.device("cpu"))
    with open_store(cache) as store:
        found = collect_activations(paths, frozen, store=store, progress=True)
    edges = np.unique(np.quantile(ages, np.linspace(0, 1, 16)))
    codes = torch.from_numpy(np.searchsorted(edges[1:-1], ages, side="right"))
    values = torch.from_numpy((edges[:-1] + edges[1:]) / 2).float()
    target = torch.from_numpy(ages).float()
    features = torch.from_numpy(found.array[found.rows])

    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(features.shape[1], 200),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(200, len(values)),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.9))
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [0, 10, 20], 0.1)
    rows = torch.from_numpy(train)
    for _ in range(25):
        for batch in rows[torch.randperm(len(rows))].split(256):
            logits = net(features[batch].float())
            expected = logits.softmax(dim=1) @ values
            loss = nn.functional.cross_entropy(logits, codes[batch])
            loss = loss + 0.1 * nn.functional.mse_loss(expected, target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for layer in (net[0], net[3]):
                    layer.weight.copy_(layer.weight.renorm(2, 0, 4.0))
        schedule.step()
    net.eval()
    with torch.inference_mode():
        return (net(features[test].float()).softmax(dim=1) @ values).numpy()


def skage_model(weights, cache) -> BinnedAgeRegressor:
    return BinnedAgeRegressor(
        VGG16Classifier(
            weights=weights,
            hidden_layer_sizes=(256,),
            batch_size=128,
            max_epochs=20,
            lr_step=10,
            validation_fraction=0,
            feature_cache=cache,
            random_state=0,
        ),
        AgeBinner(n_bins=20, strategy="balanced"),
    )


def deeper_model(weights, cache) -> BinnedAgeRegressor:
    """Block 5 trained too, on half-size images; its settings were not searched."""
    return skage_model(weights, cache).set_params(
        classifier__trainable="block5",
        classifier__image_size=112,
        classifier__optimizer="adamw",
        classifier__lr=2e-4,
        classifier__weight_decay=0.05,
        classifier__batch_size=64,
        classifier__max_epochs=6,
        classifier__lr_step=4,
    )


SCORING = {
    "mean": "neg_mean_absolute_error",
    "median": lambda model, X, y: (
        -mean_absolute_error(y, model.binner_.quantile(model.predict_dist(X), 0.5))
    ),
}


def search(model, grid, cv, X, y) -> GridSearchCV:
    print("searching", grid, flush=True)
    return GridSearchCV(model, grid, scoring=SCORING, cv=cv, refit=False).fit(X, y)


def fit_and_predict(model, X, y, X_test) -> dict[str, tuple[np.ndarray, float]]:
    """Ages of the test images by both decodings, and the seconds it took."""
    start = time.perf_counter()
    model.fit(X, y)
    distribution = model.predict_dist(X_test)
    found = {
        "mean": model.binner_.inverse_transform(distribution),
        "median": model.binner_.quantile(distribution, 0.5),
    }
    seconds = time.perf_counter() - start
    return {decode: (ages, seconds) for decode, ages in found.items()}


def print_row(name: str, y, ages, seconds: float, cv_mae: float | None = None) -> None:
    chosen = "" if cv_mae is None else f"{cv_mae:.2f}"
    print(
        f"| {name:42} | {chosen:>6} | {mean_absolute_error(y, ages):5.2f} "
        f"| {cumulative_score(y, ages):5.3f} | {r2_score(y, ages):6.3f} | {seconds:5.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--cache", default="auto", help="folder for frozen activations")
    options = parser.parse_args()

    faces = load_utkface(options.data)
    fold = folds_of(options.data, faces)
    paths, ages = np.array(faces.data, dtype=object), faces.target
    is_test = fold == TEST_FOLD
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    X, y, X_test, y_test = paths[train], ages[train], paths[test], ages[test]
    print(f"{len(train)} images to train on, {len(test)} to test on", flush=True)

    rows = []
    start = time.perf_counter()
    constant = DummyRegressor(strategy="median").fit(X, y).predict(X_test)
    rows.append(("constant median", constant, time.perf_counter() - start, None))
    start = time.perf_counter()
    earlier = earlier_attempt(paths, ages, train, test, options.weights, options.cache)
    rows.append(("the earlier attempt, rebuilt", earlier, time.perf_counter() - start, None))

    # Learning rate and weight decay on one split of folds 0 to 3, then the bins on all four.
    model = skage_model(options.weights, options.cache)
    one_fold = PredefinedSplit(np.where(fold[train] == 3, 0, -1))
    grid = {"classifier__lr": [1e-3, 2e-3], "classifier__weight_decay": [0.05, 0.2, 0.4]}
    found = search(model, grid, one_fold, X, y).cv_results_
    model.set_params(**found["params"][np.argmax(found["mean_test_mean"])])
    for parameters, mean, median in zip(
        found["params"], found["mean_test_mean"], found["mean_test_median"], strict=True
    ):
        print(parameters, f"MAE of mean {-mean:.2f}, of median {-median:.2f}", flush=True)

    grid = {"binner__n_bins": N_BINS, "binner__strategy": ["uniform", "balanced"]}
    found = search(model, grid, PredefinedSplit(fold[train]), X, y).cv_results_
    candidates = []
    for i, parameters in enumerate(found["params"]):
        candidate = clone(model).set_params(**parameters)
        for decode, (predicted, seconds) in fit_and_predict(candidate, X, y, X_test).items():
            cv_mae = -found[f"mean_test_{decode}"][i]
            name = f"{parameters['binner__n_bins']} {parameters['binner__strategy']}, {decode}"
            candidates.append((name, predicted, seconds, cv_mae, parameters, decode))
    best = min(candidates, key=lambda row: row[3])
    *_, parameters, decode = best

    # Averages need no choice between them: all eight binnings, and five nets of the chosen kind.
    eight = [row[1] for row in candidates if row[5] == decode]
    seconds = sum(row[2] for row in candidates if row[5] == decode)
    more = [(f"average of all eight, {decode}", np.mean(eight, axis=0), seconds, None)]
    five, seconds = [best[1]], best[2]
    for seed in range(1, 5):
        member = clone(model).set_params(**parameters, classifier__random_state=seed)
        ages_found, taken = fit_and_predict(member, X, y, X_test)[decode]
        five.append(ages_found)
        seconds += taken
    more.append(("average of five chosen, other seeds", np.mean(five, axis=0), seconds, None))
    deeper = fit_and_predict(deeper_model(options.weights, options.cache), X, y, X_test)
    for decode, (ages_found, seconds) in deeper.items():
        more.append((f"block5 trained, 112 px, 20 balanced, {decode}", ages_found, seconds, None))

    print(f"\n| {'model':42} | CV MAE |   MAE |  CS@5 |    R^2 |     s |")
    print(f"|{'-' * 44}|-------:|------:|------:|-------:|------:|")
    for row in [*rows, *candidates]:
        print_row(row[0], y_test, *row[1:4])
    print_row(f"chosen on folds 0-3: {best[0]}", y_test, *best[1:4])
    for row in more:
        print_row(row[0], y_test, *row[1:])


if __name__ == "__main__":
    main()
