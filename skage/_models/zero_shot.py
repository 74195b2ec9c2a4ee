"""A network that predicts ages itself, as a fitted model."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from .._training.criterion import Criterion
from ..binning import AgeBinner
from ..embedding import EmbeddingClassifier
from ..losses import check_loss
from ..preprocessing import Preprocessing
from ..regressor import BinnedAgeRegressor
from .skagefile import assemble

_TOLERANCE = 1e-3  # of a sum of probabilities


def load_age_network(
    network: str | os.PathLike | nn.Module,
    *,
    preprocessing: Preprocessing | None = None,
    output: str | int | None = None,
    ages: ArrayLike | None = None,
) -> BinnedAgeRegressor:
    """Load a network whose outputs are ages, so that it predicts as it stands.

    Its distribution over ages is used as that of any other model: it can be measured,
    saved and averaged. Nothing is trained.

    Parameters
    ----------
    network : path or torch.nn.Module
        An ONNX file (``pip install 'skage[onnx]'``) or a torch module; see
        `EmbeddingClassifier`.
    preprocessing : Preprocessing, default=None
        Size, order of the channels, mean and scale of the pixels. None takes what the
        network states.
    output : str or int, default=None
        Name or position of the output with the ages. It may be left out if the network
        has one.
    ages : array-like of shape (n_outputs,), default=None
        Ages in years that the outputs stand for, ascending. None stands for 0, 1, 2, ...

    Returns
    -------
    model : BinnedAgeRegressor
        A fitted model. Its bins have the values `ages`, and edges halfway between them.

    Raises
    ------
    ImportError
        If the network is an ONNX file, and onnxruntime is not installed.
    ValueError
        If the network cannot be used, or its outputs and `ages` do not match.

    See Also
    --------
    EmbeddingClassifier : Trains a head on a network's features.
    load_dex : Loads the networks of DEX's authors.

    Notes
    -----
    A clone of the model is not fitted: its fit would train a head on the ages. To average
    the model with others, put it into a ``sklearn.frozen.FrozenEstimator``.

    Outputs that are probabilities on a gray image are used as they are; others are taken
    for logits, and pass a softmax.

    Examples
    --------
    >>> from skage import Preprocessing, load_age_network
    >>> caffe = Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68))
    >>> model = load_age_network(
    ...     "faceres.onnx", preprocessing=caffe, output="age_pred/Softmax"
    ... )  # doctest: +SKIP
    """
    classifier = EmbeddingClassifier(
        network,
        preprocessing=preprocessing,
        output=output,
        hidden_layer_sizes=(),
        loss="cross_entropy",
        dropout=0.0,
        test_augment=None,
    )
    classifier._validate_params()
    network_and_head = classifier._make_network()
    layers = network_and_head.frozen()
    found = layers.try_out()[0].double().numpy()
    values = _check_values(ages, len(found))
    network_and_head.n_features = len(found)
    if (found >= 0).all() and abs(found.sum() - 1) < _TOLERANCE:  # the log's softmax is the same
        classifier.transform = network_and_head.transform = "log"
    middle = (values[1:] + values[:-1]) / 2
    ends = 2 * values[0] - middle[0], 2 * values[-1] - middle[-1]
    binner = AgeBinner([ends[0], *middle, ends[1]], representative="midpoint").fit(values)
    binner.bin_values_ = values
    head = network_and_head.head(len(values))
    with torch.no_grad():
        output_layer = head.classifier[-1]
        output_layer.weight.copy_(torch.eye(len(values)))
        output_layer.bias.zero_()
    criterion = Criterion(check_loss("cross_entropy"), values)
    codes, sides = np.arange(len(values)), (layers.size, layers.size)
    return assemble(classifier, binner, criterion, codes, layers, [head], sides)


def _check_values(ages: ArrayLike | None, n_outputs: int) -> np.ndarray:
    if n_outputs < 2:
        raise ValueError(
            f"The output has {n_outputs} numbers for an image, not one for each age. Pass the "
            "output with the distribution over ages."
        )
    if ages is None:
        return np.arange(n_outputs, dtype=np.float64)
    values = np.asarray(ages)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"ages={ages!r} must be numbers: the age in years of each output.")
    values = values.astype(np.float64)
    if values.shape != (n_outputs,):
        raise ValueError(
            f"ages has shape {values.shape}, but the network has {n_outputs} outputs. Pass one age "
            "for each."
        )
    if not np.isfinite(values).all() or not (np.diff(values) > 0).all():
        raise ValueError(f"ages={ages!r} must be finite and ascending.")
    return values
