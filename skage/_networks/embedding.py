"""Networks of others, ONNX files or torch modules, as frozen layers under a fresh head."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from .._keys import file_key, network_key
from ..preprocessing import Preprocessing
from .layers import Layers
from .onnx import OnnxSession, read_onnx

#: What a transform does with the outputs of a network.
TRANSFORMS = ("sqrt", "unit", "log")
_BLOCK = 256  # images whose features are computed at once to standardise them
# Matrix kernels round differently for different numbers of rows; see VGGLayers.
_ROW_MULTIPLE = 32
_NORMALISE = ("mean", "std")
_TINY = 1e-20  # keeps the gradient of a square root finite at 0


class FrozenEmbedding(Layers):
    """A network of others, from uint8 RGB images (n, s, s, 3) to features (n, ...).

    Parameters
    ----------
    preprocessing : Preprocessing
        With its size.
    """

    mean: Tensor
    std: Tensor
    keeps_float32 = True  # in float16 small features would be 0
    #: Layers of the network that the head begins with, in a tuple of none or one.
    rest: tuple[nn.Module, ...] = ()

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.is_bgr = preprocessing.channels == "bgr"
        self.size = preprocessing.size
        for name, values in zip(_NORMALISE, preprocessing._numbers(), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.flip(-1) if self.is_bgr else pixels
        x = (x.float() - self.mean) / self.std
        features = self.features(x)
        if not features.is_floating_point() or features.ndim < 2 or len(features) != len(x):
            raise ValueError(
                f"The network's output for {len(x)} images has shape {tuple(features.shape)} and "
                f"type {features.dtype}. Pass an output of numbers with one row for each image."
            )
        if not features.numel():
            raise ValueError("The network's output has no features. Pass another output.")
        if not features.isfinite().all():
            raise ValueError(
                "The network's output is not finite (NaN or infinite). Check that preprocessing "
                "(size, channels, mean, std) is what the network was trained with."
            )
        return features

    def features(self, x: Tensor) -> Tensor:
        """Return the network's output for normalised images (n, s, s, 3)."""
        raise NotImplementedError

    def try_out(self) -> Tensor:
        """Return the output for one gray image."""
        with torch.inference_mode():
            return self(torch.full((1, self.size, self.size, 3), 127, dtype=torch.uint8))

    def extra_repr(self) -> str:
        return f"size={self.size}, is_bgr={self.is_bgr}"


