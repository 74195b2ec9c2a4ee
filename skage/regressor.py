"""BinnedAgeRegressor: predict ages with a classifier of age bins."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    clone,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
    process_routing,
)
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
)

from ._checks import check_ages, check_weights
from ._distribution import DECODINGS, DistributionRegressor
from ._groups import TakesGroups, groups_parameter
from ._images.reading import image_tags
from ._nested import with_defaults
from ._sklearn import HasMethods, StrOptions, fit_context, routing_enabled
from ._targets import LearnsAges
from .binning import AgeBinner


class BinnedAgeRegressor(TakesGroups, MetaEstimatorMixin, DistributionRegressor, BaseEstimator):
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
        "decode": [StrOptions(set(DECODINGS))],
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
        groups: ArrayLike | None = None,
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
        groups : array-like of shape (n_samples,), default=None
            Persons, for a classifier whose fit takes groups: VGG16Classifier holds out images
            for validation and keeps those of a person together; a search splits by them.
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
            routing = get_routing_for_object(classifier)
            if groups is not None and routing.consumes("fit", ["groups"]):
                fit_params["groups"] = groups
            fit_params = process_routing(self, "fit", **fit_params).classifier.fit
        elif groups is not None and (name := groups_parameter(classifier)):
            fit_params[name] = groups

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
        self._set_feature_names(classifier)
        return self

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
