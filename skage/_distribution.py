"""What regressors that predict a distribution over bins of age share."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from ._checks import check_weights
from .binning import AgeBinner, tails
from .metrics import predicted_only

DECODINGS = ("mean", "median", "mode")


class DistributionRegressor(RegressorMixin):
    """Mixin of regressors with `predict_dist`, the parameter `decode` and the fitted `binner_`."""

    binner_: AgeBinner
    decode: str

    def _set_feature_names(self, child: Any) -> None:
        """Take over what a fitted child says of its features."""
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(child, name):
                setattr(self, name, getattr(child, name))

    def predict_dist(self, X: Any) -> np.ndarray:
        """Predict the distribution over the bins of ``binner_``.

        Parameters
        ----------
        X : sequence of n_samples images, or what the estimator accepts

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins)
        """
        raise NotImplementedError

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
        X : sequence of n_samples images, or what the estimator accepts
        return_std : bool, default=False
            Whether to also return the standard deviations of the distributions.

        Returns
        -------
        ages : ndarray of shape (n_samples,)
            In years; NaN for images that are skipped.
        std : ndarray of shape (n_samples,)
            In years; only if `return_std`.
        """
        distribution = self.predict_dist(X)
        ages = self.decode_dist(distribution)
        if not return_std:
            return ages
        return ages, self.binner_.std(distribution)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict central intervals from the quantiles of the distributions.

        The intervals are not calibrated: how often they contain the true age depends on the
        model. See `decode_interval`.

        Parameters
        ----------
        X : sequence of n_samples images, or what the estimator accepts
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

        Raises
        ------
        ValueError
            If rows are not distributions over the bins.
        """
        check_is_fitted(self)
        self._validate_params()
        distribution = np.asarray(distribution)
        if self.decode == "mean":
            return self.binner_.inverse_transform(distribution)
        if self.decode == "median":
            return self._not_negative(self.binner_.quantile(distribution, 0.5))
        p = self.binner_._check_probabilities(np.asarray(distribution))
        ages = self.binner_.bin_values_[p.argmax(axis=1)]
        return np.where(np.isnan(p[:, 0]), np.nan, ages).astype(p.dtype)

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
        X : sequence of n_samples images, or what the estimator accepts
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

    def save(self, path: str | os.PathLike, *, frozen: str = "whole", card: Any = None) -> None:
        """Save the fitted model to a file for `skage.load`.

        The file is a safetensors file with a JSON header and a SHA-256 of every other byte.
        Unlike a pickle, it cannot run code, so it is safe to load files from sources you do
        not trust.

        Parameters
        ----------
        path : path
            By convention, the name ends in .skage.
        frozen : {"whole", "reference"}, default="whole"
            "reference" leaves out the layers that were not trained, and stores their digest.
            The file of a head on a face network has a megabyte or two, and that of a head of 512
            units on VGG16 half its size. `skage.load` needs the file with these layers.
        card : ModelCard or dict, default=None
            What users of the model have to know; a dict has the fields of a ModelCard.

        Raises
        ------
        TypeError
            If the classifier is not one of skage, or its network is a torch module; use
            joblib.dump instead.
        ValueError
            If the model has no frozen layers to refer to, or the card is not valid.
        """
        check_is_fitted(self)
        from ._models.save import save  # torch is slow to import

        save(self, path, frozen=frozen, card=card)

    def export(
        self,
        path: str | os.PathLike,
        *,
        coverage: float = 0.9,
        int8_images: Any = None,
        int8_ages: ArrayLike | None = None,
        card: Any = None,
    ) -> None:
        """Export the fitted model to an ONNX file, for `skage.load` and other programs.

        It takes ``pip install 'skage[export]'``. The file holds everything from the pixels to
        the age, and is checked: ages and intervals of drawn faces differ from those of the
        model in float32 by at most 0.01 years.

        Parameters
        ----------
        path : path
            The name ends in .onnx.
        coverage : float, default=0.9
            Probability between the bounds of the interval, above 0 and below 1.
        int8_images : sequence of n_samples images, default=None
            At least 16 images, of the kind that will be predicted. If they are given, the
            network multiplies 8-bit integers, whose ranges are those of its activations on
            these images. The file is a quarter of the size, and faster on most processors.
        int8_ages : array-like of shape (n_samples,), default=None
            The ages of these images in years, to measure the error before and after.
        card : ModelCard or dict, default=None
            What users of the model have to know; `skage.read_card` returns it.

        Raises
        ------
        TypeError
            If the model has no such form: its classifier is not one of skage, its network is a
            torch module, or it averages over jittered copies.
        ValueError
            If the file would be larger than 2 GB, or a network of others cannot be part of it.
        ImportError
            If onnx or onnxruntime is not installed.

        Notes
        -----
        The input ``images`` is uint8 RGB of shape (n, size, size, 3). skage reads an image,
        resizes it with Pillow's bilinear filter, and takes its centre if the model was fitted
        to crops of larger images; other programs have to do the same. The mirror image is that of
        these pixels, not of the photograph, which changes ages slightly if a photograph is
        reduced to less than an eighth. An ensemble whose members take images of several sizes
        has an input for each. The outputs are ``distribution`` (n, n_bins), ``age`` (n,) and
        ``interval`` (n, 2), in years. What the bins are is in the metadata, as JSON under the key
        ``skage``. A calibrated model has calibrated distributions and intervals, and its
        distribution before as ``uncalibrated``; without groups, as in `predict_interval`.

        The quantisation is static, with a scale for each output channel of the weights and the
        range from the least to the largest value of each layer's activations (Krishnamoorthi,
        arXiv:1806.08342, sections 2 and 3).
        """
        check_is_fitted(self)
        from ._models.exported.export import export  # torch is slow to import

        int8 = {"int8_images": int8_images, "int8_ages": int8_ages}
        export(self, path, coverage=coverage, card=card, **int8)
