"""The nodes behind a network: probabilities of the bins, ages, quantiles and intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._training.criterion import Criterion
from ...binning import AgeBinner, tails
from .graph import Graph

_TINY = 1e-30


def add_probabilities(graph: Graph, criterion: Criterion, outputs: str) -> str:
    """Add what `Criterion.probabilities` does."""
    if criterion.regression is None:
        return graph.add("Softmax", outputs, axis=1)
    assert criterion.values is not None
    values = criterion.values.double().numpy()
    years = graph.add("Mul", outputs, criterion._spread())
    years = graph.add("Add", years, criterion.values.mean().item())
    years = graph.add("Max", graph.add("Min", years, values[-1]), values[0])
    # The probability of a bin rises from the value before to its own, and falls to the next.
    k = len(values)
    is_first, is_last = np.arange(k) == 0, np.arange(k) == k - 1
    gaps = np.diff(values)
    rise = np.concatenate([[0], 1 / gaps]), np.concatenate([[0], values[:-1]])
    fall = np.concatenate([-1 / gaps, [0]]), np.concatenate([values[1:], [0]])
    sides = [
        graph.add("Add", graph.add("Mul", graph.add("Sub", years, origin), slope), is_end * 1.0)
        for (slope, origin), is_end in ((rise, is_first), (fall, is_last))
    ]
    return graph.add("Max", graph.add("Min", *sides), 0.0)


def add_age(graph: Graph, binner: AgeBinner, decode: str, distribution: str) -> str:
    """Add ages (n, 1) as `decode_dist` computes them."""
    if decode == "mean":
        products = graph.add("Mul", distribution, binner.bin_values_)
        return graph.add("ReduceSum", products, [1], keepdims=1)
    if decode == "median":
        return add_quantiles(graph, binner, distribution, [0.5])[0]
    return graph.add(
        "Gather", binner.bin_values_, graph.add("ArgMax", distribution, axis=1, keepdims=1)
    )


def add_interval(
    graph: Graph, binner: AgeBinner, distribution: str, age: str, coverage: float
) -> str:
    """Add intervals (n, 2) as `decode_interval` computes them."""
    low, high = add_quantiles(graph, binner, distribution, tails(coverage))
    return graph.add("Concat", graph.add("Min", low, age), graph.add("Max", high, age), axis=1)


def add_quantiles(
    graph: Graph,
    binner: AgeBinner,
    distribution: str,
    levels: Sequence[float | str],
    clip: bool = True,
) -> list[str]:
    """Add quantiles (n, 1) of distributions; see `AgeBinner.quantile`.

    A level may be the name of levels (n, 1). With `clip`, no age is below 0 if no training
    age was.
    """
    start, end, shares = binner._pieces(np.eye(binner.n_bins_))
    mass = graph.add("MatMul", distribution, shares)
    below = graph.add("CumSum", mass, 1)
    total = graph.add("Gather", below, [len(start) - 1], axis=1)
    found = []
    for level in levels:
        target = graph.add("Mul", total, level)
        is_below = graph.cast(graph.add("Less", below, target), np.int64)
        piece = graph.add("ReduceSum", is_below, [1], keepdims=1)
        inside = graph.add("GatherElements", mass, piece, axis=1)
        after = graph.add("GatherElements", below, piece, axis=1)
        missing = graph.add("Sub", after, target)
        share = graph.add("Div", missing, graph.add("Max", inside, _TINY))
        share = graph.add("Max", graph.add("Min", share, 1.0), 0.0)
        width = graph.add("Gather", end - start, piece)
        age = graph.add("Sub", graph.add("Gather", end, piece), graph.add("Mul", share, width))
        if clip and binner.age_range_[0] >= 0:  # the support may begin below an age of 0
            age = graph.add("Max", age, 0.0)
        found.append(age)
    return found
