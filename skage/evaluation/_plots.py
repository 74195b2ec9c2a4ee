"""The plots of an evaluation, by the displays."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..displays import (
    ChallengeAgeDisplay,
    CumulativeScoreDisplay,
    ErrorByAgeDisplay,
    IntervalCoverageDisplay,
    PredictedAgeDisplay,
    ReliabilityDisplay,
)
from ._groups import BAND
from ._result import Evaluation

_SIZE = (5.2, 3.6)  # inches
_N_LEVELS = 10


def overview(e: Evaluation) -> Figure:
    """Errors by age, the cumulative score, and true against predicted ages."""
    figure = Figure(figsize=(13.5, 3.8), layout="constrained")
    for ax, draw in zip(figure.subplots(1, 3), (_by_age, _cumulative, _true_age), strict=True):
        draw(e, ax)
    return figure


def report_plots(e: Evaluation) -> dict[str, list[tuple[str, str]]]:
    """SVGs and captions, by section of the report."""
    found = {
        "accuracy": [
            (_by_age, "Mean absolute error and bias by band of true age."),
            (_true_age, "True against predicted ages; on the line, they are equal."),
            (_cumulative, "Share of images whose error is at most so many years."),
        ],
        "intervals": [],
        "limit": [],
    }
    if "low" in e.images:
        found["intervals"].append(
            (_coverage, "Share of true ages within the predicted intervals, by band of true age.")
        )
    if "pit" in e.images:
        found["intervals"].append(
            (_reliability, "Predicted probability below the true age: flat if it is calibrated.")
        )
    if e.limit is not None:
        found["limit"].append(
            (_challenge, "Share of those below the limit who pass, by challenge age.")
        )
    return {name: [(_svg(e, draw), caption) for draw, caption in of] for name, of in found.items()}


def _svg(e: Evaluation, draw: Any) -> str:
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": draw.__name__,
        "font.family": "sans-serif",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        draw(e, figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _by_age(e: Evaluation, ax: Axes) -> None:
    table = e.by[BAND]
    table = table[table["n_images"] > table["n_failed"]]
    n_known = table["n_images"] - table["n_failed"]
    names = zip(table[BAND].astype(str), n_known, strict=True)
    bounds: dict[str, Any] = {}
    if e.settings["n_resamples"]:
        for name in ("mae", "bias"):
            bounds[f"{name}_interval"] = table[[f"{name}_low", f"{name}_high"]].to_numpy()
    labels = [f"{name}\n{n:,}" for name, n in names]
    ErrorByAgeDisplay(labels, table["mae"], table["bias"], **bounds).plot(ax=ax)


def _cumulative(e: Evaluation, ax: Axes) -> None:
    CumulativeScoreDisplay.from_predictions(*_ages(e), ax=ax)


def _true_age(e: Evaluation, ax: Axes) -> None:
    PredictedAgeDisplay.from_predictions(*_ages(e), ax=ax)


def _coverage(e: Evaluation, ax: Axes) -> None:
    interval = e.images[["low", "high"]].to_numpy()
    given = {e.settings["coverage"]: interval}
    IntervalCoverageDisplay.from_predictions(e.images["true"].to_numpy(), given, ax=ax)


def _reliability(e: Evaluation, ax: Axes) -> None:
    pit = e.images["pit"].dropna().to_numpy()
    levels = np.linspace(0, 1, _N_LEVELS + 1)
    cdf = np.searchsorted(np.sort(pit), levels, side="right") / len(pit)
    ReliabilityDisplay(levels, cdf).plot(ax=ax)


def _challenge(e: Evaluation, ax: Axes) -> None:
    assert e.limit is not None
    ChallengeAgeDisplay.from_predictions(
        *_ages(e),
        limit=e.limit.limit,
        challenge_ages=e.limit.challenge_ages["challenge_age"].tolist(),
        ax=ax,
    )


def _ages(e: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    return e.images["true"].to_numpy(), e.images["predicted"].to_numpy()
