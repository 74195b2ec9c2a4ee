"""Sums over cells of images, for the images as they are and for bootstrap samples of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

_BATCH = 2**24  # numbers of a batch of samples' weights: 128 MB


class CellSums:
    """Sums of per-image values over cells, whose images are drawn again person by person.

    Every figure of an evaluation is a function of such sums, so that one pass over the
    images serves all figures of all groups for a number of bootstrap samples.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_values)
    cells : ndarray of shape (n_samples,), int
        The cell of each image, from 0 to n_cells - 1.
    persons : ndarray of shape (n_samples,), int
        The person of each image, from 0 to n_persons - 1.
    """

    def __init__(self, values: np.ndarray, cells: np.ndarray, persons: np.ndarray):
        order = np.argsort(cells, kind="stable")
        self.values = values[order]
        self.persons = persons[order]
        self.n_persons = int(persons.max()) + 1
        self.n_cells = int(cells.max()) + 1
        self.ends = np.cumsum(np.bincount(cells, minlength=self.n_cells))

    def once(self) -> np.ndarray:
        """The sums of the images as they are, (n_cells, n_values)."""
        return self._sums(np.ones((len(self.values), 1)))[0]

    def samples(self, n_resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """The sums of batches of bootstrap samples, (n_batch, n_cells, n_values)."""
        size = max(1, min(n_resamples, _BATCH // len(self.values)))
        for start in range(0, n_resamples, size):
            weights = np.empty((len(self.values), min(size, n_resamples - start)))
            for column in range(weights.shape[1]):
                drawn = rng.integers(0, self.n_persons, self.n_persons)
                weights[:, column] = np.bincount(drawn, minlength=self.n_persons)[self.persons]
            yield self._sums(weights)

    def _sums(self, weights: np.ndarray) -> np.ndarray:
        sums = np.zeros((weights.shape[1], self.n_cells, self.values.shape[1]))
        start = 0
        for cell, end in enumerate(self.ends):
            sums[:, cell] = weights[start:end].T @ self.values[start:end]
            start = end
        return sums


def merged(sums: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Add up the sums of cells in groups of cells.

    Parameters
    ----------
    sums : ndarray of shape (n_resamples, n_cells, n_values)
    groups : ndarray of shape (n_cells,), int
        The group of each cell, from 0 to n_groups - 1.

    Returns
    -------
    sums : ndarray of shape (n_resamples, n_groups, n_values)
    """
    n_cells = len(groups)
    adding = csr_array((np.ones(n_cells), (groups, np.arange(n_cells))))
    by_cell = sums.transpose(1, 0, 2).reshape(n_cells, -1)
    return (adding @ by_cell).reshape(-1, len(sums), sums.shape[2]).transpose(1, 0, 2)


def percentiles(samples: np.ndarray, confidence_level: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of percentile bootstrap intervals over the first axis; NaN if too few are defined.

    A figure of a small group is not defined in samples that contain none of its images.
    """
    undefined = np.isnan(samples)
    tail = (1 - confidence_level) / 2
    known = np.where(undefined, 0.0, samples)
    if undefined.any():
        known = np.where(undefined.all(axis=0), 0.0, samples)
        low, high = np.nanquantile(known, [tail, 1 - tail], axis=0)
        rare = undefined.mean(axis=0) > 0.5
        return np.where(rare, np.nan, low), np.where(rare, np.nan, high)
    low, high = np.quantile(known, [tail, 1 - tail], axis=0)
    return low, high
