"""The DEX models that the authors released, from the formats they circulate in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..._files.paths import resolve_path
from ..._networks.vgg import VGG
from ..._networks.weights import Weights, read_tensors
from ..._training.criterion import Criterion
from ...binning import AgeBinner
from ...classifier import VGG16Classifier
from ...losses import check_loss
from ...regressor import BinnedAgeRegressor
from ..skagefile import assemble
from ._chain import BLOCKS, NAMES, Layer, by_name, chain_weights, check_chain, check_outputs

#: Of the ImageNet images that VGG16 was trained on: red, green, blue, 0..255.
VGG_MEAN = (123.68, 116.779, 103.939)
_N_AGES = 101
# The names of the layers in pytorch-DEX's state dicts, by Caffe's.
_PYTORCH_DEX = {
    **{name: f"conv.{int(name[4]) - 1}.conv{name[6]}" for name in NAMES if name[0] == "c"},
    "fc6": "fc1.0",
    "fc7": "fc2.0",
    "fc8": "cls",
}


def load_dex(
    path: str | os.PathLike,
    prototxt: str | os.PathLike | None = None,
    *,
    mean: Sequence[float] | None = None,
) -> BinnedAgeRegressor:
    """Load a DEX model that its authors trained (Rothe et al., IJCV 2016).

    Nothing in the file is executed, whoever made it.

    Parameters
    ----------
    path : path
        By its ending: the authors' ``.caffemodel``; an ``.onnx`` file as the ONNX
        model zoo has (``vgg_ilsvrc_16_age_imdb_wiki.onnx``,
        ``vgg_ilsvrc_16_age_chalearn_iccv2015.onnx``); or a state dict (``.pth``,
        ``.pt``, ``.safetensors``) with the names of pytorch-DEX (``conv.0.conv1.weight``)
        or of caffemodel2pytorch (``conv1_1.weight``).
    prototxt : path, default=None
        The authors' deploy file of a .caffemodel, to check the model against. Not
        needed: all sizes are in the model.
    mean : sequence of 3 floats, default=None
        What is subtracted from the pixels: red, green, blue, in units of 0..255. None
        takes VGG16's own, (123.68, 116.779, 103.939); see Notes.

    Returns
    -------
    model : BinnedAgeRegressor
        Fitted: its 101 bins have the values 0, 1, ..., 100 years and edges halfway
        between. It wants faces cropped with a margin of 40 %, which are squeezed to
        224 x 224 pixels.

    Raises
    ------
    ImportError
        If the file is a .caffemodel or .onnx and protobuf is missing:
        ``pip install 'skage[dex]'``.
    ValueError
        If the file is missing, damaged or of another kind, its network is not VGG16,
        or its outputs are not 101, as those of the authors' gender model; or if
        `mean` is not three numbers from 0 to 255.

    See Also
    --------
    FaceCropper : Crops faces as DEX was trained on.
    load : Loads a model of skage's own.

    Notes
    -----
    The networks take blue, green, red from 0 to 255, less a mean, and nothing is
    divided. The first layer's weights are turned to red, green, blue here. The mean is
    subtracted, not added to a bias, as images are padded with zeros after it.

    That the released networks want VGG16's mean is likely, as they were trained from
    VGG16, but was not confirmed by the authors' page. Users of the same
    weights differ: HRFAE subtracts that mean; the ONNX model zoo and pytorch-DEX
    subtract none, for which pass ``mean=(0, 0, 0)``. pytorch-DEX also counts the ages
    from 1 rather than from 0.

    A clone of the model cannot be fitted, because VGG16Classifier does not accept the
    file as `weights`. To continue training, save the model and pass the .skage file.

    Examples
    --------
    >>> from skage import FaceCropper, load_dex
    >>> model = load_dex("dex_imdb_wiki.caffemodel")  # doctest: +SKIP
    >>> model.predict(FaceCropper().fit_transform(["photo.jpg"]))  # doctest: +SKIP
    """
    path = resolve_path(path)
    mean = _check_mean(VGG_MEAN if mean is None else mean)
    if prototxt is not None and not path.endswith(".caffemodel"):
        raise ValueError(
            f"prototxt={os.fspath(prototxt)!r} goes with a .caffemodel, not with {path!r}. Leave "
            "it out."
        )
    with _named(path):
        _check_file(path)
        layers = _read(path)
        check_chain(layers, complete=path.endswith(".onnx"))
    if prototxt is not None:
        network = _read_network(os.fspath(prototxt))
        with _named(path):
            check_outputs(layers, network)
    with _named(path):
        weights = chain_weights(layers)
        _check_ages(len(weights["fc8"][0]))
    del layers
    return _fitted(_tensors(weights), mean, path)


def _fitted(tensors: Mapping[str, Tensor], mean: Sequence[float], path: str) -> BinnedAgeRegressor:
    ages = np.arange(_N_AGES)
    edges = np.arange(_N_AGES + 1) - 0.5
    binner = AgeBinner(edges.tolist(), representative="midpoint").fit(ages)
    hidden = tuple(len(tensors[f"classifier.{i}.bias"]) for i in (0, 3))
    classifier = VGG16Classifier(
        weights=path,
        trainable="output",
        hidden_layer_sizes=None if hidden == (4096, 4096) else hidden,
        n_components=None,
        loss="cross_entropy",
        test_augment=None,
    )
    normalisation = tuple(value / 255 for value in mean), (1 / 255,) * 3
    vgg = VGG(
        classifier._architecture(),
        Weights(tensors, *normalisation, ages.tolist()),
    )
    head = vgg.head(_N_AGES, bin_values=ages.tolist())
    criterion = Criterion(check_loss(classifier.loss), binner.bin_values_)
    return assemble(classifier, binner, criterion, ages, vgg.frozen(), [head])


def _read(path: str) -> list[Layer]:
    if path.endswith((".caffemodel", ".onnx")):
        _require_protobuf()
    if path.endswith(".caffemodel"):
        from ._caffe import read_caffemodel

        return read_caffemodel(path)
    if path.endswith(".onnx"):
        from ._onnx import read_onnx

        return read_onnx(path)
    if path.endswith((".pth", ".pt", ".safetensors")):
        return _read_state_dict(path)
    raise ValueError(
        "has none of the endings .caffemodel, .onnx, .pth, .pt and .safetensors. Rename it after "
        "its format."
    )


def _require_protobuf() -> None:
    try:
        import google.protobuf  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Reading .caffemodel and .onnx files needs protobuf: pip install 'skage[dex]'."
        ) from error


def _read_network(path: str) -> list[Layer]:
    from ._caffe import read_prototxt

    with _named(path):
        _check_file(path)
        network, shape = read_prototxt(path)
        check_chain(network, complete=True)
        if shape is not None and shape[1:] != (3, 224, 224):
            raise ValueError(
                f"takes an input of shape {shape}, where DEX takes (n, 3, 224, 224). Pass the "
                "deploy .prototxt of the model."
            )
    return network


def _read_state_dict(path: str) -> list[Layer]:
    try:
        state = read_tensors(path)
    except Exception as error:
        raise ValueError(
            f"is not a readable state dict: {(str(error) or repr(error)).splitlines()[0]} A "
            "pickled module can run code and is not read: save its state_dict()."
        ) from error
    arrays = {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    names = _PYTORCH_DEX
    if f"{names['conv1_1']}.weight" not in arrays:
        # Caffe's own names; the last one tells the number of outputs, as fc8-101.
        weights = (key.removesuffix(".weight") for key in arrays if key.endswith(".weight"))
        names = {name: name for name in NAMES}
        names["fc8"] = next((name for name in weights if name.startswith("fc8")), "fc8")
    layers, left = by_name(arrays, names)
    if len(left) == len(arrays):
        raise ValueError(
            "holds no weights with the names of pytorch-DEX (conv.0.conv1.weight, ..., cls.weight) "
            "or of caffemodel2pytorch (conv1_1.weight, ..., fc8-101.weight): found "
            f"{', '.join(left[:3]) or 'no tensors'}. Rename them; the first layer must take blue, "
            "green, red."
        )
    if left:
        raise ValueError(
            f"is of another architecture than DEX's VGG16, which has no {left[0]}. Only DEX's age "
            "models can be loaded."
        )
    return layers


def _tensors(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
    """By torchvision's names, the first layer for red, green, blue."""
    positions, i = [], 0
    for n_convolutions in BLOCKS:
        positions += [f"features.{i + 2 * j}" for j in range(n_convolutions)]
        i += 2 * n_convolutions + 1
    positions += [f"classifier.{i}" for i in (0, 3, 6)]
    tensors = {}
    for position, (name, (weight, bias)) in zip(positions, weights.items(), strict=True):
        if name == "conv1_1":
            weight = weight[:, ::-1]
        tensors[f"{position}.weight"] = torch.from_numpy(np.ascontiguousarray(weight))
        tensors[f"{position}.bias"] = torch.from_numpy(bias)
    return tensors


def _check_ages(n_outputs: int) -> None:
    if n_outputs == 2:
        raise ValueError(
            "is a gender model: it has 2 outputs, and skage predicts ages. Load the age model, as "
            "dex_imdb_wiki.caffemodel or dex_chalearn_iccv2015.caffemodel."
        )
    if n_outputs != _N_AGES:
        raise ValueError(
            f"has {n_outputs} outputs, and does not say which ages they are of; DEX has {_N_AGES}, "
            "for the ages 0..100."
        )


def _check_mean(mean: Sequence[float]) -> list[float]:
    try:
        values = [float(value) for value in mean]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"mean={mean!r} must be three numbers, red, green, blue, from 0 to 255.")
    if 0 < max(values) <= 1:
        raise ValueError(f"mean={mean!r} seems to be in units of 0..1: multiply it by 255.")
    return values


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise ValueError("does not exist, or is not a file.")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            "is a Git LFS pointer, a few lines of text in place of the model. Fetch the model "
            "itself, by `git lfs pull` or by the download button of its page."
        )


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from error
