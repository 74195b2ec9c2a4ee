"""Load the DEX models that the authors released, from the formats they are distributed in."""

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

#: Mean of the ImageNet images that VGG16 was trained on: red, green, blue, in 0..255.
VGG_MEAN = (123.68, 116.779, 103.939)
_N_AGES = 101
# Caffe's names of the layers, and the names in pytorch-DEX's state dicts.
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
    """Load a DEX model trained by its authors (Rothe et al., IJCV 2016).

    Loading never executes code from the file.

    Parameters
    ----------
    path : path
        The suffix determines the format: the authors' ``.caffemodel``; an ``.onnx`` file
        from the ONNX model zoo (``vgg_ilsvrc_16_age_imdb_wiki.onnx``,
        ``vgg_ilsvrc_16_age_chalearn_iccv2015.onnx``); or a state dict (``.pth``, ``.pt``,
        ``.safetensors``) with the names of pytorch-DEX (``conv.0.conv1.weight``) or of
        caffemodel2pytorch (``conv1_1.weight``).
    prototxt : path, default=None
        The authors' deploy file for a .caffemodel, to check the model against. It is
        optional, as the model contains all sizes.
    mean : sequence of 3 floats, default=None
        Mean to subtract from the pixels: red, green, blue, in 0..255. None means that of
        VGG16, (123.68, 116.779, 103.939); see Notes.

    Returns
    -------
    model : BinnedAgeRegressor
        A fitted model. Its 101 bins have the values 0, 1, ..., 100 years, and edges halfway
        between them. It expects faces cropped with a margin of 40 %, and resizes them to
        224 x 224 pixels regardless of their aspect ratio.

    Raises
    ------
    ImportError
        If the file is a .caffemodel or .onnx and protobuf is not installed:
        ``pip install 'skage[dex]'``.
    ValueError
        If the file is missing, damaged or in another format; if its network is not VGG16
        or does not have 101 outputs, like the authors' gender model; or if `mean` is not
        three numbers from 0 to 255.

    See Also
    --------
    FaceCropper : Crops faces as for the training of DEX.
    load : Loads a model saved by skage.

    Notes
    -----
    The networks expect blue, green and red from 0 to 255, minus a mean and without a
    division. `load_dex` reorders the channels of the first convolution to red, green and
    blue. The mean is subtracted from the image rather than merged into a bias, because the
    convolution pads with zeros after the subtraction.

    The released networks were trained from VGG16, so they probably expect its mean, but
    the authors' page does not say so. Other users of the same weights differ: HRFAE
    subtracts this mean; the ONNX model zoo and pytorch-DEX do not subtract any, which is
    ``mean=(0, 0, 0)``. pytorch-DEX also counts the ages from 1 instead of 0.

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
            f"prototxt={os.fspath(prototxt)!r} is only used for a .caffemodel, not for {path!r}. "
            "Leave it out."
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
    sides = classifier._sides()
    return assemble(classifier, binner, criterion, ages, vgg.frozen(), [head], sides)


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
        "does not end in .caffemodel, .onnx, .pth, .pt or .safetensors. Give it the suffix of "
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
                f"has an input of shape {shape}, but DEX has (n, 3, 224, 224). Pass the model's "
                "deploy .prototxt."
            )
    return network


def _read_state_dict(path: str) -> list[Layer]:
    try:
        state = read_tensors(path)
    except Exception as error:
        raise ValueError(
            f"is not a readable state dict: {(str(error) or repr(error)).splitlines()[0]} A "
            "pickled module can run code and is not accepted; save its state_dict() instead."
        ) from error
    arrays = {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    names = _PYTORCH_DEX
    if f"{names['conv1_1']}.weight" not in arrays:
        # Caffe's own names; that of the last layer includes the number of outputs (fc8-101).
        weights = (key.removesuffix(".weight") for key in arrays if key.endswith(".weight"))
        names = {name: name for name in NAMES}
        names["fc8"] = next((name for name in weights if name.startswith("fc8")), "fc8")
    layers, left = by_name(arrays, names)
    if len(left) == len(arrays):
        raise ValueError(
            "does not have the names of pytorch-DEX (conv.0.conv1.weight, ..., cls.weight) or of "
            "caffemodel2pytorch (conv1_1.weight, ..., fc8-101.weight): found "
            f"{', '.join(left[:3]) or 'no tensors'}. Rename the tensors; the first layer must "
            "expect blue, green, red."
        )
    if left:
        raise ValueError(
            f"has another architecture than DEX's VGG16, which does not have {left[0]}. Pass one "
            "of DEX's age models."
        )
    return layers


def _tensors(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
    """Rename weights to torchvision's names, and reorder the first layer to red, green, blue."""
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
            "is a gender model: it has 2 outputs. Pass an age model, such as "
            "dex_imdb_wiki.caffemodel or dex_chalearn_iccv2015.caffemodel."
        )
    if n_outputs != _N_AGES:
        raise ValueError(
            f"has {n_outputs} outputs for unknown ages. Pass a DEX model, which has {_N_AGES} for "
            "the ages 0 to 100."
        )


def _check_mean(mean: Sequence[float]) -> list[float]:
    try:
        values = [float(value) for value in mean]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"mean={mean!r} must be three numbers from 0 to 255: red, green, blue.")
    if 0 < max(values) <= 1:
        raise ValueError(
            f"mean={mean!r} seems to be in 0..1 rather than 0..255. Multiply it by 255."
        )
    return values


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise ValueError("does not exist, or is not a file. Check the path.")
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            "is a Git LFS pointer: a few lines of text instead of the model. Fetch the model "
            "itself with `git lfs pull`, or with the download button of its page."
        )


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Prefix the messages of errors with the file's name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from error
