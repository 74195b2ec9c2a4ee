"""VGG networks, their weights, and the cut between frozen prefix and trainable suffix."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence

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
TRAINABLE = ("head", "classifier", "block5", "block4", "block3", "block2", "all")
# Matrix kernels round a row by how many stand beside it, so that a prediction
# would depend, in its last bits, on its batch. Batches of one size do not.
_ROWS = 32


class Part(nn.Module):
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


def build(
    n_outputs: int,
    *,
    weights: str | os.PathLike | Weights | None,
    trainable: str,
    hidden_layer_sizes: tuple[int, ...] | None,
    dropout: float,
    image_size: int,
    backbone: str = "vgg16",
    bin_values: Sequence[float] | None = None,
    n_components: int | None = None,
) -> tuple[Part | None, Part]:
    """Build a VGG network for `n_outputs` classes, cut at its first trainable layer.

    Fresh layers draw from torch's global generator: seed it first. The output
    layer is fresh, unless `weights` are of a model with the same `bin_values`. With
    `n_components` the suffix takes so many numbers an image in place of the
    prefix's activations.

    Returns
    -------
    prefix : Part or None
        The frozen layers, in evaluation mode; None when all layers train.
    suffix : Part
        The trainable layers.

    Raises
    ------
    ValueError
        If `weights` is unknown or of another architecture, or a layer would
        be frozen that it does not cover.
    OSError
        If the ImageNet weights can neither be found nor downloaded.
    """
    known = Weights({}) if weights is None else load_weights(weights, backbone)
    with torch.device("meta"):
        features = get_model(backbone, weights=None, init_weights=False).features
        for i, layer in enumerate(features):
            if isinstance(layer, nn.Conv2d):
                features[i] = Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
        side = min(7, image_size // 32)
        n_channels = [m.out_channels for m in features if isinstance(m, nn.Conv2d)][-1]
        sizes = [n_channels * (49 if hidden_layer_sizes is None else side**2)]
        hidden = (4096, 4096) if hidden_layer_sizes is None else hidden_layer_sizes
        layers: list[nn.Module] = [] if hidden else [nn.Dropout(dropout)]
        for width in hidden:
            layers += [nn.Linear(sizes[-1], width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            sizes.append(width)
        classifier = nn.Sequential(*layers, nn.Linear(sizes[-1], n_outputs))
    pool = nn.AdaptiveAvgPool2d(7 if hidden_layer_sizes is None else side)

    starts = _block_starts(features)
    first = 0 if trainable == "all" else starts.get(trainable, len(features))
    # The head keeps its dropout, the layer just before it.
    hidden_frozen = len(classifier) - 2 if trainable == "head" else 0
    if n_components is not None:
        widths = {i: m.out_features for i, m in enumerate(classifier) if isinstance(m, nn.Linear)}
        i = min(i for i in widths if i >= hidden_frozen)
        classifier[i] = nn.Linear(n_components, widths[i], device="meta")
    for module in (features, classifier):
        module.float()  # whatever torch's default is
    frozen = {name for name, _ in features[:first].named_parameters(prefix="features")}
    frozen |= {n for n, _ in classifier[:hidden_frozen].named_parameters(prefix="classifier")}
    dense = classifier.state_dict(prefix="classifier.")
    if known.bin_values is None:
        dense = {} if hidden_layer_sizes is not None else _hidden(classifier)
    elif bin_values is None or not np.array_equal(known.bin_values, bin_values):
        dense = _hidden(classifier)
    if known.bin_values is not None:  # a layer of another width is another layer
        shapes = {name: tensor.shape for name, tensor in known.tensors.items()}
        dense = {n: t for n, t in dense.items() if n in shapes and shapes[n] == t.shape}
    reusable = _reusable(known, features.state_dict(prefix="features.") | dense, backbone)
    if weights is not None and (uncovered := sorted(frozen - reusable.keys())):
        shown = f"{', '.join(uncovered[:4])}{', ...' if len(uncovered) > 4 else ''}"
        way_out = "Pass weights that cover them"
        if uncovered[0].startswith("classifier"):
            way_out += ", or trainable='classifier'"
        raise ValueError(
            f"trainable={trainable!r} freezes layers that weights={weights!r} does not "
            f"cover ({shown}): they would stay random. {way_out}."
        )
    for prefix, module in (("features", features), ("classifier", classifier)):
        _fill(prefix, module, reusable, frozen)
    layers_of = _layers(_parameters(features, classifier))
    pretrained = layers_of & _layers(reusable)
    if weights is not None:
        fresh = ", ".join(sorted(layers_of - pretrained))
        logger.info("weights=%s; fresh layers: %s", weights, fresh or "none")

    whole = first == 0
    pooled_in_prefix = trainable in ("head", "classifier")
    suffix = Part(
        features[first:],
        None if pooled_in_prefix else pool,
        classifier[hidden_frozen:],
        normalise=whole,
        mean=known.mean,
        std=known.std,
    ).to(memory_format=torch.channels_last)
    own = _layers(name for name, _ in suffix.named_parameters())
    suffix.pretrained = sorted(own & pretrained - {f"classifier.{len(classifier) - 1}"})
    suffix.blocks = {layer: _block(layer, starts) for layer in sorted(own)}
    if whole:
        return None, suffix
    prefix_part = Part(
        features[:first],
        pool if pooled_in_prefix else None,
        classifier[:hidden_frozen],
        normalise=True,
        mean=known.mean,
        std=known.std,
    )
    return prefix_part.requires_grad_(False).eval(), suffix


def digest(part: Part) -> bytes:
    """Digest of a part's layers and weights."""
    tensors = (*part.named_buffers(), *part.named_parameters())
    return network_key(
        repr(part), ((name, t.detach().float().cpu().numpy()) for name, t in tensors)
    )


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


def _parameters(features: nn.Module, classifier: nn.Module) -> dict[str, nn.Parameter]:
    return dict(features.named_parameters(prefix="features")) | dict(
        classifier.named_parameters(prefix="classifier")
    )


def _hidden(classifier: nn.Sequential) -> dict[str, Tensor]:
    return classifier[:-1].state_dict(prefix="classifier.")


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


def _fill(
    prefix: str, module: nn.Sequential, known: Mapping[str, Tensor], frozen: set[str]
) -> None:
    """Give each tensor of a module on the meta device its values."""
    for position, layer in module.named_children():
        for kind, tensor in layer.state_dict().items():
            name = f"{prefix}.{position}.{kind}"
            if name in known:
                # A frozen layer may share its tensor with other networks.
                value = known[name].to(tensor.dtype)
                value = value if name in frozen else value.clone()
            else:
                value = torch.zeros_like(tensor, device="cpu")
                if isinstance(layer, nn.BatchNorm2d):
                    value += kind in ("weight", "running_var")
                elif kind == "weight" and layer is not module[-1]:
                    nn.init.kaiming_normal_(value, nonlinearity="relu")
                elif kind == "weight":
                    nn.init.normal_(value, std=0.01)
            trained = isinstance(getattr(layer, kind), nn.Parameter)
            setattr(layer, kind, nn.Parameter(value) if trained else value)
