"""Plots of a model and its training, with the interface of scikit-learn's displays."""

from __future__ import annotations

import os
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._checks import check_ages
from .._images.reading import (
    ImageError,
    check_images,
    describe,
    digest_and_decoder,
    readable,
    resize,
)
from .._unwrap import unwrap

__all__ = ["AgeBinsDisplay", "AgeDistributionDisplay", "FacesDisplay", "TrainingHistoryDisplay"]

_FACE_SIDE = 160  # pixels
_N_COLUMNS = 6  # of faces in a figure
_MAX_LINES, _MAX_CHARACTERS = 7, 27  # of an error message shown in place of a face
_TILE_GREY = 232  # its background
_VISIBLE = 0.01  # fraction of the highest bar; lower bars cannot be seen
_MIN_YEARS = 24  # shown on an axis of ages

_BLUE, _ORANGE, _GREY = "#3b6fb6", "#e07b39", "#9aa0a6"


class TrainingHistoryDisplay:
    """Plot of loss, validation error and learning rate over the epochs.

    Create it with `from_estimator`.

    Parameters
    ----------
    history : list of dict
        The `history_` of a VGG16Classifier.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for the loss, one for the validation MAE if it was recorded, and one for the
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
        estimator : VGG16Classifier or BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        axes : sequence of Axes, default=None
            One for the loss, one for the validation error if images were held out, and one
            for the learning rate. None creates a new figure.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If the estimator has no training history, or the number of axes is wrong.
        """
        model = unwrap(estimator)[0]
        classifier = getattr(model, "classifier_", model)
        if not getattr(classifier, "history_", None):
            raise ValueError(
                f"This {type(classifier).__name__} has no training history. Pass a "
                "BinnedAgeRegressor, VGG16Classifier or EmbeddingClassifier that was fitted here."
            )
        return cls(classifier.history_).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> TrainingHistoryDisplay:
        """Draw the plot.

        Parameters
        ----------
        axes : sequence of Axes, default=None
            As in `from_estimator`. None creates a new figure.

        Returns
        -------
        display : TrainingHistoryDisplay
        """
        with_mae = "valid_mae" in self.history[0]
        n_axes = 2 + with_mae
        self.axes_ = _new_axes(1, n_axes, (4 * n_axes, 3.2)) if axes is None else np.ravel(axes)
        if len(self.axes_) != n_axes:
            raise ValueError(
                f"axes has {len(self.axes_)} Axes. Pass {n_axes}: for the loss, "
                f"{'the validation error, ' * with_mae}and the learning rate."
            )
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
            middle[0].set_ylim(0, 1.1 * max(row["valid_mae"] for row in self.history))
        self._curves(rate, "lr", _ORANGE, drawstyle="steps-mid")
        rate.set(yscale="log", ylabel="learning rate", title="Learning rate")
        last = max(row["epoch"] for row in self.history)
        for ax in self.axes_:
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            if last == 1:
                ax.set_xticks([1])
            _plain_frame(ax)
        return self

    def _curves(
        self, ax: Axes, key: str, colour: str, label: str | None = None, **style: Any
    ) -> None:
        """Draw one curve for each network of an ensemble."""
        members = {row.get("member", 0): None for row in self.history}
        for member in members:
            rows = [row for row in self.history if row.get("member", 0) == member]
            epochs = [row["epoch"] for row in rows]
            style["marker"] = "o" if len(epochs) < 3 else None
            ax.plot(epochs, [row[key] for row in rows], color=colour, label=label, **style)
            label = None  # only one entry in the legend


