"""VGG networks, their weights, and the cut between frozen layers and a trainable head."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from .._keys import network_key
from .weights import IMAGENET_MEAN, IMAGENET_STD, Weights, load_weights
from .winograd import Conv2d

logger = logging.getLogger(__name__)

BACKBONES = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
BLOCKS = ("block1", "block2", "block3", "block4", "block5", "classifier")
TRAINABLE = ("output", "classifier", "block5", "block4", "block3", "block2", "all")
# Matrix kernels round a row by how many stand beside it, so that a prediction
# would depend, in its last bits, on its batch. Batches of one size do not.
_ROWS = 32
_N_CHANNELS = 512  # of the last feature map, in all VGG networks
_OWN_SIZES = (4096, 4096)  # widths of VGG's own hidden layers


class VGGLayers(nn.Module):
    """A run of a VGG network's layers, with torchvision's names for their weights.

    Takes uint8 images (n, s, s, 3) where it starts the network, else the
    activations of the part before it; feature maps travel as (n, h, w, c).
    """

    mean: Tensor
    std: Tensor
    #: Which of BLOCKS each layer with weights is of, by the layer's name.
    blocks: Mapping[str, str] = {}
    #: Those of them that did not start at random, without the output layer.
    pretrained: Sequence[str] = ()

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
            # A view: memory stays channels-last.
            x = self.features(self._padded(x, 2).permute(0, 3, 1, 2))
        if self.pool is not None:
            x = torch.flatten(self.pool(x), 1)
        if x.ndim == 4:
            return x.permute(0, 2, 3, 1)[:n_rows]
        return self.classifier(self._padded(x, _ROWS))[:n_rows]

    def _padded(self, x: Tensor, multiple: int) -> Tensor:
        """In evaluation, rows of zeros up to a multiple; see _ROWS."""
        extra = 0 if self.training else -len(x) % multiple
        return nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, extra)) if extra else x

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.parameters()), torch.float32)


@dataclass(frozen=True)
class Architecture:
    """Which network, and where it is cut; see the parameters of `VGG16Classifier`."""

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
        """Number of activations that the dense layers see, or the output layer if it is alone."""
        sizes = self.hidden_layer_sizes
        if self.trainable == "output" and sizes != ():
            return _OWN_SIZES[-1] if sizes is None else sizes[-1]
        return _N_CHANNELS * self.side**2


class VGG:
    """A VGG network that is built in two pieces, cut at its first trainable layer.

    Fresh layers draw from torch's global generator: seed it first.

    Parameters
    ----------
    architecture : Architecture
    weights : str, path, Weights or None
        What layers start from; None starts all at random.

    Raises
    ------
    ValueError
        If `weights` is unknown or of another architecture, or a layer would be
        frozen that it does not cover.
    OSError
        If the ImageNet weights can neither be found nor downloaded.
    """

    def __init__(self, architecture: Architecture, weights: str | os.PathLike | Weights | None):
        self.architecture, self.weights = architecture, weights
        backbone, trainable = architecture.backbone, architecture.trainable
        self.known = Weights({}) if weights is None else load_weights(weights, backbone)
        self.features = _convolutions(backbone)
        self.width, self.hidden = _hidden_layers(architecture, self.features)
        self.starts = _block_starts(self.features)
        self.n_frozen = 0 if trainable == "all" else self.starts.get(trainable, len(self.features))
        # The output layer keeps its dropout, the layer just before it.
        self.n_frozen_hidden = len(self.hidden) - 1 if trainable == "output" else 0
        self.reusable = _reusable(self.known, self._tensors(), backbone)
        self._check_frozen()

    def frozen(self) -> VGGLayers | None:
        """The frozen layers, in evaluation mode; None where all layers are trained."""
        if self.n_frozen == 0:
            return None
        layers = VGGLayers(
            self._filled("features", self.features[: self.n_frozen], share=True),
            self._pool() if self.pools_before_head else None,
            self._filled("classifier", self.hidden[: self.n_frozen_hidden], share=True),
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
        """The layers to train, with a fresh output layer.

        The output layer is taken over if the weights are of a model with the same
        `bin_values`. With `n_components` the first dense layer takes so many numbers
        an image in place of the frozen layers' activations.
        """
        with torch.device("meta"):
            dense = nn.Sequential(*self.hidden, nn.Linear(self.width, n_outputs))
        dense = dense[self.n_frozen_hidden :]
        if n_components is not None:
            first = next(name for name, m in dense.named_children() if isinstance(m, nn.Linear))
            fan_out: Any = dense.get_submodule(first).out_features
            dense.add_module(first, nn.Linear(n_components, fan_out, device="meta"))
        dense.float()  # whatever torch's default is
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
            self._filled("features", features, reusable),
            None if self.pools_before_head else self._pool(),
            self._filled("classifier", dense, reusable),
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
        """Whether the pooling before the dense layers is frozen with the convolutions."""
        return self.n_frozen == len(self.features)

    def _pool(self) -> nn.Module:
        return nn.AdaptiveAvgPool2d(self.architecture.side)

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors but the output layer's that `weights` may give."""
        tensors = self.features.state_dict(prefix="features.")
        dense = self.hidden.state_dict(prefix="classifier.")
        if self.known.bin_values is not None:  # a layer of another width is another layer
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
        way_out = "Pass weights that cover them"
        if uncovered[0].startswith("classifier"):
            way_out += ", or trainable='classifier'"
        raise ValueError(
            f"trainable={self.architecture.trainable!r} freezes layers that "
            f"weights={self.weights!r} does not cover ({shown}): they would stay random. {way_out}."
        )

    def _filled(
        self,
        kind: str,
        module: nn.Sequential,
        reusable: Mapping[str, Tensor] | None = None,
        share: bool = False,
    ) -> nn.Sequential:
        """A copy of layers on the meta device, with values; shared ones if they are frozen."""
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


