"""What a model costs as a pickle, a .skage file, and an ONNX file in float32 and int8.

    pip install 'skage[export]'
    python examples/benchmarks/export.py
    python examples/benchmarks/export.py --model age.skage --data UTKFACE

Without --model it is a VGG16 with random weights, 512 hidden units and images of 224 pixels.
Times are the best of --repeats runs, which take turns, so that other work on the machine
slows all of them. With --data, the errors on its first --images images are printed too; as
many others calibrate the int8 file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

import skage
from skage import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier
from skage.datasets import load_utkface, make_faces


def random_model(size: int) -> BinnedAgeRegressor:
    """A VGG16 as large as a trained one, after one step of training."""
    faces = make_faces(40, image_size=size, random_state=0)
    classifier = VGG16Classifier(
        weights=None, image_size=size, n_components=None, max_epochs=1, test_augment=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few images
        return BinnedAgeRegressor(classifier, AgeBinner(20)).fit(faces.data, faces.target)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = action()
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a .skage file")
    parser.add_argument("--data", type=Path, help="a folder with UTKFace's names")
    parser.add_argument("--size", type=int, default=224, help="of the images without --model")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n = options.images
    model = skage.load(options.model) if options.model else random_model(options.size)
    if options.data:
        faces = load_utkface(options.data)
        order = np.random.default_rng(0).permutation(len(faces.data))
        X, ages = [faces.data[i] for i in order[: 2 * n]], faces.target[order[: 2 * n]]
    else:
        faces = make_faces(2 * n, image_size=options.size, random_state=1)
        X, ages = list(faces.data), None
    with tempfile.TemporaryDirectory() as folder:
        compare(model, X, ages, n, options.repeats, Path(folder))


def compare(model: Any, X: Any, ages: Any, n: int, repeats: int, folder: Path) -> None:
    names = "pickle", "float32.skage", "bfloat16.skage", "float32.onnx", "int8.onnx"
    files = {name: folder / name for name in names}
    for name in names[:3]:
        precision = "bfloat16" if name.startswith("bfloat16") else "float32"
        model.set_params(classifier__runtime=Runtime(precision=precision))
        model.classifier_.set_params(runtime=Runtime(precision=precision))
        joblib.dump(model, files[name]) if name == "pickle" else model.save(files[name])
    model.export(files["float32.onnx"])
    quantised = X[n:], None if ages is None else ages[n:]
    model.export(files["int8.onnx"], int8_images=quantised[0], int8_ages=quantised[1])
    del model
    loading, predicting = (dict.fromkeys(names, np.inf) for _ in range(2))
    found = {}
    for _ in range(repeats):
        for name, file in files.items():
            skage.clear_memory()
            load = joblib.load if name == "pickle" else skage.load
            seconds, loaded = timed(lambda load=load, file=file: load(file))
            loading[name] = min(loading[name], seconds)
            loaded.predict(X[:8])
            seconds, found[name] = timed(lambda loaded=loaded: loaded.predict(X[:n]))
            predicting[name] = min(predicting[name], seconds)
            del loaded
    print(f"{torch.get_num_threads()} threads, {n} images")
    print(f"{'':16}{'MB':>8}{'load, s':>9}{'images/s':>10}{'change':>8}{'MAE':>7}")
    for name, file in files.items():
        change = np.abs(found[name] - found["float32.skage"]).mean()
        error = "" if ages is None else f"{np.abs(found[name] - ages[:n]).mean():7.2f}"
        print(
            f"{name:16}{file.stat().st_size / 1e6:8.1f}{loading[name]:9.2f}"
            f"{n / predicting[name]:10.2f}{change:8.3f}{error}"
        )


if __name__ == "__main__":
    main()
