"""VGG networks, split into frozen layers and a trainable head."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from .layers import Layers
from .weights import IMAGENET_MEAN, IMAGENET_STD, Weights, load_weights
from .winograd import Conv2d

logger = logging.getLogger(__name__)

BACKBONES = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
BLOCKS = ("block1", "block2", "block3", "block4", "block5", "classifier")
TRAINABLE = ("output", "classifier", "block5", "block4", "block3", "block2", "all")
# Matrix kernels round differently for different numbers of rows, so that the last bits of
# a prediction would depend on its batch. In evaluation, batches are padded to a multiple.
_ROW_MULTIPLE = 32
_N_CHANNELS = 512  # of the last feature map, in all VGG networks
_VGG_SIZES = (4096, 4096)  # widths of VGG's own hidden layers


class VGGLayers(Layers):
    """Consecutive layers of a VGG network, with torchvision's names for their weights.

    The input is uint8 images (n, s, s, 3) for the first layers of a network, otherwise
    the activations of the layers before. Feature maps are passed as (n, h, w, c).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Sequential,
        pool: nn.Module | None,
        classifier: nn.Sequential,
        normalise: bool,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ):
        super().__init__()
        self.features = features
        self.pool = pool
        self.classifier = classifier
        self.normalise = normalise
        for name, values in (("mean", mean), ("std", std)):
            scaled = 255 * torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, scaled, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n_rows = len(x)
        if self.normalise:
            x = ((x.to(self.mean.dtype) - self.mean) / self.std).to(self._dtype())
        elif x.dtype != self._dtype():
            x = x.to(self._dtype())
        if x.ndim == 4:
            # permute returns a view, so the memory stays channels-last.
            x = self.features(self._padded(x, 2).permute(0, 3, 1, 2))
        if self.pool is not None:
            x = torch.flatten(self.pool(x), 1)
        if x.ndim == 4:
            return x.permute(0, 2, 3, 1)[:n_rows]
        return self.classifier(self._padded(x, _ROW_MULTIPLE))[:n_rows]

    def placed(self, device: torch.device, dtype: torch.dtype) -> Self:
        layers = self
        if device.type != "cpu" or dtype != torch.float32:
            layers = copy.deepcopy(self)
        layers.to(device, dtype).to(memory_format=torch.channels_last)
        # Pixels are normalised in float32 whatever the type of the forward pass.
        layers.mean, layers.std = self.mean.to(device), self.std.to(device)
        return layers

    @property
    def label(self) -> str:
        """The numbers of convolutions and dense layers."""
        kinds = (("convolutions", nn.Conv2d), ("dense layers", nn.Linear))
        counts = [(sum(isinstance(m, kind) for m in self.modules()), name) for name, kind in kinds]
        return ", ".join(f"{count} {name}" for count, name in counts if count)

    def _padded(self, x: Tensor, multiple: int) -> Tensor:
        """In evaluation, pad with rows of zeros to a multiple; see _ROW_MULTIPLE."""
        extra = 0 if self.training else -len(x) % multiple
        return nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, extra)) if extra else x

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.parameters()), torch.float32)


