"""AgeBinner: convert ages in years to bin codes and back."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._checks import OLDEST, check_ages, check_weights
from ._partition import balanced_cuts
from ._sklearn import Interval, StrOptions, fit_context
from ._targets import AgeTargets


class AgeBinner(TransformerMixin, BaseEstimator):
    """Discretise ages into bins (DEX, Rothe et al., IJCV 2016, section 3).

    Parameters
    ----------
    n_bins : int, "auto" or array-like of shape (n_bins + 1,), default="auto"
        Number of bins, or their ascending edges in years. "auto" uses 20 bins for fewer
        than 3,000 training ages and 50 otherwise, but never more than there are distinct
        ages.

    strategy : {"uniform", "balanced"}, default="balanced"
        "uniform" makes bins of equal width over `age_range`. "balanced" makes equal-
        frequency bins: their numbers of training ages are as equal as ties permit; see
        Notes. Ignored if `n_bins` is an array of edges.

    age_range : (float, float), default=None
        The range in years that is divided into bins. Training ages outside it belong to
        the first or last bin, which is extended to include them. None uses the youngest
        and the oldest training age.

    representative : {"mean", "midpoint"}, default="mean"
        The value of a bin, used to predict ages: the mean of its training ages (its
        midpoint if it has none), or its midpoint.

    encoding : {"hard", "gaussian", "sord", "two_hot"}, default="hard"
        The distribution over the bins that a network learns for an age. "hard" puts all
        of it on the age's bin, as DEX does. "gaussian" gives each bin its probability
        under a normal distribution around the age. "sord" decreases exponentially with
        the distance between the age and the bin's value. "two_hot" uses the two bins with
        the nearest values below and above, so that the expectation is the age. See
        `encode`.

    sigma : float, default=3.0
        In years: the standard deviation of "gaussian", or the distance over which "sord"
        decreases by a factor of e.

    Attributes
    ----------
    bin_edges_ : ndarray of shape (n_bins_ + 1,)
        Edges in years; the outer ones enclose all training ages. A bin includes its lower
        edge but not its upper one; ages outside belong to the first or last bin.
    bin_values_ : ndarray of shape (n_bins_,)
        Value of each bin in years.
    bin_support_ : ndarray of shape (n_bins_, 2)
        The interval of ages in years over which a bin's probability is spread; see Notes.
    age_range_ : (float, float)
        Youngest and oldest training age in years.
    n_bins_ : int
        Number of bins; smaller than `n_bins` if there are too few distinct ages.

    See Also
    --------
    BinnedAgeRegressor : Predicts ages with a classifier of these bins.

    Notes
    -----
    "balanced" minimises the sum of squared bin counts over all partitions of the distinct
    training ages into `n_bins` intervals, by dynamic programming over their cumulative
    counts (with a convex hull: O(n_bins x distinct ages)). No other partition into that
    many non-empty bins is closer to equal counts in the least-squares sense. Inner edges
    are halfway between the adjacent ages.

    `quantile`, `cdf` and `std` assume that a bin's probability p is spread over its support
    [a, b] with two uniform densities, which meet at the bin's value v: a probability of
    ``p * (b - v) / (b - a)`` over [a, v], and the rest over [v, b]. The mean of the bin's
    density is then v, so that the expected age, its standard deviation and its quantiles
    all belong to one distribution. The support is the range of the bin's training ages,
    extended by half a step on both sides, where a step is the median distance between
    neighbouring distinct ages. For bins without training ages, or with
    ``representative="midpoint"``, it is the interval between the bin's edges.

    Examples
    --------
    >>> from skage import AgeBinner
    >>> binner = AgeBinner(n_bins=2).fit([20, 20, 21, 40, 60, 60])
    >>> binner.bin_edges_
    array([20. , 30.5, 60. ])
    >>> binner.transform([25, 70])
    array([0, 1])
    >>> binner.inverse_transform([[0.5, 0.5]])
    array([36.83333333])
    """

    _parameter_constraints = {
        "n_bins": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), "array-like"],
        "strategy": [StrOptions({"uniform", "balanced"})],
        "age_range": [None, "array-like"],
        "representative": [StrOptions({"mean", "midpoint"})],
        "encoding": [StrOptions({"hard", "gaussian", "sord", "two_hot"})],
        "sigma": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_bins: int | str | ArrayLike = "auto",
        *,
        strategy: str = "balanced",
        age_range: tuple[float, float] | None = None,
        representative: str = "mean",
        encoding: str = "hard",
        sigma: float = 3.0,
    ):
        self.n_bins = n_bins
        self.strategy = strategy
        self.age_range = age_range
        self.representative = representative
        self.encoding = encoding
        self.sigma = sigma

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the edges and values of the bins.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Ages in years.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            An age with weight w counts like w samples of that age.

        Returns
        -------
        self : AgeBinner

        Raises
        ------
        ValueError
            If an age is not a finite number, edges or `age_range` are not ascending, or
            all weights are zero.

        Warns
        -----
        UserWarning
            If ages are negative (which may mark missing ages) or above 120, or `n_bins`
            exceeds the number of distinct ages.
        """
        ages = check_ages(X)
        _warn_of_unlikely(ages)
        weight = None
        if sample_weight is not None:
            weight = check_weights(sample_weight, len(ages))
            ages, weight = ages[weight > 0], weight[weight > 0]
        self.age_range_ = float(ages.min()), float(ages.max())
        edges = self._find_edges(ages, weight)
        self.n_bins_ = len(edges) - 1
        edges[0], edges[-1] = min(edges[0], ages.min()), max(edges[-1], ages.max())
        self.bin_values_ = (edges[:-1] + edges[1:]) / 2
        self.bin_edges_ = edges
        codes = self.transform(ages)
        if self.representative == "mean":
            total = np.bincount(codes, weight, self.n_bins_)
            sums = np.bincount(codes, ages if weight is None else ages * weight, self.n_bins_)
            seen = total > 0
            self.bin_values_[seen] = sums[seen] / total[seen]
        self.bin_support_ = self._find_support(ages, codes)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Convert ages to bin codes.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Ages in years.

        Returns
        -------
        codes : ndarray of shape (n_samples,), int64
            From 0 to ``n_bins_ - 1``.
        """
        check_is_fitted(self)
        return np.searchsorted(self.bin_edges_[1:-1], check_ages(X), side="right")

    def encode(self, X: ArrayLike, std: ArrayLike | None = None) -> np.ndarray:
        """Encode ages as distributions over the bins, according to `encoding`.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Ages in years.
        std : array-like of shape (n_samples,), default=None
            Standard deviations of apparent ages, in years, used instead of `sigma`; only
            for "gaussian".

        Returns
        -------
        distributions : ndarray of shape (n_samples, n_bins_), float32
            Rows sum to 1.

        Raises
        ------
        ValueError
            If an age or a standard deviation is not a finite number, a standard
            deviation is negative or is given for another encoding, or a parameter
            is not valid.

        Notes
        -----
        "gaussian" is the probability of the normal distribution between the edges of each
        bin, with the tails added to the first and last bin. It is similar to HL-Gauss
        (Imani and White, ICML 2018) and, with bins of one year, to DLDL (Gao et al., IEEE
        TIP 2017), which normalise differently. "sord" is the softmax of
        ``-abs(v - age) / sigma`` over the bins' values v (Diaz and Marathe, CVPR 2019).
        "two_hot" encodes ages beyond the outermost values as the first or last bin.
        """
        check_is_fitted(self)
        self._validate_params()
        ages = check_ages(X)
        if std is None:
            std = np.full(len(ages), float(self.sigma))
        elif self.encoding != "gaussian":
            raise ValueError(
                f"Standard deviations of ages need encoding='gaussian', got {self.encoding!r}."
            )
        else:
            std = check_ages(std, "std")
            if len(std) != len(ages) or (std < 0).any():
                raise ValueError(
                    f"std has {len(std)} standard deviations, the smallest {std.min():g}. Pass one "
                    f"that is at least 0 for each of the {len(ages)} ages."
                )
        with np.errstate(under="ignore"):  # far tails underflow to zero
            return self._distributions(ages, std).astype(np.float32)

    def targets(self, X: ArrayLike, std: ArrayLike | None = None) -> AgeTargets:
        """Return the targets that a classifier of the bins learns from ages.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Ages in years.
        std : array-like of shape (n_samples,), default=None
            Standard deviations of apparent ages, in years; see `encode`.

        Returns
        -------
        targets : AgeTargets
            The ages, the values of the bins and the encoded distributions, which are None
            if `encoding` is "hard".
        """
        check_is_fitted(self)
        is_hard = self.encoding == "hard" and std is None
        return AgeTargets(check_ages(X), self.bin_values_, None if is_hard else self.encode(X, std))

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Convert bin codes to ages, or probabilities to expected ages (DEX, equation 4).

        Parameters
        ----------
        X : array-like of shape (n_samples,), (n_samples, 1) or (n_samples, n_bins_)
            Bin codes, or one distribution over the bins in each row. A row of NaN, from an
            image that could not be read, results in NaN.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years.

        Raises
        ------
        ValueError
            If a code is out of range, or rows are not distributions over the bins.
        """
        check_is_fitted(self)
        given = np.asarray(X)
        if given.ndim == 1 or (given.ndim == 2 and given.shape[1] == 1 != self.n_bins_):
            return self.bin_values_[self._check_codes(given.ravel())]
        p = self._check_probabilities(given)
        # Not p @ values: BLAS rounds a row differently depending on the number of rows.
        return (p * self.bin_values_.astype(p.dtype)).sum(axis=1)

    def quantile(self, probabilities: ArrayLike, level: float) -> np.ndarray:
        """Return quantiles of distributions of age.

        The Notes of this class describe how a bin's probability is spread over ages.

        Parameters
        ----------
        probabilities : array-like of shape (n_samples, n_bins_)
            One distribution over the bins in each row; rows of NaN result in NaN.
        level : float
            Probability below the quantile, from 0 to 1; 0.5 is the median.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, or rows are not distributions over the
            bins.
        """
        check_is_fitted(self)
        if not (isinstance(level, int | float | np.number) and 0 <= level <= 1):
            raise ValueError(f"level={level!r} must lie between 0 and 1. Pass 0.5 for the median.")
        X = self._check_probabilities(np.asarray(probabilities))
        start, end, mass = self._pieces(X)
        rows = np.arange(len(X))
        below = np.cumsum(mass, axis=1)
        target = level * below[:, -1]
        piece = (below < target[:, None]).sum(axis=1)
        inside = mass[rows, piece]
        before = below[rows, piece] - inside
        share = np.divide(target - before, inside, out=np.zeros_like(target), where=inside != 0)
        ages = start[piece] + share * (end[piece] - start[piece])
        return ages.astype(X.dtype)

    def cdf(self, probabilities: ArrayLike, ages: ArrayLike) -> np.ndarray:
        """Return the cumulative distribution function at the given ages.

        Parameters
        ----------
        probabilities : array-like of shape (n_samples, n_bins_)
            One distribution over the bins in each row; rows of NaN result in NaN.
        ages : array-like of shape (n_ages,)
            In years.

        Returns
        -------
        cdf : ndarray of shape (n_samples, n_ages)
            Probabilities, from 0 to 1.
        """
        check_is_fitted(self)
        X = self._check_probabilities(np.asarray(probabilities))
        ages = check_ages(ages, "ages")[:, None]
        start, end, mass = self._pieces(X)
        width = end - start
        below = np.divide(ages - start, width, out=(ages >= start) * 1.0, where=width > 0)
        return (mass @ below.clip(0, 1).T).astype(X.dtype)

    def std(self, probabilities: ArrayLike) -> np.ndarray:
        """Return standard deviations of distributions of age.

        They include the spread within the bins, which the Notes of this class describe.

        Parameters
        ----------
        probabilities : array-like of shape (n_samples, n_bins_)
            One distribution over the bins in each row; rows of NaN result in NaN.

        Returns
        -------
        std : ndarray of shape (n_samples,)
            In years.
        """
        check_is_fitted(self)
        X = self._check_probabilities(np.asarray(probabilities))
        mean = (X * self.bin_values_).sum(axis=1, keepdims=True)
        low, high = self.bin_support_.T
        within = (self.bin_values_ - low) * (high - self.bin_values_) / 3
        squares = within + (self.bin_values_ - mean) ** 2
        return np.sqrt((X * squares).sum(axis=1)).astype(X.dtype)

    def _distributions(self, ages, std):
        if self.encoding == "gaussian":
            inner = self.bin_edges_[1:-1] - ages[:, None]
            # An age on an edge belongs to the bin above it, also without any spread.
            z = inner / np.maximum(std, 1e-6)[:, None]
            below = np.where((std == 0)[:, None], inner > 0, ndtr(z))
            ends = np.zeros((len(ages), 1)), np.ones((len(ages), 1))
            return np.diff(np.hstack([ends[0], below, ends[1]]), axis=1)
        if self.encoding == "sord":
            return softmax(-np.abs(self.bin_values_ - ages[:, None]) / self.sigma, axis=1)
        if self.encoding == "two_hot" and self.n_bins_ > 1:
            values = self.bin_values_
            right = np.searchsorted(values, ages).clip(1, len(values) - 1)
            gap = values[right] - values[right - 1]
            share = ((ages - values[right - 1]) / gap).clip(0, 1)
            rows = np.arange(len(ages))
            found = np.zeros((len(ages), self.n_bins_))
            found[rows, right], found[rows, right - 1] = share, 1 - share
            return found
        return np.eye(self.n_bins_)[self.transform(ages)]

    def _pieces(self, X):
        """Return start and end (2 n_bins,) of the uniform pieces, and each row's mass in them."""
        (low, high), value = self.bin_support_.T, self.bin_values_
        share = np.stack([high - value, value - low], axis=1) / (high - low)[:, None]
        mass = (X[:, :, None].astype(np.float64) * share).reshape(len(X), -1)
        start, end = np.stack([low, value], axis=1), np.stack([value, high], axis=1)
        return start.ravel(), end.ravel(), mass

    def _find_support(self, ages, codes):
        edges = self.bin_edges_
        distinct = np.unique(ages)
        half = np.median(np.diff(distinct)) / 2 if len(distinct) > 1 else 0.5
        bounds = edges.copy()
        for j in np.flatnonzero(np.isin(edges[1:-1], distinct)) + 1:
            # An age on an edge belongs to the bin above, whose support begins below the edge.
            older = np.searchsorted(distinct, edges[j])
            gap = edges[j] - distinct[older - 1] if older else np.inf
            bounds[j] -= min(half, gap / 2, (edges[j] - edges[j - 1]) / 2)
        if edges[0] == distinct[0]:
            bounds[0] -= half
            if distinct[0] > 0:
                bounds[0] = max(bounds[0], 0)
        if edges[-1] == distinct[-1]:
            bounds[-1] += half
        low, high = bounds[:-1].copy(), bounds[1:].copy()
        if self.representative == "mean":
            youngest, oldest = np.full(self.n_bins_, np.inf), np.full(self.n_bins_, -np.inf)
            np.minimum.at(youngest, codes, ages)
            np.maximum.at(oldest, codes, ages)
            seen = youngest <= oldest
            low[seen] = np.maximum(low, youngest - half)[seen]
            high[seen] = np.minimum(high, oldest + half)[seen]
        if distinct[0] >= 0:  # user-defined edges may be negative, though no age is
            low = np.where(self.bin_values_ > 0, np.maximum(low, 0), low)
        return np.stack([low, high], axis=1)

    def _check_codes(self, codes):
        valid = np.isin(codes, np.arange(self.n_bins_))
        if not valid.all():
            first = int(np.argmin(valid))
            raise ValueError(
                f"Bin code {codes[first]} at position {first} is out of range: expected 0 to "
                f"{self.n_bins_ - 1}."
            )
        return codes.astype(np.int64)

    def _check_probabilities(self, X):
        if X.ndim != 2 or X.shape[1] != self.n_bins_ or X.dtype.kind not in "fiu":
            raise ValueError(
                f"Expected bin codes of shape (n,), or probabilities of shape (n, {self.n_bins_}) "
                f"with one column for each bin; got shape {X.shape}, dtype {X.dtype}."
            )
        totals = X.sum(axis=1)
        if (np.abs(totals - 1) > 1e-3).any() or (X < 0).any():
            first = int(np.argmax((np.abs(totals - 1) > 1e-3) | (X < 0).any(axis=1)))
            raise ValueError(
                f"Row {first} is not a distribution over the bins: its sum is {totals[first]:.4g} "
                f"and its smallest entry is {X[first].min():.4g}. Pass probabilities that sum to 1."
            )
        return X if X.dtype.kind == "f" else X.astype(np.float64)

    def _find_edges(self, ages, weight):
        is_auto = isinstance(self.n_bins, str)
        if not is_auto and not isinstance(self.n_bins, Integral):
            if self.age_range is not None:
                raise ValueError("age_range must be None if n_bins is an array of edges.")
            return _check_ascending(self.n_bins, "n_bins, if an array of edges,")
        low, high = ages.min(), ages.max()
        if self.age_range is not None:
            if len(self.age_range) != 2:
                raise ValueError(
                    f"age_range must be (youngest, oldest) in years, got {self.age_range!r}."
                )
            low, high = _check_ascending(self.age_range, "age_range")
        distinct, inverse = np.unique(np.clip(ages, low, high), return_inverse=True)
        n_bins = min(_n_bins(len(ages)), len(distinct)) if is_auto else int(self.n_bins)
        if len(distinct) < n_bins and (self.strategy == "balanced" or low == high):
            warnings.warn(
                f"n_bins={n_bins} exceeds the number of distinct ages ({len(distinct)}); using "
                f"{len(distinct)} bin{'s' * (len(distinct) > 1)}.",
                stacklevel=5,
            )
            n_bins = len(distinct)
        if low == high:  # a single age: make a bin of one year around it
            return np.array([low - 0.5, high + 0.5])
        if self.strategy == "uniform":
            return np.linspace(low, high, n_bins + 1)
        cuts = balanced_cuts(np.bincount(inverse, weight), n_bins)
        return np.concatenate([[low], (distinct[cuts - 1] + distinct[cuts]) / 2, [high]])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.one_d_labels = True
        return tags


