"""BinnedAgeRegressor: ages through a classifier of age bins."""

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

    A classifier gives the probabilities p of the bins, the binner each bin's
    value v in years, and the prediction is ``p @ v`` (section 3.2, equation 4).
    Over a tabular classifier the same is a general binned regressor.

    Parameters
    ----------
    classifier : classifier with predict_proba, default=None
        None stands for ``VGG16Classifier()``.

    binner : AgeBinner, default=None
        Fitted on the ages given to fit, so never on held-out folds. None
        stands for ``AgeBinner()``.

    decode : {"mean", "median", "mode"}, default="mean"
        What of the predicted distribution to return: its expectation, as DEX;
        its median, which minimises the expected absolute error; or the value
        of the most probable bin.

    Attributes
    ----------
    classifier_ : classifier
        The fitted classifier of bin codes.
    binner_ : AgeBinner
        The fitted binner.
    n_features_in_, feature_names_in_
        As the fitted classifier has them; absent over images.

    See Also
    --------
    AgeBinner : The bins.
    VGG16Classifier : The classifier of images.

    Notes
    -----
    `predict_interval`, `return_std` and the median are of the distribution that the
    Notes of `AgeBinner` describe.

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
        """Fit the bins and the classifier of bins.

        Parameters
        ----------
        X : sequence of n_samples images, or whatever the classifier takes
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, in the bins and in the classifier.
        age_std : array-like of shape (n_samples,), default=None
            Standard deviations of apparent ages, in years; the binner needs
            ``encoding="gaussian"`` for them.
        **fit_params : dict
            Passed to the classifier's fit; with metadata routing, routed.

        Returns
        -------
        self : BinnedAgeRegressor

        Raises
        ------
        ValueError
            If an age is not a finite number, or X and y differ in length.
        TypeError
            If `sample_weight` is given and the classifier does not accept it, or the
            binner encodes ages as distributions and the classifier learns labels
            only.
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
                    "out, or choose a classifier that does."
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
                "and give the binner encoding='hard', or take a VGG16Classifier."
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
        X : sequence of n_samples images, or whatever the classifier takes
        return_std : bool, default=False
            Whether to return the standard deviation of each distribution too.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years; NaN for an image that the classifier skipped.
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
        X : sequence of n_samples images, or whatever the classifier takes

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins)
            A row's probabilities of the bins of ``binner_``; 0 for a bin that
            had no training sample.
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
        """Predict central intervals from the quantiles of the distribution.

        How often they hold the true age is as good as the classifier's
        calibration; nothing is corrected here. See `decode_interval`.

        Parameters
        ----------
        X : sequence of n_samples images, or whatever the classifier takes
        coverage : float, default=0.9
            The probability between the bounds, above 0 and below 1.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2)
            Lower and upper bounds in years.
        """
        return self.decode_interval(self.predict_dist(X), coverage)

    def decode_dist(self, distribution: ArrayLike) -> np.ndarray:
        """Ages of distributions over the bins, as `decode` says.

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
        """Central intervals of distributions over the bins.

        Between the bounds lies at least `coverage` of the distribution, and the
        predicted age: where the mean or the mode of a skewed distribution is outside
        its central interval, the interval reaches out to it.

        Parameters
        ----------
        distribution : array-like of shape (n_samples, n_bins)
            As `predict_dist` returns it.
        coverage : float, default=0.9
            The probability between the bounds, above 0 and below 1.

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
        """A distribution may begin half a step below an age of 0; no bound does."""
        return np.maximum(ages, 0) if self.binner_.age_range_[0] >= 0 else ages

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Coefficient of determination of the predicted ages, as scikit-learn's regressors.

        Images without a prediction, such as those that the classifier skips, are left
        out.

        Parameters
        ----------
        X : sequence of n_samples images, or whatever the classifier takes
        y : array-like of shape (n_samples,)
            Ages in years.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            At most 1; higher is better.

        Raises
        ------
        ValueError
            If no image has a prediction.

        See Also
        --------
        skage.metrics : Scorers in years, which leave out such images too.
        """
        y = np.asarray(y)
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, len(y))
        y, y_pred, sample_weight = predicted_only(y, self.predict(X), sample_weight)
        return r2_score(y, y_pred, sample_weight=sample_weight)

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to a file that `skage.load` reads.

        The file is safetensors with a JSON header: unlike a pickle, it can be
        loaded from someone you do not trust.

        Parameters
        ----------
        path : path
            By convention it ends in .skage.

        Raises
        ------
        TypeError
            If the classifier is not a VGG16Classifier; use joblib.dump instead.
        """
        check_is_fitted(self)
        from ._models.skagefile import save  # imports torch, so not before it is needed

        save(self, path)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the default classifier and binner included.

        Parameters
        ----------
        **params : dict
            By name, nested as ``binner__n_bins`` or ``classifier__lr``. Where `binner`
            or `classifier` is None, such a parameter puts its default there first.

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
        from .classifier import VGG16Classifier  # imports torch, so not before it is needed

        classifier = VGG16Classifier()
        return classifier.set_fit_request(sample_weight=True) if routing_enabled() else classifier

    def get_metadata_routing(self) -> MetadataRouter:
        """Routing of fit parameters to the classifier; see scikit-learn's user guide.

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
    """The name by which a classifier's fit takes `AgeTargets`; None if it learns labels alone."""
    if isinstance(classifier, Pipeline):
        step, last = classifier.steps[-1]
        name = _targets_parameter(last)
        return None if name is None else f"{step}__{name}"
    return "targets" if isinstance(classifier, LearnsAges) else None
