"""VGG16Classifier: a scikit-learn classifier of images that owns a skorch net."""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ._activations.features import Features, Reading
from ._activations.frozen import FrozenPrefix
from ._activations.pool import ActivationPool, release_pages, shared_pool
from ._activations.projection import training_rows
from ._files.store import open_store
from ._hardware import resolve_device, resolve_precision, warn_if_forked
from ._images.reading import ImageError, check_images, image_tags, summarise
from ._memory import fit_lock
from ._networks.vgg import BACKBONES, BLOCKS, TRAINABLE, build
from ._targets import LearnsAges
from ._training.checkpoint import FitFiles
from ._training.criterion import Criterion
from ._training.targets import check_labels
from ._training.train import TrainingConfig, TrainingData, train
from .augment import Jitter, views
from .losses import check_loss, needs_years
from .metrics import predicted_only
from .schedules import OneCycle, StepDecay


class VGG16Classifier(LearnsAges, ClassifierMixin, BaseEstimator):
    """VGG16 over images (DEX, Rothe et al., IJCV 2016, section 3.1), trained with skorch.

    The network is cut at its first trainable layer. Within one fit each image
    passes the frozen layers once; the epochs train the others on what came out,
    and so do those of all networks of an ensemble.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        Pretrained weights: torchvision's for ImageNet, downloaded once; a
        .safetensors or torch file with torchvision's names, which may cover
        only the convolutions; None starts from He's random initialisation.
        The output layer is fresh. A .skage file, as a fitted model's `save`
        writes it, gives all layers whose shapes fit, and the output layer if
        the bins stand for the same ages: to go on from real to apparent ages,
        for instance. Of an ensemble it gives the first network.

    backbone : {"vgg11", "vgg13", "vgg16", "vgg19", and each with "_bn"}, default="vgg16"
        The network, as torchvision has it; "_bn" are those with batch
        normalisation.

    trainable : {"head", "classifier", "block5", "block4", "block3", "block2", "all"}, \
            default="classifier"
        What is trained: the output layer, all fully connected layers, these
        and the convolutions from that block on, or everything.

    hidden_layer_sizes : tuple of int, default=None
        Widths of fresh fully connected layers before the output layer; () for
        none. None keeps VGG16's own two of 4096.

    n_components : int, default=None
        Train the dense layers on so many numbers an image rather than on all
        frozen activations (25,088 at 224 pixels): on their projection to the
        subspace of nearly largest variance, learned from the images that this
        fit trains on and scaled to unit mean square. It goes into the first
        dense layer in the end, so that the fitted network is the same as
        without. Some ten times faster; such inputs want an `lr` near 0.02.

    loss : str or dict, default="cross_entropy"
        What is minimised, a term of `skage.losses`: "cross_entropy",
        "cumulative", and with ages in years, as within BinnedAgeRegressor,
        "expectation_l1", "expectation_l2", "variance", "ranked_probability"; or
        several with weights, as ``{"cross_entropy": 1, "expectation_l1": 0.1}``.
        "l1" or "l2" regresses the age directly: the network has one output,
        and its probabilities are those of the two bins beside that age, whose
        mean it is. The error counts in standard deviations of the bins'
        values. Ages beyond the outermost of these are predicted as they are,
        so let the bins be many.

    dropout : float, default=0.5
        Before the output layer, and after each hidden layer.

    image_size : int, default=224
        Images are squeezed to this side, in pixels, at least 32.

    crop : float, default=1.0
        Share of each side of an image that the network sees: the middle, and
        in copies any part. DEX squeezes to 256 pixels and crops 224: 0.875.

    augment : Jitter, default=None
        Copies of the training images: each time an image is trained on, it or one
        of its copies is drawn at random. They pass the frozen layers once, as the
        images do, and are kept with them.

    test_augment : {"mirror"}, Jitter or None, default=None
        Predict the average over the image and its mirror image, or its copies.

    n_members : int, default=1
        Networks of an ensemble, whose predicted probabilities are averaged. They
        share the frozen layers; each has fresh layers, batches and a validation
        split of its own.

    lr : float, default=1e-3
        Learning rate of the first epoch; with `OneCycle` the highest.

    lr_ratio : float or dict, default=1.0
        Learning rate of the layers that start from pretrained weights, but for
        the output layer, as a share of `lr`. A dict gives the shares of blocks,
        pretrained or not, as ``{"block4": 0.1, "block5": 0.3}``; there are
        "block1" to "block5" and "classifier". Those not named have 1, those not
        trained none.

    weight_decay : float, default=5e-4
        L2 penalty (decoupled with "adamw").

    momentum : float, default=0.9
        Of "sgd"; with "adam" and "adamw" the first of the two betas. An
        optimizer class that takes neither needs 0.

    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"

    batch_size : int, default=64

    class_weight : {"balanced", "balanced_ages"}, dict or None, default=None
        Weights of the labels, by which `sample_weight` is multiplied; those not
        named weigh 1. "balanced" gives every label the same sum of weights;
        "balanced_ages" every year of age, within BinnedAgeRegressor.

    sampling : {"shuffle", "weighted"}, default="shuffle"
        An epoch takes every training image once, and weights count in the
        loss; or it draws as many in proportion to their weights.

    max_epochs : int, default=30

    lr_schedule : StepDecay, OneCycle, "constant" or None, default=None
        How the learning rate changes; see `skage.schedules`. None stands for
        ``StepDecay(step=10, gamma=0.1)``, as DEX; "constant" keeps `lr`, or leaves
        it to a scheduler among the `callbacks`.

    validation_fraction : float, default=0.1
        Share of the training images that is held out to record the validation
        loss and MAE, of every age alike as far as it goes; 0 trains on all.

    early_stopping : bool or int, default=False
        Stop after 5 (or so many) epochs without a better validation MAE (or
        loss, where there are no ages), and take the weights of the best epoch;
        ``early_stopping=max_epochs`` only takes those.

    callbacks : list, default=None
        skorch callbacks; fit works on a copy of them.

    checkpoint : path or None, default=None
        Folder where fit keeps its state as epochs end, a minute apart
        at least, until it has ended. A fit of the same model to the same data that
        was killed goes on from there, and ends with the same bits as one that
        was not. Needs an int as `random_state`, and no `callbacks`, whose states are
        not kept.

    feature_cache : path, "auto" or None, default=None
        Folder where activations of the frozen layers are kept for later fits
        and predictions, 20 GB at most (see ``python -m skage cache``); a
        process keeps a copy of what it works with in a nameless file there.
        "auto" is the user's cache folder. It must be on a local disk, not on a
        network file system. None keeps them within one fit only.

    precision : {"auto", "bfloat16", "float32"}, default="auto"
        Of the network's arithmetic. "auto" is bfloat16 where the hardware
        multiplies it, else float32. Activations wait between prefix and suffix
        in float16, with "float32" in float32.

    device : str, default="auto"
        A torch device; "auto" takes a GPU where there is one.

    on_error : {"raise", "skip"}, default="raise"
        Whether an unreadable image raises (in fit, before the work, and with all
        others), or is left out of fit and gets NaN in predict, with one warning.

    n_jobs : int, default=None
        Threads that read and decode images; None takes as many as torch
        computes with, which in a worker of joblib is its share.

    random_state : int, RandomState instance or None, default=None
        Fresh weights, validation split, order of the batches and dropout. An
        int gives the same network each time, bit for bit on one machine.

    verbose : int, default=0
        1 shows progress bars, 2 a table of the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the columns of `predict_proba`.
    nets_ : list of n_members skorch.NeuralNet
        The trained layers of each network, on the CPU, without the optimizer's
        state.
    net_ : skorch.NeuralNet
        The first of them.
    prefix_ : torch.nn.Module or None
        The frozen layers, on the CPU.
    held_out_ : list of n_members ndarray
        Positions in X of the images that each network was validated on; not in
        model files.
    history_ : list of dict
        An entry an epoch: epoch, train_loss, valid_loss, lr (the last, of the
        output layer), dur (seconds), within BinnedAgeRegressor valid_mae in
        years, and in an ensemble member.
    image_size_ : int
        Side in pixels that the network was trained at.
    n_skipped_ : int
        Unreadable images that fit left out.
    preparation_ : str or None
        How the training images were made of others, such as a FaceCropper's
        parameters; "" for images as they are, None where it differs among them.

    See Also
    --------
    BinnedAgeRegressor : Turns the classes into ages.

    Notes
    -----
    The fresh hidden layers see block 5's output at most 7 x 7 large; a smaller
    image keeps its smaller map. Images are normalised with the mean and
    standard deviation of ImageNet.
    """

    _parameter_constraints = {
        "weights": [str, os.PathLike, None],
        "backbone": [StrOptions(set(BACKBONES))],
        "trainable": [StrOptions(set(TRAINABLE))],
        "hidden_layer_sizes": ["array-like", None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "loss": [str, dict],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "image_size": [Interval(Integral, 32, None, closed="left")],
        "crop": [Interval(Real, 0, 1, closed="right")],
        "augment": [Jitter, None],
        "test_augment": [StrOptions({"mirror"}), Jitter, None],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_ratio": [Interval(Real, 0, None, closed="left"), dict],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), type],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced", "balanced_ages"}), dict, None],
        "sampling": [StrOptions({"shuffle", "weighted"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr_schedule": [StepDecay, OneCycle, StrOptions({"constant"}), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "feature_cache": [str, os.PathLike, None],
        "precision": [StrOptions({"auto", "bfloat16", "float32"})],
        "device": [str],
        "on_error": [StrOptions({"raise", "skip"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        weights="imagenet",
        backbone="vgg16",
        trainable="classifier",
        hidden_layer_sizes=None,
        n_components=None,
        loss="cross_entropy",
        dropout=0.5,
        image_size=224,
        crop=1.0,
        augment=None,
        test_augment=None,
        n_members=1,
        lr=1e-3,
        lr_ratio=1.0,
        weight_decay=5e-4,
        momentum=0.9,
        optimizer="sgd",
        batch_size=64,
        class_weight=None,
        sampling="shuffle",
        max_epochs=30,
        lr_schedule=None,
        validation_fraction=0.1,
        early_stopping=False,
        callbacks=None,
        checkpoint=None,
        feature_cache=None,
        precision="auto",
        device="auto",
        on_error="raise",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.weights = weights
        self.backbone = backbone
        self.trainable = trainable
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_components = n_components
        self.loss = loss
        self.dropout = dropout
        self.image_size = image_size
        self.crop = crop
        self.augment = augment
        self.test_augment = test_augment
        self.n_members = n_members
        self.lr = lr
        self.lr_ratio = lr_ratio
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.sampling = sampling
        self.max_epochs = max_epochs
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.feature_cache = feature_cache
        self.precision = precision
        self.device = device
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, targets=None):
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
        self._check_together(len(labels.rows))
        config = self._training_config()
        random_state = check_random_state(self.random_state)

        with (
            fit_lock,
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            _deterministic(),
            self._open_store() as store,
        ):
            prefix, suffix = self._build(criterion, labels, random_state)
            network = self._frozen(prefix, self.image_size, config.device)
            pool = shared_pool(network, store) or ActivationPool()
            features = Features(network, store, pool, self._reading())
            versions = self._collect(features, images, labels.rows)
            learned = labels.targets_of(versions[0].positions)
            self._check_together(len(learned))
            files = FitFiles(self.checkpoint)
            nets, held_out = [], []
            for member in range(self.n_members):
                if member:
                    suffix = self._build(criterion, labels, random_state)[1]
                is_valid = _held_out(learned.years, self.validation_fraction, random_state)
                data = self._training_data(features, versions, learned, is_valid, config)
                facts = (*data.facts, self.n_components, self.loss, labels.bin_values, config.facts)
                file = files.file(suffix, *facts)
                nets.append(train(suffix, data, criterion, config, checkpoint=file))
                data.release(nets[-1].module_)
                held_out.append(versions[0].positions[is_valid])
            files.remove()
        self._set_fitted(
            labels.classes, prefix, nets, held_out, len(versions[0].errors), _preparation(images)
        )
        self._make_ready(network)
        return self

    def _set_fitted(self, classes, prefix, nets, held_out, n_skipped, preparation):
        self.classes_, self.prefix_, self.nets_ = classes, prefix, nets
        self.held_out_, self.n_skipped_, self.preparation_ = held_out, n_skipped, preparation
        self.image_size_ = self.image_size
        self.history_ = [
            ({"member": member} if len(nets) > 1 else {})
            | {k: v for k, v in row.items() if k != "batches"}
            for member, net in enumerate(nets)
            for row in net.history
        ]
        self._ready: tuple | None = None

    def set_params(self, **params):
        """Set parameters, those of the default `lr_schedule` included.

        Parameters
        ----------
        **params : dict
            By name, nested as ``lr_schedule__step``. Where `lr_schedule` is None, such
            a parameter puts ``StepDecay()`` there first.

        Returns
        -------
        self : VGG16Classifier
        """
        nested = any(name.startswith("lr_schedule__") for name in params)
        if nested and params.get("lr_schedule", self.lr_schedule) is None:
            params["lr_schedule"] = StepDecay()
        for name in ("augment", "test_augment"):
            value = params.get(name, getattr(self, name))
            if not isinstance(value, Jitter) and any(k.startswith(f"{name}__") for k in params):
                raise ValueError(
                    f"{name}={value!r} has no parameters to set. Pass {name}=Jitter() first."
                )
        return super().set_params(**params)

    @property
    def net_(self):
        """The first network."""
        return self.nets_[0]

    def predict_proba(self, X):
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
        network, suffixes = self._get_ready()
        errors = []
        with self._open_store() as store:
            pool = shared_pool(network, store, make=False)
            features = Features(network, store, pool, self._reading())
            seen = views(images, self.image_size_, self.crop, self.test_augment)
            probabilities = np.zeros((len(images), len(self.classes_)), dtype=np.float32)
            for view in seen:
                found, errors = self._probabilities(features, suffixes, view)
                probabilities += found
        if pool is not None:
            pool.release_pages()
        if errors:
            _warn_skipped(errors, len(images), "get NaN, which only skage's scorers leave out")
        return probabilities / len(seen)

    def _probabilities(self, features, suffixes, images):
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
                    outputs = [suffix(activations) for suffix in suffixes]
                found = [self.net_.criterion_.probabilities(output) for output in outputs]
                probabilities[chunk.positions] = torch.stack(found).mean(dim=0).cpu().numpy()
        return probabilities, errors

    def predict(self, X):
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
                f"The images to predict are not cropped as those of fit were, so that ages may be "
                f"wrong. Fit: {names.get(trained_on, trained_on)}. Now: "
                f"{names.get(given, given)}. Crop in the same way.",
                stacklevel=4,
            )

    def score(self, X, y, sample_weight=None):
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
        loss = check_loss(self.loss)
        if labels.bin_values is None and needs_years(loss):
            raise ValueError(
                f"loss={self.loss!r} is of years: put the classifier into BinnedAgeRegressor, "
                "or pass targets to fit."
            )
        criterion = Criterion(loss, labels.bin_values)
        if criterion.regression is not None and labels.targets.distribution is not None:
            raise ValueError(
                f"loss={self.loss!r} regresses the age itself and learns no distributions: "
                "leave out age_std, and give the binner encoding='hard'."
            )
        return criterion

    def _training_config(self):
        device = resolve_device(self.device)
        schedule = StepDecay() if self.lr_schedule is None else self.lr_schedule
        return TrainingConfig(
            optimizer=self.optimizer,
            lr=self.lr,
            lr_ratio=self.lr_ratio,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            batch_size=self.batch_size,
            sampling=self.sampling,
            max_epochs=self.max_epochs,
            schedule=None if isinstance(schedule, str) else schedule,
            early_stopping=self.early_stopping,
            precision=resolve_precision(self.precision, device),
            device=device,
            callbacks=self.callbacks or (),
            verbose=self.verbose,
        )

    def _check_together(self, n_images):
        if self.early_stopping and (not self.validation_fraction or n_images < 2):
            raise ValueError(
                "early_stopping needs images to watch. Pass a validation_fraction above 0, and at "
                "least 2 images."
            )
        if self.checkpoint is not None and self.callbacks:
            raise ValueError(
                "checkpoint does not keep the state of callbacks. Leave out callbacks, or pass "
                "checkpoint=None."
            )
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint={self.checkpoint!r} needs an int as random_state, not "
                f"{self.random_state!r}: a fit that goes on must begin as the one that was killed."
            )
        ratios = self.lr_ratio.items() if isinstance(self.lr_ratio, dict) else ()
        for block, ratio in ratios:
            good = isinstance(ratio, int | float | np.number) and 0 <= ratio < np.inf
            if block not in BLOCKS or not good:
                raise ValueError(
                    f"lr_ratio={self.lr_ratio!r} must give numbers >= 0 for blocks of "
                    f"{', '.join(BLOCKS)}; {block!r}: {ratio!r} is none."
                )

    def _build(self, criterion, labels, random_state):
        """A prefix, and a suffix with fresh layers; torch's generator is seeded."""
        torch.manual_seed(random_state.randint(np.iinfo(np.int32).max))
        return build(
            len(labels.classes) if criterion.regression is None else 1,
            weights=self.weights,
            backbone=self.backbone,
            trainable=self.trainable,
            hidden_layer_sizes=self._check_layers(),
            dropout=self.dropout,
            image_size=self.image_size,
            bin_values=labels.bin_values,
            n_components=self.n_components,
        )

    def _collect(self, features, images, rows):
        """Activations of the readable ones of some images, and of their copies."""
        plain = views(images, self.image_size, self.crop, None)[0]
        found = features.collect(plain, rows)
        if found.errors and not len(found.positions):
            first = found.errors[0].message
            raise ImageError(f"None of the {len(rows)} images can be read. {first}")
        if found.errors:
            _warn_skipped(found.errors, len(rows), "are left out of fit", stacklevel=4)
        if self.augment is None:
            return [found]
        readable = [images[position] for position in found.positions]
        copies = self.augment.copies(readable, self.image_size, self.crop)
        return [found, *(features.collect(copy, check=False) for copy in copies)]

    def _training_data(self, features, versions, targets, is_valid, config):
        activations, rows, projection = training_rows(
            versions, features.pool, ~is_valid, self.n_components, config.device, features.store
        )
        if projection is not None:  # training reads what was compressed
            for version in versions:
                release_pages(version.array)
        keys = [b"".join(version.keys) for version in versions]
        return TrainingData(activations, rows, targets, is_valid, keys, projection)

    def _check_layers(self):
        sizes = self.hidden_layer_sizes
        if self.n_components is not None:
            if self.trainable not in ("head", "classifier"):
                raise ValueError(
                    f"n_components={self.n_components} is for dense layers alone, but "
                    f"trainable={self.trainable!r} trains convolutions too. Pass "
                    "n_components=None, or trainable='classifier'."
                )
            if sizes is None and self.trainable == "classifier":
                raise ValueError(
                    f"n_components={self.n_components} needs fresh layers, but "
                    "hidden_layer_sizes=None means VGG16's own. Pass hidden_layer_sizes=(256,), "
                    "or trainable='head'."
                )
        if sizes is None:
            return None
        sizes = tuple(sizes)
        if not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} must hold whole numbers above 0."
            )
        if sizes and self.trainable == "head" and self.weights is None:
            raise ValueError(
                f"trainable='head' would leave the fresh hidden_layer_sizes={sizes} untrained. "
                "Pass trainable='classifier', or hidden_layer_sizes=() or None."
            )
        return sizes

    def _open_store(self):
        # Random layers that no seed fixes are met once: their activations are not kept.
        kept = self.weights is not None or isinstance(self.random_state, Integral)
        return open_store(self.feature_cache if kept else None)

    def _reading(self):
        return Reading(self.on_error, self.n_jobs, progress=self.verbose > 0)

    def _get_ready(self):
        """The fitted network on its device; made on first use, left out of pickles."""
        if self._ready is not None and self._ready[0] == self._ready_for():
            return self._ready[1]
        try:
            device = resolve_device(self.device)
        except ValueError as error:  # trained elsewhere
            warnings.warn(f"{error} Predicting on the CPU.", stacklevel=3)
            device = torch.device("cpu")
        return self._make_ready(self._frozen(self.prefix_, self.image_size_, device))

    def _frozen(self, prefix, image_size, device):
        precision = resolve_precision(self.precision, device)
        return FrozenPrefix(prefix, image_size, precision, device, self.precision == "float32")

    def _make_ready(self, network):
        device = network.device
        suffixes = [net.module_.eval() for net in self.nets_]
        if device.type != "cpu":
            suffixes = copy.deepcopy(suffixes)
        ready = network, [suffix.to(device) for suffix in suffixes]
        self._ready = (self._ready_for(), ready)
        return ready

    def _ready_for(self):
        return self.device, self.precision, len(self.nets_)

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


def _held_out(ages, fraction, random_state):
    """Mask of a validation split, of every age alike: at least one image if any, never all."""
    n_samples = len(ages)
    n_held_out = min(max(round(fraction * n_samples), fraction > 0), n_samples - 1)
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
