"""Choose bins, learning rate and weight decay on UTKFace, and test the choice.

    python examples/utkface.py --data UTKFACE --weights vgg16_features.safetensors

A fifth of the persons' images is held out for the test; the choice is made by
cross-validation within the others. The first run passes every image through VGG16
once, which takes most of the time; the frozen activations are kept in --cache.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV

from skage import presets
from skage.datasets import load_utkface
from skage.metrics import (
    cumulative_score,
    mean_absolute_error,
    neg_mean_absolute_error_scorer,
)
from skage.splits import AgeStratifiedGroupKFold

GRID = {
    "binner__n_bins": [10, 20, 50],
    "classifier__lr": [0.01, 0.02, 0.03],
    "classifier__weight_decay": [0.02, 0.05],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--cache", default="auto", help="folder for frozen activations")
    parser.add_argument("--save", help="file for the chosen model, as age.skage")
    options = parser.parse_args()

    faces = load_utkface(options.data)
    paths = np.array(faces.data, dtype=object)
    splitter = AgeStratifiedGroupKFold(5, shuffle=True, random_state=0)
    train, test = next(splitter.split(paths, faces.target, faces.groups))
    print(f"{len(train)} images to train on, {len(test)} to test on", flush=True)

    model = presets.fast(
        weights=options.weights, runtime__feature_cache=options.cache, random_state=0
    )
    start = time.perf_counter()
    search = GridSearchCV(model, GRID, scoring=neg_mean_absolute_error_scorer, cv=splitter)
    search.fit(paths[train], faces.target[train], groups=faces.groups[train])
    print(f"{time.perf_counter() - start:.0f} s; chosen: {search.best_params_}")
    print(f"MAE in cross-validation {-search.best_score_:.2f} years")

    true, predicted = faces.target[test], search.predict(paths[test])
    constant = np.full(len(test), np.median(faces.target[train]))
    for name, ages in (("constant median", constant), ("skage", predicted)):
        mae, within = mean_absolute_error(true, ages), cumulative_score(true, ages)
        print(f"{name:16} MAE {mae:5.2f} years, within 5 years {within:.0%}")
    if options.save:
        search.best_estimator_.save(options.save)


if __name__ == "__main__":
    main()
