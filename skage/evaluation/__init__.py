"""Evaluation of predicted ages: figures with intervals, by group, and as a report."""

from ._compare import Comparison, compare
from ._csv import read_predictions
from ._evaluate import evaluate
from ._limit import LimitResult
from ._overlap import Overlap
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
