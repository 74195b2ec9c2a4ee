"""Parameters of estimators that are the values of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_defaults(
    estimator: Any, params: dict[str, Any], **defaults: Callable[[], Any]
) -> dict[str, Any]:
    """Complete what set_params is given: a nested parameter of None sets the default first.

    Parameters
    ----------
    estimator : estimator
        The one whose parameters are set.
    params : dict
        What its set_params was given.
    **defaults : callable
        By parameter: makes the estimator that None stands for.
    """
    nested = {name.partition("__")[0] for name in params if "__" in name}
    made = {
        name: make()
        for name, make in defaults.items()
        if name in nested and params.get(name, getattr(estimator, name)) is None
    }
    return params | made
