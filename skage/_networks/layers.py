"""Layers: what the pieces of all networks have in common."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import nn

from .._keys import network_key


class Layers(nn.Module):
    """Consecutive layers of a network: its frozen layers, or its head.

    The input is uint8 RGB images (n, s, s, 3) for the first layers of a network, otherwise
    the activations of the layers before.
    """

    #: The block of each layer with weights, by the layer's name.
    blocks: Mapping[str, str] = {}
    #: Names of the layers with pretrained weights, except the output layer.
    pretrained: Sequence[str] = ()
    classifier: nn.Sequential
    #: Whether activations are kept in float32, as their scale is unknown or they are few.
    keeps_float32 = False

    @property
    def label(self) -> str:
        """Return what the layers are, for ``python -m skage cache info``."""
        return type(self).__name__

    def digest(self) -> bytes:
        """Return a digest of the layers and their weights."""
        tensors = (*self.named_buffers(), *self.named_parameters())
        return network_key(
            repr(self), ((name, t.detach().float().cpu().numpy()) for name, t in tensors)
        )

    def placed(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Return the layers on a device, computing in a dtype; these layers do not change."""
        layers = copy.deepcopy(self) if device.type != "cpu" else self
        return layers.to(device)

    def computes_in(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype in which the layers compute if they are asked for this one."""
        return dtype
