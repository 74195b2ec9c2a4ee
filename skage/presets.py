"""Whole recipes, as models that are ready to fit."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from .augment import Jitter
from .binning import AgeBinner
from .classifier import VGG16Classifier
from .embedding import EmbeddingClassifier
from .regressor import BinnedAgeRegressor
from .schedules import OneCycle

__all__ = ["accurate", "dex", "face", "fast"]


def fast(**parameters: Any) -> BinnedAgeRegressor:
    """Make the default model: dense layers on frozen convolutions, not yet fitted.

    Parameters
    ----------
    **parameters : dict
        Parameters of VGG16Classifier to change, nested ones as ``runtime__device``.

    Returns
    -------
    model : BinnedAgeRegressor
        The same as ``BinnedAgeRegressor()``, with its classifier and binner at hand.

    Notes
    -----
    Mean absolute error on UTKFace: 5.61 ± 0.09 years in five folds (6,300 training
    images), 6.7 with 2,000 training images, 7.7 with 600 and 8.9 with 200. The images
    pass VGG16 once, 5 a second on two cores without bfloat16; then 6,300 of them train
    in half a minute, and 600 in a few seconds. See docs/benchmarks.md.

    Examples
    --------
    >>> from skage import presets
    >>> model = presets.fast(max_epochs=30, runtime__device="cpu")
    >>> model.classifier.max_epochs
    30
    """
    classifier = VGG16Classifier().set_params(**parameters)
    return BinnedAgeRegressor(classifier, AgeBinner())


def accurate(**parameters: Any) -> BinnedAgeRegressor:
    """Make a model whose last block of convolutions is trained too, not yet fitted.

    Parameters
    ----------
    **parameters : dict
        Parameters of VGG16Classifier to change, nested ones as ``runtime__device``.

    Returns
    -------
    model : BinnedAgeRegressor

    Notes
    -----
    Mean absolute error on UTKFace: 4.30 years in five folds (6,300 training images),
    with 571 s of training on one core that multiplies bfloat16, and about four times
    as long on one that does not. No images are held out for validation. See
    docs/benchmarks.md.

    Examples
    --------
    >>> from skage import presets
    >>> presets.accurate(augment__n_copies=4).classifier.augment
    Jitter(n_copies=4)
    """
    classifier = VGG16Classifier(
        trainable="block5",
        loss={"cross_entropy": 1, "expectation_l1": 0.1},
        image_size=192,
        augment=Jitter(2),
        test_augment="mirror",
        optimizer="adamw",
        lr=5e-4,
        lr_schedule=OneCycle(),
        weight_decay=0.05,
        batch_size=64,
        max_epochs=10,
        validation_fraction=0,
    )
    bins = AgeBinner(50, encoding="gaussian", sigma=4)
    return BinnedAgeRegressor(classifier.set_params(**parameters), bins, decode="median")


def face(network: str | os.PathLike | nn.Module, **parameters: Any) -> BinnedAgeRegressor:
    """Make a model of dense layers on a frozen face network, not yet fitted.

    Parameters
    ----------
    network : path or torch.nn.Module
        An ONNX file or a torch module; see `EmbeddingClassifier`.
    **parameters : dict
        Parameters of EmbeddingClassifier to change, such as `preprocessing` and `output`,
        which most networks need.

    Returns
    -------
    model : BinnedAgeRegressor

    Notes
    -----
    The settings were chosen with one network, HSE-FaceRec's MobileNet, which was trained
    to recognise the faces of VGGFace2 and, in a second output, ages of an unnamed source.
    With it the mean absolute error on UTKFace is 3.83 ± 0.06 years in five folds (6,300
    training images), 4.3 with 2,000 training images, 5.2 with 600 and 6.7 with 200. It
    predicts ten times as fast as VGG16, and 6,300 images train in ten seconds.
    Other networks may need another `transform`. See docs/benchmarks.md.

    Examples
    --------
    >>> from skage import Preprocessing, presets
    >>> caffe = Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68))
    >>> model = presets.face("faceres.onnx", preprocessing=caffe, output="global_pooling/Mean")
    >>> model.classifier.transform
    'sqrt'
    """
    classifier = EmbeddingClassifier(network, transform="sqrt", validation_fraction=0)
    return BinnedAgeRegressor(classifier.set_params(**parameters), AgeBinner())


def dex(**parameters: Any) -> BinnedAgeRegressor:
    """Make the model of DEX (Rothe et al., ICCVW 2015 and IJCV 2016), not yet fitted.

    Parameters
    ----------
    **parameters : dict
        Parameters of VGG16Classifier to change, nested ones as ``runtime__device``.

    Returns
    -------
    model : BinnedAgeRegressor

    Notes
    -----
    101 bins of the ages 0 to 100; VGG16 pretrained on ImageNet, all layers trained,
    at 224 pixels out of 256; ten copies of each image, turned by 10 degrees at most,
    shifted by a tenth and scaled by a tenth; every age of the same weight; stochastic
    gradient descent with a learning rate that falls by 10 every 10 epochs; twenty
    networks, each with a tenth held out of every age, the weights of its best epoch,
    and the average of their predictions.

    Of the two papers the first was read. Momentum 0.9, weight decay 0.0005, dropout
    0.5 and the learning rates (1e-3 for the output layer, 1e-4 for the others) are as
    commonly quoted, and not checked. Neither stated nor found: the number of epochs,
    the size of the batches, how angles, shifts and scales are drawn, mirrored copies.
    The paper made ages even by leaving out images of IMDB-WIKI; here the images of
    frequent ages weigh less in the loss. The paper does not average over views of a test image;
    ``test_augment="mirror"`` does.

    A model of IMDB-WIKI that its `save` wrote can be trained further on apparent ages with
    ``dex(weights="real.skage")``: all twenty networks start from its first one.

    Its error has not been measured. The cost is the paper's too: twenty trainings of
    all of VGG16, and 540 MB a network in memory and in the file.
    ``trainable="block5", hidden_layer_sizes=(512,)`` is a tenth of that.

    Examples
    --------
    >>> from skage import presets
    >>> model = presets.dex(trainable="block5", n_members=5)
    >>> model.classifier.lr_ratio
    0.1
    """
    classifier = VGG16Classifier(
        trainable="all",
        hidden_layer_sizes=None,
        loss="cross_entropy",
        image_size=(224, 256),
        augment=Jitter(10, rotation=10, shift=0.1, scale=0.1, mirror=True),
        test_augment=None,
        class_weight="balanced_ages",
        lr=1e-3,
        lr_ratio=0.1,
        weight_decay=5e-4,
        batch_size=64,
        max_epochs=30,
        n_members=20,
        validation_fraction=0.1,
    ).set_params(**parameters)
    if "early_stopping" not in parameters and classifier.validation_fraction:
        classifier.early_stopping = classifier.max_epochs  # the weights of the best epoch
    bins = AgeBinner(101, strategy="uniform", age_range=(-0.5, 100.5), representative="midpoint")
    return BinnedAgeRegressor(classifier, bins)
