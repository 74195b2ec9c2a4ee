"""Groups of samples that stay together in every split, such as the images of a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from ._sklearn import BaseSearchCV, routing_enabled


class TakesGroups:
    """Mixin of estimators whose fit takes groups: metadata routing passes them by default.

    Splitters that use groups have the same default.
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}


def group_codes(groups: Any, n_samples: int = 0) -> np.ndarray:
    """Return groups, such as persons, as integers from 0 in the order of their appearance.

    Parameters
    ----------
    groups : array-like or None
        None gives each of `n_samples` samples its own.
    n_samples : int, default=0

    Raises
    ------
    ValueError
        If a group is missing (None or NaN).
    """
    import pandas as pd  # slow to import, and bins do without it

    if groups is None:
        return np.arange(n_samples)
    codes = pd.factorize(pd.Series(groups))[0]
    if (codes < 0).any():
        first = int(np.argmax(codes < 0))
        raise ValueError(
            f"groups[{first}] is missing. Give each sample of an unknown person "
            "a group of its own, as faces.groups of a loader does."
        )
    return codes


def joined(groups: np.ndarray, others: Any) -> np.ndarray:
    """Return codes from 0 of the groups that two groupings make together.

    Samples that share a group of either are in one group.

    Parameters
    ----------
    groups : ndarray of shape (n_samples,)
        Codes from 0, such as those of persons.
    others : array-like of shape (n_samples,)
        The other grouping, such as the digests of the images.
    """
    n_groups, other_codes = int(groups.max()) + 1, group_codes(others)
    n_nodes = n_groups + int(other_codes.max()) + 1
    links = coo_array(
        (np.ones(len(groups)), (groups, n_groups + other_codes)), shape=(n_nodes, n_nodes)
    )
    return group_codes(connected_components(links, directed=False)[1][groups])


def joined_copies(groups: np.ndarray, digests: Iterable[bytes | None]) -> np.ndarray:
    """Return codes of groups that identical images join; a digest of None is of one image."""
    return joined(groups, [digest or i for i, digest in enumerate(digests)])


def groups_parameter(estimator: Any) -> str | None:
    """Return the parameter of fit that takes groups, or None.

    It is that of the last step of a Pipeline. A search passes groups to its splitter. With
    metadata routing, it is "groups" for what requests them.
    """
    if routing_enabled() and not isinstance(estimator, TakesGroups):
        return "groups" if get_routing_for_object(estimator).consumes("fit", ["groups"]) else None
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name = groups_parameter(last)
        return None if name is None else f"{step}__{name}"
    is_search = isinstance(estimator, BaseSearchCV)
    return "groups" if is_search or has_fit_parameter(estimator, "groups") else None
