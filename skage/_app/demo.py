"""The demo: drawn faces, VGG16 over bins, from start to end without a download."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from sklearn.model_selection import GroupShuffleSplit

from .._files.paths import replacing
from ..binning import AgeBinner
from ..classifier import VGG16Classifier
from ..datasets import make_faces
from ..displays import (
    AgeBinsDisplay,
    AgeDistributionDisplay,
    FacesDisplay,
    TrainingHistoryDisplay,
)
from ..metrics import cumulative_score, mean_absolute_error
from ..regressor import BinnedAgeRegressor

N_FACES = 2400
MAX_EPOCHS = 30


@dataclass
class DemoResult:
    """What the demo found, on faces of persons that it did not train on."""

    n_train: int
    n_test: int
    mae: float  # years
    baseline_mae: float  # years, of the training ages' median
    cs5: float


def check_picture(picture: str | os.PathLike) -> None:
    """Refuse a picture that cannot be drawn.

    Raises
    ------
    ValueError
        If matplotlib cannot draw pictures of this suffix here, or there is none.
    """
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, "text")  # which some formats need other programs for
    suffix = _suffix(picture)
    try:
        figure.savefig(io.BytesIO(), format=suffix)
    except Exception as error:
        formats = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
        raise ValueError(
            f"{os.fspath(picture)!r} cannot be drawn: its suffix {suffix!r} must be one of "
            f"{formats}."
        ) from error


def _suffix(picture: str | os.PathLike) -> str:
    return os.path.splitext(os.fspath(picture))[1][1:].lower()


def run_demo(picture: str | os.PathLike, random_state: int = 0, verbose: int = 0) -> DemoResult:
    """Train on drawn faces, test on others, and write one picture.

    The convolutions keep their random weights, since no pretrained ones can be
    assumed; only the layer after them learns.
    """
    faces = make_faces(N_FACES, image_size=64, random_state=random_state)
    splitter = GroupShuffleSplit(1, test_size=1 / 6, random_state=random_state)
    train, test = next(splitter.split(faces.data, groups=faces.groups))
    model = BinnedAgeRegressor(
        VGG16Classifier(
            weights=None,
            hidden_layer_sizes=(),
            n_components=None,
            loss="cross_entropy",
            lr=1e-3,
            weight_decay=5e-4,
            test_augment=None,
            validation_fraction=0.1,
            image_size=64,
            dropout=0.0,
            optimizer="adam",
            batch_size=16,
            max_epochs=MAX_EPOCHS,
            random_state=random_state,
            verbose=verbose,
        ),
        AgeBinner(n_bins=20),
    )
    model.fit(faces.data[train], faces.target[train], groups=faces.groups[train])
    X, y = faces.data[test], faces.target[test]
    y_pred = model.predict(X)
    constant = np.full(len(y), np.median(faces.target[train]))
    result = DemoResult(
        n_train=len(train),
        n_test=len(test),
        mae=mean_absolute_error(y, y_pred),
        baseline_mae=mean_absolute_error(y, constant),
        cs5=cumulative_score(y, y_pred),
    )
    _draw(model, faces.target[train], result, X, y, y_pred, picture)
    return result


def _draw(
    model: BinnedAgeRegressor,
    train_ages: np.ndarray,
    result: DemoResult,
    faces: np.ndarray,
    ages: np.ndarray,
    predicted: np.ndarray,
    picture: str | os.PathLike,
) -> None:
    figure = Figure(figsize=(14, 7.4), layout="constrained")
    figure.suptitle(
        f"skage on {result.n_test} drawn faces of unseen persons: MAE {result.mae:.1f} years, "
        f"against {result.baseline_mae:.1f} for always saying the median age",
        fontsize=14,
    )
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.25, 1)).ravel()
    shown = np.argsort(ages, kind="stable")[:: max(1, len(ages) // 20)][:20]
    FacesDisplay.from_predictions(
        faces[shown], predicted[shown], ages[shown], axes=top.subplots(2, 10)
    )
    axes = bottom.subplots(1, 5)
    TrainingHistoryDisplay.from_estimator(model, axes=axes[:3])
    AgeBinsDisplay.from_estimator(model, train_ages, ax=axes[3])
    # A face as hard as most: its error is the median one.
    typical = np.argsort(np.abs(predicted - ages))[len(ages) // 2]
    AgeDistributionDisplay.from_estimator(model, faces[typical], true_age=ages[typical], ax=axes[4])
    with replacing(picture) as file:
        figure.savefig(file, format=_suffix(picture), dpi=110)
