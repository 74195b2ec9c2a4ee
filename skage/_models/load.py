"""Load a model from any of the files that skage writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sklearn.pipeline import Pipeline

from .._files.container import read_container
from . import reference
from .cropper import rebuild_cropper, warn_of_detector
from .exported.model import load_exported
from .skagefile import rebuild

# What a header of wrong or missing values may raise.
_WRONG = (AttributeError, LookupError, TypeError, ValueError)


def load(
    path: str | os.PathLike,
    *,
    weights: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
) -> Any:
    """Load a model that `save` or `export` of skage wrote.

    Parameters
    ----------
    path : path
        A .skage file, or an .onnx file. Loading does not execute any code in it, so it need
        not be trusted. Predictions run the operations of an ONNX network, which may take any
        time and memory.
    weights : path or list of paths, default=None
        For a file saved with ``frozen="reference"``: the file of pretrained weights or the
        .onnx network with its frozen layers; several for an ensemble of several networks.
        None takes those that the model was trained with: torchvision's ImageNet weights,
        downloaded if necessary, or the file where it was.

    Returns
    -------
    model : BinnedAgeRegressor, AgeEnsemble, CalibratedAgeRegressor, Pipeline or OnnxAgeRegressor
        The fitted model; a Pipeline if one was saved. It predicts on this machine's default
        device, and a model of an .onnx file through onnxruntime on the CPU. To fit a clone of
        it, the file of pretrained weights or of the network must be where it was; a clone of a
        model of an .onnx file reads the file again and trains nothing.

    Raises
    ------
    ValueError
        If the file does not exist, is not a model file, is corrupted, or was written by a
        newer version; if it was saved with ``frozen="reference"``, and `weights` does not
        have its frozen layers.
    OSError
        If ImageNet weights cannot be downloaded.
    ImportError
        If it is an .onnx file, and onnxruntime is not installed.

    See Also
    --------
    load_dex : Loads the networks of DEX's authors.
    load_age_network : Loads a network of others that predicts ages.
    """
    if os.fsdecode(path).lower().endswith(".onnx"):
        if weights is not None:
            raise ValueError(f"weights={weights!r} has no effect for an .onnx file. Leave it out.")
        return load_exported(path)
    header, tensors = read_container(path)
    try:
        is_reference = reference.is_used(header)
        if is_reference:
            reference.put_back(header, tensors, weights)
    except (AttributeError, LookupError, TypeError) as error:
        raise _not_loadable(path, error) from error
    if weights is not None and not is_reference:
        raise ValueError(
            f"weights={weights!r} has no effect: {os.fspath(path)!r} holds its frozen layers. "
            "Leave it out."
        )
    try:
        model = rebuild(header, tensors)
        if "pipeline" not in header:
            return model
        cropper = rebuild_cropper(header["cropper"]) if "cropper" in header else None
        before = [] if cropper is None else [cropper]
        names = header["pipeline"]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ValueError(f"its steps have the names {names!r}")
        pipeline = Pipeline(list(zip(names, [*before, model], strict=True)))
    except _WRONG as error:
        raise _not_loadable(path, error) from error
    if cropper is not None:
        warn_of_detector(header["cropper"])
    return pipeline


def _not_loadable(path: str | os.PathLike, error: Exception) -> ValueError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return ValueError(
        f"This version of skage cannot load the model in {os.fspath(path)!r}: {reason}. Load it "
        "with the version that saved it."
    )
