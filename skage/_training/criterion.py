"""The training loss, and how a network's outputs become distributions over the bins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..losses import REGRESSION, TERMS, BatchTargets


class Criterion:
    """The loss of a batch, and the map from the network's outputs to distributions.

    Parameters
    ----------
    weights : dict of str to float
        Weights of the loss terms, as `check_loss` returns them.
    values : sequence of k floats, default=None
        Ages in years that the bins stand for, ascending.
    """

    def __init__(self, weights: Mapping[str, float], values: Any = None):
        self.weights = dict(weights)
        self.values = None if values is None else torch.as_tensor(values, dtype=torch.float32)
        self.regression = next((name for name in self.weights if name in REGRESSION), None)

    def __call__(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        outputs = outputs.float()
        ages = targets.get("ages", torch.empty(0))
        batch = BatchTargets(targets["codes"], targets.get("distribution"), ages)
        if self.regression is not None:
            # In units of the output: in years, the squared error would have huge gradients.
            error = (self._years(outputs) - batch.ages) / self._spread()
            loss = error.abs() if self.regression == "l1" else error**2 / 2
        else:
            log_p = outputs.log_softmax(dim=1)
            values = None if self.values is None else self.values.to(log_p.device)
            terms = (w * TERMS[name](log_p, batch, values) for name, w in self.weights.items())
            loss = torch.stack(list(terms)).sum(dim=0)
        return (loss * targets["weight"]).mean()

    @property
    def facts(self) -> tuple[Any, ...]:
        """Everything that determines the loss; part of a checkpoint's name."""
        return self.weights, None if self.values is None else self.values.tolist()

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return distributions over the bins, (n, k).

        In regression, the single output is an age. Its distribution covers the two
        bins around the age, so that its expectation is the age, or an end bin.
        """
        outputs = outputs.float()
        return outputs.softmax(dim=1) if self.regression is None else self._two_hot(outputs)

    def _years(self, outputs: Tensor) -> Tensor:
        """Return ages in years; the output counts standard deviations of the bins' values."""
        assert self.values is not None
        values = self.values.to(outputs.device)
        return values.mean() + outputs[:, 0] * self._spread()

    def _spread(self) -> float:
        assert self.values is not None
        return max(self.values.std(correction=0).item(), 1.0)

    def _two_hot(self, outputs: Tensor) -> Tensor:
        assert self.values is not None
        values = self.values.to(outputs.device)
        if len(values) == 1:
            return torch.ones_like(outputs)
        ages = self._years(outputs).clamp(values[0], values[-1])
        right = torch.searchsorted(values, ages).clamp(1, len(values) - 1)
        share = (ages - values[right - 1]) / (values[right] - values[right - 1])
        p = outputs.new_zeros(len(ages), len(values))
        p.scatter_(1, right[:, None], share[:, None])
        return p.scatter_(1, right[:, None] - 1, 1 - share[:, None])
