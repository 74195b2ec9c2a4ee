"""EmbeddingClassifier: a head on the features of a network that others trained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from ._activations.features import Features
from ._activations.pool import shared_pool
from ._classifier import ImageClassifier, warn_skipped
from ._hardware import resolve_device, warn_if_forked
from ._images.reading import check_images
from ._networks.embedding import TRANSFORMS, Embedding, make_layers
from ._sklearn import Interval, StrOptions
from ._training import auto
from ._training.resolve import check_layers, training_config
from .augment import Jitter
from .preprocessing import Preprocessing
from .runtime import Runtime
from .schedules import OneCycle, StepDecay


class EmbeddingClassifier(ImageClassifier):
    """Fresh dense layers on the output of a network that others trained, such as a face network.

    The network stays frozen: each image passes it once, and all epochs, searches and
    members of an ensemble train on the resulting features. They are transformed, and
    standardised by the training images' mean and standard deviation.

    Parameters
    ----------
    network : path or torch.nn.Module
        An ONNX file (``pip install 'skage[onnx]'``) whose only input is a batch of color
        images, or a torch module. A file is known by its content: renamed, it finds its
        features in the cache again. A module is known by its weights, layers and settings,
        but not by the code of its `forward`: clear the cache after changing it. The
        content of an ONNX file cannot run code; a torch module is code.

    preprocessing : Preprocessing, default=None
        Size, order of the channels, mean and scale of the pixels. None takes what the
        network states: an ONNX file in its metadata (``Image.BitmapPixelFormat`` and
        ``Image.NominalPixelRange``), and a torch module of timm in its
        ``pretrained_cfg``. Few files state it, and a wrong mean or scale costs much
        accuracy without an error.

    output : str or int, default=None
        Name or position of the output to use. It may be left out if the network has one.

    n_trainable : int, default=0
        Number of the last children of a torch.nn.Sequential that are trained too, as
        ``trainable="block5"`` trains VGG16's last block. The others stay frozen, and their
        activations are cached.

    transform : {"sqrt", "unit", "log"}, default=None
        Transform of the features: signed square root, unit length, or logarithm (of
        probabilities).

    hidden_layer_sizes : tuple of int, default=(512,)
        Widths of the dense layers before the output layer; () for none.

    loss : str, dict or None, default=None
        A term of `skage.losses` or a weighted sum of terms; see `VGG16Classifier`.

    dropout : float, default=0.5
        Dropout rate before the output layer and after each hidden layer.

    augment : Jitter, default=None
        Copies of the training images, which pass the network once each.

    test_augment : {"mirror"}, Jitter or None, default="mirror"
        Average predictions over the image and its mirror image, or its copies. None
        predicts twice as fast as "mirror".

    n_members : int, default=1
        Number of networks in an ensemble, whose predicted probabilities are averaged.
        Each has its own dense layers.

    lr : float or "auto", default="auto"
        Learning rate of the first epoch; with `OneCycle` the highest. "auto" is 0.01
        with "sgd" and 0.001 with other optimizers.

    lr_ratio : float, default=1.0
        Multiplier of `lr` for the layers that `n_trainable` trains.

    weight_decay : float, default=5e-3
        L2 penalty (decoupled with "adamw").

    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
        Optimizer of the dense layers. "sgd" has a momentum of 0.9.

    batch_size : int or "auto", default="auto"
        Number of images in a training step. "auto" is 32 for fewer than 500 training
        images, 64 for fewer than 1,500, and 128 otherwise.

    class_weight : {"balanced", "balanced_ages"}, dict or None, default=None
        Weights of the labels in the loss; see `VGG16Classifier`.

    max_epochs : int, default=20
        Number of passes over the training images.

    lr_schedule : StepDecay, OneCycle, "constant" or None, default=None
        How the learning rate changes; None stands for ``StepDecay(step=10, gamma=0.1)``.

    validation_fraction : float, default=0.1
        Fraction of the images passed to fit that is held out to record the validation
        loss and MAE; see `VGG16Classifier`. 0 trains on all images.

    early_stopping : bool or int, default=False
        Whether to stop after 5 epochs, or this number of epochs, without improvement on
        the validation images, and to restore the weights of the best epoch.

    callbacks : list, default=None
        skorch callbacks, which fit copies.

    runtime : Runtime, default=None
        Device, precision, threads, cache and checkpoint folders. ONNX networks compute
        in float32.

    on_error : {"raise", "skip"}, default="raise"
        How to handle unreadable images: raise an error, or leave them out of fit and
        return NaN for them in predict.

    random_state : int, RandomState instance or None, default=None
        Seeds the fresh weights, the validation split, the order of the batches and
        dropout.

    verbose : int, default=0
        1 shows progress bars, 2 a table of the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of `predict_proba`.
    nets_ : list of n_members skorch.NeuralNet
        The trained dense layers of each network, which predict from features.
    net_ : skorch.NeuralNet
        The first of `nets_`.
    frozen_ : torch.nn.Module
        The network, which maps uint8 RGB images (n, s, s, 3) to features (n, d).
    held_out_ : list of n_members ndarray
        Positions in X of the images that each network was validated on.
    history_ : list of dict
        One entry for each epoch; see `VGG16Classifier`.
    image_size_, resized_ : int
        Side in pixels to which images are resized.
    digests_ : ndarray of shape (n_images, length), uint8
        Digests of the images that it was fitted to, so that an evaluation knows them.
    n_skipped_ : int
        Number of unreadable images that fit left out.
    preparation_ : str or None
        How the training images were made from others, such as the parameters of a
        FaceCropper; "" for images as they are, None if it differs among them.

    See Also
    --------
    VGG16Classifier : Trains VGG16.
    Preprocessing : How images are fed to the network.
    load_age_network : Uses a network's own ages, without training.

    Notes
    -----
    What a network has seen decides its error more than anything that is trained on top of
    it, and images or persons of a test set may be among it. Say it beside each figure.

    Examples
    --------
    >>> from skage import BinnedAgeRegressor, EmbeddingClassifier, Preprocessing
    >>> arcface = Preprocessing(size=112, mean=127.5, std=127.5)
    >>> classifier = EmbeddingClassifier("arcface.onnx", preprocessing=arcface)
    >>> model = BinnedAgeRegressor(classifier)
    >>> model.fit(paths, ages)  # doctest: +SKIP
    """

    _parameter_constraints = ImageClassifier._parameter_constraints | {
        "network": [str, os.PathLike, nn.Module],
        "preprocessing": [Preprocessing, None],
        "output": [str, int, None],
        "n_trainable": [Interval(Integral, 0, None, closed="left")],
        "lr_ratio": [Interval(Real, 0, None, closed="left")],
        "transform": [StrOptions(set(TRANSFORMS)), None],
        "hidden_layer_sizes": ["array-like"],
    }

    def __init__(
        self,
        network: str | os.PathLike | nn.Module,
        *,
        preprocessing: Preprocessing | None = None,
        output: str | int | None = None,
        n_trainable: int = 0,
        transform: str | None = None,
        hidden_layer_sizes: Sequence[int] = (512,),
        loss: str | dict[str, float] | None = None,
        dropout: float = 0.5,
        augment: Jitter | None = None,
        test_augment: str | Jitter | None = "mirror",
        n_members: int = 1,
        lr: float | str = "auto",
        lr_ratio: float = 1.0,
        weight_decay: float = 5e-3,
        optimizer: Any = "sgd",
        batch_size: int | str = "auto",
        class_weight: str | dict | None = None,
        max_epochs: int = 20,
        lr_schedule: StepDecay | OneCycle | str | None = None,
        validation_fraction: float = 0.1,
        early_stopping: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        runtime: Runtime | None = None,
        on_error: str = "raise",
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.network = network
        self.preprocessing = preprocessing
        self.output = output
        self.n_trainable = n_trainable
        self.transform = transform
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.dropout = dropout
        self.augment = augment
        self.test_augment = test_augment
        self.n_members = n_members
        self.lr = lr
        self.lr_ratio = lr_ratio
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.callbacks = callbacks
        self.runtime = runtime
        self.on_error = on_error
        self.random_state = random_state
        self.verbose = verbose

    def embed(self, X: Any) -> np.ndarray:
        """Return the output of the frozen layers, before the transform. It needs no fit.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), float32
            With `n_trainable`, feature maps of shape (n_samples, ...).
            NaN where `on_error` is "skip" and the image cannot be read.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise".

        See Also
        --------
        skage.datasets.group_near_duplicates : Groups images by such features.
        """
        self._validate_params()
        warn_if_forked()
        images = check_images(X)
        if hasattr(self, "classes_"):
            network, _ = self._get_ready()
        else:
            device = resolve_device(self._get_runtime().device)
            layers = self._layers()
            network = self._frozen_network(layers, layers.size, device)
        errors = []
        with self._open_store() as store:
            pool = shared_pool(network, store, make=False)
            features = Features(network, store, pool, self._reading())
            found = np.full((len(images), *network.layout[0]), np.nan, dtype=np.float32)
            with contextlib.closing(features.stream(images)) as chunks:
                for chunk in chunks:
                    errors += chunk.errors
                    if chunk.positions:
                        found[chunk.positions] = chunk.activations.float().cpu().numpy()
        if errors:
            warn_skipped(errors, len(images), "get NaN")
        return found

    def _make_network(self):
        sizes = check_layers(self.hidden_layer_sizes)
        return Embedding(self._layers(), sizes, self.dropout, self.transform)

    def _layers(self):
        return make_layers(self.network, self.preprocessing, self.output, self.n_trainable)

    def _sides(self):
        size = self._layers().size
        return size, size

    def _training_config(self, n_training):
        check_layers(self.hidden_layer_sizes)
        lr = auto.embedding_lr(self.optimizer)
        return training_config(self, n_training, None, lr, self.lr_ratio)

    def _prepare_head(self, head, data):
        rows = data.rows[~data.is_valid, 0]
        head.standardise(torch.from_numpy(data.activations[rows]))
