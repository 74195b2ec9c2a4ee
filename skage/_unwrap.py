"""The fitted model inside pipelines and searches."""

from __future__ import annotations

from typing import Any

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
