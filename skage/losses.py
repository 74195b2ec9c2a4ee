"""What the network minimises: terms on the predicted distribution over the bins.

Each term is a function of an image's log-probabilities log p of the bins and of its
target, the distribution t over the bins that `AgeBinner.encode` makes of the age y in
years. v are the bins' values in years, and E = sum_k p_k v_k the expected age. A loss is
one term, or several with weights.
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
    """What a batch of images is to be predicted as.

    Parameters
    ----------
    codes : Tensor (n,), int64
        The bin of each age.
    distribution : Tensor (n, k) or None
        Over the bins; None puts all on the bin of `codes`.
    ages : Tensor (n,)
        In years; empty if they are not known.
    """

    codes: Tensor
    distribution: Tensor | None
    ages: Tensor

    def probabilities(self, n_bins: int) -> Tensor:
        """Return the distributions to learn.

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

    DEX (Rothe et al., ICCVW 2015) with hard targets; with soft ones as in label
    distribution learning (DLDL: Gao et al., IEEE TIP 2017, up to a constant), HL-Gauss
    (Imani and White, ICML 2018) and SORD (Diaz and Marathe, CVPR 2019).
    """
    if targets.distribution is None:
        return nn.functional.nll_loss(log_p, targets.codes, reduction="none")
    return -(targets.distribution * log_p).sum(dim=1)


def expectation_l1(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """|E - y|, years (DLDL-v2: Gao et al., IJCAI 2018)."""
    return (log_p.exp() @ values - targets.ages).abs()


def expectation_l2(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """(E - y)^2 / 2, square years (the mean loss of Pan et al., CVPR 2018)."""
    return (log_p.exp() @ values - targets.ages) ** 2 / 2


def variance(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """sum_k p_k (v_k - E)^2, square years (the variance loss of Pan et al., CVPR 2018)."""
    p = log_p.exp()
    return (p * (values - (p @ values)[:, None]) ** 2).sum(dim=1)


def ranked_probability(log_p: Tensor, targets: BatchTargets, values: Tensor) -> Tensor:
    """sum_k (v_{k+1} - v_k) (P_k - T_k)^2, years, with cumulative sums P of p and T of t.

    The ranked probability score (Epstein, J. Appl. Meteorol. 1969), and the squared
    earth mover's distance of Hou et al. (2016), with the bins' distances in years.
    """
    p = log_p.exp()
    apart = (p - targets.probabilities(p.shape[1])).cumsum(dim=1)[:, :-1]
    return apart**2 @ values.diff()


def cumulative(log_p: Tensor, targets: BatchTargets, values: Tensor | None) -> Tensor:
    """Mean over the k - 1 cuts of the binary cross-entropy of lying above the cut.

    The loss of ordinal networks (Niu et al., CVPR 2016; CORAL: Cao et al., Pattern
    Recognition Letters 2020), on the upper tails of the softmax rather than on outputs
    of their own, so that they are in order by construction.
    """
    # Sums of probabilities from either end, in logarithms.
    below = log_p.logcumsumexp(dim=1)[:, :-1].clamp(max=-1e-7)
    above = log_p.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:].clamp(max=-1e-7)
    t = targets.probabilities(log_p.shape[1]).cumsum(dim=1)[:, :-1]
    return -(t * below + (1 - t) * above).sum(dim=1) / max(t.shape[1], 1)


Term = Callable[[Tensor, BatchTargets, Any], Tensor]
#: The terms that a loss may have; those of years need ages and bin values.
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
#: Losses of a single output that is an age, rather than of a distribution.
REGRESSION = ("l1", "l2")


def check_loss(loss: Any) -> dict[str, float]:
    """A loss as weights by name.

    Raises
    ------
    ValueError
        If a name is unknown, a weight is not a number >= 0, or "l1" or "l2" is
        mixed with terms on a distribution.
    """
    weights = {loss: 1.0} if isinstance(loss, str) else loss
    known = [*TERMS, *REGRESSION]
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"loss={loss!r} must be a name, or weights by name, of {known}.")
    for name, weight in weights.items():
        if name not in known:
            raise ValueError(f"loss={loss!r} has no term {name!r}. Choose from {known}.")
        if not isinstance(weight, int | float | np.number) or not 0 <= weight < float("inf"):
            raise ValueError(f"loss={loss!r}: the weight of {name!r} must be a number >= 0.")
    if not any(weights.values()):
        raise ValueError(f"loss={loss!r} must give one term a weight above 0.")
    if set(weights) & set(REGRESSION) and len(weights) > 1:
        raise ValueError(
            f"loss={loss!r}: 'l1' and 'l2' need a network with one output and cannot be combined "
            "with other terms. Pass one of them alone."
        )
    return {name: float(weight) for name, weight in weights.items() if weight}


def needs_years(weights: Mapping[str, float]) -> bool:
    """Whether a loss needs ages and bin values."""
    return not set(weights) <= _WITHOUT_YEARS
