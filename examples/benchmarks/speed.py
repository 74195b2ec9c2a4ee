"""What a grid search, a prediction and a training step cost.

    pip install 'skage[dask]'
    python examples/benchmarks/speed.py --data UTKFACE --weights vgg16_features.safetensors

Everything is measured in one run on one machine, each search in a fresh process,
and printed as it comes; --size 32 --images 1500 makes a quick trial. The yardstick F
is the time that VGG16's convolutions alone take over all images, decoded
beforehand. On two cores it takes some two hours, most of it in VGG16; with
--scratch FOLDER a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import torch
from folds import read_folds
from joblib import parallel_config
from memory import peak_memory
from PIL import Image
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import Dataset
from torchvision.models import vgg16

from skage import (
    AgeBinner,
    BinnedAgeRegressor,
    Preprocessing,
    Runtime,
    VGG16Classifier,
    presets,
)
from skage._hardware import resolve_precision

GRID = {
    "binner__n_bins": [10, 20, 50],
    "binner__strategy": ["uniform", "balanced"],
    "classifier__lr": [0.01, 0.02, 0.03],
    "classifier__weight_decay": [0, 5e-4],
}
N_CANDIDATES, N_FOLDS, N_EPOCHS = 36, 5, 20
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- skage -------------------------------------------------------------------


def skage_model(weights: str, cache: str | None, **options) -> BinnedAgeRegressor:
    defaults = {
        "hidden_layer_sizes": (256,),
        "n_components": 768,
        "loss": "cross_entropy",
        "weight_decay": 5e-4,
        "test_augment": None,
        "lr": 0.02,
        "batch_size": 128,
        "max_epochs": N_EPOCHS,
        "validation_fraction": 0,
        "random_state": 0,
    }
    runtime = Runtime(feature_cache=cache)
    classifier = VGG16Classifier(weights=weights, runtime=runtime, **defaults | options)
    return BinnedAgeRegressor(classifier, AgeBinner(20))


def face_model(network: str) -> BinnedAgeRegressor:
    """On HSE-FaceRec's MobileNet."""
    return presets.face(
        network,
        preprocessing=Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68)),
        output="global_pooling/Mean",
        test_augment=None,
        max_epochs=1,
    )


def search(task: dict) -> dict:
    """One grid search in this process; what it found and how long it took."""
    paths, ages, fold = read_data(Path(task["data"]), task["n_images"])
    model = skage_model(task["weights"], task["cache"], **task["options"])
    start = time.perf_counter()
    found = GridSearchCV(
        model,
        task["grid"],
        scoring="neg_mean_absolute_error",
        cv=PredefinedSplit(fold),
        n_jobs=task["n_jobs"],
        refit=task["refit"],
    )
    with parallel_config(backend=task["backend"]):
        found.fit(paths, ages)
    return {
        "seconds": time.perf_counter() - start,
        "mae": -found.cv_results_["mean_test_score"].max(),
        "params": found.cv_results_["params"][found.cv_results_["mean_test_score"].argmax()],
        "scores": found.cv_results_["mean_test_score"].tolist(),
    }


def search_on_dask(task: dict) -> dict:
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        return search(task)


def memory(task: dict) -> dict:
    """Largest anonymous memory of a fit and of a prediction, in bytes."""
    paths = [str(path) for path in sorted(Path(task["folder"]).iterdir())][: task["n_images"]]
    ages = np.random.default_rng(0).integers(1, 90, len(paths)).astype(float)
    model = skage_model(task["weights"], None, image_size=32, n_components=256, max_epochs=2)
    peaks = {}
    works = {"fit": lambda: model.fit(paths, ages), "predict": lambda: model.predict(paths)}
    for name, work in works.items():
        with peak_memory() as seen:
            work()
        peaks[name] = seen[0]
    return peaks


# --- What skage is measured against ------------------------------------------


