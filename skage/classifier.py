"""VGG16Classifier: a scikit-learn classifier of images that owns a skorch net."""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from skorch import NeuralNet

from ._activations.features import Features, Reading
from ._activations.frozen import FrozenNetwork
from ._activations.pool import ActivationPool, release_pages, shared_pool
from ._activations.projection import training_rows
from ._files.store import open_store
from ._hardware import resolve_device, resolve_precision, warn_if_forked
from ._images.reading import ImageError, check_images, image_tags, summarise
from ._memory import fit_lock
from ._nested import with_defaults
from ._networks.vgg import BACKBONES, BLOCKS, TRAINABLE, VGG, Architecture
from ._sklearn import Interval, StrOptions, fit_context
from ._targets import AgeTargets, LearnsAges
from ._training import auto
from ._training.checkpoint import FitFiles
from ._training.criterion import Criterion
from ._training.targets import check_labels
from ._training.train import TrainingConfig, TrainingData, train
from .augment import Jitter, views
from .losses import check_loss, needs_years
from .metrics import predicted_only
from .runtime import Runtime
from .schedules import OneCycle, StepDecay


class VGG16Classifier(LearnsAges, ClassifierMixin, BaseEstimator):
    """VGG16 over images (DEX, Rothe et al., IJCV 2016, section 3.1), trained with skorch.

    The network is cut at its first trainable layer. In a fit each image passes the
    frozen layers once, and all epochs train the remaining layers on the resulting
    activations. The networks of an ensemble share these activations.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        Pretrained weights. "imagenet" downloads torchvision's once. A path names a
        .safetensors or torch file with torchvision's names, which may cover the
        convolutions only; or a .skage file that a fitted model's `save` wrote, to
        continue training it, for instance from real to apparent ages. None starts
        from He's random initialisation. The output layer is always fresh, except
        with a .skage file whose bins stand for the same ages. Of an ensemble's
        file the first network is used.

    backbone : {"vgg11", "vgg13", "vgg16", "vgg19", and each with "_bn"}, default="vgg16"
        The network, in torchvision's implementation; "_bn" has batch
        normalisation.

    trainable : {"output", "classifier", "block5", "block4", "block3", "block2", "all"}, \
            default="classifier"
        Which layers are trained: the output layer, all fully connected layers,
        these and the convolutions from that block on, or all layers. The others
        are frozen.

    hidden_layer_sizes : tuple of int or None, default=(512,)
        Widths of fresh fully connected layers before the output layer; () for
        none. None keeps VGG16's own two of 4096.

    n_components : int, "auto" or None, default="auto"
        Number of components to which the frozen activations (25,088 at 224 pixels)
        are reduced before the dense layers are trained on them: a projection to the
        subspace of nearly largest variance, learned from this fit's training
        images and scaled to unit mean square. Training is some ten times faster.
        The projection is merged into the first dense layer afterwards, so that
        prediction is not affected. None trains on all activations. "auto" follows
        the number of training images where fresh dense layers alone are trained
        (see Notes), and is None otherwise.

    loss : str, dict or None, default=None
        A term of `skage.losses`: "cross_entropy" or "cumulative"; with ages in
        years, as in BinnedAgeRegressor, also "expectation_l1", "expectation_l2",
        "variance" and "ranked_probability"; or a weighted sum such as
        ``{"cross_entropy": 1, "expectation_l1": 0.5}``. None stands for this sum
        with ages in years, and for "cross_entropy" without.
        "l1" and "l2" regress the age directly: the network has one output, and the
        predicted probabilities are on the two bins around that age, so that their
        expectation is the age. The loss is measured in standard deviations of the
        bins' values. Ages beyond the outermost values cannot be predicted, so use
        many bins.

    dropout : float, default=0.5
        Dropout rate before the output layer and after each hidden layer.

    image_size : int or (int, int), default=224
        Side in pixels, at least 32, to which images are resized, whatever their
        proportions. A pair also crops: ``(224, 256)``, as in DEX, resizes to
        256 pixels and cuts out the central 224; augmented copies are cut out at a random
        place.

    augment : Jitter, default=None
        Copies of the training images: each time an image is trained on, the image
        or one of its copies is drawn at random. Copies pass the frozen layers once
        and are cached, as the images are.

    test_augment : {"mirror"}, Jitter or None, default="mirror"
        Average predictions over the image and its mirror image, or its copies.
        Each view passes the frozen layers: None predicts twice as fast as "mirror",
        and a little worse.

    n_members : int, default=1
        Number of networks in an ensemble, whose predicted probabilities are
        averaged. They share the frozen layers; each has its own fresh layers,
        batches and validation split.

    lr : float or "auto", default="auto"
        Learning rate of the first epoch; with `OneCycle` the highest. "auto"
        depends on what is trained and by which optimizer; see Notes.

    lr_ratio : float or dict, default=1.0
        Multiplier of `lr` for layers that start from pretrained weights, except
        the output layer. A dict gives the multipliers of blocks, pretrained or not,
        as ``{"block4": 0.1, "block5": 0.3}``. The blocks are "block1" to "block5"
        and "classifier"; those that are not named have a multiplier of 1.

    weight_decay : float, default=5e-3
        L2 penalty (decoupled with "adamw").

    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
        Optimizer of the trained layers. "sgd" has a momentum of 0.9. For other options
        pass ``functools.partial(torch.optim.SGD, momentum=0.8, nesterov=True)``.

    batch_size : int or "auto", default="auto"
        Number of images in a training step. "auto" follows the number of training
        images; see Notes.

    class_weight : {"balanced", "balanced_ages"}, dict or None, default=None
        Weights of the labels in the loss, multiplied by `sample_weight`. "balanced"
        gives every label the same total weight, and "balanced_ages", in
        BinnedAgeRegressor, every year of age. Labels that a dict does not name have
        a weight of 1.

    max_epochs : int, default=20
        Number of passes over the training images.

    lr_schedule : StepDecay, OneCycle, "constant" or None, default=None
        How the learning rate changes; see `skage.schedules`. None stands for
        ``StepDecay(step=10, gamma=0.1)``, as in DEX. "constant" keeps `lr`, or
        leaves it to a scheduler among the `callbacks`.

    validation_fraction : float, default=0.1
        Fraction of the training images that is held out, evenly over the ages, to
        record the validation loss and MAE. 0 trains on all images.

    early_stopping : bool or int, default=False
        Whether to stop after 5 epochs, or this number of epochs, in which the
        validation MAE (without ages, the validation loss) has not improved, and to
        restore the weights of the best epoch. ``early_stopping=max_epochs`` only
        restores them.

    callbacks : list, default=None
        skorch callbacks, which fit copies.

    runtime : Runtime, default=None
        Device, precision, threads, cache and checkpoint folders. None stands for
        ``Runtime()``.

    on_error : {"raise", "skip"}, default="raise"
        How to handle unreadable images. "raise": fit names all of them in one error
        before the work begins, and predict raises at the first. "skip": fit leaves
        them out, and predict returns NaN for them, each with one warning.

    random_state : int, RandomState instance or None, default=None
        Seeds the fresh weights, the validation split, the order of the batches and
        dropout. An int gives the same network each time, bit for bit on one machine.

    verbose : int, default=0
        1 shows progress bars, 2 a table of the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of `predict_proba`.
    nets_ : list of n_members skorch.NeuralNet
        The trained layers of each network, on the CPU, without the optimizer's
        state. They predict from activations of the frozen layers.
    net_ : skorch.NeuralNet
        The first of `nets_`.
    frozen_ : torch.nn.Module or None
        The frozen layers, on the CPU.
    held_out_ : list of n_members ndarray
        Positions in X of the images that each network was validated on. Model files
        do not store them.
    history_ : list of dict
        One entry for each epoch: epoch, train_loss, valid_loss, lr (of the output
        layer, at the end), dur (in seconds), in BinnedAgeRegressor valid_mae (in
        years), and in an ensemble member.
    image_size_, resized_ : int
        Side in pixels of what the network sees, and of the image it is cut from.
    n_skipped_ : int
        Number of unreadable images that fit left out.
    preparation_ : str or None
        How the training images were made from others, such as the parameters of a
        FaceCropper; "" for images as they are, None if it differs among them.

    See Also
    --------
    BinnedAgeRegressor : Predicts ages with such a classifier.
    Runtime : Device, precision, threads and folders.

    Notes
    -----
    What "auto" stands for follows the number n of training images:

    - n_components: 0.8 n, at most 2,048 and at most the number of activations.
    - batch_size: 32 for n < 500, 64 for n < 1,500, and 128 otherwise.
    - lr: 0.01 on components and 0.001 otherwise with "sgd"; 0.0005 with other
      optimizers.

    The defaults were measured with frozen convolutions on 200, 600, 2,000 and 6,000
    images of UTKFace; see docs/benchmarks.md.

    Fresh hidden layers see the output of block 5 averaged to 7 x 7, or a smaller map
    where the image is smaller than 224 pixels. Images are normalised with ImageNet's
    mean and standard deviation.
    """

    #: What None stands for.
    _value_defaults = {"lr_schedule": StepDecay, "runtime": Runtime}
    _parameter_constraints = {
        "weights": [str, os.PathLike, None],
        "backbone": [StrOptions(set(BACKBONES))],
        "trainable": [StrOptions(set(TRAINABLE))],
        "hidden_layer_sizes": ["array-like", None],
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "loss": [str, dict, None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "image_size": [Interval(Integral, 32, None, closed="left"), tuple],
        "augment": [Jitter, None],
        "test_augment": [StrOptions({"mirror"}), Jitter, None],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "lr_ratio": [Interval(Real, 0, None, closed="left"), dict],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), callable],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "class_weight": [StrOptions({"balanced", "balanced_ages"}), dict, None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr_schedule": [StepDecay, OneCycle, StrOptions({"constant"}), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "runtime": [Runtime, None],
        "on_error": [StrOptions({"raise", "skip"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        weights: str | os.PathLike | None = "imagenet",
        backbone: str = "vgg16",
        trainable: str = "classifier",
        hidden_layer_sizes: Sequence[int] | None = (512,),
        n_components: int | str | None = "auto",
        loss: str | dict[str, float] | None = None,
        dropout: float = 0.5,
        image_size: int | tuple[int, int] = 224,
        augment: Jitter | None = None,
        test_augment: str | Jitter | None = "mirror",
        n_members: int = 1,
        lr: float | str = "auto",
        lr_ratio: float | dict[str, float] = 1.0,
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
        self.weights = weights
        self.backbone = backbone
        self.trainable = trainable
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_components = n_components
        self.loss = loss
        self.dropout = dropout
        self.image_size = image_size
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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        targets: AgeTargets | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : sequence of n_samples images
            Paths, PIL images or arrays; see `skage.images.check_images`.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the images in the loss.
        targets : AgeTargets, default=None
            The ages behind the labels, as `AgeBinner.targets` makes them and
            BinnedAgeRegressor passes them: for losses in years, distributions to learn,
            and the validation MAE. The labels are then codes of its bins.

        Returns
        -------
        self : VGG16Classifier

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise", or none can.
        ValueError
            If a parameter or the labels are not valid, or training diverges.
        """
        warn_if_forked()
        images = check_images(X)
        check_consistent_length(images, y)
        labels = check_labels(y, sample_weight, self.class_weight, targets)
        criterion = self._criterion(labels)
        config = self._training_config(len(labels.rows))
        self._warn_if_few(len(labels.rows), config)
        random_state = check_random_state(self.random_state)

        with (
            fit_lock,
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            _deterministic(),
            self._open_store() as store,
        ):
            _seed(random_state)
            vgg = VGG(self._architecture(), self.weights)
            frozen = vgg.frozen()
            network = self._frozen_network(frozen, self._sides()[0], config.device)
            pool = shared_pool(network, store) or ActivationPool()
            features = Features(network, store, pool, self._reading())
            versions = self._collect(features, images, labels.rows)
            learned = labels.targets_of(versions[0].positions)
            config = self._training_config(len(learned))  # unreadable images are left out
            files = FitFiles(self._get_runtime().checkpoint)
            nets, held_out = [], []
            for _ in range(self.n_members):
                _seed(random_state)
                n_outputs = len(labels.classes) if criterion.regression is None else 1
                head = vgg.head(n_outputs, labels.bin_values, config.n_components)
                is_valid = _held_out(learned.years, self.validation_fraction, random_state)
                data = self._training_data(features, versions, learned, is_valid, config)
                file = files.file(head, *data.facts, *criterion.facts, *config.facts)
                nets.append(train(head, data, criterion, config, checkpoint=file))
                data.release(nets[-1].module_)
                held_out.append(versions[0].positions[is_valid])
            files.remove()
        self._set_fitted(
            labels.classes, frozen, nets, held_out, len(versions[0].errors), _preparation(images)
        )
        self._make_ready(network)
        return self

    def _set_fitted(self, classes, frozen, nets, held_out, n_skipped, preparation):
        self.classes_, self.frozen_, self.nets_ = classes, frozen, nets
        self.held_out_, self.n_skipped_, self.preparation_ = held_out, n_skipped, preparation
        self.image_size_, self.resized_ = self._sides()
        self.history_ = [
            ({"member": member} if len(nets) > 1 else {})
            | {k: v for k, v in row.items() if k != "batches"}
            for member, net in enumerate(nets)
            for row in net.history
        ]
        self._ready: tuple | None = None

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including those of default `lr_schedule` and `runtime`.

        Parameters
        ----------
        **params : dict
            By name, nested as ``lr_schedule__step``. Where `lr_schedule` or `runtime`
            is None, such a parameter sets ``StepDecay()`` or ``Runtime()`` first.

        Returns
        -------
        self : VGG16Classifier
        """
        for name in ("augment", "test_augment"):
            value = params.get(name, getattr(self, name))
            if not isinstance(value, Jitter) and any(k.startswith(f"{name}__") for k in params):
                raise ValueError(
                    f"{name}={value!r} has no parameters to set. Pass {name}=Jitter() first."
                )
        return super().set_params(**with_defaults(self, params, **self._value_defaults))

    @property
    def net_(self) -> NeuralNet:
        """The first network."""
        return self.nets_[0]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float32
            NaN where `on_error` is "skip" and the image cannot be read.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise".
        ValueError
            If a parameter is not valid.

        Warns
        -----
        UserWarning
            If images are skipped, or were cropped in another way than those of fit.
        """
        check_is_fitted(self)
        self._validate_params()
        warn_if_forked()
        images = check_images(X)
        self._check_preparation(images)
        network, heads = self._get_ready()
        errors = []
        with self._open_store() as store:
            pool = shared_pool(network, store, make=False)
            features = Features(network, store, pool, self._reading())
            size, resized = self.image_size_, self.resized_
            seen = views(images, size, size / resized, self.test_augment)
            probabilities = np.zeros((len(images), len(self.classes_)), dtype=np.float32)
            for view in seen:
                found, errors = self._probabilities(features, heads, view)
                probabilities += found
        if pool is not None:
            pool.release_pages()
        if errors:
            _warn_skipped(errors, len(images), "get NaN, which only skage's scorers leave out")
        return probabilities / len(seen)

    def _probabilities(self, features, heads, images):
        """Probabilities of the classes, NaN for what is not read, and what is wrong with it."""
        probabilities = np.full((len(images), len(self.classes_)), np.nan, dtype=np.float32)
        errors: list[ImageError] = []
        device, dtype = features.network.device, features.network.dtype
        with contextlib.closing(features.stream(images)) as chunks:
            for chunk in chunks:
                errors += chunk.errors
                if not chunk.positions:
                    continue
                with (
                    torch.inference_mode(),
                    torch.autocast(device.type, dtype, enabled=dtype.itemsize < 4),
                    _deterministic(),
                ):
                    activations = chunk.activations.to(device)
                    outputs = [head(activations) for head in heads]
                found = [self.net_.criterion_.probabilities(output) for output in outputs]
                probabilities[chunk.positions] = torch.stack(found).mean(dim=0).cpu().numpy()
        return probabilities, errors

    def predict(self, X: Any) -> np.ndarray:
        """Most probable labels.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            NaN (None among text labels) where an image is skipped.
        """
        probabilities = self.predict_proba(X)
        skipped = np.isnan(probabilities[:, 0])
        labels = self.classes_[np.where(skipped, 0, probabilities.argmax(axis=1))]
        if skipped.any():
            numeric = labels.dtype.kind in "biuf"
            labels = labels.astype(np.float64 if numeric else object)
            labels[skipped] = np.nan if numeric else None
        return labels

    def _check_preparation(self, images):
        trained_on, given = self.preparation_, _preparation(images)
        if trained_on is not None and given != trained_on:
            names = {"": "images as they are", None: "images cropped in several ways"}
            warnings.warn(
                f"These images are not cropped as the training images were, so ages may be wrong. "
                f"Fit: {names.get(trained_on, trained_on)}. Now: {names.get(given, given)}. Crop "
                "them in the same way.",
                stacklevel=4,
            )

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy on the images that are not skipped.

        Parameters
        ----------
        X : sequence of n_samples images
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            From 0 to 1; higher is better.

        Raises
        ------
        ValueError
            If all images are skipped.
        """
        probabilities = self.predict_proba(X)
        y, _, sample_weight = predicted_only(y, probabilities.max(axis=1), sample_weight)
        labels = self.classes_[probabilities[~np.isnan(probabilities[:, 0])].argmax(axis=1)]
        return accuracy_score(y, labels, sample_weight=sample_weight)

    def _criterion(self, labels):
        in_years = labels.bin_values is not None
        loss = check_loss(auto.loss(in_years) if self.loss is None else self.loss)
        if not in_years and needs_years(loss):
            raise ValueError(
                f"loss={self.loss!r} needs ages in years. Put the classifier into "
                "BinnedAgeRegressor, or pass targets to fit."
            )
        criterion = Criterion(loss, labels.bin_values)
        if criterion.regression is not None and labels.targets.distribution is not None:
            raise ValueError(
                f"loss={self.loss!r} regresses the age itself and does not learn distributions. "
                "Leave out age_std, and give the binner encoding='hard'."
            )
        return criterion

    def _training_config(self, n_images):
        """Resolve the parameters for this number of images, and refuse what cannot work."""
        self._check_together(n_images)
        runtime = self._get_runtime()
        device = resolve_device(runtime.device)
        schedule = StepDecay() if self.lr_schedule is None else self.lr_schedule
        n_trained = n_images - _n_held_out(n_images, self.validation_fraction)
        n_components = self._check_components(n_trained)
        lr, batch_size = self.lr, self.batch_size
        if isinstance(lr, str):
            lr = auto.learning_rate(self.optimizer, compressed=n_components is not None)
        if isinstance(batch_size, str):
            batch_size = auto.batch_size(n_trained)
        return TrainingConfig(
            n_components=n_components,
            optimizer=self.optimizer,
            lr=lr,
            lr_ratio=self.lr_ratio,
            weight_decay=self.weight_decay,
            batch_size=batch_size,
            max_epochs=self.max_epochs,
            schedule=None if isinstance(schedule, str) else schedule,
            early_stopping=self.early_stopping,
            precision=resolve_precision(runtime.precision, device),
            device=device,
            callbacks=self.callbacks or (),
            verbose=self.verbose,
        )

    def _check_components(self, n_trained):
        """Number of components for this number of training images, or None."""
        n_components = self.n_components
        is_dense = self.trainable in ("output", "classifier")
        has_fresh = self.hidden_layer_sizes is not None or self.trainable == "output"
        n_activations = self._architecture().n_activations
        if n_components == "auto":
            most = min(n_trained, n_activations)
            return auto.n_components(n_trained, most) if is_dense and has_fresh else None
        if n_components is None:
            return None
        if not is_dense:
            raise ValueError(
                f"n_components={n_components} reduces the input of dense layers, but "
                f"trainable={self.trainable!r} trains convolutions too. Pass "
                "n_components=None, or trainable='classifier'."
            )
        if not has_fresh:
            raise ValueError(
                f"n_components={n_components} needs fresh layers, but hidden_layer_sizes=None "
                "keeps VGG16's own. Pass hidden_layer_sizes=(512,), or trainable='output'."
            )
        if n_components > min(n_trained, n_activations):
            raise ValueError(
                f"n_components={n_components} exceeds the number of training images "
                f"({n_trained}) or of activations per image ({n_activations}). Pass a lower "
                "n_components, or 'auto'."
            )
        return n_components

    def _warn_if_few(self, n_images, config):
        compresses = self.n_components == "auto" and config.n_components is not None
        if n_images < auto.FEWEST and (compresses or "auto" in (self.batch_size, self.lr)):
            warnings.warn(
                f"There are only {n_images} images to train on. The defaults were measured on 200 "
                "and more, and errors are large with so few. Train on more images, or choose "
                "n_components, batch_size and lr yourself.",
                stacklevel=4,
            )

    def _check_together(self, n_images):
        if self.early_stopping and (not self.validation_fraction or n_images < 2):
            raise ValueError(
                "early_stopping needs validation images. Pass a validation_fraction above 0, and "
                "at least 2 images."
            )
        checkpoint = self._get_runtime().checkpoint
        if checkpoint is not None and self.callbacks:
            raise ValueError(
                "A checkpoint does not keep the state of callbacks. Leave out callbacks, or pass "
                "checkpoint=None."
            )
        if checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint={checkpoint!r} needs an int as random_state, not "
                f"{self.random_state!r}: a fit that resumes must begin as the one that was killed."
            )
        ratios = self.lr_ratio.items() if isinstance(self.lr_ratio, dict) else ()
        for block, ratio in ratios:
            good = isinstance(ratio, int | float | np.number) and 0 <= ratio < np.inf
            if block not in BLOCKS or not good:
                raise ValueError(
                    f"lr_ratio={self.lr_ratio!r} must map blocks to numbers >= 0, and "
                    f"{block!r}: {ratio!r} does not. The blocks are {', '.join(BLOCKS)}."
                )

    def _architecture(self):
        return Architecture(
            backbone=self.backbone,
            trainable=self.trainable,
            hidden_layer_sizes=self._check_layers(),
            dropout=self.dropout,
            image_size=self._sides()[0],
        )

    def _sides(self):
        """Sides in pixels that the network sees, and that images are resized to before."""
        sides: Any = self.image_size
        if isinstance(sides, Integral):
            return sides, sides
        whole = len(sides) == 2 and all(isinstance(side, Integral) for side in sides)
        if not whole or not 32 <= sides[0] <= sides[1]:
            raise ValueError(
                f"image_size={sides!r} must be a number of pixels, or a pair such as (224, 256): "
                "the side that is cut out, at least 32, and the side resized to before, at least "
                "as large."
            )
        return sides

    def _collect(self, features, images, rows):
        """Activations of the readable ones of some images, and of their copies."""
        size, resized = self._sides()
        plain = views(images, size, size / resized, None)[0]
        found = features.collect(plain, rows)
        if found.errors and not len(found.positions):
            first = found.errors[0].message
            raise ImageError(f"None of the {len(rows)} images can be read. {first}")
        if found.errors:
            _warn_skipped(found.errors, len(rows), "are left out of fit", stacklevel=4)
        if self.augment is None:
            return [found]
        readable = [images[position] for position in found.positions]
        copies = self.augment.copies(readable, size, size / resized)
        return [found, *(features.collect(copy, check=False) for copy in copies)]

    def _training_data(self, features, versions, targets, is_valid, config):
        activations, rows, projection = training_rows(
            versions, features.pool, ~is_valid, config.n_components, config.device, features.store
        )
        if projection is not None:  # training reads what was compressed
            for version in versions:
                release_pages(version.array)
        keys = [b"".join(version.keys) for version in versions]
        return TrainingData(activations, rows, targets, is_valid, keys, projection)

    def _check_layers(self):
        sizes = self.hidden_layer_sizes
        if sizes is None:
            return None
        sizes = tuple(sizes)
        if not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} must hold whole numbers above 0."
            )
        if sizes and self.trainable == "output" and self.weights is None:
            raise ValueError(
                f"trainable='output' would leave the fresh hidden_layer_sizes={sizes} untrained. "
                "Pass trainable='classifier', or hidden_layer_sizes=() or None."
            )
        return sizes

    def _get_runtime(self):
        runtime = Runtime() if self.runtime is None else self.runtime
        runtime._validate_params()
        return runtime

    def _open_store(self):
        # Random layers that no seed fixes are met once: their activations are not kept.
        kept = self.weights is not None or isinstance(self.random_state, Integral)
        return open_store(self._get_runtime().feature_cache if kept else None)

    def _reading(self):
        return Reading(self.on_error, self._get_runtime().n_jobs, progress=self.verbose > 0)

    def _get_ready(self):
        """The fitted network on its device; made on first use, left out of pickles."""
        if self._ready is not None and self._ready[0] == self._ready_for():
            return self._ready[1]
        name = self._get_runtime().device
        try:
            device = resolve_device(name)
        except ValueError as error:  # trained elsewhere
            warnings.warn(f"{error} Predicting on the CPU.", stacklevel=3)
            device = torch.device("cpu")
        return self._make_ready(self._frozen_network(self.frozen_, self.image_size_, device))

    def _frozen_network(self, frozen, image_size, device):
        precision = self._get_runtime().precision
        dtype = resolve_precision(precision, device)
        return FrozenNetwork(frozen, image_size, dtype, device, exact=precision == "float32")

    def _make_ready(self, network):
        device = network.device
        heads = [net.module_.eval() for net in self.nets_]
        if device.type != "cpu":
            heads = copy.deepcopy(heads)
        ready = network, [head.to(device) for head in heads]
        self._ready = (self._ready_for(), ready)
        return ready

    def _ready_for(self):
        runtime = self._get_runtime()
        return runtime.device, runtime.precision, len(self.nets_)

    def __getstate__(self):
        state = super().__getstate__()
        return state | {"_ready": None} if "_ready" in state else state

    def __sklearn_tags__(self):
        return image_tags(super().__sklearn_tags__())


def _preparation(images):
    """How all of some images were made, or None where it differs."""
    kinds = {getattr(image, "preparation", "") for image in images}
    return kinds.pop() if len(kinds) == 1 else None


def _deterministic():
    """cuDNN's algorithms that give the same bits each time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def _seed(random_state):
    torch.manual_seed(random_state.randint(np.iinfo(np.int32).max))


def _n_held_out(n_samples, fraction):
    """Size of a validation split: at least one image if any, never all."""
    return min(max(round(fraction * n_samples), fraction > 0), n_samples - 1)


def _held_out(ages, fraction, random_state):
    """Mask of a validation split, of every age alike."""
    n_samples = len(ages)
    n_held_out = _n_held_out(n_samples, fraction)
    mask = np.zeros(n_samples, dtype=bool)
    if n_held_out:
        shuffled = random_state.permutation(n_samples)
        by_age = shuffled[np.argsort(ages[shuffled], kind="stable")]
        every = n_samples / n_held_out
        at = (np.arange(n_held_out) + random_state.uniform()) * every
        mask[by_age[at.astype(int)]] = True
    return mask


def _warn_skipped(errors, n_images, fate, stacklevel=3):
    what, shown = summarise(errors, 3)
    warnings.warn(
        f"{len(errors)} of {n_images} images {what} and {fate}: {' '.join(shown)}"
        f"{' ...' if len(errors) > 3 else ''}",
        stacklevel=stacklevel,
    )
