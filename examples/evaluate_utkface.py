"""Evaluate two models on UTKFace: VGG16 and a face network, with calibrated intervals.

    python examples/evaluate_utkface.py --data UTKFACE --weights vgg16_features.safetensors \
        --network faceres.onnx --output REPORTS

The models are trained and calibrated on folds 0 to 3 and tested on fold 4. A report of
each, and the difference between them, are written to --output. --network is
HSE-FaceRec's MobileNet as an ONNX file, with the output global_pooling/Mean; it has seen
VGGFace2's millions of faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.folds import read_folds

import skage
from skage import CalibratedAgeRegressor, Preprocessing, presets
from skage.datasets import load_utkface

ABOUT = {
    "data": "UTKFace, first part, aligned crops",
    "labels": "apparent ages: estimated by a DEX model and then checked by people",
    "licence": "UTKFace: for non-commercial research only",
    "split": "trained and calibrated on folds 0 to 3, tested on fold 4; identical files are in "
    "one fold, persons are not known",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--network", required=True, help="ONNX file of HSE-FaceRec's MobileNet")
    parser.add_argument("--cache", default="auto", help="folder for frozen activations")
    parser.add_argument("--output", type=Path, required=True, help="folder for the reports")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    paths, ages, fold = read_folds(options.data)
    frame = load_utkface(options.data).frame
    train, test = np.flatnonzero(fold != 4), np.flatnonzero(fold == 4)
    common = {"runtime__feature_cache": options.cache, "random_state": 0}
    fed = Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68))
    models = {
        "VGG16": presets.fast(weights=options.weights, **common),
        "face network": presets.face(
            options.network, output="global_pooling/Mean", preprocessing=fed, **common
        ),
    }
    sample = {"X": paths[test], "y": ages[test], "by": frame.loc[test, ["sex", "ethnicity"]]}
    for name, model in models.items():
        model = CalibratedAgeRegressor(model, random_state=0).fit(paths[train], ages[train])
        models[name] = model
        evaluation = skage.evaluate(
            model,
            **sample,
            limit=18,
            X_train=paths[train],
            variability=200,
            about={"model": name} | ABOUT,
            verbose=1,
        )
        stem = options.output / name.replace(" ", "_").lower()
        evaluation.to_html(stem.with_suffix(".html"))
        evaluation.to_json(stem.with_suffix(".json"))
        evaluation.plot().savefig(stem.with_suffix(".png"), dpi=150)
        print(evaluation, flush=True)
    print(skage.compare(*models.values(), **sample))


if __name__ == "__main__":
    main()