class Faces(Dataset):
    """The usual data set: an image a call, float32, channels first."""

    def __init__(self, paths, codes, size):
        self.paths, self.codes, self.size = paths, codes, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i]).convert("RGB").resize((self.size, self.size))
        x = (np.asarray(image, np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1), int(self.codes[i])


class PlainVGG16(nn.Module):
    """VGG16 as one would write it, with a fresh head."""

    def __init__(self, size, trainable="classifier"):
        super().__init__()
        n_inputs = 512 * (size // 32) ** 2
        self.features = vgg16(weights=None).features
        self.features.requires_grad_(trainable == "all")
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(n_inputs, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 20)
        )

    def forward(self, x):
        return self.head(self.features(x))


def plain_net(size, trainable="classifier", **options) -> NeuralNetClassifier:
    return NeuralNetClassifier(
        PlainVGG16(size, trainable),
        criterion=nn.CrossEntropyLoss,
        classes=range(20),
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=1e-3,
        train_split=None,
        verbose=0,
        **options,
    )


def forward_seconds(pixels: np.ndarray, dtype: torch.dtype) -> float:
    """Time of VGG16's convolutions alone, channels-last, over images in memory."""
    features = vgg16(weights=None).features.eval()
    features = features.to(dtype).to(memory_format=torch.channels_last)
    batches = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(8)
    with torch.inference_mode():
        features(batches[0].to(dtype))
        start = time.perf_counter()
        for batch in batches:
            features(batch.to(dtype))
        return time.perf_counter() - start


# --- The run -----------------------------------------------------------------


def read_data(folder: Path, n_images: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, ages and duplicate-safe folds of some of the images."""
    paths, ages, fold = read_folds(folder)
    order = np.random.default_rng(0).permutation(len(paths))[:n_images]
    return list(paths[order]), ages[order], fold[order]


def decode(paths: list[str], size: int) -> np.ndarray:
    images = (Image.open(path).convert("RGB").resize((size, size)) for path in paths)
    return np.stack([np.asarray(image) for image in images])


def in_new_process(kind: str, **task) -> dict:
    command = [sys.executable, __file__, "--task", json.dumps({"kind": kind, **task})]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


class Record:
    """Results by name in a file, so that a run that was cut off goes on where it was."""

    def __init__(self, path: Path):
        self.path = path
        self.results = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, name: str, measure: Callable[[], object]):
        if name not in self.results:
            self.results[name] = measure()
            self.path.write_text(json.dumps(self.results))
        return self.results[name]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(*words) -> None:
    print(*words, flush=True)


def measure_rates(paths, size, weights, dtype, repeats, network) -> dict[str, float]:
    """Images a second: VGG16 alone, skage from files, a plain skorch loop, a face network."""
    pixels = decode(paths, size)
    ages = np.arange(len(paths)) % 20 * 4.0
    model = skage_model(weights, None, n_components=None, max_epochs=1, image_size=size)
    model.fit(paths[:40], ages[:40])
    plain = plain_net(size).initialize()
    found = {"forward": [], "skage": [], "plain": []}
    if network:
        found["face"], face = [], face_model(network).fit(paths[:40], ages[:40])
    for _ in range(repeats):
        if network:
            found["face"].append(timed(lambda: face.predict(paths)))
        found["forward"].append(forward_seconds(pixels, dtype))
        found["skage"].append(timed(lambda: model.predict(paths)))
        found["plain"].append(timed(lambda: plain.predict_proba(Faces(paths, ages, size))))
    say("seconds for", len(paths), "images:", found)
    return {name: len(paths) / float(np.median(seconds)) for name, seconds in found.items()}


def measure_steps(paths, size, weights, n_epochs) -> tuple[float, float]:
    """Seconds of a training step of all layers, 20 images: plain skorch, skage."""
    paths, ages = paths[:20], np.arange(20) * 4.0
    options = {"batch_size": 20, "max_epochs": n_epochs + 1}
    plain = plain_net(size, "all", **options).fit(Faces(paths, np.arange(20), size), None)
    options |= {"trainable": "all", "n_components": None, "image_size": size, "lr": 1e-4}
    model = skage_model(weights, None, **options)
    history = model.fit(paths, ages).classifier_.history_
    seconds = [[row["dur"] for row in rows[1:]] for rows in (list(plain.history), history)]
    say("seconds a step, plain and skage:", seconds)
    return float(np.median(seconds[0])), float(np.median(seconds[1]))


def measure_plain_search(paths, size) -> tuple[float, float]:
    """Seconds an image that plain skorch takes to train an epoch, and to score."""
    codes = np.arange(len(paths)) % 20
    net = plain_net(size, max_epochs=1, batch_size=16)
    data = Faces(paths, codes, size)
    X = np.stack([data[i][0].numpy() for i in range(len(paths))])
    grid = GridSearchCV(net, {"lr": [1e-3]}, cv=KFold(2), refit=False, scoring="accuracy")
    found = grid.fit(X, codes).cv_results_
    half = len(paths) / 2
    a_train = found["mean_fit_time"][0] / half
    a_score = found["mean_score_time"][0] / half
    say(f"plain skorch: {a_train:.3f} s an image and epoch, {a_score:.3f} s an image scored")
    return a_train, a_score


def without_components(cache: str) -> str:
    """A copy of a cache that holds VGG16's activations but nothing learned from them."""
    copy = tempfile.mkdtemp(dir=Path(cache).parent)
    for file in Path(cache).iterdir():
        shutil.copy(file, copy)
        with contextlib.closing(sqlite3.connect(Path(copy, file.name))) as db, db:
            db.execute("DELETE FROM entry WHERE label LIKE '%components'")
    return copy


def fill_folder(folder: Path, paths: list[str], n_images: int) -> None:
    """Files of different content: a JPEG may be followed by anything."""
    for i in range(n_images):
        data = Path(paths[i % len(paths)]).read_bytes()
        (folder / f"{i:06}.jpg").write_bytes(data + i.to_bytes(4, "big"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of UTKFace with its table.csv")
    parser.add_argument("--weights", default="imagenet", help="VGG16's, at least its convolutions")
    parser.add_argument("--network", help="ONNX file of HSE-FaceRec's MobileNet")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count(), help="of the searches")
    parser.add_argument("--images", type=int, default=10**9, help="use so many only")
    parser.add_argument("--forward", type=int, help="time F on so many, and scale it")
    parser.add_argument("--growth", type=int, nargs="*", default=[1000, 2000, 4000])
    parser.add_argument("--few", type=int, default=128, help="images of the short measurements")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs=2, default=[2000, 20000])
    parser.add_argument("--scratch", type=Path, help="folder to work in, and to go on from")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task = json.loads(options.task)
        kinds = {"search": search, "dask": search_on_dask, "memory": memory}
        print(json.dumps(kinds[task.pop("kind")](task)))
        return

    paths, _, _ = read_data(options.data, options.images)
    n, few = len(paths), paths[: options.few]
    dtype = resolve_precision("auto", torch.device("cpu"))
    say(f"{n} images, {torch.get_num_threads()} threads, {dtype}")
    if dtype != torch.bfloat16:
        say("This processor does not multiply bfloat16: F is float32, not bfloat16.")

    scratch = options.scratch or Path(tempfile.mkdtemp())
    scratch.mkdir(exist_ok=True)
    record = Record(scratch / "record.json")
    n_forward = min(options.forward or n, n)

    def forward():
        blocks = np.array_split(np.arange(n_forward), max(n_forward // 500, 1))
        decoded = (decode([paths[i] for i in block], options.size) for block in blocks)
        return sum(forward_seconds(pixels, dtype) for pixels in decoded)

    F = record("forward", forward) * n / n_forward
    say(f"F: {F:.0f} s, {n / F:.2f} images/s (timed on {n_forward} images)")
    about = few, options.size
    how = options.weights, dtype, options.repeats, options.network
    rates = record("rates", lambda: measure_rates(*about, *how))
    steps = record("steps", lambda: measure_steps(*about, options.weights, options.repeats))
    train, score = record("plain", lambda: measure_plain_search(few[:64], options.size))

    common = {
        "data": str(options.data),
        "weights": options.weights,
        "backend": "loky",
        "n_jobs": options.jobs,
        "options": {"image_size": options.size},
        "refit": True,
        "grid": GRID,
    }

    def cold_and_warm(size):
        cache = tempfile.mkdtemp(dir=scratch)
        task = {**common, "n_images": size, "cache": cache}
        cold, warm = in_new_process("search", **task), in_new_process("search", **task)
        if cold["scores"] != warm["scores"]:
            raise AssertionError("the warm search scored otherwise than the cold one")
        return {**warm, "cold": cold["seconds"], "cache": cache}

    def growth(size):
        row = record(f"search of {size}", lambda: cold_and_warm(size))
        say(f"{size} images: cold {row['cold']:.0f} s, warm {row['seconds']:.0f} s")
        say(f"  best {row['params']}, MAE {row['mae']:.3f}")
        return row

    found = growth(n)
    # All activations, with the weight decay that suits them.
    task = {**common, "n_images": n, "cache": found["cache"], "refit": False}
    plain = {**task["options"], "n_components": None, "lr": 0.002, "weight_decay": 0.2}
    plain = {"options": plain, "grid": {"binner__n_bins": [50], "decode": ["mean", "median"]}}
    reference = record("reference", lambda: in_new_process("search", **{**task, **plain}))
    say(f"without compression: MAE {reference['mae']:.3f}, {reference['params']}")

    small = {**task, "n_images": min(n, 1500)}
    small["grid"] = {"binner__n_bins": [10, 20], "classifier__lr": [0.01, 0.02]}
    ways = {
        "one process": ("search", {"n_jobs": 1}),
        "two processes": ("search", {"n_jobs": 2}),
        "Dask": ("dask", {"backend": "dask"}),
    }

    def scores(kind, how):
        own = {"cache": without_components(found["cache"])}
        return in_new_process(kind, **{**small, **how, **own})["scores"]

    same = [record(name, lambda way=way: scores(*way)) for name, way in ways.items()]
    say("scores with 1 and 2 processes and on Dask:", *same)

    def memory_of(count):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            fill_folder(Path(folder), paths, count)
            return in_new_process("memory", folder=folder, weights=options.weights, n_images=count)

    few_images, many_images = (
        record(f"memory of {count}", lambda count=count: memory_of(count))
        for count in options.memory
    )
    say("anonymous memory:", few_images, many_images)

    searches = {size: growth(size) for size in [*(g for g in options.growth if g < n), n]}
    grows = [(size, row["cold"], row["seconds"]) for size, row in searches.items()]
    _, cold, warm = grows[-1]
    n_train = n * (N_FOLDS - 1) / N_FOLDS
    n_fits = N_CANDIDATES * N_FOLDS
    naive = n_fits * (N_EPOCHS * n_train * train + (n - n_train) * score) + N_EPOCHS * n * train
    grown = {name: (many_images[name] - few_images[name]) / 1e6 for name in ("fit", "predict")}
    slopes = [np.polyfit([g[0] for g in grows], [g[k] for g in grows], 1)[0] for k in (1, 2)]
    rows = [
        (f"F, {str(dtype)[6:]}", f"{F:.0f} s", "the yardstick"),
        ("cold grid search and refit", f"{cold:.0f} s, {cold / F:.2f} F", "<= 3 F"),
        ("warm grid search and refit", f"{warm:.0f} s, {warm / F:.2f} F", "<= 2 F"),
        (
            "MAE of its best, years",
            f"{found['mae']:.2f}, without compression {reference['mae']:.2f}",
            "within 0.15",
        ),
        ("plain skorch, extrapolated", f"{naive:.3g} s, {naive / cold:.0f} x cold", ">= 1000 x"),
        (
            "predict from files",
            f"{rates['skage']:.2f} images/s, {rates['skage'] / rates['forward']:.2f} of F's, "
            f"{rates['skage'] / rates['plain']:.2f} x plain",
            ">= 0.9, >= 2.5 x",
        ),
        (
            "predict from files, face network",
            f"{rates['face']:.1f} images/s, {rates['face'] / rates['skage']:.1f} x VGG16"
            if "face" in rates
            else "not measured",
            ">= 10 x",
        ),
        ("training step, all layers", f"{steps[0] / steps[1]:.2f} x plain", ">= 2 x"),
        ("anonymous memory, fit", f"{grown['fit']:+.0f} MB", "<= 200 MB"),
        ("anonymous memory, predict", f"{grown['predict']:+.0f} MB", "<= 200 MB"),
        (
            "scores of 1, 2 processes, Dask",
            "equal" if same[0] == same[1] == same[2] else "differ",
            "equal",
        ),
    ]
    say("\n| figure | measured | target |\n|---|---|---|")
    for row in rows:
        say("|", " | ".join(row), "|")
    say("\n| images | cold, s | warm, s |\n|---:|---:|---:|")
    for size, *seconds in grows:
        say(f"| {size} | {seconds[0]:.0f} | {seconds[1]:.0f} |")
    say(f"| slope, ms an image | {1e3 * slopes[0]:.0f} | {1e3 * slopes[1]:.0f} |")


if __name__ == "__main__":
    main()
