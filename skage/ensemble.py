"""AgeEnsemble: the average of the distributions that several models predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.base import MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from ._checks import check_ages, check_weights
from ._distribution import DECODINGS, DistributionRegressor
from ._groups import TakesGroups
from ._held_out import fit_rows, person_folds, persons_of, warn_if_trained_on
from ._sklearn import BaseComposition, Interval, StrOptions, fit_context, safe_indexing
from .binning import AgeBinner

_DIGITS = 6  # of a year, to which the members' edges are compared


class AgeEnsemble(TakesGroups, MetaEstimatorMixin, DistributionRegressor, BaseComposition):
    """Fit several models, and average the distributions over age that they predict.

    The members may have other networks, seeds and bins. Their distributions are put on one
    axis, whose bins are fine enough to represent each of them exactly. In contrast,
    scikit-learn's VotingRegressor averages ages alone and loses the distribution, and so the
    median, the standard deviation and the intervals.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and models with `predict_dist`, such as BinnedAgeRegressor. A model that is
        fitted already, such as one that `load` or `load_age_network` returns, is used as it
        is inside a ``sklearn.frozen.FrozenEstimator``.

    weights : array-like of n_estimators floats, "learned" or None, default=None
        Weights of the average; None weighs all alike. "learned" holds out a part of the
        images passed to fit, fits the members to the others, and takes the weights whose
        average has the lowest continuous ranked probability score there (Gneiting and
        Raftery, JASA 2007, section 4.2); then it fits the members to all images.

    validation_fraction : float, default=0.2
        Fraction of the images that is held out to learn weights, at most 0.5: one of
        1 / `validation_fraction` folds, rounded.

    decode : {"mean", "median", "mode"}, default="mean"
        How to obtain an age from the averaged distribution; see `BinnedAgeRegressor`.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of the images that are held out.

    Attributes
    ----------
    estimators_ : list of n_estimators estimators
        The fitted members.
    weights_ : ndarray of shape (n_estimators,)
        Their weights, which sum to 1.
    binner_ : AgeBinner
        The bins of the averaged distribution.
    n_features_in_, feature_names_in_
        Those of the first member; not set for images.

    See Also
    --------
    VGG16Classifier : Its `n_members` averages networks that differ in their seed alone, for
        one pass through the frozen layers.

    Notes
    -----
    Each member reads the images itself. Members with the same frozen network share its
    forward passes if they have the same ``Runtime(feature_cache=...)``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skage import AgeBinner, AgeEnsemble, BinnedAgeRegressor
    >>> patients = load_diabetes().data
    >>> X, y = patients[:, 1:], load_diabetes(scaled=False).data[:, 0]
    >>> members = [
    ...     (f"{n} bins", BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner(n)))
    ...     for n in (5, 10)
    ... ]
    >>> model = AgeEnsemble(members).fit(X, y)
    >>> model.predict(X[:2]).round()
    array([49., 41.])
    >>> model.weights_
    array([0.5, 0.5])
    """

    _parameter_constraints = {
        "estimators": [list],
        "weights": ["array-like", StrOptions({"learned"}), None],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "decode": [StrOptions(set(DECODINGS))],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimators: Sequence[tuple[str, Any]],
        *,
        weights: ArrayLike | str | None = None,
        validation_fraction: float = 0.2,
        decode: str = "mean",
        random_state: Any = None,
    ):
        self.estimators = estimators
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.decode = decode
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit the members, and learn their weights if they are to be learned.

        Parameters
        ----------
        X : sequence of n_samples images, or what the members accept
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights for the members, and for the images that weights are learned on.
        groups : array-like of shape (n_samples,), default=None
            Persons: images of one are not split between those held out to learn weights
            and the others.

        Returns
        -------
        self : AgeEnsemble

        Raises
        ------
        ValueError
            If there are no members, names are not valid, or the weights do not match.

        Warns
        -----
        UserWarning
            If weights are learned on images that a member was trained on.
        """
        y = check_ages(column_or_1d(y, warn=True))
        check_consistent_length(X, y, sample_weight, groups)
        weights = self._check_weights()
        if weights is None:
            train, test = self._split(X, y, groups)
            members = self._fit_members(X, y, train, sample_weight, groups)
            images = safe_indexing(X, test)
            for member in members:
                warn_if_trained_on(member, images, "that the weights are learned on", stacklevel=4)
            counts = None if sample_weight is None else np.asarray(sample_weight)[test]
            weights = _learn_weights(members, images, y[test], counts)
        members = self._fit_members(X, y, None, sample_weight, groups)
        self._set_fitted(members, weights)
        return self

    def _set_fitted(self, members, weights):
        self.estimators_, self.weights_ = members, weights
        self.binner_ = _common_bins(members)
        self._set_feature_names(members[0])

    def predict_dist(self, X: Any) -> np.ndarray:
        """Predict the averaged distribution over the bins.

        Parameters
        ----------
        X : sequence of n_samples images, or what the members accept

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins)
            Probabilities of the bins of ``binner_``; NaN for images that are skipped.
        """
        check_is_fitted(self)
        self._validate_params()
        return sum(
            weight * _rebinned(member, X, self.binner_.bin_edges_)
            for member, weight in zip(self.estimators_, self.weights_, strict=True)
            if weight > 0
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, those of the members by their names.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the members' parameters too.

        Returns
        -------
        params : dict
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of a member as in ``vgg__classifier__lr``.

        Parameters
        ----------
        **params : dict
            Parameters by name; the name of a member replaces it.

        Returns
        -------
        self : AgeEnsemble
        """
        self._set_params("estimators", **params)
        return self

    def _check_weights(self):
        """The weights, which sum to 1, or None if they are to be learned."""
        pairs = [isinstance(pair, tuple) and len(pair) == 2 for pair in self.estimators]
        if not pairs or not all(pairs) or not all(isinstance(n, str) for n, _ in self.estimators):
            raise ValueError(
                f"estimators={self.estimators!r} must be a list of (name, model) pairs, at least "
                "one."
            )
        names = [name for name, _ in self.estimators]
        self._validate_names(names)
        for name, model in self.estimators:
            if isinstance(model, FrozenEstimator):
                check_is_fitted(model.estimator, msg=f"The member {name!r} is not fitted.")
                model = model.estimator
            if isinstance(model, Pipeline):
                raise ValueError(
                    f"The member {name!r} is a Pipeline, which does not predict a distribution. "
                    "Put its last step alone into the ensemble, and the ensemble into the Pipeline."
                )
            if not hasattr(model, "predict_dist"):
                raise ValueError(
                    f"The member {name!r} is a {type(model).__name__}, which does not predict a "
                    "distribution. Put it into a BinnedAgeRegressor."
                )
        if isinstance(self.weights, str):
            return None
        weights = np.ones(len(names)) if self.weights is None else np.asarray(self.weights)
        is_numbers = weights.shape == (len(names),) and weights.dtype.kind in "biuf"
        if not is_numbers or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise ValueError(
                f"weights={self.weights!r} must be {len(names)} numbers >= 0, one for each member, "
                "that are not all 0."
            )
        return weights / weights.sum()

    def _split(self, X, y, groups):
        persons = persons_of(self.estimators[0][1], X, groups)
        n_folds = round(1 / self.validation_fraction)
        what = f"Learning weights with validation_fraction={self.validation_fraction}"
        advice = "Pass a larger validation_fraction, or weights."
        return next(person_folds(n_folds, y, persons, self.random_state, what, advice))

    def _fit_members(self, X, y, rows, sample_weight, groups):
        given = {"sample_weight": sample_weight, "groups": groups}
        return [fit_rows(model, X, y, rows, **given) for _, model in self.estimators]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        members = [get_tags(model) for _, model in self.estimators]
        if members:
            tags.input_tags = replace(
                members[0].input_tags,
                sparse=all(member.input_tags.sparse for member in members),
                allow_nan=all(member.input_tags.allow_nan for member in members),
            )
            tags.non_deterministic = any(member.non_deterministic for member in members)
        return tags


def _common_bins(members):
    """Bins so fine that each member's distribution is uniform in each."""
    binners = [member.binner_ for member in members]
    ends = [ages for b in binners for ages in (b.bin_support_.ravel(), b.bin_values_)]
    edges = np.unique(np.concatenate(ends).round(_DIGITS))
    binner = AgeBinner(edges.tolist(), representative="midpoint")
    binner.bin_edges_, binner.n_bins_ = edges, len(edges) - 1
    binner.bin_values_ = (edges[1:] + edges[:-1]) / 2
    binner.bin_support_ = np.stack([edges[:-1], edges[1:]], axis=1)
    youngest, oldest = zip(*(b.age_range_ for b in binners), strict=True)
    binner.age_range_ = min(youngest), max(oldest)
    return binner


def _rebinned(member, X, edges):
    """A member's distributions over finer bins, float32."""
    distribution = np.asarray(member.predict_dist(X), dtype=np.float64)
    shares = np.diff(member.binner_.cdf(np.eye(member.binner_.n_bins_), edges), axis=1)
    # Not a product of matrices: BLAS rounds a row differently depending on the number of rows.
    found = np.einsum("ij,jk->ik", distribution, shares, optimize=False)
    return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


def _learn_weights(members, X, ages, sample_weight=None):
    """Weights of the members' mixture with the lowest mean CRPS."""
    edges = _common_bins(members).bin_edges_
    below = [_rebinned(member, X, edges).astype(float).cumsum(axis=1) for member in members]
    F = np.stack(below)  # (members, images, bins)
    counts = check_weights(sample_weight, len(ages))
    used = ~np.isnan(F).any(axis=(0, 2)) & (counts > 0)
    if not used.any():
        raise ValueError("None of the images held out to learn weights has a prediction.")
    F, ages, counts = F[:, used], ages[used], counts[used] / counts[used].sum()
    widths = np.diff(edges)
    happened = (ages[:, None] <= edges[1:]).astype(float)
    # The score is quadratic in the weights.
    A = np.einsum("mij,nij,i,j->mn", F, F, counts, widths, optimize=True)
    b = np.einsum("mij,ij,i,j->m", F, happened, counts, widths, optimize=True)
    n_members = len(members)
    found = minimize(
        lambda w: w @ A @ w - 2 * b @ w,
        np.full(n_members, 1 / n_members),
        jac=lambda w: 2 * (A @ w - b),
        bounds=[(0, 1)] * n_members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
    )
    weights = found.x.clip(0).round(_DIGITS)
    return weights / weights.sum()
