"""Model files with tensors and plain values only: loading does not execute any code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from .._classifier import ImageClassifier
from .._networks.embedding import Embedding, OnnxEmbedding
from .._networks.layers import Layers
from .._networks.vgg import VGG, VGGLayers
from .._training.criterion import Criterion
from .._training.net import restore_net
from ..augment import Jitter
from ..binning import AgeBinner
from ..calibration import CalibratedAgeRegressor
from ..classifier import VGG16Classifier
from ..embedding import EmbeddingClassifier
from ..ensemble import AgeEnsemble
from ..losses import check_loss
from ..preprocessing import Preprocessing
from ..regressor import BinnedAgeRegressor
from ..runtime import Runtime
from ..schedules import OneCycle, StepDecay
from . import calibrated
from .header import check_header, plain

#: Classes whose instances may be values of parameters, by their names in a model file.
_VALUES = {kind.__name__: kind for kind in (Jitter, OneCycle, Preprocessing, StepDecay)}
# What a header of wrong or missing values may raise.
_WRONG = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
#: Classifiers that a file may hold, by name.
_CLASSIFIERS = {kind.__name__: kind for kind in (EmbeddingClassifier, VGG16Classifier)}
# These belong to the machine or the training run rather than to the model. Only the
# precision of a Runtime is stored, because it affects the last digits of predictions.
_NOT_STORED = ("callbacks", "runtime", "verbose")


def describe(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the header and tensors of a fitted model.

    Raises
    ------
    TypeError
        If a classifier is another than skage's, its network is a torch module, or a
        parameter is not a plain value.
    """
    if isinstance(model, AgeEnsemble):
        return _describe_ensemble(model)
    if not isinstance(model, CalibratedAgeRegressor):
        return _describe_one(model)
    if isinstance(model.estimator_, CalibratedAgeRegressor):
        raise TypeError(
            "Cannot save a CalibratedAgeRegressor of a CalibratedAgeRegressor. Calibrate the model "
            "inside, or use joblib.dump instead."
        )
    header, tensors = calibrated.describe(model)
    inner, found = describe(model.estimator_)
    return header | {"model": inner}, tensors | {f"model.{k}": v for k, v in found.items()}


def _describe_ensemble(model: AgeEnsemble) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    names = [name for name, _ in model.estimators]
    if len(names) != len(model.estimators_):
        raise ValueError("The members have changed since fit. Fit again before save.")
    headers: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}
    known: dict[bytes, int] = {}  # the first member with these frozen layers, which keeps them
    for i, member in enumerate(model.estimators_):
        fitted = member.estimator if isinstance(member, FrozenEstimator) else member
        header, found = _describe_one(fitted)
        frozen = fitted.classifier_.frozen_
        keeper = i if frozen is None else known.setdefault(frozen.digest(), i)
        headers.append(header | {"frozen_in": keeper})
        tensors |= {
            f"{i}.{name}": tensor.clone()  # a model may be a member twice
            for name, tensor in found.items()
            if keeper == i or not name.startswith("frozen.")
        }
    own = {"names": names, "weights": model.weights_.tolist(), "decode": model.decode}
    return {"kind": "AgeEnsemble", **own, "members": headers}, tensors


