"""TrainingHistoryDisplay: loss, validation error and learning rate over the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._unwrap import unwrap
from ._axes import BLUE, GREY, ORANGE, new_axes, plain_frame


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
        self.axes_ = new_axes(1, n_axes, (4 * n_axes, 3.2)) if axes is None else np.ravel(axes)
        if len(self.axes_) != n_axes:
            raise ValueError(
                f"axes has {len(self.axes_)} Axes. Pass {n_axes}: for the loss, "
                f"{'the validation error, ' * with_mae}and the learning rate."
            )
        self.figure_ = self.axes_[0].figure
        loss, *middle, rate = self.axes_
        self._curves(loss, "train_loss", GREY, "training")
        if "valid_loss" in self.history[0]:
            self._curves(loss, "valid_loss", BLUE, "validation")
        loss.set(ylabel="loss", title="Loss")
        loss.legend(frameon=False)
        if with_mae:
            self._curves(middle[0], "valid_mae", BLUE)
            middle[0].set(ylabel="MAE (years)", title="Validation error")
            middle[0].set_ylim(0, 1.1 * max(row["valid_mae"] for row in self.history))
        self._curves(rate, "lr", ORANGE, drawstyle="steps-mid")
        rate.set(yscale="log", ylabel="learning rate", title="Learning rate")
        last = max(row["epoch"] for row in self.history)
        for ax in self.axes_:
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            if last == 1:
                ax.set_xticks([1])
            plain_frame(ax)
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
