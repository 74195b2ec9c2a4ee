"""BinnedAgeRegressor: predict ages with a classifier of age bins."""

from __future__ import annotations

import os
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
)

from ._checks import check_ages, check_weights
from ._images.reading import image_tags
from ._nested import with_defaults
from ._sklearn import HasMethods, StrOptions, fit_context, routing_enabled
from ._targets import LearnsAges
from .binning import AgeBinner, tails
from .metrics import predicted_only


class BinnedAgeRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Predict age as the expectation over age bins (DEX, Rothe et al., IJCV 2016).

    A classifier predicts the probabilities p of the bins, the binner provides their
    values v in years, and the predicted age is ``p @ v`` (section 3.2, equation 4). With
    a classifier of tabular features, it is a general binned regressor.

    Parameters
    ----------
    classifier : classifier with predict_proba, default=None
        Classifier of the bins. None means ``VGG16Classifier()``.

    binner : AgeBinner, default=None
        Bins, fitted to the ages passed to fit and so never to held-out folds. None means
        ``AgeBinner()``.

    decode : {"mean", "median", "mode"}, default="mean"
        How to obtain an age from the predicted distribution. "mean" is its expectation,
        as in DEX; "median" minimises the expected absolute error; "mode" is the value of
        the most probable bin.

    Attributes
    ----------
    classifier_ : classifier
        The fitted classifier of bin codes.
    binner_ : AgeBinner
        The fitted binner.
    n_features_in_, feature_names_in_
        Those of the fitted classifier; not set for classifiers of images.

    See Also
    --------
    AgeBinner : The bins.
    VGG16Classifier : The classifier of images.

    Notes
    -----
    Intervals, standard deviations and medians are those of the distribution that the Notes
    of `AgeBinner` describe.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skage import AgeBinner, BinnedAgeRegressor
    >>> patients = load_diabetes().data
    >>> X, y = patients[:, 1:], load_diabetes(scaled=False).data[:, 0]
    >>> model = BinnedAgeRegressor(LogisticRegression(C=100), AgeBinner(n_bins=10)).fit(X, y)
    >>> model.predict(X[:2]).round()
    array([49., 41.])
    >>> model.predict_interval(X[:2], coverage=0.5).round()
    array([[38., 59.],
           [30., 51.]])
    """

    _parameter_constraints = {
        "classifier": [HasMethods(["fit", "predict_proba"]), None],
        "binner": [AgeBinner, None],
        "decode": [StrOptions({"mean", "median", "mode"})],
    }

    def __init__(
        self, classifier: Any = None, binner: AgeBinner | None = None, *, decode: str = "mean"
    ):
        self.classifier = classifier
        self.binner = binner
        self.decode = decode

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        age_std: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the binner and the classifier.

        Parameters
        ----------
        X : sequence of n_samples images, or what the classifier accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights for the binner and the classifier.
        age_std : array-like of shape (n_samples,), default=None
            Standard deviations of apparent ages, in years. They require a binner with
            ``encoding="gaussian"``.
        **fit_params : dict
            Passed to the classifier's fit, through metadata routing if it is enabled.

        Returns
        -------
        self : BinnedAgeRegressor

        Raises
        ------
        ValueError
            If an age is not a finite number, or X and y differ in length.
        TypeError
            If `sample_weight` is given but the classifier does not accept it, or if the
            binner encodes ages as distributions but the classifier only learns labels.
        """
        if y is None:
            raise ValueError(
                "BinnedAgeRegressor requires y to be passed, but the target y is None."
            )
        y = check_ages(column_or_1d(y, warn=True))
        classifier = self._get_classifier()
        if sample_weight is not None:
            if not (has_fit_parameter(classifier, "sample_weight") or routing_enabled()):
                raise TypeError(
                    f"{type(classifier).__name__}.fit does not accept sample_weight. Leave it "
                    "out, or use a classifier that accepts it."
                )
            check_weights(sample_weight, len(y))
            fit_params["sample_weight"] = np.asarray(sample_weight, dtype=np.float64)
        if routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params).classifier.fit

        binner = clone(self.binner) if self.binner is not None else AgeBinner()
        binner.fit(y, sample_weight=sample_weight)
        targets, name = binner.targets(y, age_std), _targets_parameter(classifier)
        if name is not None:
            fit_params = {**fit_params, name: targets}
        elif targets.distributions is not None:
            raise TypeError(
                f"{type(classifier).__name__} learns labels, not distributions. Leave out age_std "
                "and set the binner's encoding='hard', or use a VGG16Classifier."
            )
        classifier = clone(classifier).fit(X, binner.transform(y), **fit_params)

        self.binner_, self.classifier_ = binner, classifier
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(classifier, name):
                setattr(self, name, getattr(classifier, name))
        return self

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict ages.

        Parameters
        ----------
        X : sequence of n_samples images, or what the classifier accepts
        return_std : bool, default=False
            Whether to also return the standard deviations of the distributions.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years; NaN for images that the classifier skipped.
        std : ndarray of shape (n_samples,)
            In years; only if `return_std`.
        """
        distribution = self.predict_dist(X)
        ages = self.decode_dist(distribution)
        if not return_std:
            return ages
        return ages, self.binner_.std(distribution)

    def predict_dist(self, X: Any) -> np.ndarray:
        """Predict the distribution over the bins.

        Parameters
        ----------
        X : sequence of n_samples images, or what the classifier accepts

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins)
            Probabilities of the bins of ``binner_``; 0 for bins without training samples.
        """
        check_is_fitted(self)
        self._validate_params()
        probabilities = np.asarray(self.classifier_.predict_proba(X))
        seen = self.classifier_.classes_
        if len(seen) == self.binner_.n_bins_:
            return probabilities
        distribution = np.zeros((len(probabilities), self.binner_.n_bins_), probabilities.dtype)
        distribution[np.isnan(probabilities[:, 0])] = np.nan
        distribution[:, seen] = probabilities
        return distribution

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict central intervals from the quantiles of the distributions.

        The intervals are not calibrated: how often they contain the true age depends on the
        classifier. See `decode_interval`.

        Parameters
        ----------
        X : sequence of n_samples images, or what the classifier accepts
        coverage : float, default=0.9
            Probability between the bounds, above 0 and below 1.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bounds in years.
        """
        return self.decode_interval(self.predict_dist(X), coverage)

    def decode_dist(self, distribution: ArrayLike) -> np.ndarray:
        """Convert distributions over the bins to ages, according to `decode`.

        Parameters
        ----------
        distribution : array-like of shape (n_samples, n_bins)
            As `predict_dist` returns it.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years.
        """
        check_is_fitted(self)
        self._validate_params()
        distribution = np.asarray(distribution)
        if self.decode == "mean":
            return self.binner_.inverse_transform(distribution)
        if self.decode == "median":
            return self._not_negative(self.binner_.quantile(distribution, 0.5))
        ages = self.binner_.bin_values_[distribution.argmax(axis=1)]
        skipped = np.isnan(distribution[:, 0])
        return np.where(skipped, np.nan, ages).astype(distribution.dtype)

    def decode_interval(self, distribution: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Convert distributions over the bins to central intervals.

        Each interval contains at least the probability `coverage`, and the predicted age: if
        the mean or mode of a skewed distribution is outside the central interval, the
        interval is extended to include it.

        Parameters
        ----------
        distribution : array-like of shape (n_samples, n_bins)
            As `predict_dist` returns it.
        coverage : float, default=0.9
            Probability between the bounds, above 0 and below 1.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bounds in years.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, or rows are not distributions over
            the bins.
        """
        ages = self.decode_dist(distribution)
        low, high = (
            self._not_negative(self.binner_.quantile(distribution, level))
            for level in tails(coverage)
        )
        return np.stack([np.minimum(low, ages), np.maximum(high, ages)], axis=1)

    def _not_negative(self, ages):
        """Clip ages at 0, as a bin's support may begin half a step below an age of 0."""
        return np.maximum(ages, 0) if self.binner_.age_range_[0] >= 0 else ages

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the coefficient of determination of the predicted ages.

        Images without a prediction, such as those that the classifier skips, are left out.

        Parameters
        ----------
        X : sequence of n_samples images, or what the classifier accepts
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            R squared: at most 1, and higher is better.

        Raises
        ------
        ValueError
            If no image has a prediction.

        See Also
        --------
        skage.metrics : Scorers in years, which also leave out such images.
        """
        y = np.asarray(y)
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, len(y))
        y, y_pred, sample_weight = predicted_only(y, self.predict(X), sample_weight)
        return r2_score(y, y_pred, sample_weight=sample_weight)

    def save(self, path: str | os.PathLike) -> None:
        """Save the fitted model to a file for `skage.load`.

        The file is a safetensors file with a JSON header. Unlike a pickle, it cannot run
        code, so it is safe to load files from sources you do not trust.

        Parameters
        ----------
        path : path
            By convention, the name ends in .skage.

        Raises
        ------
        TypeError
            If the classifier is not one of skage, or its network is a torch module; use
            joblib.dump instead.
        """
        check_is_fitted(self)
        from ._models.skagefile import save  # torch is slow to import

        save(self, path)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including those of the default classifier and binner.

        Parameters
        ----------
        **params : dict
            Parameters by name, nested as in ``binner__n_bins`` or ``classifier__lr``. If
            `binner` or `classifier` is None, its default is set first.

        Returns
        -------
        self : BinnedAgeRegressor
        """
        defaults = {"binner": AgeBinner, "classifier": self._default_classifier}
        return super().set_params(**with_defaults(self, params, **defaults))

    def _get_classifier(self):
        return self._default_classifier() if self.classifier is None else self.classifier

    @staticmethod
    def _default_classifier():
        from .classifier import VGG16Classifier  # torch is slow to import

        classifier = VGG16Classifier()
        return classifier.set_fit_request(sample_weight=True) if routing_enabled() else classifier

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata routing of this estimator; see scikit-learn's user guide.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                classifier=self._get_classifier(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.classifier is None:
            return image_tags(tags)
        tags.input_tags = get_tags(self.classifier).input_tags
        tags.non_deterministic = get_tags(self.classifier).non_deterministic
        return tags


def _targets_parameter(classifier):
    """Return the fit parameter for `AgeTargets`, or None if the classifier has none."""
    if isinstance(classifier, Pipeline):
        step, last = classifier.steps[-1]
        name = _targets_parameter(last)
        return None if name is None else f"{step}__{name}"
    return "targets" if isinstance(classifier, LearnsAges) else None
