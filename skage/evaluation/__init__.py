"""Evaluation of predicted ages: figures with intervals, by group, and as a report."""

from ._compare import Comparison, compare
from ._evaluate import evaluate
from ._limit import LimitResult
from ._overlap import Overlap
from ._predictions import read_predictions
from ._result import Evaluation

__all__ = [
    "Comparison",
    "Evaluation",
    "LimitResult",
    "Overlap",
    "compare",
    "evaluate",
    "read_predictions",
]
