"""Loss terms on the predicted distribution over the bins.

Each term is a function of an image's log-probabilities log p over the bins and of its
target t, the distribution over the bins to which `AgeBinner.encode` turns the age y in
years. The bins' values in years are v, and E = sum_k p_k v_k is the expected age. A loss
is one term, or a weighted sum of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = [
    "TERMS",
    "BatchTargets",
    "cross_entropy",
    "cumulative",
    "expectation_l1",
    "expectation_l2",
    "ranked_probability",
    "variance",
]


@dataclass
class BatchTargets:
    """The targets of a batch of images.

    Parameters
    ----------
    codes : Tensor (n,), int64
        The bin of each age.
    distribution : Tensor (n, k) or None
        Target distributions over the bins; None means all mass on the bin of `codes`.
    ages : Tensor (n,)
        In years; empty if unknown.
    """

    codes: Tensor
    distribution: Tensor | None
    ages: Tensor

    def probabilities(self, n_bins: int) -> Tensor:
        """Return the target distributions.

        Parameters
        ----------
        n_bins : int

        Returns
        -------
        distribution : Tensor (n, n_bins)
        """
        if self.distribution is not None:
            return self.distribution
        return nn.functional.one_hot(self.codes, n_bins).float()


def cross_entropy(log_p: Tensor, targets: BatchTargets, values: Tensor | None) -> Tensor:
    """-sum_k t_k log p_k.

    With hard targets this is the loss of DEX (Rothe et al., ICCVW 2015). With soft ones
    it is that of label distribution learning (DLDL: Gao et al., IEEE TIP 2017, up to a
    constant), HL-Gauss (Imani and White, ICML 2018) and SORD (Diaz and Marathe, CVPR
    2019).
    """
    if targets.distribution is None:
        return nn.functional.nll_loss(log_p, targets.codes, reduction="none")
    return -(targets.distribution * log_p).sum(dim=1)


def expectation_l1(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """|E - y| in years (DLDL-v2: Gao et al., IJCAI 2018)."""
    return (log_p.exp() @ values - targets.ages).abs()


def expectation_l2(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """(E - y)^2 / 2 in square years (the mean loss of Pan et al., CVPR 2018)."""
    return (log_p.exp() @ values - targets.ages) ** 2 / 2


def variance(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """sum_k p_k (v_k - E)^2 in square years (the variance loss of Pan et al., CVPR 2018)."""
    p = log_p.exp()
    return (p * (values - (p @ values)[:, None]) ** 2).sum(dim=1)


def ranked_probability(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """sum_k (v_{k+1} - v_k) (P_k - T_k)^2 in years, with cumulative sums P of p and T of t.

    This is the ranked probability score (Epstein, J. Appl. Meteorol. 1969), and the
    squared earth mover's distance of Hou et al. (2016), with the distances between the
    bins in years.
    """
    p = log_p.exp()
    apart = (p - targets.probabilities(p.shape[1])).cumsum(dim=1)[:, :-1]
    return apart**2 @ values.diff()


def cumulative(log_p: Tensor, targets: BatchTargets, values: Tensor | None) -> Tensor:
    """Mean over the k - 1 cuts of the binary cross-entropy of being above the cut.

    This is the loss of ordinal networks (Niu et al., CVPR 2016; CORAL: Cao et al.,
    Pattern Recognition Letters 2020). Here it is computed from the upper tails of the
    softmax rather than from an output for each cut, so that the probabilities of being
    above a cut always decrease from cut to cut.
    """
    # Log of the cumulative probabilities from either end.
    below = log_p.logcumsumexp(dim=1)[:, :-1].clamp(max=-1e-7)
    above = log_p.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:].clamp(max=-1e-7)
    t = targets.probabilities(log_p.shape[1]).cumsum(dim=1)[:, :-1]
    return -(t * below + (1 - t) * above).sum(dim=1) / max(t.shape[1], 1)


Term = Callable[[Tensor, BatchTargets, Any], Tensor]
#: All loss terms by name; those measured in years need ages and bin values.
TERMS: dict[str, Term] = {
    term.__name__: term
    for term in (
        cross_entropy,
        expectation_l1,
        expectation_l2,
        variance,
        ranked_probability,
        cumulative,
    )
}
_WITHOUT_YEARS = {"cross_entropy", "cumulative"}
#: Losses of a network with a single output, the age, rather than a distribution.
REGRESSION = ("l1", "l2")


def check_loss(loss: Any) -> dict[str, float]:
    """Return a loss as a dict of weights by name.

    Raises
    ------
    ValueError
        If a name is unknown, a weight is not a number >= 0, or "l1" or "l2" is
        mixed with terms on a distribution.
    """
    weights = {loss: 1.0} if isinstance(loss, str) else loss
    known = [*TERMS, *REGRESSION]
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(
            f"loss={loss!r} must be a name, or a dict of weights by name, from {known}."
        )
    for name, weight in weights.items():
        if name not in known:
            raise ValueError(
                f"loss={loss!r} contains the unknown term {name!r}. Choose from {known}."
            )
        if not isinstance(weight, int | float | np.number) or not 0 <= weight < float("inf"):
            raise ValueError(f"loss={loss!r}: the weight of {name!r} must be a finite number >= 0.")
    if not any(weights.values()):
        raise ValueError(f"loss={loss!r} must give at least one term a weight above 0.")
    if set(weights) & set(REGRESSION) and len(weights) > 1:
        raise ValueError(
            f"loss={loss!r}: 'l1' and 'l2' need a network with one output and cannot be combined "
            "with other terms. Pass one of them alone."
        )
    return {name: float(weight) for name, weight in weights.items() if weight}


def needs_years(weights: Mapping[str, float]) -> bool:
    """Return whether a loss needs ages and bin values."""
    return not set(weights) <= _WITHOUT_YEARS
