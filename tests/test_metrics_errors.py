"""Errors of ages, against independent formulas."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from scipy.integrate import quad
from sklearn.metrics import mean_absolute_error

from skage import metrics

WEIGHTED = [
    metrics.absolute_error_std,
    metrics.cumulative_score,
    metrics.cumulative_score_area,
    metrics.macro_mean_absolute_error,
    metrics.mean_absolute_error,
    metrics.mean_error,
    metrics.root_mean_squared_error,
    lambda *a, **k: metrics.worst_band_error(*a, min_count=1, **k),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def ages(rng):
    """True and predicted ages with ties, in whole years."""
    y_true = rng.integers(0, 90, 400).astype(float)
    return y_true, np.round(y_true + rng.normal(1, 6, 400))


def test_simple_errors_are_their_formulas(ages):
    y, p = ages
    assert metrics.mean_error(y, p) == pytest.approx(np.mean(p - y))
    assert metrics.absolute_error_std(y, p) == pytest.approx(np.std(np.abs(p - y)))
    assert metrics.root_mean_squared_error(y, p) == pytest.approx(np.sqrt(np.mean((p - y) ** 2)))


def test_the_area_is_the_integral_of_the_cumulative_score(ages):
    y, p = ages
    jumps = np.arange(1, 8)
    area, _ = quad(lambda k: metrics.cumulative_score(y, p, k), 0, 7.5, points=jumps, limit=200)
    assert metrics.cumulative_score_area(y, p, 7.5) == pytest.approx(area / 7.5, abs=1e-6)
    assert metrics.cumulative_score_area(y, y) == 1
    assert metrics.cumulative_score_area([20], [30]) == 0


@pytest.mark.parametrize("width", [5, 10])
def test_the_worst_band_is_fairlearns_worst_group(ages, width):
    y, p = ages
    frame = MetricFrame(
        metrics={"mae": mean_absolute_error, "n": lambda a, b: len(a)},
        y_true=y,
        y_pred=p,
        sensitive_features=np.floor(y / width),
    ).by_group
    assert metrics.worst_band_error(y, p, width=width, min_count=20) == pytest.approx(
        frame.mae[frame.n >= 20].max()
    )
    every = metrics.worst_band_error(y, p, width=width, min_count=1)
    assert every == pytest.approx(frame.mae.max())


def test_a_band_without_enough_images_is_left_out():
    y, p = [5, 5, 15], [6, 6, 90]
    assert metrics.worst_band_error(y, p, min_count=2) == 1
    assert metrics.worst_band_error(y, p, min_count=1) == 75
    with pytest.raises(ValueError, match=r"min_count=3 images: the largest, from 0 years, has 2"):
        metrics.worst_band_error(y, p, min_count=3)
    with pytest.raises(ValueError, match="has 1"):  # an image of weight 0 does not count
        metrics.worst_band_error(y, p, min_count=2, sample_weight=[1, 0, 1])


def test_nists_error_is_the_mean_of_fairlearns_groups(rng):
    n = 3000
    y, sex = rng.uniform(16, 33, n), rng.choice(["f", "m"], n, p=[0.2, 0.8])
    p = y + rng.normal(0, 3, n)
    chosen = (y >= 18) & (y < 31)
    features = pd.DataFrame({"sex": sex, "age": np.floor(y)})[chosen]
    frame = MetricFrame(
        metrics=mean_absolute_error, y_true=y[chosen], y_pred=p[chosen], sensitive_features=features
    )
    assert len(frame.by_group) == 26
    assert metrics.nist_mean_absolute_error(y, p, sex) == pytest.approx(frame.by_group.mean())


def test_nists_error_refuses_missing_cells():
    y, sex = [18, 19, 18], ["f", "f", "m"]
    with pytest.raises(ValueError, match="No image has sex m and age 19"):
        metrics.nist_mean_absolute_error(y, y, sex, ages=[18, 19])
    with pytest.raises(ValueError, match="No image has sex m and age 18"):
        metrics.nist_mean_absolute_error(y, y, sex, ages=[18], sample_weight=[1, 1, 0])
    with pytest.raises(ValueError, match=r"1 distinct labels, \['f'\]"):
        metrics.nist_mean_absolute_error(y, y, ["f"] * 3)
    with pytest.raises(ValueError, match=r"sex\[1\] is missing"):
        metrics.nist_mean_absolute_error(y, y, ["f", None, "m"])
    with pytest.raises(ValueError, match="inconsistent"):
        metrics.nist_mean_absolute_error(y, y, ["f", "m"])


@pytest.mark.parametrize("metric", WEIGHTED)
def test_weights_are_repetitions(metric, ages, rng):
    y, p = ages
    counts = rng.integers(0, 4, len(y))
    expected = metric(np.repeat(y, counts), np.repeat(p, counts))
    assert metric(y, p, sample_weight=counts) == pytest.approx(expected)
    assert metric(y, p, sample_weight=counts / 1e6) == pytest.approx(expected)


def test_nists_weights_are_repetitions(rng):
    y, sex = rng.choice([18, 19], 200), rng.choice(["f", "m"], 200)
    p, counts = y + rng.normal(0, 3, 200), rng.integers(0, 4, 200)
    repeated = (np.repeat(a, counts) for a in (y, p, sex))
    assert metrics.nist_mean_absolute_error(
        y, p, sex, ages=[18, 19], sample_weight=counts
    ) == pytest.approx(metrics.nist_mean_absolute_error(*repeated, ages=[18, 19]))


@pytest.mark.parametrize("metric", WEIGHTED)
def test_one_image_is_enough(metric):
    assert np.isfinite(metric([30], [34]))


@pytest.mark.parametrize("metric", WEIGHTED)
@pytest.mark.parametrize("bad", [[20, np.nan], [20, np.inf], [20], []])
def test_bad_predictions_are_errors(metric, bad):
    with pytest.raises(ValueError, match=r"NaN|infinity|inconsistent|0 ages"):
        metric([20, 30], bad)


@pytest.mark.parametrize("wrong", [0, -1, np.nan, np.inf, "10"])
def test_widths_are_above_zero(wrong):
    for metric, name in (
        (metrics.macro_mean_absolute_error, "width"),
        (metrics.worst_band_error, "width"),
        (metrics.cumulative_score_area, "max_threshold"),
    ):
        with pytest.raises(ValueError, match=f"{name}={wrong!r} must be above 0"):
            metric([20], [20], **{name: wrong})
