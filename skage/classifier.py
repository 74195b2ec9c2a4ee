"""VGG16Classifier: a scikit-learn classifier of images that owns a skorch net."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import warnings
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from .augment import Jitter, mirrored
from .cache import (
    ActivationPool,
    FrozenPrefix,
    collect_activations,
    iter_activations,
    let_go,
    shared_pool,
)
from .hardware import resolve_device, resolve_precision
from .images import ImageError, check_images, image_tags, summarise
from .losses import Criterion, check_loss, needs_years
from .net import Targets
from .network import TRAINABLE, build
from .parallel import from_first, make_accelerator
from .projection import compress
from .store import open_store
from .training import train_suffix

# torch's random generators and its number of threads are the process's: fits in
# threads take turns, and each gives what it gives alone.
_one_fit_at_a_time = threading.RLock()
_TRAINING = (
    "optimizer",
    "lr",
    "weight_decay",
    "momentum",
    "batch_size",
    "max_epochs",
    "lr_step",
    "lr_gamma",
    "early_stopping",
    "callbacks",
    "verbose",
)


class VGG16Classifier(ClassifierMixin, BaseEstimator):
    """VGG16 over images (DEX, Rothe et al., IJCV 2016, section 3.1), trained with skorch.

    The network is cut at its first trainable layer. Within one fit each image
    passes the frozen layers once; the epochs train the others on what came out.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        Pretrained weights: torchvision's for ImageNet, downloaded once; a
        .safetensors or torch file with torchvision's names, which may cover
        only the convolutions; None starts from He's random initialisation.
        The output layer is always fresh.

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
        and its probabilities are those of the two bins beside that age.

    dropout : float, default=0.5
        Before the output layer, and after each hidden layer.

    image_size : int, default=224
        Images are squeezed to this side, in pixels, at least 32.

    augment : Jitter, default=None
        Copies of the training images: each time an image is trained on, it or one
        of its copies is drawn at random. They pass the frozen layers once, as the
        images do, and are kept with them.

    mirror_average : bool, default=False
        Predict the average over the image and its mirror image.

    lr : float, default=1e-3
        Learning rate of the first epoch.

    weight_decay : float, default=5e-4
        L2 penalty (decoupled with "adamw").

    momentum : float, default=0.9
        Of "sgd"; with "adam" and "adamw" the first of the two betas. An
        optimizer class that takes neither needs 0.

    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"

    batch_size : int, default=64

    max_epochs : int, default=30

    lr_step : int, default=10
        The learning rate is multiplied by `lr_gamma` every so many epochs,
        first after epoch `lr_step`. None keeps it constant.

    lr_gamma : float, default=0.1

    validation_fraction : float, default=0.1
        Share of the training images that is held out to record the validation
        loss and MAE; 0 trains on all.

    early_stopping : bool or int, default=False
        Stop after 5 (or so many) epochs without a better validation error, and
        take the weights of the best epoch.

    callbacks : list, default=None
        skorch callbacks; fit works on a copy of them.

    accelerate : bool, default=False
        Train in all processes that `accelerate launch` or `torchrun` started,
        each on its share of every batch, on a GPU of its own where there are
        some. Needs an int as `random_state`, a `batch_size` that the number of
        processes divides, and the extra ``skage[accelerate]``.

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
    net_ : skorch.NeuralNet
        The trained layers, on the CPU, without the optimizer's state.
    prefix_ : torch.nn.Module or None
        The frozen layers, on the CPU.
    history_ : list of dict
        An entry an epoch: epoch, train_loss, valid_loss, lr, dur (seconds),
        and within BinnedAgeRegressor valid_mae in years.
    image_size_ : int
        Side in pixels that the network was trained at.
    n_skipped_ : int
        Unreadable images that fit left out.

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
        "trainable": [StrOptions(set(TRAINABLE))],
        "hidden_layer_sizes": ["array-like", None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "loss": [str, dict],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "image_size": [Interval(Integral, 32, None, closed="left")],
        "augment": [Jitter, None],
        "mirror_average": ["boolean"],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), type],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr_step": [Interval(Integral, 1, None, closed="left"), None],
        "lr_gamma": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "early_stopping": ["boolean", Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, tuple, None],
        "accelerate": ["boolean"],
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
        trainable="classifier",
        hidden_layer_sizes=None,
        n_components=None,
        loss="cross_entropy",
        dropout=0.5,
        image_size=224,
        augment=None,
        mirror_average=False,
        lr=1e-3,
        weight_decay=5e-4,
        momentum=0.9,
        optimizer="sgd",
        batch_size=64,
        max_epochs=30,
        lr_step=10,
        lr_gamma=0.1,
        validation_fraction=0.1,
        early_stopping=False,
        callbacks=None,
        accelerate=False,
        feature_cache=None,
        precision="auto",
        device="auto",
        on_error="raise",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.weights = weights
        self.trainable = trainable
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_components = n_components
        self.loss = loss
        self.dropout = dropout
        self.image_size = image_size
        self.augment = augment
        self.mirror_average = mirror_average
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.lr_step = lr_step
        self.lr_gamma = lr_gamma
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.callbacks = callbacks
        self.accelerate = accelerate
        self.feature_cache = feature_cache
        self.precision = precision
        self.device = device
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, ages=None, bin_values=None, distributions=None):
        """Train the network.

        Parameters
        ----------
        X : sequence of n_samples images
            Paths, PIL images or arrays; see `skage.images.check_images`.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the images in the loss.
        ages : array-like of shape (n_samples,), default=None
            Ages in years, for losses of years and the validation MAE.
        bin_values : array-like, default=None
            Ages in years that stand for the labels 0, 1, ...; goes with `ages`.
        distributions : array-like of shape (n_samples, n_bins), default=None
            What to learn in place of `y` alone: probabilities of the labels 0, 1,
            ..., as `AgeBinner.encode` makes them.

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
        images = check_images(X)
        y = column_or_1d(y, warn=True)
        check_consistent_length(images, y)
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        rows = np.flatnonzero(weight)
        if not len(rows):
            raise ValueError("All sample weights are zero: there is nothing to train on.")
        if self.early_stopping and (not self.validation_fraction or len(rows) < 2):
            raise ValueError("early_stopping needs a validation_fraction above 0, and 2 images.")
        if self.accelerate and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"accelerate=True needs an int as random_state, not {self.random_state!r}: the "
                "processes must agree on the fresh weights and the validation split."
            )
        classes, codes = np.unique(y[rows], return_inverse=True)
        loss = check_loss(self.loss)
        if (ages is None) != (bin_values is None):
            raise ValueError("ages and bin_values go together: give both or neither.")
        if ages is not None:
            ages, bin_values = np.asarray(ages, np.float32), np.asarray(bin_values)[classes]
            check_consistent_length(y, ages)
        elif needs_years(loss):
            raise ValueError(
                f"loss={self.loss!r} is of years: put the classifier into BinnedAgeRegressor, or "
                "pass ages and bin_values to fit."
            )
        if distributions is not None:
            distributions = np.asarray(distributions, np.float32)[:, classes]
            check_consistent_length(y, distributions)
            distributions /= distributions.sum(axis=1, keepdims=True)
        criterion = Criterion(loss, bin_values)
        device = resolve_device(self.device)
        accelerator = None
        if self.accelerate:
            accelerator = make_accelerator(device, self.batch_size)
            device = accelerator.device
        precision = resolve_precision(self.precision, device)
        random_state = check_random_state(self.random_state)

        with (
            _one_fit_at_a_time,
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            _deterministic(),
        ):
            torch.manual_seed(random_state.randint(np.iinfo(np.int32).max))
            prefix, suffix = build(
                len(classes) if criterion.regression is None else 1,
                weights=self.weights,
                trainable=self.trainable,
                hidden_layer_sizes=self._check_layers(),
                dropout=self.dropout,
                image_size=self.image_size,
                n_components=self.n_components,
            )
            frozen = self._frozen(prefix, self.image_size, device, precision)
            with self._open_store() as store:
                pool = shared_pool(frozen, store) or ActivationPool()
                where = {"store": store, "pool": pool, **self._reading()}
                found = collect_activations(images, frozen, positions=rows, **where)
                read, errors = found.positions, found.errors
                if errors and not len(read):
                    raise ImageError(f"None of the {len(rows)} images can be read. {errors[0]}")
                if errors:
                    _warn_skipped(errors, len(rows), "are left out of fit")
                is_valid = _held_out(len(read), self.validation_fraction, random_state)
                versions = [found]
                if self.augment is not None:
                    readable = [images[position] for position in read]
                    versions += [
                        collect_activations(copies, frozen, check=False, **where)
                        for copies in self.augment.copies(readable, self.image_size)
                    ]
                if self.n_components is None:
                    projection = None
                    activations = pool.array
                    version_rows = np.stack([version.rows for version in versions], axis=1)
                else:
                    projection, compressed = compress(
                        found, ~is_valid, self.n_components, device, store=store
                    )
                    if accelerator is not None:
                        projection = from_first(accelerator, projection)
                        compressed = projection(found, device)
                    copies = [projection(version, device) for version in versions[1:]]
                    activations = np.concatenate([compressed, *copies]) if copies else compressed
                    version_rows = np.arange(len(activations)).reshape(-1, len(read)).T
            targets = Targets(
                codes[np.isin(rows, read)].astype(np.int64),
                (weight[read] / weight[read].mean()).astype(np.float32),
                None if ages is None else ages[read],
                None if distributions is None else distributions[read],
            )
            net = train_suffix(
                suffix,
                activations,
                version_rows,
                targets,
                is_valid,
                criterion=criterion,
                accelerator=accelerator,
                device=device,
                precision=precision,
                **{name: getattr(self, name) for name in _TRAINING},
            )
            if projection is not None:
                projection.fold_into(net.module_.classifier)
                let_go(projection.components)
            for array in (found.array, activations):
                let_go(array)
        self.classes_ = classes
        self.prefix_ = prefix
        self.net_ = net
        self.history_ = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
        self.n_skipped_ = len(errors)
        self.image_size_ = self.image_size
        self._make_ready(frozen, device)
        return self

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
        """
        check_is_fitted(self)
        images = check_images(X)
        probabilities, errors = self._probabilities(images)
        if self.mirror_average:
            probabilities += self._probabilities(mirrored(images, self.image_size_))[0]
            probabilities /= 2
        if errors:
            _warn_skipped(errors, len(images), "get NaN")
        return probabilities

    def _probabilities(self, images):
        """Probabilities of the classes, and what is wrong with the images without."""
        frozen, suffix, device = self._get_ready()
        probabilities = np.full((len(images), len(self.classes_)), np.nan, dtype=np.float32)
        errors: list[ImageError] = []
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(self._open_store())
            pool = shared_pool(frozen, store, make=False)
            chunks = iter_activations(images, frozen, store=store, pool=pool, **self._reading())
            for chunk in stack.enter_context(contextlib.closing(chunks)):
                errors += chunk.errors
                if not chunk.positions:
                    continue
                with (
                    torch.inference_mode(),
                    torch.autocast(device.type, frozen.dtype, enabled=frozen.dtype.itemsize < 4),
                    _deterministic(),
                ):
                    outputs = suffix(torch.from_numpy(chunk.activations).to(device))
                found = self.net_.criterion_.probabilities(outputs)
                probabilities[chunk.positions] = found.cpu().numpy()
        if pool is not None:
            pool.let_go()
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
        if sizes and self.trainable == "head":
            raise ValueError(
                f"trainable='head' would leave the fresh hidden_layer_sizes={sizes} untrained. "
                "Pass trainable='classifier', or hidden_layer_sizes=() or None."
            )
        return sizes

    def _frozen(self, prefix, image_size, device, precision):
        return FrozenPrefix(
            prefix, image_size, precision, device, exact=self.precision == "float32"
        )

    def _open_store(self):
        # Random layers that no seed fixes are met once: their activations are not kept.
        kept = self.weights is not None or isinstance(self.random_state, Integral)
        return open_store(self.feature_cache if kept else None)

    def _reading(self):
        return {"on_error": self.on_error, "n_jobs": self.n_jobs, "progress": self.verbose > 0}

    def _get_ready(self):
        """The fitted network on its device; made on first use, left out of pickles."""
        if self._ready is not None and self._ready[0] == (self.device, self.precision):
            return self._ready[1]
        try:
            device = resolve_device(self.device)
        except ValueError as error:  # trained elsewhere
            warnings.warn(f"{error} Predicting on the CPU.", stacklevel=3)
            device = torch.device("cpu")
        precision = resolve_precision(self.precision, device)
        frozen = self._frozen(self.prefix_, self.image_size_, device, precision)
        return self._make_ready(frozen, device)

    def _make_ready(self, frozen, device):
        suffix = self.net_.module_.eval()
        if device.type != "cpu":
            suffix = copy.deepcopy(suffix).to(device)
        ready = frozen, suffix, device
        self._ready: tuple | None = ((self.device, self.precision), ready)
        return ready

    def __getstate__(self):
        state = super().__getstate__()
        return state | {"_ready": None} if "_ready" in state else state

    def __sklearn_tags__(self):
        return image_tags(super().__sklearn_tags__())


def _deterministic():
    """cuDNN's algorithms that give the same bits each time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def _held_out(n_samples, fraction, random_state):
    """Mask of the validation split: at least one image if any, never all."""
    n_held_out = min(max(round(fraction * n_samples), fraction > 0), n_samples - 1)
    mask = np.zeros(n_samples, dtype=bool)
    mask[random_state.permutation(n_samples)[:n_held_out]] = True
    return mask


def _warn_skipped(errors, n_images, fate):
    what, shown = summarise(errors, 3)
    warnings.warn(
        f"{len(errors)} of {n_images} images {what} and {fate}: {' '.join(shown)}"
        f"{' ...' if len(errors) > 3 else ''}",
        stacklevel=3,
    )