class AgeBinsDisplay:
    """Plot of age bins over a histogram of ages.

    Create it with `from_estimator`.

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
        """Plot bins over a histogram of ages.

        Parameters
        ----------
        estimator : AgeBinner or BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        ages : array-like of shape (n_samples,)
            In years.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeBinsDisplay

        Raises
        ------
        ValueError
            If the estimator has no age bins, or an age is not a finite number.
        """
        model = unwrap(estimator)[0]
        binner = getattr(model, "binner_", model)
        if not hasattr(binner, "bin_edges_"):
            raise ValueError(
                f"{type(model).__name__} has no age bins. Pass a fitted BinnedAgeRegressor or "
                "AgeBinner."
            )
        return cls(binner, check_ages(ages, "ages")).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeBinsDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeBinsDisplay
        """
        self.ax_ = ax = _new_axes()[0] if ax is None else ax
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
    """Plot of the predicted distribution of one person's age.

    Create it with `from_estimator`.

    Parameters
    ----------
    years : ndarray of shape (n_years,)
        Consecutive whole ages in years.
    probabilities : ndarray of shape (n_years,)
        Probability that the age, rounded to whole years, is each of `years`.
    age : float
        Predicted age in years.
    interval : (float, float)
        Lower and upper bound of the interval to shade, in years.
    true_age : float, default=None
        In years; drawn if given.

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure
    """

    def __init__(
        self,
        years: np.ndarray,
        probabilities: np.ndarray,
        age: float,
        interval: tuple[float, float],
        true_age: float | None = None,
    ):
        self.years = years
        self.probabilities = probabilities
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
        """Predict and plot the distribution of one image.

        Parameters
        ----------
        estimator : BinnedAgeRegressor
            Fitted. It may be the last step of a Pipeline, or inside a search.
        image : path, PIL image or array
        true_age : float, default=None
            In years; drawn if given.
        coverage : float, default=0.9
            Probability inside the shaded interval, above 0 and below 1.
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeDistributionDisplay

        Raises
        ------
        ValueError
            If the estimator does not predict distributions of age, `coverage` is not
            between 0 and 1, or the image has no prediction.
        """
        model, X = unwrap(estimator, [image])
        if not hasattr(model, "predict_dist"):
            raise ValueError(
                f"{type(model).__name__} does not predict distributions of age. Pass a "
                "BinnedAgeRegressor."
            )
        distribution = model.predict_dist(X)
        if np.isnan(distribution).any():
            raise ValueError(
                f"{describe(image, 0)} has no prediction: it cannot be read, or shows no face. "
                "Pass another image."
            )
        binner = model.binner_
        low, high = binner.bin_support_.min(), binner.bin_support_.max()
        years = np.arange(np.ceil(low - 0.5), np.floor(high + 0.5) + 1)
        edges = np.append(years, years[-1] + 1) - 0.5
        probabilities = np.diff(binner.cdf(distribution, edges)[0])
        interval = model.decode_interval(distribution, coverage)[0]
        age = float(model.decode_dist(distribution)[0])
        display = cls(years, probabilities, age, (float(interval[0]), float(interval[1])), true_age)
        return display.plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> AgeDistributionDisplay:
        """Draw the plot.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : AgeDistributionDisplay
        """
        self.ax_ = ax = _new_axes()[0] if ax is None else ax
        self.figure_ = ax.figure
        low, high = self.interval
        edges = np.append(self.years, self.years[-1] + 1) - 0.5
        ax.stairs(100 * self.probabilities, edges, fill=True, color=_BLUE, alpha=0.55)
        ax.axvspan(low, high, color=_BLUE, alpha=0.1, lw=0)
        ax.axvline(self.age, color=_BLUE, label=f"predicted {self.age:.0f}")
        if self.true_age is not None:
            ax.axvline(self.true_age, color=_ORANGE, ls="--", label=f"true {self.true_age:.0f}")
        ax.set(xlabel="age (years)", ylabel="probability of a year (%)", title="One face's age")
        marks = [low, high, self.age, self.age if self.true_age is None else self.true_age]
        left, right = _shown_range(self.years, self.probabilities, marks)
        ax.set_xlim(left, right)
        top = 1.28 * 100 * self.probabilities.max()  # leaves room for the legend
        ax.set_ylim(0, top)
        ax.set_yticks([tick for tick in ax.get_yticks() if tick <= min(top, 100)])
        ax.legend(
            loc="upper left" if self.age > (left + right) / 2 else "upper right",
            borderaxespad=0,
            edgecolor="none",
            framealpha=0.85,
        )
        _plain_frame(ax)
        return self


