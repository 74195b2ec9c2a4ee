"""Load a model from any of the files that skage writes."""

from __future__ import annotations

import os
from typing import Any

from .exported.model import load_exported
from .skagefile import load as load_skage


def load(path: str | os.PathLike) -> Any:
    """Load a model that `save` or `export` of one of skage's regressors wrote.

    Parameters
    ----------
    path : path
        A .skage file, or an .onnx file. Loading does not execute any code in it, so it need
        not be trusted. Predictions run the operations of an ONNX network, which may take any
        time and memory.

    Returns
    -------
    model : BinnedAgeRegressor, AgeEnsemble, CalibratedAgeRegressor or OnnxAgeRegressor
        The fitted model. It predicts on this machine's default device, and a model of an .onnx
        file through onnxruntime on the CPU. To fit a clone of it, the file of pretrained
        weights or of the network must be where it was; a clone of a model of an .onnx file
        reads the file again and trains nothing.

    Raises
    ------
    ValueError
        If the file does not exist, is not a model file, or is corrupted.
    ImportError
        If it is an .onnx file, and onnxruntime is not installed.

    See Also
    --------
    load_dex : Loads the networks of DEX's authors.
    load_age_network : Loads a network of others that predicts ages.
    """
    if os.fsdecode(path).lower().endswith(".onnx"):
        return load_exported(path)
    return load_skage(path)
