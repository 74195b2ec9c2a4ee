"""Apply the frozen layers of a network to images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._keys import activations_key, frozen_key
from .._memory import layouts
from .._networks.layers import Layers


@dataclass
class FrozenNetwork:
    """The frozen layers of a network on their device, and how images are fed to them.

    Parameters
    ----------
    layers : Layers or None
        None if all layers are trained; the activations are then the pixels.
    image_size : int
        Side in pixels to which images are resized.
    dtype : torch.dtype
        Type of the forward pass.
    device : torch.device
    exact : bool
        Whether to keep activations in float32 rather than float16.
    """

    layers: Layers | None
    image_size: int
    dtype: torch.dtype
    device: torch.device
    exact: bool = False

    def __post_init__(self) -> None:
        network = b""
        if self.layers is not None:
            network, self.dtype = self.layers.digest(), self.layers.computes_in(self.dtype)
            self.exact = self.exact or self.layers.keeps_float32
            self.layers = self.layers.placed(self.device, self.dtype)
        arithmetic = str(self.dtype), self.device.type, self.exact
        self.digest = frozen_key(network, self.image_size, *arithmetic)

    def key(self, image_digest: bytes) -> bytes:
        """Return the key of an image's activations."""
        return activations_key(image_digest, self.digest)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Return activations (n, ...) of uint8 pixels (n, s, s, 3), on the device.

        They are float16, or float32 if `exact`; without frozen layers, the pixels.
        """
        if self.layers is None:
            return torch.from_numpy(pixels)
        with torch.inference_mode():
            # The feature maps of few images fit into the caches of a CPU.
            step = 8 if self.device.type == "cpu" else len(pixels)
            blocks = torch.from_numpy(pixels).to(self.device).split(step)
            out = torch.cat([self.layers(block).float() for block in blocks])
            if not self.exact:
                out = out.clamp(-65504, 65504).half()
            return out.contiguous()

    @property
    def layout(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of one image's activations."""

        def measure() -> tuple[tuple[int, ...], np.dtype]:
            out = self(np.zeros((1, self.image_size, self.image_size, 3), dtype=np.uint8))
            return tuple(out.shape[1:]), out.cpu().numpy().dtype

        return layouts.get_or_make(self.digest, measure)

    @property
    def label(self) -> str:
        """Description of the activations for ``python -m skage cache info``."""
        label = "pixels" if self.layers is None else self.layers.label
        return f"{self.image_size} px, {label}, {str(self.dtype).removeprefix('torch.')}"
