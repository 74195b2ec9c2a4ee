import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skage import AgeBinner, BinnedAgeRegressor, FaceCropper
from skage.displays import (
    AgeBinsDisplay,
    AgeDistributionDisplay,
    FacesDisplay,
    TrainingHistoryDisplay,
)

from .conftest import tiny_model


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_history_shows_what_was_recorded(fitted):
    history = fitted.classifier_.history_
    loss, error, rate = TrainingHistoryDisplay.from_estimator(fitted).axes_
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(error.lines[0].get_ydata()) == [row["valid_mae"] for row in history]
    assert list(rate.lines[0].get_ydata()) == [row["lr"] for row in history]
    in_pipeline = TrainingHistoryDisplay.from_estimator(make_pipeline("passthrough", fitted))
    assert len(in_pipeline.axes_) == 3


def test_history_needs_one():
    with pytest.raises(NotFittedError):
        TrainingHistoryDisplay.from_estimator(tiny_model())
    tabular = BinnedAgeRegressor(LogisticRegression(), AgeBinner(2)).fit([[0], [1]], [1, 2])
    with pytest.raises(ValueError, match="LogisticRegression has no training history"):
        TrainingHistoryDisplay.from_estimator(tabular)


def test_bins_over_ages(faces, fitted):
    for estimator in (fitted, fitted.binner_):
        ax = AgeBinsDisplay.from_estimator(estimator, faces.target).ax_
        assert list(ax.lines[0].get_xdata()) == fitted.binner_.bin_values_.tolist()
        assert sum(bar.get_height() for bar in ax.patches[:91]) >= 40


def test_distribution_of_one_face(faces, fitted):
    display = AgeDistributionDisplay.from_estimator(
        fitted, faces.data[0], true_age=30, coverage=0.5
    )
    assert display.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert list(display.interval) == fitted.predict_interval(faces.data[:1], 0.5)[0].tolist()
    assert display.age == fitted.predict(faces.data[:1])[0]
    distribution = fitted.predict_dist(faces.data[:1])
    thirties = fitted.binner_.cdf(distribution, [29.5, 39.5])[0]
    shown = display.probabilities[(display.years >= 30) & (display.years < 40)]
    assert shown.sum() == pytest.approx(thirties[1] - thirties[0], abs=1e-5)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [f"predicted {display.age:.0f}", "true 30"]


def test_faces_are_titled_with_their_ages(paths, faces, fitted):
    axes = FacesDisplay.from_estimator(fitted, paths[:7], faces.target[:7]).axes_
    assert len(axes) == 12
    assert axes[0].get_title().endswith(f"(true {faces.target[0]:.0f})")
    assert len(axes[6].images) == 1
    assert not axes[7].images
    assert FacesDisplay.from_predictions(paths[:1], [33.4]).axes_[0].get_title() == "33"
    ages = pd.Series([20.0, 40.0], index=[1, 0])
    shown = FacesDisplay.from_predictions(paths[:2], ages, ages).axes_
    assert [ax.get_title() for ax in shown] == ["20   (true 20)", "40   (true 40)"]


def test_the_networks_of_an_ensemble_have_a_curve_each(faces):
    model = tiny_model(n_members=3, max_epochs=3).fit(faces.data, faces.target)
    loss, error, rate = TrainingHistoryDisplay.from_estimator(model).axes_
    assert [len(ax.lines) for ax in (loss, error, rate)] == [6, 3, 3]
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in error.lines)
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]


@pytest.fixture(scope="module")
def one_year_classes():
    """A binned regressor that is certain of the age, which it is told."""
    ages = np.repeat(np.arange(0, 91), 3)
    told = np.eye(91)[ages]
    model = BinnedAgeRegressor(LogisticRegression(C=1e6), AgeBinner(91)).fit(told, ages)
    return model, told[::3]


@pytest.mark.parametrize("age", [0, 1, 30, 80])
def test_the_axes_of_a_certain_age_are_readable(age, one_year_classes):
    model, told = one_year_classes
    ax = AgeDistributionDisplay.from_estimator(model, told[age], true_age=age).ax_
    left, right = ax.get_xlim()
    assert left <= age <= right
    assert 20 <= right - left <= 30
    assert max(ax.get_yticks()) == 100
    assert ax.get_ylim()[1] < 130


def test_an_uncertain_age_is_shown_with_all_its_years(one_year_classes):
    model, told = one_year_classes
    ax = AgeDistributionDisplay.from_estimator(model, told[5] + told[70]).ax_
    assert ax.get_xlim()[0] <= 4
    assert ax.get_xlim()[1] >= 71


def red(pixels):
    """The face is red here."""
    y, x = np.nonzero((pixels == (255, 0, 0)).all(axis=2))
    return [(x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1, 1.0)] if len(x) else []


@pytest.fixture(scope="module")
def photos():
    images = np.zeros((7, 60, 60, 3), np.uint8)
    images[:6, 20:40, 10:30] = 255, 0, 0
    return images


@pytest.fixture(scope="module")
def with_crops(photos):
    cropper = FaceCropper(red, margin=0, size=16, on_no_face="nan")
    model = make_pipeline(cropper, tiny_model(2, validation_fraction=0))  # the crops are alike
    return model.fit(photos[:6], [10.0, 20, 30, 40, 50, 60])


