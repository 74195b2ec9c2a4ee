"""set_params for nested parameters of an estimator that is None by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_defaults(
    estimator: Any, params: dict[str, Any], **defaults: Callable[[], Any]
) -> dict[str, Any]:
    """Add the default estimators that nested parameters need to the arguments of set_params.

    With ``runtime=None``, ``set_params(runtime__device="cpu")`` must set a Runtime first.

    Parameters
    ----------
    estimator : estimator
        The estimator whose parameters are set.
    params : dict
        The arguments of its set_params.
    **defaults : callable
        For each parameter, a function that makes the estimator that None stands for.

    Returns
    -------
    params : dict
        The arguments to pass on to scikit-learn's set_params.
    """
    nested = {name.partition("__")[0] for name in params if "__" in name}
    made = {
        name: make()
        for name, make in defaults.items()
        if name in nested and params.get(name, getattr(estimator, name)) is None
    }
    return params | made