class FacesDisplay:
    """Plot of faces with their predicted, and possibly true, ages.

    Images without a prediction are marked as such. An image that cannot be read is shown
    as a grey tile with the reason. Create it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    images : sequence of n images
        Paths, PIL images or arrays.
    y_pred : array-like of shape (n,)
        In years; NaN for images without a prediction.
    y_true : array-like of shape (n,), default=None
        In years; NaN where unknown.
    n_images : int, default=None
        Total number of images, shown as the title if only some of them are displayed.

    Attributes
    ----------
    axes_ : ndarray of Axes
    figure_ : Figure
    """

    def __init__(self, images: Any, y_pred: Any, y_true: Any = None, n_images: int | None = None):
        self.images = images
        self.y_pred = y_pred
        self.y_true = y_true
        self.n_images = n_images

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, max_faces: int = 24, axes: Any = None
    ) -> FacesDisplay:
        """Show images with their predicted ages.

        For a Pipeline, the images are shown as its last step sees them: with a
        `FaceCropper` before it, the crops. Only the images shown are predicted.

        Parameters
        ----------
        estimator : BinnedAgeRegressor, or another estimator of ages from images
            Fitted. It may be the last step of a Pipeline, or inside a search.
        X : sequence of n_samples images
        y : array-like of shape (n_samples,), default=None
            True ages in years.
        max_faces : int, default=24
            Show only the first `max_faces` images. The title then states how many there
            are.
        axes : sequence of Axes, default=None
            Each shows one face, and `max_faces` is ignored. None creates a new figure.

        Returns
        -------
        display : FacesDisplay

        Raises
        ------
        ValueError
            If X and y differ in length, or `max_faces` is below 1.
        """
        images, (y,) = _first(X, max_faces, axes, y=y)
        model, shown = unwrap(estimator, images)
        positions = np.flatnonzero(readable(shown))
        y_pred = np.full(len(images), np.nan)
        if len(positions):
            y_pred[positions] = model.predict([shown[i] for i in positions])
        return cls(shown, y_pred, y, len(X)).plot(axes=axes)

    @classmethod
    def from_predictions(
        cls, X: Any, y_pred: Any, y_true: Any = None, *, max_faces: int = 24, axes: Any = None
    ) -> FacesDisplay:
        """Show images with given predictions.

        Parameters
        ----------
        X : sequence of n_samples images
        y_pred : array-like of shape (n_samples,)
            In years; NaN for images without a prediction.
        y_true : array-like of shape (n_samples,), default=None
            In years; NaN where unknown.
        max_faces : int, default=24
            As in `from_estimator`.
        axes : sequence of Axes, default=None
            As in `from_estimator`.

        Returns
        -------
        display : FacesDisplay

        Raises
        ------
        ValueError
            If the lengths differ, or `max_faces` is below 1.
        """
        images, (y_pred, y_true) = _first(X, max_faces, axes, y_pred=y_pred, y_true=y_true)
        return cls(images, y_pred, y_true, len(X)).plot(axes=axes)

    def plot(self, *, axes: Any = None) -> FacesDisplay:
        """Draw the plot.

        Parameters
        ----------
        axes : sequence of Axes, default=None
            At least as many Axes as images. None creates a new figure.

        Returns
        -------
        display : FacesDisplay
        """
        images, y_pred = check_images(self.images), np.asarray(self.y_pred)
        y_true = np.full(len(images), np.nan) if self.y_true is None else np.asarray(self.y_true)
        n_shown = len(images)
        if axes is None:
            columns = min(_N_COLUMNS, n_shown)
            rows = -(-n_shown // columns)
            axes = _new_axes(rows, columns, (1.6 * columns, 1.95 * rows))
            if self.n_images is not None and self.n_images > n_shown:
                axes[0].figure.suptitle(f"{n_shown} of {self.n_images:,} images", fontsize=10)
        self.axes_ = np.ravel(axes)
        self.figure_ = self.axes_[0].figure
        for ax in self.axes_:
            ax.set_axis_off()
        for i, ax in zip(range(n_shown), self.axes_, strict=False):
            face = _face(images[i], i)
            if isinstance(face, str):
                ax.imshow(np.full((1, 1, 3), _TILE_GREY, np.uint8), extent=(0, 1, 0, 1))
                ax.text(0.5, 0.5, face, fontsize=6.5, ha="center", va="center", color="#444444")
            else:
                ax.imshow(face)
            title = "no prediction" if np.isnan(y_pred[i]) else f"{y_pred[i]:.0f}"
            if not np.isnan(y_true[i]):
                title += f"   (true {y_true[i]:.0f})"
            ax.set_title(title, fontsize=9 if len(title) < 20 else 7.5, pad=3)
        return self


def _shown_range(
    years: np.ndarray, probabilities: np.ndarray, marks: list[float]
) -> tuple[float, float]:
    """Return the range of ages with visible bars or marks, at least `_MIN_YEARS` wide."""
    visible = years[probabilities >= _VISIBLE * probabilities.max()]
    left, right = np.floor(min(visible[0], *marks)) - 1, np.ceil(max(visible[-1], *marks)) + 1
    spare = max(_MIN_YEARS - (right - left), 0)
    left = max(left - spare / 2, min(left, years[0] - 0.5))
    return left, max(right, left + _MIN_YEARS)


def _first(X: Any, max_faces: int, axes: Any, **ages: Any) -> tuple[Any, list[Any]]:
    """Return the images to show, and their ages."""
    images = check_images(X)
    if max_faces < 1:
        raise ValueError(f"max_faces={max_faces!r} is not valid. Pass at least 1.")
    n_shown = max_faces if axes is None else np.size(axes)
    shown: list[Any] = []
    for name, values in ages.items():
        array = None if values is None else np.asarray(values, dtype=np.float64).ravel()
        if array is not None and len(array) != len(images):
            raise ValueError(
                f"{name} has {len(array)} ages, but X has {len(images)} images. Pass one age for "
                "each image."
            )
        shown.append(None if array is None else array[:n_shown])
    return images[:n_shown], shown


def _face(image: Any, position: int) -> np.ndarray | str:
    """Return the pixels of a face, or a short message if it cannot be read."""
    try:
        return resize(digest_and_decoder(image, position)[1](_FACE_SIDE), _FACE_SIDE)
    except ImageError as error:
        source = image
        while hasattr(source, "source"):
            source = source.source
        is_path = isinstance(source, str | os.PathLike)
        name = os.path.basename(os.fspath(source)) if is_path else "the image"
        text = error.message.replace(describe(source, position), name)
        return "\n".join(
            textwrap.wrap(text, _MAX_CHARACTERS, max_lines=_MAX_LINES, placeholder=" ...")
        )


def _new_axes(rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.5, 3.2)) -> Any:
    from matplotlib import pyplot as plt  # selects a backend, which given axes do not need

    return np.ravel(plt.subplots(rows, columns, figsize=size, layout="constrained")[1])


def _plain_frame(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