def _n_bins(n_ages: int) -> int:
    """Return the default number of bins, measured on 200 to 6,000 images."""
    return 20 if n_ages < 3000 else 50


def tails(coverage: float) -> tuple[float, float]:
    """Return the quantile levels of the bounds of a central interval.

    Raises
    ------
    ValueError
        If `coverage` is not between 0 and 1.
    """
    if not (isinstance(coverage, int | float | np.number) and 0 < coverage < 1):
        raise ValueError(f"coverage={coverage!r} must lie between 0 and 1, for example 0.9.")
    tail = (1 - coverage) / 2
    return tail, 1 - tail


def _warn_of_unlikely(ages):
    for unlikely, what, advice in (
        (ages < 0, "negative", "Drop them if they mark missing ages."),
        (
            ages > OLDEST,
            f"above {OLDEST}",
            "If they are years of birth, subtract them from the year of the photograph.",
        ),
    ):
        if unlikely.any():
            first = int(np.argmax(unlikely))
            warnings.warn(
                f"{unlikely.sum()} of the {len(ages)} ages are {what}, first {ages[first]:g} at "
                f"position {first}. {advice}",
                stacklevel=4,
            )


def _check_ascending(values, name):
    values = np.asarray(values)
    ok = values.ndim == 1 and len(values) > 1 and values.dtype.kind in "fiu"
    if not (ok and np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise ValueError(
            f"{name} must be at least two finite ages in ascending order, got {values!r}."
        )
    return values.astype(np.float64)
