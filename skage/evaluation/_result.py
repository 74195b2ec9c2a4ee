"""Evaluation: what evaluate returns."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from .._files.paths import replacing, resolve_path
from ._limit import LimitResult
from ._overlap import Overlap

SCHEMA = "skage evaluation, version 1"

NOT_ASSESSED = {
    "Presentation attacks": "Photographs of photographs, screens, masks, generated faces "
    "(ISO/IEC 30107-3: APCER, BPCER).",
    "Liveness": "Whether a living person is in front of the camera.",
    "Disguise and cosmetics": "Make-up, beards, glasses, filters that are meant to change the age.",
    "Circumvention": "Someone else's face, or another way around the check.",
    "People who are not in the data": "Groups, cameras, poses and light that these images do not "
    "have.",
}


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The figures of predicted ages, as `evaluate` computes them.

    Parameters
    ----------
    name : str
        What was evaluated.
    about : dict of str to str
        Facts given by the user.
    images : DataFrame
        One row for each image: true, predicted, error, and if they are known low, high,
        crps, nll, pit, person, and the columns of `by`.
    overall : DataFrame
        Indexed by figure: label, unit, definition, value, low, high; for rates value_all,
        low_all and high_all too, in which images without a prediction count as failures.
    by : dict of str to DataFrame
        By band of age, each column, and pairs of them such as "age band x sex": the
        figures of each group, with n_images and n_failed.
    by_age : DataFrame
        The figures of each year of true age.
    gaps : DataFrame
        For each entry of `by`, the worst and the best group, their difference and ratio.
    limit : LimitResult or None
        The figures of a limit of age.
    variability : DataFrame or None
        Changes of the prediction with changes of the image.
    overlap : Overlap or None
        Which images are known from training.
    settings : dict
        How the figures were computed.
    """

    name: str
    about: dict[str, str]
    images: pd.DataFrame
    overall: pd.DataFrame
    by: dict[str, pd.DataFrame]
    by_age: pd.DataFrame
    gaps: pd.DataFrame
    limit: LimitResult | None
    variability: pd.DataFrame | None
    overlap: Overlap | None
    settings: dict[str, Any]

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def n_failed(self) -> int:
        """Number of images without a prediction (failure to acquire)."""
        return int(self.images["predicted"].isna().sum())

    def __repr__(self) -> str:
        lines = [f"Evaluation of {self.name} on {self.n_images:,} images"]
        if self.n_failed:
            lines[0] += f", {self.n_failed:,} of them without a prediction"
        for row in self.overall.itertuples():
            value = format_value(row.value, row.unit)
            bounds = format_bounds(row.low, row.high, row.unit)
            lines.append(f"  {row.label:<52.52} {value:>8} {bounds}".rstrip())
        if self.limit is not None:
            lines.append(f"  {self.limit}")
        for row in self.gaps.itertuples():
            lines.append(
                f"  worst by {row.by}: {row.worst} ({row.worst_mae:.2f} years), best {row.best} "
                f"({row.best_mae:.2f})"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from ._report import render_fragment

        return render_fragment(self)

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """Return the report as one self-contained HTML page, and write it to a file.

        The page has no scripts and loads nothing. It contains no images of faces.

        Parameters
        ----------
        path : path, default=None
            None writes no file.

        Returns
        -------
        html : str
        """
        from ._report import render_page

        html = render_page(self)
        if path is not None:
            _write(path, html)
        return html

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as values that JSON can represent.

        Returns
        -------
        evaluation : dict
            As docs/evaluation.schema.json describes it; without the single images.
        """
        limit = self.limit
        return {
            "schema": SCHEMA,
            "skage": __version__,
            "name": self.name,
            "about": self.about,
            "n_images": self.n_images,
            "n_failed": self.n_failed,
            "settings": {name: _plain(value) for name, value in self.settings.items()},
            "overall": _records(self.overall.reset_index()),
            "by": {name: _records(table) for name, table in self.by.items()},
            "by_age": _records(self.by_age),
            "gaps": _records(self.gaps),
            "limit": None
            if limit is None
            else {
                "limit": _plain(limit.limit),
                "challenge_age": _plain(limit.challenge_age),
                **{
                    name: None if table is None else _records(table)
                    for name, table in vars(limit).items()
                    if isinstance(table, pd.DataFrame) or table is None
                },
            },
            "variability": None if self.variability is None else _records(self.variability),
            "overlap": None if self.overlap is None else self.overlap.counts(),
            "not_assessed": NOT_ASSESSED,
        }

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return the figures as JSON, and write it to a file.

        Parameters
        ----------
        path : path, default=None
            None writes no file.

        Returns
        -------
        text : str
            As docs/evaluation.schema.json describes it. Values that are not known are null.
        """
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            _write(path, text)
        return text

    def plot(self) -> Any:
        """Plot the errors by age, the cumulative score, and true against predicted ages.

        Returns
        -------
        figure : matplotlib Figure
        """
        from ._plots import overview

        return overview(self)


def format_value(value: float, unit: str) -> str:
    """A figure as people read it; a dash if it is not known."""
    if value is None or np.isnan(value):
        return "\N{EN DASH}"
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.2f}"


def format_difference(value: float, unit: str) -> str:
    """A difference of two figures with its sign; of shares in percentage points."""
    if value is None or np.isnan(value):
        return "\N{EN DASH}"
    return f"{100 * value:+.1f} points" if unit == "share" else f"{value:+.2f}"


def format_bounds(low: float, high: float, unit: str) -> str:
    if low is None or np.isnan(low) or np.isnan(high):
        return ""
    if unit == "points":
        return f"({100 * low:.1f} to {100 * high:.1f})"
    if unit == "share":
        return f"({100 * low:.1f} to {100 * high:.1f} %)"
    return f"({low:.2f} to {high:.2f})"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): _plain(v) for k, v in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _write(path: str | os.PathLike, text: str) -> None:
    target = resolve_path(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{target} cannot be written: the folder {folder} does not exist.")
    with replacing(target, "w", encoding="utf-8") as file:
        file.write(text)
