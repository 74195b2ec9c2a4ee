"""From the parameters of a classifier to the configuration of its training."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np

from .._hardware import resolve_device, resolve_precision
from ..losses import check_loss, needs_years
from ..runtime import Runtime
from ..schedules import StepDecay
from . import auto
from .criterion import Criterion
from .targets import Labels
from .train import TrainingConfig


def make_criterion(loss: Any, labels: Labels) -> Criterion:
    """Return the criterion of the parameter `loss`.

    Raises
    ------
    ValueError
        If the loss is unknown, or needs what the labels do not have.
    """
    in_years = labels.bin_values is not None
    terms = check_loss(auto.loss(in_years) if loss is None else loss)
    if not in_years and needs_years(terms):
        raise ValueError(
            f"loss={loss!r} needs ages in years. Put the classifier into "
            "BinnedAgeRegressor, or pass targets to fit."
        )
    criterion = Criterion(terms, labels.bin_values)
    if criterion.regression is not None and labels.targets.distribution is not None:
        raise ValueError(
            f"loss={loss!r} regresses the age itself and does not learn distributions. "
            "Leave out age_std, and give the binner encoding='hard'."
        )
    return criterion


def training_config(
    classifier: Any, n_training: int, n_components: int | None, lr: float, lr_ratio: Any = 1.0
) -> TrainingConfig:
    """Resolve the parameters of a classifier for a number of training images.

    Parameters
    ----------
    classifier : ImageClassifier
    n_training : int
        Without those that are held out for validation.
    n_components : int or None
    lr : float
        What ``lr="auto"`` stands for.
    lr_ratio : float or dict, default=1.0

    Raises
    ------
    ValueError
        If the parameters cannot work together.
    """
    runtime = Runtime() if classifier.runtime is None else classifier.runtime
    _check_together(classifier, runtime)
    device = resolve_device(runtime.device)
    schedule = StepDecay() if classifier.lr_schedule is None else classifier.lr_schedule
    batch_size = classifier.batch_size
    if isinstance(batch_size, str):
        batch_size = auto.batch_size(n_training)
    return TrainingConfig(
        n_components=n_components,
        optimizer=classifier.optimizer,
        lr=lr if isinstance(classifier.lr, str) else classifier.lr,
        lr_ratio=lr_ratio,
        weight_decay=classifier.weight_decay,
        batch_size=batch_size,
        max_epochs=classifier.max_epochs,
        schedule=None if isinstance(schedule, str) else schedule,
        early_stopping=classifier.early_stopping,
        precision=resolve_precision(runtime.precision, device),
        device=device,
        callbacks=classifier.callbacks or (),
        verbose=classifier.verbose,
    )


def _check_together(classifier: Any, runtime: Runtime) -> None:
    if classifier.early_stopping and not classifier.validation_fraction:
        raise ValueError(
            "early_stopping needs validation images. Pass a validation_fraction above 0."
        )
    if runtime.checkpoint is not None and classifier.callbacks:
        raise ValueError(
            "A checkpoint does not keep the state of callbacks. Leave out callbacks, or pass "
            "checkpoint=None."
        )
    if runtime.checkpoint is not None and not isinstance(classifier.random_state, Integral):
        raise ValueError(
            f"checkpoint={runtime.checkpoint!r} needs an int as random_state, not "
            f"{classifier.random_state!r}: a fit that resumes must begin as the one that was "
            "killed."
        )


def check_layers(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """Return the widths of fresh dense layers as a tuple.

    Raises
    ------
    ValueError
        If a width is not a whole number above 0.
    """
    sizes = tuple(hidden_layer_sizes)
    if not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
        raise ValueError(
            f"hidden_layer_sizes={hidden_layer_sizes!r} must hold whole numbers above 0."
        )
    return sizes


def warn_if_few(n_images: int, is_automatic: bool) -> None:
    """Warn if defaults that follow the number of images were not measured on so few."""
    if is_automatic and n_images < auto.FEWEST:
        warnings.warn(
            f"There are only {n_images} images to train on. The defaults were measured on 200 "
            "and more, and errors are large with so few. Train on more images, or choose the "
            "parameters that are 'auto' yourself.",
            stacklevel=4,
        )


def n_held_out(n_samples: int, fraction: float) -> int:
    """Return the size of a validation split: at least one image if any, never all."""
    return min(max(round(fraction * n_samples), fraction > 0), n_samples - 1)


def validation_mask(
    ages: np.ndarray, groups: np.ndarray, fraction: float, random_state: np.random.RandomState
) -> np.ndarray:
    """Return the mask of a validation split that is even over the ages and splits no group.

    Parameters
    ----------
    ages : ndarray of shape (n_samples,)
    groups : ndarray of shape (n_samples,), int
        Codes from 0 of images that belong together, such as those of a person.
    fraction : float
        Share of the images to hold out: at least one group unless it is 0, and never all.
        Groups that are larger than this share are held out only if all are.
    random_state : RandomState

    Returns
    -------
    mask : ndarray of shape (n_samples,), bool
        All False if there is one group only.
    """
    sizes = np.bincount(groups)
    n_wanted = n_held_out(len(ages), fraction)
    mask = np.zeros(len(sizes), dtype=bool)
    if n_wanted and len(sizes) > 1:
        fitting = np.flatnonzero(sizes <= max(n_wanted, sizes.min()))
        n_valid = max(round(n_wanted / sizes[fitting].mean()), 1)
        # Where most images are of few persons, not all others are held out.
        most = max(n_held_out(len(sizes), fraction), len(fitting) // 2, 1)
        n_valid = min(n_valid, most, len(fitting), len(sizes) - 1)
        shuffled = fitting[random_state.permutation(len(fitting))]
        mean_ages = np.bincount(groups, ages)[shuffled] / sizes[shuffled]
        by_age = shuffled[np.argsort(mean_ages, kind="stable")]
        every = len(fitting) / n_valid
        at = (np.arange(n_valid) + random_state.uniform()) * every
        mask[by_age[at.astype(int)]] = True
    return mask[groups]