def _describe_one(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a model of one classifier."""
    if type(model) is not BinnedAgeRegressor:
        raise TypeError(
            f"Cannot save a {type(model).__name__} in a .skage file, which takes a "
            "BinnedAgeRegressor. Use joblib.dump instead."
        )
    classifier = model.classifier_
    kind = type(classifier).__name__
    if _CLASSIFIERS.get(kind) is not type(classifier) or type(model.binner_) is not AgeBinner:
        raise TypeError(
            f"Cannot save a model of {kind} and {type(model.binner_).__name__}: a .skage file "
            f"needs an AgeBinner and a {' or '.join(_CLASSIFIERS)}. Use joblib.dump instead."
        )
    if kind == "EmbeddingClassifier" and not isinstance(classifier.frozen_, OnnxEmbedding):
        raise TypeError(
            "Cannot save a torch module in a .skage file, as it is code. Export it with "
            "torch.onnx.export and fit on the .onnx file, or use joblib.dump."
        )
    for estimator in (model, classifier, model.binner_):
        estimator._validate_params()
    binner = model.binner_
    parameters = classifier.get_params(deep=False)
    if not isinstance(classifier.optimizer, str):
        parameters["optimizer"] = "sgd"  # a class cannot be stored
    for name, value in parameters.items():
        if type(value).__name__ in _VALUES:
            parameters[name] = {"class": type(value).__name__, **value.get_params()}
    if isinstance(classifier.class_weight, dict):  # JSON would turn its keys into strings
        parameters["class_weight"] = list(classifier.class_weight.items())
    if isinstance(classifier.random_state, np.random.RandomState):
        parameters["random_state"] = None
    header = {
        "decode": model.decode,
        "binner": {k: plain(v) for k, v in binner.get_params(deep=False).items()},
        "bin_edges": binner.bin_edges_.tolist(),
        "bin_values": binner.bin_values_.tolist(),
        "bin_support": binner.bin_support_.tolist(),
        "age_range": list(binner.age_range_),
        "kind": kind,
        "classifier": {k: plain(v) for k, v in parameters.items() if k not in _NOT_STORED},
        "classes": classifier.classes_.tolist(),
        "history": [{k: plain(v) for k, v in row.items()} for row in classifier.history_],
        "n_networks": len(classifier.nets_),
        "n_skipped": classifier.n_skipped_,
        "image_size": [classifier.image_size_, classifier.resized_],
        "loss": classifier.net_.criterion_.weights,
        "precision": classifier._get_runtime().precision,
        "preparation": classifier.preparation_,
    }
    is_ensemble = len(classifier.nets_) > 1
    pieces = {"frozen": classifier.frozen_} | {
        f"head.{member}" if is_ensemble else "head": net.module_
        for member, net in enumerate(classifier.nets_)
    }
    if kind == "EmbeddingClassifier":
        header |= {"output": classifier.frozen_.output, "is_bgr": classifier.frozen_.is_bgr}
    else:
        first = classifier.frozen_ or classifier.net_.module_  # normalises the pixels
        header |= {name: (getattr(first, name) / 255).tolist() for name in ("mean", "std")}
    tensors = {
        f"{piece}.{name}": tensor
        for piece, module in pieces.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    return header, tensors | {"digests": torch.from_numpy(classifier.digests_)}


def rebuild(
    header: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> BinnedAgeRegressor | AgeEnsemble | CalibratedAgeRegressor:
    """Return the fitted model with this header and these tensors.

    Raises
    ------
    ValueError
        If they do not make a model.
    """
    try:
        if header["kind"] != "CalibratedAgeRegressor":
            return _rebuild_uncalibrated(header, tensors)
        start = "model."
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        return calibrated.rebuild(header, tensors, _rebuild_uncalibrated(header["model"], own))
    except _WRONG as error:
        raise ValueError((str(error) or type(error).__name__).splitlines()[0]) from error


def _rebuild_uncalibrated(
    header: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> BinnedAgeRegressor | AgeEnsemble:
    if header["kind"] == "AgeEnsemble":
        return _rebuild_ensemble(header, tensors)
    return _rebuild(header, tensors)


def _rebuild_ensemble(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> AgeEnsemble:
    members = []
    for i, member in enumerate(header["members"]):
        starts = {f"{i}.": "", f"{member['frozen_in']}.frozen.": "frozen."}
        own = {
            place + name.removeprefix(start): tensor
            for start, place in starts.items()
            for name, tensor in tensors.items()
            if name.startswith(start)
        }
        members.append(FrozenEstimator(_rebuild(member, own)))
    named = list(zip(header["names"], members, strict=True))
    model = AgeEnsemble(named, weights=header["weights"], decode=header["decode"])
    model._validate_params()
    model._set_fitted(members, model._check_weights())
    return model


def _rebuild(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> BinnedAgeRegressor:
    check_header(header, tensors)
    binner = AgeBinner(**header["binner"])
    binner.bin_edges_ = np.array(header["bin_edges"])
    binner.bin_values_ = np.array(header["bin_values"])
    binner.bin_support_ = np.array(header["bin_support"])
    binner.age_range_ = tuple(header["age_range"])
    binner.n_bins_ = len(binner.bin_values_)
    options = dict(header["classifier"])
    for name in ("hidden_layer_sizes", "image_size"):
        if isinstance(options.get(name), list):
            options[name] = tuple(options[name])
    for name, value in options.items():
        if isinstance(value, dict) and "class" in value:
            value = dict(value)
            options[name] = _VALUES[value.pop("class")](**value)
    if isinstance(options["class_weight"], list):
        options["class_weight"] = dict(options["class_weight"])
    precision = header["precision"]
    runtime = None if precision == "auto" else Runtime(precision=precision)
    if runtime is not None:
        runtime._validate_params()
    classifier = _CLASSIFIERS[header["kind"]](**options, runtime=runtime)
    classes = np.array(header["classes"])
    image_size, resized = header["image_size"]
    n_networks = header["n_networks"]
    names = [f"head.{i}" for i in range(n_networks)] if n_networks > 1 else ["head"]
    criterion = Criterion(check_loss(header["loss"]), binner.bin_values_[classes])
    n_outputs = len(classes) if criterion.regression is None else 1
    network: Embedding | VGG
    with torch.random.fork_rng(devices=[]):
        if isinstance(classifier, EmbeddingClassifier):
            network = _restore_embedding(classifier, header, tensors)
        else:
            network = VGG(replace(classifier._architecture(), image_size=image_size), weights=None)
        frozen, heads = network.frozen(), [network.head(n_outputs) for _ in names]
    if isinstance(frozen, VGGLayers):
        _load_weights(frozen, "frozen", tensors, header)
    for name, head in zip(names, heads, strict=True):
        _load_weights(head, name, tensors, header)
    model = assemble(classifier, binner, criterion, classes, frozen, heads, (image_size, resized))
    classifier.history_, classifier.n_skipped_ = header["history"], header["n_skipped"]
    classifier.preparation_ = header["preparation"]
    classifier.digests_ = tensors["digests"].numpy()
    model.set_params(decode=header["decode"])
    for estimator in (model, classifier, binner):
        estimator._validate_params()
    return model


def _restore_embedding(
    classifier: EmbeddingClassifier, header: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Embedding:
    preprocessing = Preprocessing(
        size=header["image_size"][0],
        channels="bgr" if header["is_bgr"] else "rgb",
        **{name: tensors[f"frozen.{name}"].tolist() for name in ("mean", "std")},
    )
    content = tensors["frozen.content"].numpy().tobytes()
    layers = OnnxEmbedding(content, header["output"], preprocessing)
    layers.open()
    sizes = tuple(classifier.hidden_layer_sizes)
    n_features = len(tensors[next(name for name in tensors if name.endswith(".center"))])
    return Embedding(layers, sizes, classifier.dropout, classifier.transform, n_features)


def _load_weights(
    layers: Layers, name: str, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    """Load the tensors of layers, and the mean and standard deviation of the pixels."""
    start = f"{name}."
    layers.load_state_dict(
        {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    )
    for kind in ("mean", "std") if isinstance(layers, VGGLayers) else ():
        setattr(layers, kind, 255 * torch.tensor(header[kind], dtype=torch.float32))


def assemble(
    classifier: ImageClassifier,
    binner: AgeBinner,
    criterion: Criterion,
    classes: np.ndarray,
    frozen: Layers | None,
    heads: Sequence[Layers],
    sides: tuple[int, int],
) -> BinnedAgeRegressor:
    """Return a fitted model made of trained networks and a fitted binner."""
    nets = [restore_net(head, criterion) for head in heads]
    classifier._set_fitted(
        classes, frozen, nets, held_out=[], n_skipped=0, preparation=None, sides=sides
    )
    model = BinnedAgeRegressor(classifier, binner)
    model.binner_, model.classifier_ = binner, classifier
    return model
