"""The images under and over a limit of age, and what is decided about them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..metrics import binomial_interval

DECISIONS = ("pass", "unsure", "fail")


def sides_of_limit(
    ages: np.ndarray,
    limit: float,
    margin: float | None,
    groups: np.ndarray | None,
    random_state: np.random.RandomState,
) -> dict[str, np.ndarray]:
    """Return the positions of the images "under", "just under" and "over" a limit.

    Parameters
    ----------
    ages : ndarray of shape (n_samples,)
        True ages in years.
    limit : float
        In years; it is "over" itself.
    margin : float or None
        How far under the limit is "just under", in years; None leaves it out.
    groups : ndarray of shape (n_samples,) or None
        Persons; of each, one image is drawn on each side.
    random_state : RandomState
        Draws the images.
    """
    masks = {"under": ages < limit}
    if margin is not None:
        masks["just under"] = masks["under"] & (ages >= limit - margin)
    masks["over"] = ages >= limit
    if groups is None:
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}
    order = random_state.permutation(len(ages))
    drawn = {}
    for name, mask in masks.items():
        rows = order[mask[order]]
        drawn[name] = rows[np.unique(groups[rows], return_index=True)[1]]
    return drawn


def rates_by_side(
    decisions: np.ndarray, skipped: np.ndarray, sides: dict[str, np.ndarray], confidence: float
) -> pd.DataFrame:
    """Return the share of each decision on each side, as `AgeCheck.rates` describes it."""
    rows = []
    for side, positions in sides.items():
        n = len(positions)
        for decision in DECISIONS:
            counted = decisions[positions] == decision
            count = int(counted.sum())
            low, high = binomial_interval(count, n, 2 * confidence - 1)
            rows.append(
                {
                    "truth": side,
                    "decision": decision,
                    "count": count,
                    "n": n,
                    "rate": count / n if n else np.nan,
                    "low": low,
                    "high": high,
                    "no_prediction": int((counted & skipped[positions]).sum()),
                }
            )
    return pd.DataFrame(rows).set_index(["truth", "decision"])
