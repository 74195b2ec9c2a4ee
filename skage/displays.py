"""Plots of a model and its training, in the manner of scikit-learn's displays."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .binning import tails
from .checks import check_ages
from .images import check_images, digest_and_decoder, resize

_FACE = 160  # pixels, of a face shown

_BLUE, _ORANGE, _GREY = "#3b6fb6", "#e07b39", "#9aa0a6"


class TrainingHistoryDisplay:
    """Loss, validation MAE and learning rate by epoch.

    Parameters
    ----------
    history : list of dict
        `history_` of a VGG16Classifier.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for the loss, one for the MAE where it was recorded, one for the
        learning rate.
    figure_ : Figure
    """

    def __init__(self, history: list[dict[str, Any]]):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, axes: Any = None) -> TrainingHistoryDisplay:
        """Plot the history of a fitted classifier or regressor.

        Parameters
        ----------
        estimator : VGG16Classifier, or a BinnedAgeRegressor or Pipeline of one
            Fitted.
        axes : sequence of Axes, default=None
            As many as there are curves; None makes a new figure.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If the estimator keeps no history of epochs.
        """
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        check_is_fitted(estimator)
        classifier = getattr(estimator, "classifier_", estimator)
        if not hasattr(classifier, "history_"):
            raise ValueError(f"{type(classifier).__name__} keeps no history of epochs.")
        return cls(classifier.history_).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> TrainingHistoryDisplay:
        """Draw; see `from_estimator`."""
        with_mae = "valid_mae" in self.history[0]
        if axes is None:
            _, axes = plt.subplots(
                1, 2 + with_mae, figsize=(4 * (2 + with_mae), 3.2), layout="constrained"
            )
        self.axes_ = np.ravel(axes)
        self.figure_ = self.axes_[0].figure
        loss, *middle, rate = self.axes_
        self._curves(loss, "train_loss", _GREY, "training")
        if "valid_loss" in self.history[0]:
            self._curves(loss, "valid_loss", _BLUE, "validation")
        loss.set(ylabel="loss", title="Loss")
        loss.legend(frameon=False)
        if with_mae:
            self._curves(middle[0], "valid_mae", _BLUE)
            middle[0].set(ylabel="MAE (years)", title="Validation error")
            middle[0].set_ylim(bottom=0)
        self._curves(rate, "lr", _ORANGE, drawstyle="steps-mid")
        rate.set(yscale="log", ylabel="learning rate", title="Learning rate")
        for ax in self.axes_:
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            _plain_frame(ax)
        return self

    def _curves(
        self, ax: Axes, key: str, colour: str, label: str | None = None, **style: Any
    ) -> None:
        """A line for each network of an ensemble."""
        members = {row.get("member", 0): None for row in self.history}
        for member in members:
            rows = [row for row in self.history if row.get("member", 0) == member]
            epochs = [row["epoch"] for row in rows]
            style["marker"] = "o" if len(epochs) < 3 else None
            ax.plot(epochs, [row[key] for row in rows], color=colour, label=label, **style)
            label = None  # once in the legend


class AgeBinsDisplay:
    """The bins over the histogram of the training ages.

    Parameters
    ----------
    binner : AgeBinner
        Fitted.
    ages : array-like of shape (n_samples,)
        In years.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(self, binner: Any, ages: Any):
        self.binner = binner
        self.ages = ages

    @classmethod
    def from_estimator(cls, estimator: Any, ages: Any, *, ax: Axes | None = None) -> AgeBinsDisplay:
        """Plot the bins of a fitted AgeBinner or BinnedAgeRegressor over `ages`.

        Returns
        -------
        display : AgeBinsDisplay
        """
        check_is_fitted(estimator)
        return cls(getattr(estimator, "binner_", estimator), check_ages(ages, "ages")).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeBinsDisplay:
        """Draw; see `from_estimator`."""
        self.ax_ = ax = _new_axes() if ax is None else ax
        self.figure_ = ax.figure
        edges = self.binner.bin_edges_
        years = np.arange(np.floor(min(self.ages)) - 0.5, np.ceil(max(self.ages)) + 1).tolist()
        ax.hist(self.ages, bins=years, color=_GREY)
        for low, high in zip(edges[:-1:2], edges[1::2], strict=False):
            ax.axvspan(low, high, color=_BLUE, alpha=0.13, lw=0)
        top = ax.get_ylim()[1]
        height = np.full(self.binner.n_bins_, 1.04 * top)
        ax.plot(self.binner.bin_values_, height, "v", color=_ORANGE, ms=4, label="a bin's age")
        ax.set_title(f"{self.binner.n_bins_} bins")
        ax.set(xlabel="age (years)", ylabel="images", ylim=(0, 1.28 * top))
        ax.set_xlim(min(edges[0], years[0]), max(edges[-1], years[-1]))
        ax.legend(frameon=False, loc="upper right", borderaxespad=0)
        _plain_frame(ax)
        return self