def digest(part: VGGLayers) -> bytes:
    """Digest of a part's layers and weights."""
    tensors = (*part.named_buffers(), *part.named_parameters())
    return network_key(
        repr(part), ((name, t.detach().float().cpu().numpy()) for name, t in tensors)
    )


def _convolutions(backbone: str) -> nn.Sequential:
    """The convolutional layers, without values."""
    with torch.device("meta"):
        features = get_model(backbone, weights=None, init_weights=False).features
        for i, layer in enumerate(features):
            if isinstance(layer, nn.Conv2d):
                features[i] = Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
    return features.float()  # whatever torch's default is


def _hidden_layers(
    architecture: Architecture, features: nn.Sequential
) -> tuple[int, nn.Sequential]:
    """The dense layers before the output layer, without values, and their last width."""
    sizes, dropout = architecture.hidden_layer_sizes, architecture.dropout
    n_channels = [m.out_channels for m in features if isinstance(m, nn.Conv2d)][-1]
    width = n_channels * architecture.side**2
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for size in _OWN_SIZES if sizes is None else sizes:
            layers += [nn.Linear(width, size), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            width = size
    return width, nn.Sequential(*(layers or [nn.Dropout(dropout)])).float()


def _block_starts(features: nn.Sequential) -> dict[str, int]:
    """Where the blocks of convolutions begin: each ends with a pooling layer."""
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return dict(zip(BLOCKS, [0, *(i + 1 for i in pools[:-1])], strict=False))


def _layers(names: Iterable[str]) -> set[str]:
    """The layers that tensors of these names are of."""
    return {name.rsplit(".", 1)[0] for name in names}


def _block(layer: str, starts: Mapping[str, int]) -> str:
    part, position = layer.split(".")
    if part == "classifier":
        return part
    return max((name for name in starts if starts[name] <= int(position)), key=starts.__getitem__)


def _reusable(known: Weights, wanted: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """The tensors of a weights file that the network takes over."""
    if foreign := sorted(k for k in known.tensors if k[:9] == "features." and k not in wanted):
        raise ValueError(
            f"The weights are of another architecture: {backbone} has no layer {foreign[0]}."
        )
    reusable = {}
    for name, tensor in wanted.items():
        if name in known.tensors:
            if known.tensors[name].shape != tensor.shape:
                raise ValueError(
                    f"The weights are of another architecture: {name} has shape "
                    f"{tuple(known.tensors[name].shape)}, {backbone} has {tuple(tensor.shape)}."
                )
            reusable[name] = known.tensors[name]
    return reusable


def _initial(layer: nn.Module, name: str, tensor: Tensor, is_output: bool) -> Tensor:
    """First values of a fresh layer: He's, but for the output layer's smaller ones."""
    value = torch.zeros_like(tensor, device="cpu")
    if isinstance(layer, nn.BatchNorm2d):
        value += name in ("weight", "running_var")
    elif name == "weight" and not is_output:
        nn.init.kaiming_normal_(value, nonlinearity="relu")
    elif name == "weight":
        nn.init.normal_(value, std=0.01)
    return value
