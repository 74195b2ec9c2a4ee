"""Where and how the work is done, as the value of VGG16Classifier's `runtime`."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator

from ._sklearn import StrOptions

__all__ = ["Runtime"]


class Runtime(BaseEstimator):
    """Device, arithmetic, threads and folders of a computation.

    None of it belongs to the model: it is not stored in model files, and has no
    place in a grid search.

    Parameters
    ----------
    device : str, default="auto"
        A torch device, such as "cpu" or "cuda:1". "auto" takes a GPU where there
        is one.

    precision : {"auto", "bfloat16", "float32"}, default="auto"
        Arithmetic of the network. "auto" takes bfloat16 where it is faster: on a
        GPU that multiplies it, on a CPU with matrix units (AMX), and on one with AVX-512
        for bfloat16 if a convolution is found to be faster there. Activations of the
        frozen layers are kept in float16; "float32" keeps them in float32.

    n_jobs : int, default=None
        Number of threads that read and decode images; -1 takes all processors. None
        takes as many as torch computes with, which in a worker of joblib is its
        share of the processors.

    feature_cache : path, "auto" or None, default=None
        Folder where activations of the frozen layers are kept for later fits and
        predictions, at most 20 GB of them (see ``python -m skage cache``). "auto"
        is skage's folder in the user's cache directory. The folder must be on a
        local disk, not on a network file system. None keeps activations only as
        long as the process needs them.

    checkpoint : path or None, default=None
        Folder where fit keeps its state at the ends of epochs, at most once a
        minute, until it has finished. A fit of the same model to the same data
        that was killed continues from there, and ends with the same bits as one
        that was not. It needs an int as `random_state`, and no `callbacks`, whose
        states are not kept.

    See Also
    --------
    VGG16Classifier : Takes it as `runtime`.

    Examples
    --------
    >>> from skage import Runtime, VGG16Classifier
    >>> classifier = VGG16Classifier(runtime=Runtime(feature_cache="auto"))
    >>> classifier.set_params(runtime__device="cpu").runtime
    Runtime(device='cpu', feature_cache='auto')
    """

    _parameter_constraints = {
        "device": [str],
        "precision": [StrOptions({"auto", "bfloat16", "float32"})],
        "n_jobs": [Integral, None],
        "feature_cache": [str, os.PathLike, None],
        "checkpoint": [str, os.PathLike, None],
    }

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        feature_cache: Any = None,
        checkpoint: Any = None,
    ):
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.feature_cache = feature_cache
        self.checkpoint = checkpoint
