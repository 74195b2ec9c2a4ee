"""What the displays share: colours, new axes, and notes below the plot."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

BLUE, ORANGE, GREY, BLACK = "#3b6fb6", "#e07b39", "#9aa0a6", "#333333"
#: Colour, line and marker of several lines, which differ for the colour-blind and in grey.
STYLES = (
    {"color": "#1f4e8c", "ls": "-", "marker": "o"},
    {"color": "#e07b39", "ls": "--", "marker": "s"},
    {"color": "#2a9d8f", "ls": "-.", "marker": "^"},
    {"color": "#8c6bb1", "ls": ":", "marker": "D"},
    {"color": "#8a6d1d", "ls": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": "#333333", "ls": (0, (1, 1)), "marker": "x"},
)


def style(position: int) -> dict[str, Any]:
    """Return the style of a line by its position among the lines of a plot."""
    return dict(STYLES[position % len(STYLES)])


def new_axes(rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.5, 3.2)) -> Any:
    """Return the axes of a new figure as a flat array."""
    from matplotlib import pyplot as plt  # selects a backend, which given axes do not need

    return np.ravel(plt.subplots(rows, columns, figsize=size, layout="constrained")[1])


def plain_frame(ax: Axes) -> None:
    """Remove the frame's upper and right side."""
    ax.spines[["top", "right"]].set_visible(False)


def note(ax: Axes, *sentences: str) -> None:
    """Write the sentences that are not empty in small letters below the label of the x axis."""
    text = "\n".join(sentence for sentence in sentences if sentence)
    if text:
        ax.annotate(
            text,
            (0.5, 0),
            xycoords=ax.xaxis.label,
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color="#555555",
        )


def missing_note(n_missing: int, n_images: int) -> str:
    """Return what a plot says of images without a prediction."""
    if not n_missing:
        return ""
    left_out = "is left out" if n_missing == 1 else "are left out"
    return f"{n_missing:,} of {n_images:,} images without a prediction {left_out}"