def test_a_pipeline_or_a_search_is_shown_as_its_model_is(photos, with_crops):
    ages = [10.0, 20, 30, 40, 50, 60]
    grid = {"binnedageregressor__classifier__lr": [0.001]}
    search = GridSearchCV(with_crops, grid, cv=2).fit(photos[:6], ages)
    model = with_crops[-1]
    for estimator in (with_crops, search, make_pipeline(search)):
        assert len(TrainingHistoryDisplay.from_estimator(estimator).axes_) >= 2
        ax = AgeBinsDisplay.from_estimator(estimator, ages).ax_
        assert list(ax.lines[0].get_xdata()) == model.binner_.bin_values_.tolist()
        shown = AgeDistributionDisplay.from_estimator(estimator, photos[0])
        assert shown.age == pytest.approx(estimator.predict(photos[:1])[0])
        face = FacesDisplay.from_estimator(estimator, photos[:1]).axes_[0].images[0].get_array()
        assert (face == (255, 0, 0)).all()  # the crop, not the photo


def test_displays_refuse_what_they_cannot_show(photos, with_crops, fitted):
    search = GridSearchCV(with_crops, {"facecropper__margin": [0]}, cv=2, refit=False)
    with pytest.raises(ValueError, match=r"GridSearchCV has no fitted model\. Search with refit"):
        TrainingHistoryDisplay.from_estimator(search.fit(photos[:6], [10.0, 20, 30, 40, 50, 60]))
    with pytest.raises(ValueError, match=r"VGG16Classifier has no age bins. Pass a fitted Bin"):
        AgeBinsDisplay.from_estimator(fitted.classifier_, [30])
    with pytest.raises(ValueError, match="VGG16Classifier does not predict distributions"):
        AgeDistributionDisplay.from_estimator(fitted.classifier_, photos[0])
    with (
        pytest.warns(UserWarning, match="get NaN"),
        pytest.raises(ValueError, match=r"ndarray \(item 0\) has no prediction: .* Pass another"),
    ):
        AgeDistributionDisplay.from_estimator(with_crops, photos[6])
    with pytest.raises(ValueError, match=r"axes has 2 Axes\. Pass 3: for the loss, the v"):
        TrainingHistoryDisplay.from_estimator(fitted, axes=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match="y has 2 ages, but X has 7 images"):
        FacesDisplay.from_estimator(fitted, photos, [30, 40])
    with pytest.raises(ValueError, match="max_faces=0 is not valid"):
        FacesDisplay.from_estimator(fitted, photos, max_faces=0)


def test_of_many_faces_some_are_shown_and_it_says_so(faces, fitted):
    images, ages = faces.data[[0] * 600], faces.target[[0] * 600]
    display = FacesDisplay.from_estimator(fitted, images, ages)
    assert display.figure_.get_suptitle() == "24 of 600 images"
    assert len(display.axes_) == 24
    assert display.figure_.get_figheight() < 10
    few = FacesDisplay.from_predictions(images, ages, max_faces=2)
    assert few.figure_.get_suptitle() == "2 of 600 images"
    assert not FacesDisplay.from_predictions(images[:3], ages[:3]).figure_.get_suptitle()
    given = FacesDisplay.from_predictions(images, ages, axes=Figure().subplots(4, 8))
    assert all(len(ax.images) == 1 for ax in given.axes_)


def test_without_a_prediction_a_face_says_so(faces):
    display = FacesDisplay.from_predictions(faces.data[:2], [np.nan, 30], [40, np.nan])
    assert [ax.get_title() for ax in display.axes_] == ["no prediction   (true 40)", "30"]


def test_an_image_that_cannot_be_read_is_a_tile_with_its_reason(
    paths, photos, fitted, with_crops, tmp_path
):
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "empty.jpg").touch()
    files = [paths[0], tmp_path / "broken.jpg", tmp_path / "empty.jpg", tmp_path / "gone.jpg"]
    axes = FacesDisplay.from_estimator(fitted, files).axes_
    assert [ax.get_title() for ax in axes[1:]] == ["no prediction"] * 3
    assert axes[0].get_title() == f"{fitted.predict(paths[:1])[0]:.0f}"
    told = [ax.texts[0].get_text().replace("\n", " ") for ax in axes[1:]]
    assert told == [
        "broken.jpg is not a readable image: unknown format.",
        "empty.jpg is empty (0 bytes).",
        "gone.jpg does not exist.",
    ]
    axes = FacesDisplay.from_estimator(with_crops, photos[5:]).axes_
    assert axes[1].texts[0].get_text().replace("\n", " ") == "No face was found in the image."


def test_a_training_of_one_epoch_without_validation_is_shown(faces):
    model = tiny_model(2, max_epochs=1, validation_fraction=0).fit(faces.data[:4], faces.target[:4])
    loss, rate = TrainingHistoryDisplay.from_estimator(model).axes_
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training"]
    assert loss.lines[0].get_marker() == rate.lines[0].get_marker() == "o"
    assert loss.get_xticks().tolist() == [1]


def test_an_error_that_stays_the_same_is_within_the_axes(fitted):
    _, error, _ = TrainingHistoryDisplay.from_estimator(fitted).axes_
    assert error.get_ylim()[1] > max(error.lines[0].get_ydata())


def test_given_axes_need_no_display(monkeypatch, faces, fitted):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    figure = Figure()
    AgeDistributionDisplay.from_estimator(fitted, faces.data[0], ax=figure.subplots())
    FacesDisplay.from_predictions(faces.data[:2], [3, 4], axes=figure.subplots(1, 2))
