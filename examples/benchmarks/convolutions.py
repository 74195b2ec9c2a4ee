"""A training step of one convolution, by torch and by skage.

python examples/benchmarks/convolutions.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from skage._networks.winograd import Conv2d

# Channels in and out, side and number of the images.
CASES = ((512, 512, 7, 64), (512, 512, 14, 64), (256, 512, 14, 64), (256, 256, 28, 16))
CASES += ((128, 128, 56, 8),)


def seconds(work: Callable[[], None], repeat: int) -> float:
    times = []
    for _ in range(repeat + 1):  # the first warms up
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads\n")
    print("| channels, side, images | torch, ms | skage, ms | ratio | error of gradient |")
    print("|---|---:|---:|---:|---:|")
    for n_in, n_out, side, n_images in CASES:
        torch.manual_seed(0)
        layers = nn.Conv2d(n_in, n_out, 3, padding=1), Conv2d(n_in, n_out, 3, padding=1)
        layers[1].load_state_dict(layers[0].state_dict())
        x, found = torch.randn(n_images, n_in, side, side), []
        for layer, memory in zip(
            layers, (torch.contiguous_format, torch.channels_last), strict=True
        ):
            images = x.contiguous(memory_format=memory).requires_grad_()

            def step(layer: nn.Module = layer, images: torch.Tensor = images) -> None:
                layer.zero_grad()
                layer(images).square().sum().backward()

            found.append(seconds(step, options.repeat))
        exact, other = (layer.weight.grad for layer in layers)
        error = ((exact - other).abs().max() / exact.abs().max()).item()
        print(
            f"| {n_in} to {n_out}, {side}, {n_images} | {found[0] * 1e3:.0f} | "
            f"{found[1] * 1e3:.0f} | {found[0] / found[1]:.2f} | {error:.0e} |"
        )


if __name__ == "__main__":
    main()
