"""CalibratedAgeRegressor: distributions and intervals that hold what they say."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags, indexable
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from ._calibration.conformal import normalised
from ._calibration.images import check_model, split
from ._calibration.learned import Calibration, Part, calibrate
from ._calibration.shift import Shift, compare_spread
from ._checks import check_ages
from ._distribution import DECODINGS, DistributionRegressor
from ._groups import TakesGroups
from ._held_out import fit_rows, persons_of, warn_if_trained_on
from ._images.reading import image_tags
from ._sklearn import HasMethods, Interval, StrOptions, fit_context, safe_indexing
from .binning import tails as check_coverage
from .regressor import BinnedAgeRegressor

_IMAGES = "of the calibration"


class CalibratedAgeRegressor(TakesGroups, MetaEstimatorMixin, DistributionRegressor, BaseEstimator):
    """Calibrate the distributions and intervals of a model on images of known age.

    The intervals are conformal (distributional conformal prediction: Chernozhukov, Wüthrich
    and Zhu, PNAS 2021): an interval of coverage 0.9 contains the true age of 90 % of new
    images, whatever the model, if new images are like those of the calibration. See Notes for
    what is promised.

    Parameters
    ----------
    estimator : estimator with predict_dist, default=None
        Model such as BinnedAgeRegressor or AgeEnsemble. None means ``BinnedAgeRegressor()``.
        A model that is fitted already is used as it is inside a
        ``sklearn.frozen.FrozenEstimator``; all images passed to fit then calibrate it, and
        must be others than those that it was fitted to.

    by : {"predicted", "true", "group"} or None, default="predicted"
        The bands in each of which intervals have their coverage. "predicted" makes bands of
        predicted age (Mondrian conformal prediction: Vovk, Gammerman and Shafer, Algorithmic
        Learning in a Random World, 2005). "true" makes bands of true age, so that no age is
        covered less than others; the intervals are a little wider. "group" takes a group of
        each image, such as the sex, as `bands` of fit. None calibrates all images together:
        the intervals are narrower and the coverage is right on average, but on UTKFace it is
        0.94 for children and 0.80 for people in their eighties instead of 0.9.

    band_width : float or array-like, default=10
        Width of the bands of age in years, or the ascending ages between them.

    min_band_size : int, default=100
        Bands of age with fewer calibration images are merged with a neighbour. With
        100 images the coverage of a band, if it is 0.9, has a standard deviation of 3 points.

    tails : {"joint", "apart"}, default="joint"
        Whether the intervals are allowed to miss younger and older ages at different rates,
        which makes them narrower, or miss each at half of the rate.

    cv : int, cross-validation generator or iterable, default=None
        None holds out `calibration_fraction` of the images passed to fit and fits the model
        to the others. Otherwise all images calibrate: each is predicted by a model that was
        fitted to the other folds, and the model that predicts new images is fitted to all.
        An int is a number of folds.

    calibration_fraction : float, default=0.2
        Fraction of the images that is held out if `cv` is None, at most 0.5: one of
        1 / `calibration_fraction` folds, rounded.

    decode : {"mean", "median", "mode"}, default="mean"
        How to obtain an age from the calibrated distribution; see `BinnedAgeRegressor`.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of the images that are held out.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model, not calibrated.
    binner_ : AgeBinner
        Its bins.
    bands_ : DataFrame
        The bands and their numbers of calibration images: columns youngest and oldest in
        years, or group, and n_images.
    n_calibration_ : int
        Number of calibration images with a prediction.
    n_skipped_ : int
        Number of calibration images without one, such as unreadable images. They are left out.
    n_features_in_, feature_names_in_
        Those of the fitted model; not set for images.

    See Also
    --------
    skage.metrics.interval_coverage : The coverage on images of known age.

    Notes
    -----
    *What is promised.* Let new images be drawn like the calibration images (exchangeable with
    them), and the model be frozen or fitted without the held-out part. Conformal intervals of
    its distributions as they are then contain the true age with at least the probability
    asked for, and at most 1 / (n + 1) more in a band of n calibration images, apart from
    ties. By "true" it may be more. This is an average over calibrations: that of one has a
    standard deviation of ``sqrt(coverage * (1 - coverage) / n)``. Here the distributions are
    recalibrated first, with the same images, so that the promise is nearly but not strictly
    kept. Each calibration image is scored after a recalibration that was learned from other
    images, four fifths of all; in simulations with 150 and 400 images the coverage was 0.1 to
    0.6 points above that without recalibration.
    With `cv` the model of new images is not the one that the calibration measures. As it has
    seen more images, coverage is usually a little higher, but this is not guaranteed.

    *Scores.* The score of a calibration image is the distance between F(y) and 1/2, where F is
    the predicted distribution function and y the true age. Beyond the ages to which F gives a
    probability, the score grows by 1 a year, so that intervals are finite and right for
    models that are certain and wrong. If all ages of the calibration are whole years,
    an age is the year from y - 1/2 to y + 1/2, of which the point nearest to the median counts,
    and the bounds of intervals are whole years that belong to the interval.

    *Distributions.* `predict_dist` returns distributions whose distribution function F is
    replaced with G(F). G is the share of calibration images below each predicted probability
    (Kuleshov, Fenner and Ermon, ICML 2018), at 9 probabilities with linear pieces between
    them, in each band of predicted age, as if 100 images had been added that fit the model
    perfectly. G is the identity with fewer than `min_band_size` calibration images. Ages,
    standard deviations and intervals all come from these distributions.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skage import AgeBinner, BinnedAgeRegressor, CalibratedAgeRegressor
    >>> patients = load_diabetes().data
    >>> X, y = patients[:, 1:], load_diabetes(scaled=False).data[:, 0]
    >>> inner = BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner(n_bins=10))
    >>> model = CalibratedAgeRegressor(inner, cv=5, random_state=0).fit(X, y)
    >>> model.bands_
       youngest  oldest  n_images
    0      -inf    50.0       255
    1      50.0     inf       187
    >>> model.predict_interval(X[:2], coverage=0.8)
    array([[31., 63.],
           [24., 58.]])
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"]), None],
        "by": [StrOptions({"predicted", "true", "group"}), None],
        "band_width": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "min_band_size": [Interval(Integral, 1, None, closed="left")],
        "tails": [StrOptions({"joint", "apart"})],
        "cv": ["cv_object"],
        "calibration_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "decode": [StrOptions(set(DECODINGS))],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        by: str | None = "predicted",
        band_width: float | ArrayLike = 10,
        min_band_size: int = 100,
        tails: str = "joint",
        cv: Any = None,
        calibration_fraction: float = 0.2,
        decode: str = "mean",
        random_state: Any = None,
    ):
        self.estimator = estimator
        self.by = by
        self.band_width = band_width
        self.min_band_size = min_band_size
        self.tails = tails
        self.cv = cv
        self.calibration_fraction = calibration_fraction
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
        bands: ArrayLike | None = None,
    ) -> Self:
        """Fit the model, unless it is frozen, and calibrate it.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights for the model. Calibration images all count alike.
        groups : array-like of shape (n_samples,), default=None
            Persons: images of one are not split between fitting and calibrating. Identical
            images never are.
        bands : array-like of shape (n_samples,), default=None
            The group of each image if `by` is "group", such as the sex.

        Returns
        -------
        self : CalibratedAgeRegressor

        Raises
        ------
        ValueError
            If the model does not predict distributions, there are too few images to hold
            some out, no calibration image has a prediction, `bands` do not match `by`, or a
            splitter passed as `cv` splits a person.

        Warns
        -----
        UserWarning
            If images that calibrate are identical to some that the model was trained on.
        """
        if y is None:
            raise ValueError(
                "CalibratedAgeRegressor requires y to be passed, but the target y is None."
            )
        y = check_ages(column_or_1d(y, warn=True))
        check_consistent_length(y, sample_weight, groups, bands)
        X, y = indexable(X, y)
        bands = self._check_bands(bands, self.by)
        estimator = BinnedAgeRegressor() if self.estimator is None else self.estimator
        check_model(estimator)
        persons = persons_of(estimator, X, groups)
        fitted, parts = self._fit_parts(estimator, X, y, sample_weight, groups, persons)
        for model, rows in parts:
            warn_if_trained_on(model, safe_indexing(X, rows), _IMAGES, stacklevel=4)
        self._calibrate(fitted, X, y, bands, persons, parts)
        return self

    def recalibrate(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        bands: ArrayLike | None = None,
    ) -> Self:
        """Calibrate the fitted model anew, on other images of known age.

        Do this where new images are of another kind than those of the calibration, with a
        few hundred of them that the model was not fitted to.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        groups : array-like of shape (n_samples,), default=None
            Persons.
        bands : array-like of shape (n_samples,), default=None
            The group of each image if `by` is "group".

        Returns
        -------
        self : CalibratedAgeRegressor
            The earlier calibration is replaced.

        Raises
        ------
        ValueError
            As in `fit`.

        Warns
        -----
        UserWarning
            As in `fit`.
        """
        check_is_fitted(self)
        self._validate_params()
        ages = check_ages(column_or_1d(y, warn=True))
        check_consistent_length(ages, groups, bands)
        X, ages = indexable(X, ages)
        bands = self._check_bands(bands, self.by)
        warn_if_trained_on(self.estimator_, X, _IMAGES, stacklevel=3)
        rows = np.arange(len(ages))
        persons = persons_of(self.estimator_, X, groups)
        self._calibrate(self.estimator_, X, ages, bands, persons, [(self.estimator_, rows)])
        return self

    def predict_dist(self, X: Any) -> np.ndarray:
        """Predict the calibrated distribution over the bins.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins)
            Probabilities of the bins of ``binner_``; NaN for images that are skipped.
        """
        check_is_fitted(self)
        self._validate_params()
        distribution = np.array(self.estimator_.predict_dist(X))
        rows = ~np.isnan(distribution).any(axis=1)
        distribution[rows] = self.calibration_.curves.apply(distribution[rows], self.binner_)
        return distribution

    def predict_interval(
        self, X: Any, coverage: float = 0.9, *, bands: ArrayLike | None = None
    ) -> np.ndarray:
        """Predict intervals that contain the true age with the given probability.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts
        coverage : float, default=0.9
            Probability that the interval contains the true age, above 0 and below 1.
        bands : array-like of shape (n_samples,), default=None
            The group of each image if `by` is "group". Without them, an interval contains
            those of all groups.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bounds in years; NaN for images that are skipped.

        Raises
        ------
        ValueError
            If the calibration has too few images for the coverage, or a group is unknown.

        Warns
        -----
        UserWarning
            If 50 or more images are clearly of another kind than those of the calibration;
            see `check_shift`.
        """
        distribution = self.predict_dist(X)
        interval = self.decode_interval(distribution, coverage, bands=bands)
        shift = self.check_shift(distribution=distribution)
        if shift.is_shifted:
            warnings.warn(str(shift), stacklevel=2)
        return interval

    def decode_interval(
        self, distribution: ArrayLike, coverage: float = 0.9, *, bands: ArrayLike | None = None
    ) -> np.ndarray:
        """Convert calibrated distributions to intervals; see `predict_interval`.

        Parameters
        ----------
        distribution : array-like of shape (n_samples, n_bins)
            As `predict_dist` returns it.
        coverage : float, default=0.9
            Probability that the interval contains the true age, above 0 and below 1.
        bands : array-like of shape (n_samples,), default=None
            The group of each image if `by` is "group". Without them, an interval contains
            those of all groups.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bounds in years. The predicted age is between them.

        Raises
        ------
        ValueError
            If the calibration has too few images for the coverage, a group is unknown, or
            rows are not distributions over the bins.
        """
        check_coverage(coverage)
        ages = self.decode_dist(distribution)
        limits = self.calibration_.limits(coverage, self.tails == "joint")
        codes = self._group_codes(bands, len(ages))
        interval = np.full((len(ages), 2), np.nan)
        rows = np.flatnonzero(~np.isnan(ages))
        if len(rows):
            interval[rows] = self.calibration_.intervals(
                normalised(np.asarray(distribution)[rows]),
                self.binner_,
                limits,
                None if codes is None else codes[rows],
            )
        low, high = (self._not_negative(bound) for bound in interval.T)
        return np.stack([np.minimum(low, ages), np.maximum(high, ages)], axis=1)

    def check_shift(self, X: Any = None, *, distribution: ArrayLike | None = None) -> Shift:
        """Test whether images are of the kind that the model was calibrated on.

        Coverage is promised for images like those of the calibration. Images of another kind,
        such as of another camera, often have distributions that are wider or narrower than
        those of calibration images of the same predicted age. The test compares the
        standard deviations of both, within bands of similar predicted age, with the two-sample
        test of Kolmogorov and Smirnov.

        Parameters
        ----------
        X : sequence of n_samples images, or what the model accepts, default=None
        distribution : array-like of shape (n_samples, n_bins), default=None
            As `predict_dist` returns it, instead of X.

        Returns
        -------
        shift : Shift
            With `statistic`, `p_value`, `ratio` of the standard deviations, `is_shifted`, and a
            sentence as its str. `is_shifted` is True if there are at least 50 distinct images,
            the p-value is below 1e-4, and the median ratio differs from 1 by more than 5 %.

        Raises
        ------
        ValueError
            If neither or both of X and `distribution` are given.

        Notes
        -----
        Images that pass may still be of another kind: a model can be as certain as it was, and
        more often wrong. Only ages that are known can show this.
        """
        if (X is None) == (distribution is None):
            raise ValueError("check_shift takes either images X or their distribution.")
        found = self.predict_dist(X) if distribution is None else np.asarray(distribution)
        check_is_fitted(self)
        found = normalised(found[~np.isnan(found).any(axis=1)])
        reference = self.calibration_.predicted, self.calibration_.spread
        return compare_spread(
            *reference, self.binner_.inverse_transform(found), self.binner_.std(found)
        )

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including those of the default model.

        Parameters
        ----------
        **params : dict
            Parameters by name, nested as in ``estimator__classifier__lr``. If `estimator` is
            None, its default is set first.

        Returns
        -------
        self : CalibratedAgeRegressor
        """
        is_nested = any(name.startswith("estimator__") for name in params)
        if is_nested and params.get("estimator", self.estimator) is None:
            params = params | {"estimator": BinnedAgeRegressor()}
        return super().set_params(**params)

    @staticmethod
    def _check_bands(bands, by):
        if (by == "group") != (bands is not None):
            raise ValueError(
                f"by={by!r} and bands do not match: by='group' needs the group of each image "
                "as bands, and no other does."
            )
        if bands is None:
            return None
        bands = column_or_1d(bands)
        missing = pd.isna(pd.Series(bands)).to_numpy()
        if missing.any():
            raise ValueError(
                f"bands[{int(np.argmax(missing))}] is missing. Leave the image out, or make a "
                "group of those that are unknown."
            )
        return bands

    def _fit_parts(self, estimator, X, y, sample_weight, groups, persons):
        """The model for new images, and models with the rows that each calibrates."""
        if isinstance(estimator, FrozenEstimator):
            return estimator.estimator, [(estimator.estimator, np.arange(len(y)))]

        def fitted(rows=None):
            return fit_rows(estimator, X, y, rows, sample_weight=sample_weight, groups=groups)

        cv = round(1 / self.calibration_fraction) if self.cv is None else self.cv
        folds = split(cv, X, y, persons, groups is not None, self.random_state)
        if self.cv is None:
            train, test = folds[0]
            model = fitted(train)
            return model, [(model, test)]
        return fitted(), [(fitted(train), test) for train, test in folds]

    def _calibrate(self, fitted, X, y, bands, persons, parts):
        """Predict the rows of all parts, learn from them, and set what was learned."""
        found, readable = [], []
        for model, rows in parts:
            distribution = np.asarray(model.predict_dist(safe_indexing(X, rows)))
            known = ~np.isnan(distribution).any(axis=1)
            readable.append(rows[known])
            if known.any():
                p = normalised(distribution[known])
                found.append(Part(p, model.binner_, y[rows[known]], persons[rows[known]]))
        if not found:
            raise ValueError(
                f"None of the {sum(len(rows) for _, rows in parts)} calibration images has a "
                "prediction. Pass images that the model can read."
            )
        rows = np.concatenate(readable)
        calibration = calibrate(
            found,
            self.by,
            None if bands is None else bands[rows],
            self._band_width(),
            self.min_band_size,
        )
        n_skipped = sum(len(rows) for _, rows in parts) - len(rows)
        self._set_fitted(fitted, calibration, n_skipped)

    def _set_fitted(self, fitted: Any, calibration: Calibration, n_skipped: int) -> None:
        self.estimator_, self.binner_ = fitted, fitted.binner_
        self.calibration_, self.bands_ = calibration, calibration.table()
        self.n_calibration_, self.n_skipped_ = len(calibration.codes), n_skipped
        self._set_feature_names(fitted)

    def _band_width(self):
        if np.ndim(self.band_width) == 0:
            return self.band_width
        edges = check_ages(self.band_width, "band_width")
        if (np.diff(edges) <= 0).any():
            raise ValueError(
                f"band_width={self.band_width!r} must be a width in years, or ages in ascending "
                "order."
            )
        return edges

    def _group_codes(self, bands, n_images):
        """Positions of the groups among those of the calibration, or None."""
        if bands is None:
            return None
        bands = self._check_bands(bands, self.calibration_.by)
        check_consistent_length(bands, np.empty(n_images))
        labels = self.calibration_.labels
        known = {label: code for code, label in enumerate(labels)}
        unknown = [label for label in bands.tolist() if label not in known]
        if unknown:
            raise ValueError(
                f"The group {unknown[0]!r} is not among those of the calibration: "
                f"{', '.join(map(repr, labels))}. Calibrate with images of it."
            )
        return np.array([known[label] for label in bands.tolist()], dtype=int)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimator is None:
            return image_tags(tags)
        inner = get_tags(self.estimator)
        tags.input_tags, tags.non_deterministic = inner.input_tags, inner.non_deterministic
        return tags
