"""Options of evaluate and compare, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._groups import group_codes

MARGIN = 7  # years from the limit to the usual challenge age, as in Challenge 25


def person_codes(groups: Any, n_samples: int) -> np.ndarray:
    """Number the persons from 0; without groups, each image is another person.

    Raises
    ------
    ValueError
        If a group is missing, or they have another shape.
    """
    if groups is not None and np.ndim(groups) != 1:
        raise ValueError(
            f"groups has the shape {np.shape(groups)}. Pass the person of each image, such as a "
            "name or number."
        )
    return group_codes(groups, n_samples)


def check_bands(bands: Sequence[float]) -> list[float]:
    """Return the lower ends of bands as numbers, in ascending order.

    Raises
    ------
    ValueError
    """
    try:
        edges = np.asarray(bands, dtype=float)
    except (TypeError, ValueError):
        edges = np.empty(0)
    ascends = edges.ndim == 1 and np.isfinite(edges).all() and (np.diff(edges) > 0).all()
    if not ascends or not len(edges):
        raise ValueError(
            f"bands={bands!r} are not valid. Pass the lower ends of bands of age in ascending "
            "order, such as (0, 13, 18, 25)."
        )
    return edges.tolist()


def check_challenge_age(limit: float | None, challenge_age: float | None) -> float | None:
    """Return the challenge age, by default 7 years above the limit; None without a limit.

    Raises
    ------
    ValueError
        If there is no limit, or it is above the challenge age.
    """
    if limit is None:
        if challenge_age is not None:
            raise ValueError(f"challenge_age={challenge_age:g} has no effect without a limit.")
        return None
    if challenge_age is None:
        return limit + MARGIN
    if challenge_age < limit:
        raise ValueError(
            f"challenge_age={challenge_age:g} is below limit={limit:g}. Pass an age from the limit "
            "on, or None for 7 years above it."
        )
    return challenge_age


def generator(random_state: Any) -> np.random.Generator:
    """A generator seeded by scikit-learn's kind of random_state."""
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    return np.random.default_rng(random_state)
