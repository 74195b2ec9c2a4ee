"""The fitted models inside pipelines, searches and other models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def unwrap(estimator: Any, X: Any = None) -> tuple[Any, Any]:
    """Return the fitted model inside pipelines and searches, and X as it receives it.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it is a search without a fitted model.
    """
    if isinstance(estimator, FrozenEstimator):
        return unwrap(estimator.estimator, X)
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        if X is not None and len(estimator) > 1:
            X = estimator[:-1].transform(X)
        return unwrap(estimator[-1], X)
    if hasattr(estimator, "best_estimator_"):
        return unwrap(estimator.best_estimator_, X)
    if hasattr(estimator, "cv_results_"):
        raise ValueError(f"{type(estimator).__name__} has no fitted model. Search with refit=True.")
    return estimator, X


def image_classifiers(model: Any) -> Iterator[Any]:
    """Iterate over the fitted classifiers of images that a fitted model predicts with."""
    for classifier, _ in image_classifiers_with(model, None):
        yield classifier


def image_classifiers_with(model: Any, X: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the fitted classifiers of images and X as each of them receives it."""
    model, X = unwrap(model, X)
    if hasattr(model, "on_error"):
        yield model, X
    for name in ("classifier_", "estimator_", "estimators_"):
        children = getattr(model, name, None)
        for child in children if isinstance(children, list) else [children]:
            # The estimator_ of a forest is a template that is not fitted.
            if hasattr(child, "fit") and _is_fitted(child):
                yield from image_classifiers_with(child, X)


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


@contextmanager
def unreadable_images_skipped(model: Any) -> Iterator[None]:
    """Let a fitted model predict NaN for images that cannot be read, without a warning.

    The caller counts them.
    """
    classifiers = list(image_classifiers(model))
    before = [classifier.on_error for classifier in classifiers]
    for classifier in classifiers:
        classifier.on_error = "skip"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* get NaN", UserWarning)
            yield
    finally:
        for classifier, on_error in zip(classifiers, before, strict=True):
            classifier.on_error = on_error
