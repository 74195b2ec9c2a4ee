"""AgeCheck: pass, fail or ask for another proof of age."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from ._checks import check_ages
from ._decision.sides import rates_by_side, sides_of_limit
from ._decision.thresholds import DIGITS, fail_threshold, n_needed, pass_threshold
from ._groups import TakesGroups, group_codes
from ._held_out import fit_rows, person_folds, persons_of, warn_if_trained_on
from ._sklearn import HasMethods, Interval, StrOptions, fit_context, safe_indexing
from ._unwrap import unwrap
from .metrics import over_limit_probability


class AgeCheck(TakesGroups, MetaEstimatorMixin, BaseEstimator):
    """Decide whether persons have reached an age, at error rates that are kept.

    This is the age-related eligibility decision of ISO/IEC 27566-1. Each image passes, fails,
    or is "unsure", in which case the person has to prove the age in another way. Two
    thresholds are learned from calibration images, which the model was not trained on: as
    many images as possible are decided while the rates of false passes and false fails stay
    below the wanted ones.

    Parameters
    ----------
    estimator : estimator
        A model with `predict_dist`, such as BinnedAgeRegressor or AgeEnsemble, or a Pipeline
        or search that ends in one. If it is fitted already and inside a
        ``sklearn.frozen.FrozenEstimator``, all images passed to fit calibrate. Otherwise a
        part of them calibrates, and the model is fitted to the others.

    limit : float, default=18
        The age in years that a person must have reached to pass.

    max_false_pass_rate : float, default=0.01
        The largest share that may pass of the images of persons under the limit.

    max_false_fail_rate : float or None, default=0.01
        The largest share that may fail of the images of persons who have reached the limit.
        None lets no image fail: those that do not pass are "unsure".

    confidence : float, default=0.95
        With at least this probability over the calibration images, the rate of false passes
        is kept, and with at least this probability that of false fails.

    margin : float or None, default=None
        In years. The rate of false passes is kept among persons at most so far under the
        limit, who are the hardest to tell apart: with a margin of 1 and a limit of 18, among
        those aged 17, as in the false positive rate of NIST's evaluation (FATE AEV). None
        keeps it among all calibration images of persons under the limit, and so depends on
        how many of them are much younger.

    criterion : {"probability", "age"}, default="probability"
        What is compared with the thresholds: the predicted probability of having reached the
        limit, or the predicted age. The pass threshold is then a challenge age.

    calibration_fraction : float, default=0.2
        Fraction of the images that calibrate if `estimator` is not frozen, at most 0.5: one
        of 1 / `calibration_fraction` folds, rounded.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of the images that calibrate, and of one image of each person.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model.
    pass_threshold_ : float
        Images at or above it pass.
    fail_threshold_ : float
        Images below it fail; minus infinity if `max_false_fail_rate` is None.
    rates_ : DataFrame
        The rates measured on the calibration images, as `rates` returns them.
    n_features_in_, feature_names_in_
        Those of the model; not set for images.

    See Also
    --------
    skage.metrics.smallest_challenge_age : The pass threshold among whole challenge ages.

    Notes
    -----
    Thresholds are tested from the strictest on, each by the exact bound of Clopper and
    Pearson (Biometrika 1934), and the last one before the bound exceeds the wanted rate is
    taken. This fixed sequence keeps the confidence without a correction for the number of
    thresholds (Angelopoulos et al., "Learn then Test: Calibrating Predictive Algorithms to
    Achieve Risk Control", arXiv 2110.01052, 2021). If a single threshold keeps both rates, it
    decides all images: the fail threshold is lowered to the pass threshold.

    The rates are kept for images like the calibration images. Photographs of another kind,
    and attacks such as make-up or an image on a screen, are not covered. A model that was
    trained on calibration images keeps no rate.

    A model of ages in whole years spreads the age of 18 over 17.5 to 18.5, so that its
    probability of at least 18 is too low for those aged 18. The thresholds make up for it.

    Images of one person are not independent. If `groups` are given, one image of each person
    is drawn at random, and the rates are those of such draws.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skage import AgeBinner, AgeCheck, BinnedAgeRegressor
    >>> rng = np.random.default_rng(0)
    >>> y = rng.uniform(10, 30, 4000)
    >>> X = rng.normal(y, 2).reshape(-1, 1)  # a feature that tells the age
    >>> model = BinnedAgeRegressor(LogisticRegression(max_iter=1000), AgeBinner(n_bins=10))
    >>> check = AgeCheck(model, random_state=0).fit(X, y)
    >>> check.predict([[12], [18], [28]])
    array(['fail', 'unsure', 'pass'], dtype='<U6')
    >>> check.rates_.reset_index()[["truth", "decision", "count", "n", "high"]].round(3)
       truth decision  count    n   high
    0  under     pass      0  322  0.009
    1  under   unsure    124  322  0.432
    2  under     fail    198  322  0.660
    3   over     pass    304  478  0.673
    4   over   unsure    173  478  0.400
    5   over     fail      1  478  0.010
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"])],
        "limit": [Interval(Real, 0, None, closed="neither")],
        "max_false_pass_rate": [Interval(Real, 0, 1, closed="neither")],
        "max_false_fail_rate": [Interval(Real, 0, 1, closed="neither"), None],
        "confidence": [Interval(Real, 0.5, 1, closed="neither")],
        "margin": [Interval(Real, 0, None, closed="neither"), None],
        "criterion": [StrOptions({"probability", "age"})],
        "calibration_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        limit: float = 18,
        max_false_pass_rate: float = 0.01,
        max_false_fail_rate: float | None = 0.01,
        confidence: float = 0.95,
        margin: float | None = None,
        criterion: str = "probability",
        calibration_fraction: float = 0.2,
        random_state: Any = None,
    ):
        self.estimator = estimator
        self.limit = limit
        self.max_false_pass_rate = max_false_pass_rate
        self.max_false_fail_rate = max_false_fail_rate
        self.confidence = confidence
        self.margin = margin
        self.criterion = criterion
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit the model, unless it is frozen, and learn the thresholds.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        groups : array-like of shape (n_samples,), default=None
            Persons: images of one are not split between those that calibrate and the others.

        Returns
        -------
        self : AgeCheck

        Raises
        ------
        ValueError
            If the model does not predict a distribution over ages on both sides of the limit,
            or there are too few calibration images for a wanted rate.

        Warns
        -----
        UserWarning
            If images that calibrate are identical to some that the model was trained on.
        """
        ages, persons = _check_ages(X, y, groups)
        model, rows = self._fit_model(X, ages, persons)
        self._check_model(model)
        images = safe_indexing(X, rows)
        warn_if_trained_on(model, images, "of the calibration", stacklevel=4)
        _, scores = self._predict(model, images)
        sides = self._sides(ages[rows], None if persons is None else persons[rows])
        passing, failing = self._learn(scores, sides)
        self.estimator_ = model
        self.pass_threshold_, self.fail_threshold_ = passing, failing
        self.rates_ = self._rates(scores, sides)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Decide about each image.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts

        Returns
        -------
        decisions : ndarray of shape (n_samples,), of str
            "pass", "fail" or "unsure". Images that the model skips are "unsure".
        """
        check_is_fitted(self)
        self._validate_params()
        return self._decide(self._predict(self.estimator_, X)[1])

    def decide(self, X: Any, coverage: float = 0.9) -> pd.DataFrame:
        """Decide about each image, and tell what the decision is based on.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        coverage : float, default=0.9
            Probability between the bounds of the age, above 0 and below 1.

        Returns
        -------
        table : DataFrame
            A row for each image: the predicted age, and the bounds "low" and "high" of the
            model's `predict_interval`, in years; the probability of having reached the limit;
            the decision. Images that the model skips are "unsure", and NaN otherwise.
        """
        check_is_fitted(self)
        self._validate_params()
        distribution, scores = self._predict(self.estimator_, X)
        model = unwrap(self.estimator_)[0]
        low, high = model.decode_interval(distribution, coverage).T
        return pd.DataFrame(
            {
                "age": model.decode_dist(distribution),
                "low": low,
                "high": high,
                "probability": over_limit_probability(distribution, model.binner_, self.limit),
                "decision": self._decide(scores),
            }
        )

    def rates(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> pd.DataFrame:
        """Measure how often the decisions about images of known ages are right and wrong.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        groups : array-like of shape (n_samples,), default=None
            Persons, of each of whom one image under the limit and one image over it count,
            drawn at random.

        Returns
        -------
        rates : DataFrame
            A row for each truth ("under" the limit; "just under", within the `margin`, if
            there is one; "over", which includes the limit itself) and decision. Its columns:

            - count: the images with this truth and decision;
            - n: the images with this truth;
            - rate: their share, NaN if `n` is 0;
            - low, high: its exact bounds (Clopper and Pearson), each of which holds with the
              probability `confidence`;
            - no_prediction: how many of the count the model skipped.
        """
        check_is_fitted(self)
        self._validate_params()
        sides = self._sides(*_check_ages(X, y, groups))
        return self._rates(self._predict(self.estimator_, X)[1], sides)

    def score(self, X: Any, y: ArrayLike) -> float:
        """Return the share of images about which the decision is right.

        An image that is "unsure" is not decided rightly, so that of two checks that keep
        their rates, the one that decides more scores higher.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        y : array-like of shape (n_samples,)
            Ages in years.

        Returns
        -------
        score : float
            From 0 to 1, higher is better.
        """
        ages, _ = _check_ages(X, y, None)
        return float((self.predict(X) == np.where(ages >= self.limit, "pass", "fail")).mean())

    def _fit_model(self, X, y, groups):
        """The fitted model, and the positions of the images that calibrate."""
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator)
            return self.estimator, np.arange(len(y))
        n_folds = round(1 / self.calibration_fraction)
        what = f"calibration_fraction={self.calibration_fraction}"
        advice = "Pass more images, or a model that is fitted already inside a FrozenEstimator."
        persons = persons_of(self.estimator, X, groups)
        train, rows = next(person_folds(n_folds, y, persons, self.random_state, what, advice))
        return fit_rows(self.estimator, X, y, train, groups=groups), rows

    def _check_model(self, estimator):
        model = unwrap(estimator)[0]
        if not hasattr(model, "predict_dist"):
            raise ValueError(
                f"estimator is a {type(model).__name__}, which does not predict a distribution. "
                "Put it into a BinnedAgeRegressor."
            )
        youngest, oldest = model.binner_.age_range_
        if not youngest < self.limit <= oldest:
            raise ValueError(
                f"limit={self.limit:g} is outside the ages that the model was trained on, "
                f"{youngest:g} to {oldest:g} years. Pass a limit between them, or a model that "
                "was trained on persons under and over the limit."
            )

    def _predict(self, estimator, X):
        """Distributions of age, and what is compared with the thresholds; NaN if skipped."""
        model, X = unwrap(estimator, X)
        distribution = model.predict_dist(X)
        if self.criterion == "age":
            scores = model.decode_dist(distribution)
        else:
            scores = over_limit_probability(distribution, model.binner_, self.limit)
        return distribution, np.asarray(scores, dtype=np.float64).round(DIGITS)

    def _sides(self, y, groups):
        random_state = check_random_state(self.random_state)
        return sides_of_limit(y, self.limit, self.margin, groups, random_state)

    def _learn(self, scores, sides):
        """The thresholds to pass and to fail."""
        hardest = "under" if self.margin is None else "just under"
        passing = self._threshold(pass_threshold, scores[sides[hardest]], hardest, "pass")
        if self.max_false_fail_rate is None:
            return passing, -np.inf
        failing = self._threshold(fail_threshold, scores[sides["over"]], "over", "fail")
        return passing, min(failing, passing)

    def _threshold(self, find, scores, side, decision):
        scores = scores[~np.isnan(scores)]
        name = f"max_false_{decision}_rate"
        max_rate = getattr(self, name)
        needed = n_needed(max_rate, self.confidence)
        if len(scores) < needed:
            side = f"at most {self.margin:g} years under" if side == "just under" else side
            more = "" if isinstance(self.estimator, FrozenEstimator) else ", hold out more of them"
            raise ValueError(
                f"{name}={max_rate:g} at confidence={self.confidence:g} needs at least {needed} "
                f"calibration images of different persons {side} the limit of {self.limit:g}; got "
                f"{len(scores)} with a prediction. Pass more images{more}, or accept a higher rate "
                "or a lower confidence."
            )
        return find(scores, max_rate, self.confidence)

    def _decide(self, scores):
        decisions = np.full(len(scores), "unsure")
        decisions[scores >= self.pass_threshold_] = "pass"  # never NaN
        decisions[scores < self.fail_threshold_] = "fail"
        return decisions

    def _rates(self, scores, sides):
        return rates_by_side(self._decide(scores), np.isnan(scores), sides, self.confidence)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        tags.target_tags.required = True
        return tags


def _check_ages(X: Any, y: Any, groups: Any) -> tuple[Any, Any]:
    """Ages and groups as arrays, after checking them."""
    y = check_ages(column_or_1d(y, warn=True))
    check_consistent_length(X, y, groups)
    if groups is None:
        return y, None
    group_codes(groups)
    return y, np.asarray(groups)
