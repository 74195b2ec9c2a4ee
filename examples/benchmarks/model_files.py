"""Size and load time of a joblib pickle, a model file, and one with frozen layers by reference.

VGG16 with random weights and a head of 512 units on 224-pixel images; the frozen layers of
the third file are in a .safetensors file. Then 1,000 copies of a small file, each with one
flipped bit, all of which have to be refused.

    python examples/benchmarks/model_files.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from safetensors.torch import save_file
from torchvision.models import vgg11, vgg16

import skage
from skage import AgeBinner, BinnedAgeRegressor, VGG16Classifier
from skage.datasets import make_faces

N_LOADS = 5
N_FLIPS = 1000


def make_model(weights: Path, network: Any, backbone: str, size: int) -> BinnedAgeRegressor:
    """A model of a few drawn faces, whose frozen layers are random."""
    torch.manual_seed(0)
    save_file(network(weights=None).features.state_dict(prefix="features."), weights)
    classifier = VGG16Classifier(
        weights=str(weights),
        backbone=backbone,
        image_size=size,
        hidden_layer_sizes=(512,),
        n_components=None,
        loss="cross_entropy",
        lr=1e-3,
        batch_size=16,
        dropout=0.0,
        weight_decay=5e-4,
        test_augment=None,
        validation_fraction=0.0,
        max_epochs=1,
        random_state=0,
    )
    faces = make_faces(16, 32, random_state=0)
    return BinnedAgeRegressor(classifier, AgeBinner(5)).fit(faces.data, faces.target)


def seconds(load: Callable[[], Any]) -> float:
    """The median time of a load."""
    times = []
    for _ in range(N_LOADS):
        begun = time.perf_counter()
        load()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def refused_flips(path: Path, n_flips: int) -> int:
    """How many copies with one flipped bit are refused."""
    content = np.fromfile(path, dtype=np.uint8)
    random = np.random.default_rng(0)
    n_refused = 0
    for bit in random.integers(0, 8 * len(content), n_flips):
        content[bit // 8] ^= 1 << (bit % 8)
        content.tofile(path)
        content[bit // 8] ^= 1 << (bit % 8)
        try:
            skage.load(path)
        except ValueError:
            n_refused += 1
    return n_refused


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "vgg16.safetensors", vgg16, "vgg16", 224)
        pickle, whole, part = (folder / n for n in ("age.joblib", "age.skage", "part.skage"))
        joblib.dump(model, pickle)
        model.save(whole)
        model.save(part, frozen="reference")
        loads = {pickle: joblib.load, whole: skage.load, part: skage.load}
        print("| file | MB | seconds to load |\n|---|---:|---:|")
        for path, load in loads.items():
            took = seconds(lambda path=path, load=load: load(path))
            print(f"| {path.name} | {path.stat().st_size / 1e6:.1f} | {took:.2f} |")
        small = make_model(folder / "vgg11.safetensors", vgg11, "vgg11", 32)
        small.save(folder / "small.skage", frozen="reference")
        n_refused = refused_flips(folder / "small.skage", N_FLIPS)
        print(f"{n_refused} of {N_FLIPS} files with one flipped bit refused")


if __name__ == "__main__":
    main()