class OnnxEmbedding(FrozenEmbedding):
    """An ONNX file, computed by onnxruntime in float32.

    The file's content is a buffer, so that pickles and model files hold the network.

    Parameters
    ----------
    content : bytes
    output : str
        Name of the output.
    preprocessing : Preprocessing
    """

    content: Tensor

    def __init__(self, content: bytes, output: str, preprocessing: Preprocessing):
        super().__init__(preprocessing)
        self.output, self.key = output, file_key(content)
        self.register_buffer("content", torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def features(self, x: Tensor) -> Tensor:
        session = self.open(x.device)
        try:
            found = session(x.cpu().numpy(), self.output)
        except ValueError as error:
            raise ValueError(f"The ONNX network {error}") from error
        return torch.from_numpy(found).to(x.device).flatten(1)

    def open(self, device: torch.device | None = None) -> OnnxSession:
        """Return a session that computes the network.

        Raises
        ------
        ValueError
            If onnxruntime cannot run it, or it does not have the output.
        """

        def read() -> bytes:
            return self.content.cpu().numpy().tobytes()

        try:
            session = OnnxSession.of(self.key, read, device or torch.device("cpu"))
        except ValueError as error:
            raise ValueError(f"The ONNX network {error}") from error
        if self.output not in [found.name for found in session.outputs]:
            raise ValueError(f"The ONNX network has no output {self.output!r}.")
        return session

    def computes_in(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32

    @property
    def label(self) -> str:
        return f"ONNX network, output {self.output}"

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, output={self.output!r}, content={self.key.hex()}"

    def digest(self) -> bytes:
        return network_key(repr(self), [(n, getattr(self, n).cpu().numpy()) for n in _NORMALISE])


class TorchEmbedding(FrozenEmbedding):
    """A torch module that takes normalised images (n, 3, s, s).

    Parameters
    ----------
    module : torch.nn.Module
    output : str, int or None
        Key or position, if the module returns several tensors.
    preprocessing : Preprocessing
    n_trainable : int, default=0
        The last children of an nn.Sequential that are left out: the head begins with them.
    """

    def __init__(
        self,
        module: nn.Module,
        output: str | int | None,
        preprocessing: Preprocessing,
        n_trainable: int = 0,
    ):
        super().__init__(preprocessing)
        tensors = [*module.parameters(), *module.buffers()]
        lazy = any(nn.parameter.is_lazy(tensor) for tensor in tensors)
        if lazy or any(t.is_meta for t in tensors) or isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{type(module).__name__} cannot be used: it is a TorchScript module, or has "
                "weights without values (on the meta device, or lazy). Pass an ordinary module "
                "with its weights loaded."
            )
        self.module = copy.deepcopy(module).cpu().float()
        if n_trainable:
            children = self.module
            if not isinstance(children, nn.Sequential) or n_trainable >= len(children) or output:
                raise ValueError(
                    f"n_trainable={n_trainable} needs a torch.nn.Sequential of more children and "
                    f"output=None, not a {type(module).__name__} with output={output!r}. Put the "
                    "network's consecutive parts into a Sequential, or pass n_trainable=0."
                )
            self.module, rest = children[:-n_trainable], children[-n_trainable:]
            self.rest = (rest,)  # in a tuple, as it is not a part of these layers
            self.keeps_float32 = False  # feature maps are large
        self.output = output
        self.dtype = torch.float32
        self.requires_grad_(False).eval()

    def features(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        try:
            with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
                found = self.module(x)
        except Exception as error:  # the user's own code
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise ValueError(
                f"{type(self.module).__name__} fails on images of shape {tuple(x.shape)}: "
                f"{reason}. Check the size in preprocessing."
            ) from error
        found = self._pick(found)
        found = found.float() if found.is_floating_point() else found
        return found if self.rest or found.ndim < 2 else found.flatten(1)

    def _pick(self, found: Any) -> Tensor:
        name = type(self.module).__name__
        if isinstance(found, Tensor) and self.output is None:
            return found
        if isinstance(found, Tensor):
            raise ValueError(
                f"output={self.output!r} is not an output of {name}, which returns one tensor. "
                "Pass output=None."
            )
        numbered = enumerate(found if isinstance(found, tuple | list) else ())
        outputs = dict(found if isinstance(found, Mapping) else numbered)
        outputs = {k: v for k, v in outputs.items() if isinstance(v, Tensor)}
        if not outputs:
            raise ValueError(
                f"{name} returns a {type(found).__name__} without tensors. Pass a module that "
                "returns a tensor, or several by number or name."
            )
        if self.output not in outputs:
            raise ValueError(
                f"output={self.output!r} is not an output of {name}, which returns the outputs "
                f"{list(outputs)}. Pass output={next(iter(outputs))!r}."
            )
        return outputs[self.output]

    def digest(self) -> bytes:
        """A digest that covers plain attributes too, on which a forward method may depend."""
        plain = [
            (name, sorted((k, repr(v)) for k, v in vars(m).items() if _is_plain(k, v)))
            for name, m in self.module.named_modules()
        ]
        return network_key(f"{super().digest().hex()} {plain}", [])

    def placed(self, device: torch.device, dtype: torch.dtype) -> Self:
        layers = copy.copy(self) if device.type == "cpu" else copy.deepcopy(self)
        layers.dtype = dtype
        return layers.to(device)

    @property
    def label(self) -> str:
        return type(self.module).__name__

    def extra_repr(self) -> str:
        kind = type(self.module)
        return f"{super().extra_repr()}, {kind.__module__}.{kind.__qualname__}, {self.output!r}"


def _is_plain(name: str, value: Any) -> bool:
    """Whether an attribute of a module is a setting, rather than torch's own state."""
    kinds = bool | int | float | str | tuple | None
    return not name.startswith("_") and name != "training" and isinstance(value, kinds)


class EmbeddingHead(Layers):
    """Dense layers on transformed and standardised features.

    Parameters
    ----------
    body : torch.nn.Module
        Pretrained layers that come first, from activations of the layers before to the
        features; an nn.Identity if there are none.
    n_features : int
    n_outputs : int
    hidden_layer_sizes : tuple of int
    dropout : float
    transform : {"sqrt", "unit", "log"} or None
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        body: nn.Module,
        n_features: int,
        n_outputs: int,
        hidden_layer_sizes: Sequence[int],
        dropout: float,
        transform: str | None,
    ):
        super().__init__()
        self.body, self.transform = body, transform
        self.pretrained = sorted(
            {f"body.{name}".rpartition(".")[0] for name, _ in body.named_parameters()}
        )
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        layers: list[nn.Module] = []
        width = n_features
        for size in hidden_layer_sizes:
            layers += [nn.Linear(width, size), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            width = size
        output = nn.Linear(width, n_outputs)
        self.classifier = nn.Sequential(*(layers or [nn.Dropout(dropout)]), output).float()
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(output.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        n_rows = len(x)
        x = (self.transformed(x) - self.center) / self.scale
        extra = 0 if self.training else -n_rows % _ROW_MULTIPLE
        return self.classifier(nn.functional.pad(x, (0, 0, 0, extra)))[:n_rows]

    def transformed(self, x: Tensor) -> Tensor:
        """Return the transformed features, float32."""
        x = self.body(x.float()).flatten(1).float()
        if self.transform == "sqrt":
            return x.sign() * (x.abs() + _TINY).sqrt()
        if self.transform == "unit":
            return nn.functional.normalize(x, dim=1)
        if self.transform == "log":
            return x.clamp_min(1e-7).log()
        return x

    @torch.no_grad()
    def standardise(self, activations: Tensor) -> None:
        """Set mean and standard deviation to those of the features of training images."""
        is_training = self.training
        self.eval()
        x = torch.cat([self.transformed(block) for block in activations.split(_BLOCK)])
        self.train(is_training)
        spread = x.std(dim=0, correction=0)
        self.center.copy_(x.mean(dim=0))
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def extra_repr(self) -> str:
        return f"transform={self.transform!r}"


@dataclass
class Embedding:
    """A network of others in two pieces, as `VGG` is: frozen layers, and a head.

    Parameters
    ----------
    layers : FrozenEmbedding
    hidden_layer_sizes : tuple of int
    dropout : float
    transform : {"sqrt", "unit", "log"} or None
    n_features : int, default=None
        None tries the network on a gray image.
    """

    layers: FrozenEmbedding
    hidden_layer_sizes: tuple[int, ...]
    dropout: float
    transform: str | None
    n_features: int | None = None

    def frozen(self) -> FrozenEmbedding:
        """Return the network."""
        return self.layers

    def head(
        self, n_outputs: int, bin_values: Any = None, n_components: int | None = None
    ) -> EmbeddingHead:
        """Return a fresh head. The other parameters are those of `VGG.head`, and not used."""
        body = copy.deepcopy(self.layers.rest[0]) if self.layers.rest else nn.Identity()
        if self.n_features is None:
            with torch.inference_mode():
                self.n_features = body.eval()(self.layers.try_out()).flatten(1).shape[1]
        dense = self.hidden_layer_sizes, self.dropout, self.transform
        return EmbeddingHead(body.requires_grad_(True), self.n_features, n_outputs, *dense)


def make_layers(
    network: str | os.PathLike | nn.Module,
    preprocessing: Preprocessing | None,
    output: str | int | None,
    n_trainable: int = 0,
) -> FrozenEmbedding:
    """Return the frozen layers of an ONNX file or a torch module.

    Raises
    ------
    ValueError
        If the network cannot be used, or does not say how images are fed to it.
    ImportError
        If onnxruntime is not installed.
    """
    if isinstance(network, nn.Module):
        preprocessing = _torch_preprocessing(network, preprocessing)
        return TorchEmbedding(network, output, preprocessing, n_trainable)
    if n_trainable:
        raise ValueError(
            f"n_trainable={n_trainable} trains layers of a torch.nn.Sequential. Pass n_trainable=0 "
            "for an ONNX file, whose layers stay frozen."
        )
    content, found = read_onnx(network)
    name, preprocessing = found.resolve(output, preprocessing)
    return OnnxEmbedding(content, name, preprocessing)


def _torch_preprocessing(module: nn.Module, given: Preprocessing | None) -> Preprocessing:
    """What was given, completed by timm's record of a pretrained network."""
    stated: Any = getattr(module, "pretrained_cfg", None) or {}
    sides = stated.get("input_size", (None,))[1:]
    size = sides[0] if len(set(sides)) == 1 else None
    if given is None and not {"mean", "std"} <= set(stated):
        raise ValueError(
            f"{type(module).__name__} does not say how its pixels are normalised. Pass "
            "preprocessing=Preprocessing(size=..., mean=..., std=...); see its examples."
        )
    if given is None:
        mean, std = (tuple(255 * v for v in stated[name]) for name in ("mean", "std"))
        given = Preprocessing(mean=mean, std=std)
    if given.size is None and size is None:
        raise ValueError(
            f"{type(module).__name__} does not say the size of its images. Pass "
            "preprocessing=Preprocessing(size=...), in pixels."
        )
    return given._completed(size)