@dataclass(frozen=True)
class Architecture:
    """The network and its first trainable layer; see the parameters of `VGG16Classifier`."""

    backbone: str = "vgg16"
    trainable: str = "classifier"
    hidden_layer_sizes: tuple[int, ...] | None = (512,)
    dropout: float = 0.5
    image_size: int = 224

    @property
    def side(self) -> int:
        """Side of the feature map that the dense layers see."""
        return 7 if self.hidden_layer_sizes is None else min(7, self.image_size // 32)

    @property
    def n_activations(self) -> int:
        """Number of inputs of the first trainable dense layer."""
        sizes = self.hidden_layer_sizes
        if self.trainable == "output" and sizes != ():
            return _VGG_SIZES[-1] if sizes is None else sizes[-1]
        return _N_CHANNELS * self.side**2


class VGG:
    """Build a VGG network in two pieces, split at its first trainable layer.

    Fresh layers draw from torch's global random generator: seed it first.

    Parameters
    ----------
    architecture : Architecture
    weights : str, path, Weights or None
        Pretrained weights; None initialises all layers at random.

    Raises
    ------
    ValueError
        If `weights` is unknown, belongs to another architecture, or does not cover
        a frozen layer.
    OSError
        If the ImageNet weights are neither on disk nor can be downloaded.
    """

    def __init__(self, architecture: Architecture, weights: str | os.PathLike | Weights | None):
        self.architecture, self.weights = architecture, weights
        backbone, trainable = architecture.backbone, architecture.trainable
        self.known = Weights({}) if weights is None else load_weights(weights, backbone)
        self.features = _convolutions(backbone)
        self.width, self.hidden = _hidden_layers(architecture, self.features)
        self.starts = _block_starts(self.features)
        self.n_frozen = 0 if trainable == "all" else self.starts.get(trainable, len(self.features))
        # With "output", the dropout just before the output layer belongs to the head.
        self.n_frozen_hidden = len(self.hidden) - 1 if trainable == "output" else 0
        self.reusable = _reusable(self.known, self._tensors(), backbone)
        self._check_frozen()

    def frozen(self) -> VGGLayers | None:
        """Return the frozen layers in evaluation mode, or None if all layers are trained."""
        if self.n_frozen == 0:
            return None
        layers = VGGLayers(
            self._with_values("features", self.features[: self.n_frozen], share=True),
            self._pool() if self.pools_before_head else None,
            self._with_values("classifier", self.hidden[: self.n_frozen_hidden], share=True),
            normalise=True,
            mean=self.known.mean,
            std=self.known.std,
        )
        return layers.requires_grad_(False).eval()

    def head(
        self,
        n_outputs: int,
        bin_values: Any = None,
        n_components: int | None = None,
    ) -> VGGLayers:
        """Return the layers to train, with a fresh output layer.

        Parameters
        ----------
        n_outputs : int
        bin_values : array-like of n_outputs floats, default=None
            Ages in years that the outputs stand for. The output layer is loaded too
            if the weights come from a model with the same values.
        n_components : int, default=None
            Number of inputs of the first dense layer, instead of the number of
            activations of the frozen layers.
        """
        with torch.device("meta"):
            dense = nn.Sequential(*self.hidden, nn.Linear(self.width, n_outputs))
        dense = dense[self.n_frozen_hidden :]
        if n_components is not None:
            first = next(name for name, m in dense.named_children() if isinstance(m, nn.Linear))
            fan_out: Any = dense.get_submodule(first).out_features
            dense.add_module(first, nn.Linear(n_components, fan_out, device="meta"))
        dense.float()  # independent of torch's default dtype
        output = f"classifier.{len(self.hidden)}"
        fits = bin_values is not None and np.array_equal(
            np.asarray(self.known.bin_values), bin_values
        )
        reusable = dict(self.reusable)
        for name, tensor in dense.state_dict(prefix="classifier.").items():
            found = self.known.tensors.get(name) if name.startswith(output) and fits else None
            found = reusable.get(name, found)
            reusable.pop(name, None)
            if found is not None and found.shape == tensor.shape:
                reusable[name] = found
        features = self.features[self.n_frozen :]
        head = VGGLayers(
            self._with_values("features", features, reusable),
            None if self.pools_before_head else self._pool(),
            self._with_values("classifier", dense, reusable),
            normalise=self.n_frozen == 0,
            mean=self.known.mean,
            std=self.known.std,
        ).to(memory_format=torch.channels_last)
        own = _layers(name for name, _ in head.named_parameters())
        pretrained = own & _layers(reusable)
        head.pretrained = sorted(pretrained - {output})
        head.blocks = {layer: _block(layer, self.starts) for layer in sorted(own)}
        if self.weights is not None:
            fresh = ", ".join(sorted(own - pretrained))
            logger.info("weights=%s; fresh layers: %s", self.weights, fresh or "none")
        return head

    @property
    def pools_before_head(self) -> bool:
        """Whether the pooling before the dense layers belongs to the frozen layers."""
        return self.n_frozen == len(self.features)

    def _pool(self) -> nn.Module:
        return nn.AdaptiveAvgPool2d(self.architecture.side)

    def _tensors(self) -> dict[str, Tensor]:
        """Tensors of the network, without the output layer, that `weights` may provide."""
        tensors = self.features.state_dict(prefix="features.")
        dense = self.hidden.state_dict(prefix="classifier.")
        if self.known.bin_values is not None:  # dense layers of other widths start fresh
            known = self.known.tensors
            return tensors | {
                name: tensor
                for name, tensor in dense.items()
                if name in known and known[name].shape == tensor.shape
            }
        return tensors | (dense if self.architecture.hidden_layer_sizes is None else {})

    def _check_frozen(self) -> None:
        frozen = {
            *self.features[: self.n_frozen].state_dict(prefix="features."),
            *self.hidden[: self.n_frozen_hidden].state_dict(prefix="classifier."),
        }
        uncovered = sorted(frozen - self.reusable.keys())
        if self.weights is None or not uncovered:
            return
        shown = f"{', '.join(uncovered[:4])}{', ...' if len(uncovered) > 4 else ''}"
        advice = "Pass weights that cover them"
        if uncovered[0].startswith("classifier"):
            advice += ", or trainable='classifier'"
        raise ValueError(
            f"trainable={self.architecture.trainable!r} freezes layers that "
            f"weights={self.weights!r} does not cover ({shown}): they would stay random. {advice}."
        )

    def _with_values(
        self,
        kind: str,
        module: nn.Sequential,
        reusable: Mapping[str, Tensor] | None = None,
        share: bool = False,
    ) -> nn.Sequential:
        """Copy layers from the meta device, with pretrained or initial values.

        With `share`, which is for frozen layers, pretrained values are not copied.
        """
        reusable = self.reusable if reusable is None else reusable
        module = copy.deepcopy(module)
        output = str(len(self.hidden)) if kind == "classifier" else None
        for position, layer in module.named_children():
            for name, tensor in layer.state_dict().items():
                known = reusable.get(f"{kind}.{position}.{name}")
                if known is None:
                    value = _initial(layer, name, tensor, is_output=position == output)
                else:
                    value = known.to(tensor.dtype)
                    value = value if share else value.clone()
                trained = isinstance(getattr(layer, name), nn.Parameter)
                setattr(layer, name, nn.Parameter(value) if trained else value)
        return module


def _convolutions(backbone: str) -> nn.Sequential:
    """Return the convolutional layers, on the meta device."""
    with torch.device("meta"):
        features = get_model(backbone, weights=None, init_weights=False).features
        for i, layer in enumerate(features):
            if isinstance(layer, nn.Conv2d):
                features[i] = Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
    return features.float()  # independent of torch's default dtype


def _hidden_layers(
    architecture: Architecture, features: nn.Sequential
) -> tuple[int, nn.Sequential]:
    """Return the last width and the dense layers before the output layer, on the meta device."""
    sizes, dropout = architecture.hidden_layer_sizes, architecture.dropout
    n_channels = [m.out_channels for m in features if isinstance(m, nn.Conv2d)][-1]
    width = n_channels * architecture.side**2
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for size in _VGG_SIZES if sizes is None else sizes:
            layers += [nn.Linear(width, size), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            width = size
    return width, nn.Sequential(*(layers or [nn.Dropout(dropout)])).float()


def _block_starts(features: nn.Sequential) -> dict[str, int]:
    """Return the first layer of each block of convolutions; a block ends with a pooling layer."""
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return dict(zip(BLOCKS, [0, *(i + 1 for i in pools[:-1])], strict=False))


def _layers(names: Iterable[str]) -> set[str]:
    """Return the names of the layers that tensors belong to, given the tensors' names."""
    return {name.rsplit(".", 1)[0] for name in names}


def _block(layer: str, starts: Mapping[str, int]) -> str:
    """Return the block that a layer belongs to."""
    kind, position = layer.split(".")
    if kind == "classifier":
        return kind
    return max((name for name in starts if starts[name] <= int(position)), key=starts.__getitem__)


def _reusable(known: Weights, wanted: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """Return the tensors of the weights that the network uses."""
    advice = "Pass weights of this architecture, or the backbone of the weights."
    if foreign := sorted(k for k in known.tensors if k[:9] == "features." and k not in wanted):
        raise ValueError(
            f"The weights are of another architecture: {backbone} has no layer {foreign[0]}. "
            f"{advice}"
        )
    reusable = {}
    for name, tensor in wanted.items():
        if name in known.tensors:
            if known.tensors[name].shape != tensor.shape:
                raise ValueError(
                    f"The weights are of another architecture: {name} has shape "
                    f"{tuple(known.tensors[name].shape)}, but {backbone} has "
                    f"{tuple(tensor.shape)}. {advice}"
                )
            reusable[name] = known.tensors[name]
    return reusable


def _initial(layer: nn.Module, name: str, tensor: Tensor, is_output: bool) -> Tensor:
    """Return initial values of a fresh layer: He's, and smaller ones for the output layer."""
    value = torch.zeros_like(tensor, device="cpu")
    if isinstance(layer, nn.BatchNorm2d):
        value += name in ("weight", "running_var")
    elif name == "weight" and not is_output:
        nn.init.kaiming_normal_(value, nonlinearity="relu")
    elif name == "weight":
        nn.init.normal_(value, std=0.01)
    return value
