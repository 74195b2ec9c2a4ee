"""Model files that hold tensors and plain values only: no code runs on loading."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import dex
from .binning import AgeBinner
from .classifier import VGG16Classifier
from .losses import Criterion, check_loss
from .net import restore_net
from .network import IMAGENET_STD, Part, build
from .regressor import BinnedAgeRegressor

_FORMAT = "skage model, format 1"
# What belongs to the machine or the training run, rather than to the model.
_NOT_STORED = ("accelerate", "augment", "callbacks", "feature_cache", "device", "n_jobs", "verbose")


def save(model: BinnedAgeRegressor, path: str | os.PathLike) -> None:
    """Write a fitted model as safetensors with a JSON header.

    Raises
    ------
    TypeError
        If its classifier is no VGG16Classifier, or a parameter is no plain value.
    """
    classifier = model.classifier_
    if type(classifier) is not VGG16Classifier or type(model.binner_) is not AgeBinner:
        raise TypeError(
            f"Only a model of VGG16Classifier and AgeBinner has a .skage file, not of "
            f"{type(classifier).__name__} and {type(model.binner_).__name__}; use joblib.dump."
        )
    binner = model.binner_
    parameters = classifier.get_params(deep=False)
    if not isinstance(classifier.optimizer, str):
        parameters["optimizer"] = "sgd"  # a class cannot be stored, and training is over
    if isinstance(classifier.random_state, np.random.RandomState):
        parameters["random_state"] = None
    header = {
        "decode": model.decode,
        "binner": {k: _plain(v) for k, v in binner.get_params(deep=False).items()},
        "bin_edges": binner.bin_edges_.tolist(),
        "bin_values": binner.bin_values_.tolist(),
        "classifier": {k: _plain(v) for k, v in parameters.items() if k not in _NOT_STORED},
        "classes": classifier.classes_.tolist(),
        "history": [{k: _plain(v) for k, v in row.items()} for row in classifier.history_],
        "n_skipped": classifier.n_skipped_,
        "image_size": classifier.image_size_,
    }
    parts = {"prefix": classifier.prefix_, "suffix": classifier.net_.module_}
    first = classifier.prefix_ if classifier.prefix_ is not None else classifier.net_.module_
    if not torch.allclose(first.std, 255 * torch.tensor(IMAGENET_STD)):
        # A model of load_dex, which subtracts a mean of its own and divides by nothing.
        header["dex_mean"] = first.mean.tolist()
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{os.fspath(path)!r} cannot be written: there is no {folder!r}.")
    temporary = f"{os.fspath(path)}.partial"
    save_file(tensors, temporary, {"format": _FORMAT, "model": json.dumps(header)})
    os.replace(temporary, path)


def load(path: str | os.PathLike) -> BinnedAgeRegressor:
    """Load a model that `BinnedAgeRegressor.save` wrote.

    Parameters
    ----------
    path : path
        A .skage file; nothing in it is executed, whoever made it.

    Returns
    -------
    model : BinnedAgeRegressor
        Ready to predict, on this machine's devices.

    Raises
    ------
    ValueError
        If the file is no such model, or is damaged.
    """
    path = os.fspath(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
            header = json.loads(metadata["model"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _rebuild(header, tensors)
    except FileNotFoundError:
        raise ValueError(f"There is no model file {path!r}.") from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path!r} is no skage model, or is damaged: {str(error).splitlines()[0]} Models are "
            "written by "
            "model.save(path) or by `python -m skage train`."
        ) from error


def _rebuild(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> BinnedAgeRegressor:
    binner = AgeBinner(**header["binner"])
    binner.bin_edges_ = np.array(header["bin_edges"])
    binner.bin_values_ = np.array(header["bin_values"])
    binner.n_bins_ = len(binner.bin_values_)
    if len(binner.bin_edges_) != binner.n_bins_ + 1 or binner.n_bins_ <= max(header["classes"]):
        raise ValueError("its bins and classes do not fit together.")
    options = dict(header["classifier"])
    if options["hidden_layer_sizes"] is not None:
        options["hidden_layer_sizes"] = tuple(options["hidden_layer_sizes"])
    classifier = VGG16Classifier(**options)
    classifier.classes_ = np.array(header["classes"])
    classifier.history_ = header["history"]
    classifier.n_skipped_ = header["n_skipped"]
    classifier.image_size_ = options["image_size"] = header["image_size"]
    classifier._ready = None
    criterion = Criterion(check_loss(options["loss"]), binner.bin_values_[classifier.classes_])
    prefix: Part | None
    if "dex_mean" in header:
        named = {name.split(".", 1)[1]: tensor for name, tensor in tensors.items()}
        prefix, suffix = dex.parts(named, header["dex_mean"])
    else:
        with torch.random.fork_rng(devices=[]):
            prefix, suffix = build(
                len(classifier.classes_) if criterion.regression is None else 1,
                weights=None,
                **{
                    k: options[k]
                    for k in ("trainable", "hidden_layer_sizes", "dropout", "image_size")
                },
            )
        for name, part in (("prefix", prefix), ("suffix", suffix)):
            if part is not None:
                start = f"{name}."
                part.load_state_dict(
                    {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
                )
    classifier.prefix_, classifier.net_ = prefix, restore_net(suffix, criterion)
    model = BinnedAgeRegressor(classifier, binner, decode=header["decode"])
    model.binner_, model.classifier_ = binner, classifier
    return model


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} is no plain value and cannot go into a model file.")
