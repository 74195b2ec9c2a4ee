import matplotlib.pyplot as plt
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skage import AgeBinner, BinnedAgeRegressor
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
    with pytest.raises(ValueError, match="LogisticRegression keeps no history"):
        TrainingHistoryDisplay.from_estimator(tabular)


def test_bins_over_ages(faces, fitted):
    for estimator in (fitted, fitted.binner_):
        ax = AgeBinsDisplay.from_estimator(estimator, faces.target).ax_
        assert list(ax.lines[0].get_xdata()) == fitted.binner_.bin_values_.tolist()
        assert sum(bar.get_height() for bar in ax.patches[:91]) >= 40


def test_distribution_of_one_face(faces, fitted):
    display = AgeDistributionDisplay.from_estimator(fitted, faces.data[0], true_age=30)
    assert display.distribution.sum() == pytest.approx(1, abs=1e-5)
    assert display.interval[0] < display.age < display.interval[1]
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
