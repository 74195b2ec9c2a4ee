"""Images a second of prediction from JPEG files, by every way that there is, in one run.

    python examples/benchmarks/prediction.py --data UTKFACE --model age.skage --network face.skage

--model is a trained VGG16, as `presets.fast` makes it, and --network a model on a face network.
F is VGG16's convolutions alone, in bfloat16, on pixels in memory: no prediction with VGG16 in
bfloat16 can be faster. The plain loop is torchvision's VGG16 in a skorch net, which reads an
image, resizes it and predicts a batch, in float32. Nothing is cached, and the ways take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from folds import read_folds
from PIL import Image
from skorch import NeuralNetClassifier
from torch.utils.data import Dataset
from torchvision.models import vgg16

import skage

SIDE = 224


class Files(Dataset):
    """Images read one after the other."""

    def __init__(self, paths: Any):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.paths[i]).convert("RGB").resize((SIDE, SIDE))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - 0.45) / 0.225, 0


def plain_loop() -> Callable[[Any], Any]:
    net = NeuralNetClassifier(vgg16, module__weights=None, module__num_classes=50, batch_size=32)
    net.initialize()
    return lambda paths: net.predict_proba(Files(paths))


def convolutions() -> Callable[[Any], Any]:
    layers = vgg16(weights=None).features.eval()
    layers = layers.to(torch.bfloat16).to(memory_format=torch.channels_last)
    pixels = torch.randn(32, 3, SIDE, SIDE, dtype=torch.bfloat16)
    pixels = pixels.to(memory_format=torch.channels_last)

    def run(paths: Any) -> None:
        with torch.inference_mode():
            for start in range(0, len(paths), 32):
                layers(pixels[: len(paths) - start])

    return run


def loaded(path: str, precision: str = "auto") -> Callable[[Any], Any]:
    model = skage.load(path)
    if hasattr(model, "classifier_"):
        model.classifier_.set_params(runtime__precision=precision, runtime__feature_cache=None)
    return model.predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of UTKFace")
    parser.add_argument("--model", required=True, help="model file of a VGG16")
    parser.add_argument("--network", help="model file of a face network")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    paths = read_folds(options.data)[0]
    order = np.random.default_rng(0).permutation(len(paths))
    chosen, calibrating = order[: options.images], order[-32:]
    with tempfile.TemporaryDirectory() as folder:
        model = skage.load(options.model)
        model.export(f"{folder}/whole.onnx")
        model.export(f"{folder}/int8.onnx", int8_images=list(paths[calibrating]))
        ways = {
            "F: convolutions alone, bfloat16": convolutions(),
            "plain skorch loop, float32": plain_loop(),
            "skage, float32": loaded(options.model, "float32"),
            "skage, bfloat16": loaded(options.model, "bfloat16"),
            "ONNX, float32": loaded(f"{folder}/whole.onnx"),
            "ONNX, int8": loaded(f"{folder}/int8.onnx"),
        }
        if options.network:
            ways["skage, face network"] = loaded(options.network)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(options.repeats + 1):
            for name, predict in ways.items():
                start = time.perf_counter()
                predict(list(paths[chosen]))
                if repeat:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
    rates = {name: options.images / np.array(times) for name, times in seconds.items()}
    first = np.median(rates["F: convolutions alone, bfloat16"])
    print("| | images/s, median | least to most | beside F |\n|---|---:|---:|---:|")
    for name, rate in rates.items():
        spread = f"{rate.min():.1f} to {rate.max():.1f}"
        print(f"| {name} | {np.median(rate):.1f} | {spread} | {np.median(rate) / first:.2f} |")


if __name__ == "__main__":
    main()
