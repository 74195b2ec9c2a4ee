"""What a calibration learns from images of known age, and what follows for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._groups import group_codes
from ..binning import AgeBinner
from ..metrics import pit_values
from . import conformal

_N_FOLDS = 5  # of calibration images


class Part(NamedTuple):
    """Calibration images that one model has predicted."""

    distribution: np.ndarray  # (n, n_bins), without NaN
    binner: AgeBinner
    ages: np.ndarray  # (n,), in years
    persons: np.ndarray  # (n,), codes


@dataclass(frozen=True)
class Curves:
    """Recalibration curves of bands of predicted age.

    Parameters
    ----------
    edges : ndarray of shape (n_curves - 1,)
        Predicted ages between the bands.
    values : ndarray of shape (n_curves, n_knots)
        See `conformal.recalibration`.
    """

    edges: np.ndarray
    values: np.ndarray

    @classmethod
    def learn(
        cls, parts: Sequence[Part], step: float, width: float | np.ndarray, min_size: int
    ) -> Curves:
        """Learn a curve for each band, or the identity from too few images."""
        predicted = predicted_ages(parts)
        edges = conformal.band_edges(predicted, width, min_size)
        codes = conformal.band_codes(predicted, edges)
        low, high = (
            np.concatenate([pit_values(p.ages + d, p.distribution, p.binner) for p in parts])
            for d in (-step / 2, step / 2)
        )
        bands = [codes == code for code in range(len(edges) + 1)]
        values = [
            conformal.recalibration(low[rows], high[rows])
            if rows.sum() >= min_size
            else conformal.KNOTS
            for rows in bands
        ]
        return cls(edges, np.stack(values))

    def apply(self, distribution: np.ndarray, binner: AgeBinner) -> np.ndarray:
        """Return distributions, (n, n_bins), that follow the curves of their bands."""
        found = conformal.normalised(distribution)
        codes = conformal.band_codes(binner.inverse_transform(found), self.edges)
        for code, rows in conformal.rows_of_bands(codes):
            found[rows] = conformal.recalibrated(found[rows], self.values[code])
        return found


@dataclass(frozen=True)
class Calibration:
    """Recalibration curves, and the positions of the true ages of n calibration images.

    Parameters
    ----------
    by : {"predicted", "true", "group"} or None
        What the bands are of.
    step : float
        Step of the true ages in years: 1 for whole years, 0 for others.
    curves : Curves
    edges : ndarray of shape (n_bands - 1,)
        Ages between bands; empty for groups.
    labels : list
        The groups, in the order of their codes; empty for others.
    codes : ndarray of shape (n,)
        Band of each image.
    low, high : ndarray of shape (n,)
        Positions of the beginning and end of its true year of age.
    predicted, spread : ndarray of shape (n,)
        Mean and standard deviation of its distribution in years.
    """

    by: str | None
    step: float
    curves: Curves
    edges: np.ndarray
    labels: list[Any]
    codes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray

    @property
    def n_bands(self) -> int:
        return len(self.labels) or len(self.edges) + 1

    def sizes(self) -> np.ndarray:
        """Return the number of calibration images of each band."""
        return np.bincount(self.codes, minlength=self.n_bands)

    def limits(self, coverage: float, joint: bool) -> list[tuple[float, float]]:
        """Return the lowest and highest position of intervals of each band.

        Raises
        ------
        ValueError
            If a band has too few calibration images.
        """
        needed = conformal.n_needed(coverage, joint)
        sizes = self.sizes()
        if sizes.min() < needed:
            small = int(sizes.argmin())
            where = f" of {self.name(small)}" if self.n_bands > 1 else ""
            raise ValueError(
                f"Intervals of coverage={coverage:g} need at least {needed} calibration images"
                f"{' in each band' * (self.n_bands > 1)}, and the calibration has {sizes[small]}"
                f"{where}. Calibrate with more images, ask for a lower coverage"
                f"{', or set a larger min_band_size' * (self.by in ('predicted', 'true'))}."
            )
        members = [self.codes == code for code in range(self.n_bands)]
        return [
            conformal.limits(self.low[rows], self.high[rows], coverage, joint) for rows in members
        ]

    def name(self, code: int) -> str:
        """Return what a band is called in a message."""
        if self.labels:
            return f"the group {self.labels[code]!r}"
        ends = [f"{edge:g}" for edge in self.edges]
        first, last = ["-inf", *ends][code], [*ends, "inf"][code]
        return f"the {self.by} ages from {first} to {last}"

    def table(self) -> pd.DataFrame:
        """Return the bands with their numbers of images."""
        sizes = self.sizes()
        if self.labels:
            return pd.DataFrame({"group": self.labels, "n_images": sizes})
        youngest, oldest = [-np.inf, *self.edges], [*self.edges, np.inf]
        return pd.DataFrame({"youngest": youngest, "oldest": oldest, "n_images": sizes})

    def intervals(
        self,
        distribution: np.ndarray,
        binner: AgeBinner,
        limits: list[tuple[float, float]],
        groups: np.ndarray | None,
    ) -> np.ndarray:
        """Return an interval for each row, (n, 2)."""
        if self.by == "true" or (self.by == "group" and groups is None):
            return self._hull(distribution, binner, limits)
        if self.by == "predicted":
            codes = conformal.band_codes(binner.inverse_transform(distribution), self.edges)
        else:
            codes = np.zeros(len(distribution), dtype=int) if groups is None else groups
        found = np.empty((len(distribution), 2))
        for code, rows in conformal.rows_of_bands(codes):
            found[rows] = conformal.interval(limits[code], distribution[rows], binner, self.step)
        return found

    def _hull(self, distribution, binner, limits):
        """The shortest intervals around those of all bands, each within its true ages."""
        hull = np.stack([np.full(len(distribution), end) for end in (np.inf, -np.inf)], axis=1)
        bounds = np.concatenate([[-np.inf], self.edges, [np.inf]])
        for code, between in enumerate(limits):
            low, high = conformal.interval(between, distribution, binner, self.step).T
            if self.by == "true":
                first, end = bounds[code], bounds[code + 1]
                if self.step:  # the last age of the band
                    end = self.step * (np.ceil(end / self.step) - 1)
                low, high = np.maximum(low, first), np.minimum(high, end)
            some = low <= high
            hull[:, 0] = np.where(some, np.minimum(hull[:, 0], low), hull[:, 0])
            hull[:, 1] = np.where(some, np.maximum(hull[:, 1], high), hull[:, 1])
        return hull


def calibrate(
    parts: Sequence[Part],
    by: str | None,
    groups: np.ndarray | None,
    band_width: float | np.ndarray,
    min_band_size: int,
) -> Calibration:
    """Learn a calibration from images that one or more models have predicted.

    Parameters
    ----------
    parts : sequence of Part
    by : {"predicted", "true", "group"} or None
    groups : ndarray of shape (n_images,) or None
        Group of each image, in the order of the parts.
    band_width : float or ndarray
        Width of bands in years, or the ages between them.
    min_band_size : int

    Raises
    ------
    ValueError
        If a group has fewer images than `min_band_size`.
    """
    ages = np.concatenate([part.ages for part in parts])
    step = float((ages == np.round(ages)).all())
    curves = Curves.learn(parts, step, band_width, min_band_size)
    as_new = [p._replace(distribution=curves.apply(p.distribution, p.binner)) for p in parts]
    spread = np.concatenate([p.binner.std(p.distribution) for p in as_new])
    parts = _recalibrated(parts, step, band_width, min_band_size)
    labels: list[Any] = []
    edges, codes = np.array([]), np.zeros(len(ages), dtype=int)
    if by == "group":
        labels, codes = _group_codes(groups, min_band_size)
    elif by is not None:
        of = ages if by == "true" else predicted_ages(parts)
        edges = conformal.band_edges(of, band_width, min_band_size)
        codes = conformal.band_codes(of, edges)
    low, high = (
        np.concatenate([conformal.positions(p.ages + d, p.distribution, p.binner) for p in parts])
        for d in (-step / 2, step / 2)
    )
    predicted = predicted_ages(as_new)
    return Calibration(by, step, curves, edges, labels, codes, low, high, predicted, spread)


def _recalibrated(parts, step, band_width, min_band_size):
    """The parts with calibrated distributions, of each person by curves learned from others.

    Curves that had seen a person would make the scores lower than those of new images.
    """
    codes = group_codes(np.concatenate([p.persons for p in parts]))
    firsts = np.cumsum([0, *(len(p.ages) for p in parts)])
    folds = [codes[a:b] % _N_FOLDS for a, b in pairwise(firsts)]
    found = [conformal.normalised(p.distribution) for p in parts]
    for k in range(_N_FOLDS if codes.max() + 1 >= _N_FOLDS else 0):
        others = [_rows(p, fold != k) for p, fold in zip(parts, folds, strict=True)]
        others = [p for p in others if len(p.ages)]
        curves = Curves.learn(others, step, band_width, min_band_size)
        for p, fold, moved in zip(parts, folds, found, strict=True):
            moved[fold == k] = curves.apply(moved[fold == k], p.binner)
    return [p._replace(distribution=d) for p, d in zip(parts, found, strict=True)]


def _rows(part, rows):
    return Part(part.distribution[rows], part.binner, part.ages[rows], part.persons[rows])


def predicted_ages(parts: Sequence[Part]) -> np.ndarray:
    """Return the means of the distributions of all parts, (n_images,), in years."""
    return np.concatenate([p.binner.inverse_transform(p.distribution) for p in parts])


def _group_codes(groups, min_band_size):
    labels, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.min() < min_band_size:
        small = int(sizes.argmin())
        raise ValueError(
            f"The group {labels.tolist()[small]!r} has {sizes[small]} calibration images, fewer "
            f"than min_band_size={min_band_size}. Pass more images, join small groups, or lower "
            "min_band_size."
        )
    return labels.tolist(), codes
