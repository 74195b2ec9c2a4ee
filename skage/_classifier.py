"""ImageClassifier: what the classifiers of images share."""

from __future__ import annotations

import contextlib
import copy
import warnings
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
from ._groups import TakesGroups, group_codes, joined_copies
from ._hardware import resolve_device, resolve_precision, warn_if_forked
from ._images.reading import (
    ImageError,
    check_images,
    content_digests,
    image_tags,
    summarise,
)
from ._memory import fit_lock
from ._nested import with_defaults
from ._sklearn import Interval, StrOptions, fit_context
from ._targets import AgeTargets, LearnsAges
from ._training.checkpoint import FitFiles
from ._training.resolve import make_criterion, n_held_out, validation_mask, warn_if_few
from ._training.targets import check_labels
from ._training.train import TrainingData, train
from .augment import Jitter, views
from .metrics import predicted_only
from .preprocessing import Preprocessing
from .runtime import Runtime
from .schedules import OneCycle, StepDecay


class ImageClassifier(TakesGroups, LearnsAges, ClassifierMixin, BaseEstimator):
    """A classifier of images: frozen layers, and a head that skorch trains on their activations.

    Subclasses have the parameters, and say in `_make_network`, `_sides` and
    `_training_config` what the network is and how it is trained.
    """

    #: What None stands for.
    _value_defaults = {"lr_schedule": StepDecay, "runtime": Runtime}
    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", None],
        "loss": [str, dict, None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "augment": [Jitter, None],
        "test_augment": [StrOptions({"mirror"}), Jitter, None],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        targets: AgeTargets | None = None,
        groups: ArrayLike | None = None,
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
        groups : array-like of shape (n_samples,), default=None
            Persons: images of one, and identical images, are not split between those that
            are held out for validation and the others.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise", or none can.
        ValueError
            If a parameter or the labels are not valid, or training diverges.
        """
        warn_if_forked()
        images = check_images(X)
        check_consistent_length(images, y, groups)
        persons = group_codes(groups, len(images))
        labels = check_labels(y, sample_weight, self.class_weight, targets)
        criterion = make_criterion(self.loss, labels)
        config = self._check_fit(len(labels.positions))
        warn_if_few(len(labels.positions), self._is_automatic(config))
        random_state = check_random_state(self.random_state)

        with (
            fit_lock,
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            _deterministic(),
            self._open_store() as store,
        ):
            _seed(random_state)
            base, sides = self._make_network(), self._sides()
            frozen = base.frozen()
            network = self._frozen_network(frozen, sides[0], config.device)
            pool = shared_pool(network, store) or ActivationPool()
            features = Features(network, store, pool, self._reading())
            versions = self._collect(features, images, labels.positions, sides)
            rows = versions[0].positions
            learned = labels.targets_of(rows)
            digests = content_digests(images, rows.tolist())
            together = joined_copies(persons[rows], digests)
            files = FitFiles(self._get_runtime().checkpoint)
            nets, held_out = [], []
            for _ in range(self.n_members):
                _seed(random_state)
                is_valid = self._validation_mask(learned.years, together, random_state)
                config = self._training_config((~is_valid).sum())
                n_outputs = len(labels.classes) if criterion.regression is None else 1
                head = base.head(n_outputs, labels.bin_values, config.n_components)
                data = self._training_data(features, versions, learned, is_valid, config)
                self._prepare_head(head, data)
                file = files.file(head, *data.facts, *criterion.facts, *config.facts)
                nets.append(train(head, data, criterion, config, checkpoint=file))
                data.release(nets[-1].module_)
                held_out.append(rows[is_valid])
            files.remove()
        facts = held_out, len(versions[0].errors), preparation_of(images)
        self._set_fitted(labels.classes, frozen, nets, *facts, sides)
        self.digests_ = digest_table(digest for digest in digests if digest is not None)
        self._make_ready(network)
        return self

    def _validation_mask(self, ages, groups, random_state):
        mask = validation_mask(ages, groups, self.validation_fraction, random_state)
        if self.validation_fraction and not mask.any():
            message = (
                "No image can be held out for validation: all are of one person, or identical. "
                "Pass images of others, or"
            )
            if self.early_stopping:
                raise ValueError(f"{message} early_stopping=False.")
            if len(mask) > 1:
                warnings.warn(f"{message} validation_fraction=0.", stacklevel=4)
        return mask

    def _set_fitted(self, classes, frozen, nets, held_out, n_skipped, preparation, sides):
        self.classes_, self.frozen_, self.nets_ = classes, frozen, nets
        self.held_out_, self.n_skipped_, self.preparation_ = held_out, n_skipped, preparation
        self.image_size_, self.resized_ = sides
        self.digests_ = np.empty((0, 0), dtype=np.uint8)
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
        self : object
            The classifier.
        """
        kinds = {"augment": Jitter, "test_augment": Jitter, "preprocessing": Preprocessing}
        for name, kind in kinds.items():
            value = params.get(name, getattr(self, name, None))
            if not isinstance(value, kind) and any(k.startswith(f"{name}__") for k in params):
                raise ValueError(
                    f"{name}={value!r} has no parameters to set. Pass {name}={kind.__name__}() "
                    "first."
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
            warn_skipped(errors, len(images), "get NaN, which only skage's scorers leave out")
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
        trained_on, given = self.preparation_, preparation_of(images)
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

    def _make_network(self):
        """The network, an object with methods `frozen` and `head`, as `VGG` has."""
        raise NotImplementedError

    def _sides(self):
        """Sides in pixels that the network sees, and that images are resized to before."""
        raise NotImplementedError

    def _training_config(self, n_training):
        """Resolve the parameters for this number of training images; refuse what cannot work."""
        raise NotImplementedError

    def _check_fit(self, n_images):
        """The configuration of a fit to about this number of images, validation included."""
        return self._training_config(n_images - n_held_out(n_images, self.validation_fraction))

    def _is_repeatable(self):
        """Whether another fit can have the same frozen layers, so that activations are kept."""
        return True

    def _is_automatic(self, config):
        """Whether the training follows the number of images by a rule."""
        return "auto" in (self.batch_size, self.lr)

    def _prepare_head(self, head, data):
        """Set what the head learns of its training data before it is trained."""

    def _collect(self, features, images, rows, sides):
        """Activations of the readable ones of some images, and of their copies."""
        size, resized = sides
        plain = views(images, size, size / resized, None)[0]
        found = features.collect(plain, rows)
        if found.errors and not len(found.positions):
            first = found.errors[0].message
            raise ImageError(f"None of the {len(rows)} images can be read. {first}")
        if found.errors:
            warn_skipped(found.errors, len(rows), "are left out of fit", stacklevel=4)
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

    def _get_runtime(self):
        runtime = Runtime() if self.runtime is None else self.runtime
        runtime._validate_params()
        return runtime

    def _open_store(self):
        kept = self._is_repeatable()
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


def digest_table(digests):
    """Distinct digests in ascending order, (n, length), uint8."""
    distinct = sorted(set(digests))
    return np.frombuffer(b"".join(distinct), dtype=np.uint8).reshape(len(distinct), -1).copy()


def preparation_of(images):
    """How all of some images were made, or None where it differs."""
    kinds = {getattr(image, "preparation", "") for image in images}
    return kinds.pop() if len(kinds) == 1 else None


def _deterministic():
    """cuDNN's algorithms that give the same bits each time."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def _seed(random_state):
    torch.manual_seed(random_state.randint(np.iinfo(np.int32).max))


def warn_skipped(errors, n_images, fate, stacklevel=3):
    what, shown = summarise(errors, 3)
    warnings.warn(
        f"{len(errors)} of {n_images} images {what} and {fate}: {' '.join(shown)}"
        f"{' ...' if len(errors) > 3 else ''}",
        stacklevel=stacklevel,
    )