class AgeDistributionDisplay:
    """The predicted distribution of one face's age.

    Parameters
    ----------
    distribution : ndarray of shape (n_bins,)
        Probabilities of the bins.
    bin_edges : ndarray of shape (n_bins + 1,)
        In years.
    age : float
        The prediction in years.
    interval : (float, float)
        In years.
    true_age : float or None

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(
        self,
        distribution: np.ndarray,
        bin_edges: np.ndarray,
        age: float,
        interval: tuple[float, float],
        true_age: float | None = None,
    ):
        self.distribution = distribution
        self.bin_edges = bin_edges
        self.age = age
        self.interval = interval
        self.true_age = true_age

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        image: Any,
        *,
        true_age: float | None = None,
        coverage: float = 0.9,
        ax: Axes | None = None,
    ) -> AgeDistributionDisplay:
        """Predict one image's distribution and plot it.

        Parameters
        ----------
        estimator : BinnedAgeRegressor
            Fitted.
        image : path, PIL image or array
        true_age : float, default=None
            In years; marked if given.
        coverage : float, default=0.9
            Of the interval that is shaded.
        ax : Axes, default=None

        Returns
        -------
        display : AgeDistributionDisplay
        """
        levels = tails(coverage)
        distribution, binner = estimator.predict_dist([image]), estimator.binner_
        low, high = (float(binner.quantile(distribution, level)[0]) for level in levels)
        age = float(estimator.decode_dist(distribution)[0])
        return cls(distribution[0], binner.bin_edges_, age, (low, high), true_age).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeDistributionDisplay:
        """Draw; see `from_estimator`."""
        self.ax_ = ax = _new_axes() if ax is None else ax
        self.figure_ = ax.figure
        density = self.distribution / np.diff(self.bin_edges)
        ax.stairs(100 * density, self.bin_edges, fill=True, color=_BLUE, alpha=0.55)
        ax.axvspan(*self.interval, color=_BLUE, alpha=0.1, lw=0)
        ax.axvline(self.age, color=_BLUE, label=f"predicted {self.age:.0f}")
        if self.true_age is not None:
            ax.axvline(self.true_age, color=_ORANGE, ls="--", label=f"true {self.true_age:.0f}")
        ax.set(xlabel="age (years)", ylabel="probability (% a year)", title="One face's age")
        ax.set_ylim(top=1.28 * ax.get_ylim()[1])  # room for the legend
        ax.legend(loc="upper left", borderaxespad=0, edgecolor="none", framealpha=0.85)
        _plain_frame(ax)
        return self


class FacesDisplay:
    """Faces with their predicted, and true, ages.

    Parameters
    ----------
    images : sequence of n images
        Paths, PIL images or arrays.
    y_pred : array-like of shape (n,)
        In years.
    y_true : array-like of shape (n,), default=None
        In years.

    Attributes
    ----------
    axes_ : ndarray of Axes
    figure_ : Figure
    """

    def __init__(self, images: Any, y_pred: Any, y_true: Any = None):
        self.images = images
        self.y_pred = y_pred
        self.y_true = y_true

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, axes: Any = None
    ) -> FacesDisplay:
        """Predict the ages of images and show both.

        Returns
        -------
        display : FacesDisplay
        """
        return cls.from_predictions(X, estimator.predict(X), y, axes=axes)

    @classmethod
    def from_predictions(
        cls, X: Any, y_pred: Any, y_true: Any = None, *, axes: Any = None
    ) -> FacesDisplay:
        """Show images with ages that are predicted already.

        Returns
        -------
        display : FacesDisplay
        """
        return cls(X, y_pred, y_true).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> FacesDisplay:
        """Draw; see `from_estimator`."""
        images, y_pred = check_images(self.images), np.asarray(self.y_pred)
        y_true = None if self.y_true is None else np.asarray(self.y_true)
        if axes is None:
            columns = min(6, len(images))
            rows = -(-len(images) // columns)
            _, axes = plt.subplots(
                rows, columns, figsize=(1.6 * columns, 1.95 * rows), layout="constrained"
            )
        self.axes_ = np.ravel(axes)
        self.figure_ = self.axes_[0].figure
        for ax in self.axes_:
            ax.set_axis_off()
        for i, ax in zip(range(len(images)), self.axes_, strict=False):
            face = digest_and_decoder(images[i], i)[1](_FACE)
            ax.imshow(resize(face, _FACE))
            title = f"{y_pred[i]:.0f}"
            if y_true is not None:
                title += f"   (true {y_true[i]:.0f})"
            ax.set_title(title, fontsize=9, pad=3)
        return self


def _new_axes() -> Axes:
    return plt.subplots(figsize=(4.5, 3.2), layout="constrained")[1]


def _plain_frame(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
