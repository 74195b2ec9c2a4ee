"""What accuracy.py shows: a table, and a plot of the errors by bins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from skage.metrics import (
    cumulative_score,
    macro_mean_absolute_error,
    mean_absolute_error,
)

# By name, fold and decoding: ages (of the fold's images), seconds, n_trained, lr. A fold
# without decodings is one where training diverged.
Rows = dict[str, dict[int, dict[str, dict[str, Any]]]]

_HEADS = ("model", "MAE of mean", "of median", "of mode", "CS@5", "AMAE")
_HEADS += ("trained", "s", "lr", "folds")


def table(rows: Rows, ages: np.ndarray, fold: np.ndarray, counted: np.ndarray | None = None) -> str:
    """Means and standard errors over the folds, in years, as Markdown.

    `counted` is a mask of the images whose errors count; None counts all.

    CS@5 and AMAE are of the median where there is one, else of the mean. "trained" are
    the parameters of one network, s the time of the epochs of all its networks, lr what
    the folds chose.
    """
    lines = [" | ".join(_HEADS), " | ".join(["---"] + (len(_HEADS) - 1) * ["---:"])]
    if counted is None:
        counted = np.ones(len(ages), dtype=bool)
    data = ages, fold, counted
    for name, folds in rows.items():
        known = {k: found for k, found in folds.items() if found}
        decodings = next(iter(known.values()), {})
        cells = [name]
        cells += [
            _spread(mean_absolute_error, known, d, *data) if d in decodings else ""
            for d in ("mean", "median", "mode")
        ]
        best = "median" if "median" in decodings else "mean"
        cells.append(_spread(cumulative_score, known, best, *data, digits=3))
        cells.append(_spread(macro_mean_absolute_error, known, best, *data))
        facts = [next(iter(found.values())) for found in known.values()]
        n_trained = max((fact["n_trained"] for fact in facts), default=0)
        cells.append(f"{n_trained / 1e6:.2f} M" if n_trained else "")
        seconds = np.mean([fact["seconds"] for fact in facts]) if facts else 0
        cells.append(f"{seconds:.0f}" if seconds else "")
        rates = {fact["lr"] for fact in facts} - {None}
        cells.append(", ".join(map(str, sorted(rates, key=str))))
        n_diverged = len(folds) - len(known)
        cells.append(f"{len(known)}, {n_diverged} diverged" if n_diverged else f"{len(known)}")
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _scores(
    metric: Any,
    known: dict,
    decode: str,
    ages: np.ndarray,
    fold: np.ndarray,
    counted: np.ndarray,
) -> np.ndarray:
    return np.array(
        [
            metric(
                ages[fold == k][counted[fold == k]], np.array(f[decode]["ages"])[counted[fold == k]]
            )
            for k, f in known.items()
        ]
    )


def _spread(metric: Any, known: dict, decode: str, *data: np.ndarray, digits: int = 2) -> str:
    scores = _scores(metric, known, decode, *data)
    if len(scores) < 2:
        return "".join(f"{score:.{digits}f}" for score in scores)
    return f"{scores.mean():.{digits}f} ± {scores.std(ddof=1) / len(scores) ** 0.5:.{digits}f}"


def plot_bins(
    rows: Rows, n_bins: Sequence[int], ages: np.ndarray, fold: np.ndarray, path: Path
) -> None:
    """MAE by the number of bins, uniform and balanced, as the paper's own table has it."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, decode in zip(axes, ("mean", "median"), strict=True):
        for strategy, marker in (("uniform", "o"), ("balanced", "s")):
            folds = {k: rows.get(f"{k} {strategy}", {}) for k in n_bins}
            drawn = {
                k: _scores(mean_absolute_error, known, decode, ages, fold, np.full(len(ages), True))
                for k, known in folds.items()
                if len(known) > 1
            }
            ax.errorbar(
                list(drawn),
                [maes.mean() for maes in drawn.values()],
                [maes.std(ddof=1) / len(maes) ** 0.5 for maes in drawn.values()],
                marker=marker,
                capsize=3,
                label=strategy,
            )
        ax.set(xscale="log", xticks=n_bins, xlabel="bins", title=f"decoded by the {decode}")
        ax.set_xticks([], minor=True)
        ax.set_xticklabels(n_bins)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("MAE, years (± standard error of 5 folds)")
    axes[0].legend(title="bins", frameon=False)
    figure.savefig(path, dpi=150)
