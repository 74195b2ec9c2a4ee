"""Displays of errors, intervals and limits: what they draw is what is computed by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skage import AgeBinner, BinnedAgeRegressor
from skage.displays import (
    ChallengeAgeDisplay,
    CumulativeScoreDisplay,
    ErrorByAgeDisplay,
    IntervalCoverageDisplay,
    PredictedAgeDisplay,
    ReliabilityDisplay,
    WorstErrorsDisplay,
)
from skage.metrics import cumulative_score, interval_coverage, macro_mean_absolute_error

from .conftest import tiny_model

OF_AGES = [
    PredictedAgeDisplay,
    ErrorByAgeDisplay,
    CumulativeScoreDisplay,
    ChallengeAgeDisplay,
]
LEFT_OUT = "2 of 400 images without a prediction are left out"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ages():
    random = np.random.default_rng(0)
    y_true = random.integers(0, 80, 400).astype(float)
    return y_true, (y_true + random.normal(scale=5, size=400)).clip(0)


@pytest.fixture(scope="module")
def with_nan(ages):
    y_pred = ages[1].copy()
    y_pred[[3, 70]] = np.nan
    return ages[0], y_pred


@pytest.fixture(scope="module")
def tabular():
    """A model of tabular features in a pipeline, and its data."""
    random = np.random.default_rng(1)
    y = random.integers(5, 60, 200).astype(float)
    X = np.stack([y + random.normal(scale=4, size=200), random.normal(size=200)], axis=1)
    model = BinnedAgeRegressor(LogisticRegression(max_iter=500), AgeBinner(8))
    return make_pipeline(StandardScaler(), model).fit(X, y), X, y


def notes(ax):
    return [text.get_text() for text in ax.texts]


def heights(ax, container=0):
    return ax.containers[container].lines[0].get_ydata()


def test_the_running_median_is_that_of_the_images_around(ages):
    y_true, y_pred = ages
    ax = PredictedAgeDisplay.from_predictions(y_true, y_pred).ax_
    lines = {line.get_label(): line for line in ax.lines}
    at, median = lines["median"].get_data()
    near = np.abs(y_true - 30) <= 2.5
    assert median[at == 30] == np.median(y_pred[near])
    assert lines["10th and 90th percentile"].get_ydata()[at == 30] == np.quantile(y_pred[near], 0.1)
    assert ax.get_xlim() == ax.get_ylim()
    assert len(ax.collections[0].get_offsets()) == 400
    assert ax.get_title() == "400 images"
    assert not notes(ax)


def test_few_images_have_no_median_and_many_are_shown_as_their_density(ages):
    y_true, y_pred = ages
    ax = PredictedAgeDisplay.from_predictions([20], [30]).ax_
    assert np.isnan(ax.lines[1].get_ydata()).all()
    assert ax.get_title() == "1 image"
    ax = PredictedAgeDisplay.from_predictions(np.tile(y_true, 10), np.tile(y_pred, 10)).ax_
    assert ax.collections[0].get_array().sum() == 4000


def test_errors_are_those_of_the_bands(with_nan):
    y_true, y_pred = with_nan
    known = ~np.isnan(y_pred)
    display = ErrorByAgeDisplay.from_predictions(y_true, y_pred, random_state=0)
    decades = (y_true[known] // 10).astype(int)
    errors = (y_pred - y_true)[known]
    counts = np.bincount(decades)
    np.testing.assert_allclose(display.bias, np.bincount(decades, errors) / counts)
    macro = macro_mean_absolute_error(y_true[known], y_pred[known], width=10)
    assert np.mean(display.mae) == pytest.approx(macro)
    names = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert names[:2] == [f"0\N{EN DASH}9\n{counts[0]}", f"10\N{EN DASH}19\n{counts[1]}"]
    np.testing.assert_allclose(heights(display.ax_, 0), display.mae)
    assert (display.mae_interval[:, 0] < display.mae).all()
    assert (display.mae_interval[:, 1] > display.mae).all()
    normal = 1.96 * np.abs(errors[decades == 2]).std() / np.sqrt(counts[2])
    assert np.diff(display.mae_interval[2]) == pytest.approx(2 * normal, rel=0.1)


def test_images_of_one_person_widen_the_intervals(ages):
    y_true, y_pred = np.repeat(ages[0], 5), np.repeat(ages[1], 5)
    persons = np.repeat(np.arange(400), 5)
    alone = ErrorByAgeDisplay.from_predictions(y_true, y_pred, random_state=0)
    together = ErrorByAgeDisplay.from_predictions(y_true, y_pred, groups=persons, random_state=0)
    ratio = np.diff(together.mae_interval) / np.diff(alone.mae_interval)
    assert ratio.mean() == pytest.approx(np.sqrt(5), rel=0.1)


def test_the_curve_of_cumulative_scores_is_the_metrics(with_nan):
    y_true, y_pred = with_nan
    known = ~np.isnan(y_pred)
    display = CumulativeScoreDisplay.from_predictions(y_true, y_pred, name="one")
    expected = [cumulative_score(y_true[known], y_pred[known], k) for k in range(16)]
    assert display.scores.tolist() == expected
    other = CumulativeScoreDisplay.from_predictions(y_true, y_true, name="other", ax=display.ax_)
    assert other.ax_ is display.ax_
    assert other.line_.get_linestyle() != display.line_.get_linestyle()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["one (2 without a prediction)", "other"]


def test_the_reliability_of_right_distributions_is_uniform():
    random = np.random.default_rng(0)
    binner = AgeBinner(np.arange(0, 91, 3.0), representative="midpoint").fit([0, 90])
    distribution = random.dirichlet(np.ones(binner.n_bins_), 4000)
    level = random.uniform(size=4000)
    y_true = [binner.quantile(p[None], u)[0] for p, u in zip(distribution, level, strict=True)]
    display = ReliabilityDisplay.from_predictions(y_true, distribution, binner)
    expected = np.searchsorted(np.sort(level), display.levels, side="right") / 4000
    np.testing.assert_allclose(display.cdf, expected, atol=1e-3)
    shares = display.ax_.patches[0].get_data().values
    assert shares.sum() == pytest.approx(100)
    assert np.abs(shares - 10).max() < 1.5


def test_the_reliability_of_whole_years_is_uniform_where_they_are_certain():
    years = np.repeat(np.arange(0, 80), 3)
    binner = AgeBinner(80).fit(years)
    display = ReliabilityDisplay.from_predictions(years, np.eye(80)[years], binner, kind="cdf")
    np.testing.assert_allclose(display.cdf, display.levels, atol=1e-9)
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["if calibrated"]
    second = ReliabilityDisplay.from_predictions(
        years, np.full((240, 80), 1 / 80), binner, kind="cdf", name="wide", ax=display.ax_
    )
    assert [line.get_label() for line in second.ax_.lines][-1] == "wide"
    assert len(second.ax_.lines) == 3  # one diagonal


def test_an_age_outside_all_bins_is_in_the_first_or_last_bar():
    binner = AgeBinner(5).fit(np.arange(20, 40))
    distribution = np.full((2, 5), 0.2)
    display = ReliabilityDisplay.from_predictions([3, 90], distribution, binner)
    assert display.ax_.patches[0].get_data().values.tolist() == [50, *[0] * 8, 50]


def test_coverage_is_that_of_each_band():
    random = np.random.default_rng(0)
    y_true = random.integers(0, 60, 300).astype(float)
    centre = y_true + random.normal(scale=4, size=300)
    intervals = {c: np.stack([centre - w, centre + w], axis=1) for c, w in [(0.9, 6), (0.5, 2)]}
    intervals[0.9][5] = np.nan
    display = IntervalCoverageDisplay.from_predictions(y_true, intervals, width=20)
    known = np.arange(300) != 5
    assert display.nominal == [0.5, 0.9]
    for i, level in enumerate(display.nominal):
        for band in range(3):
            inside = known & (y_true // 20 == band)
            share = interval_coverage(y_true[inside], intervals[level][inside])
            assert heights(display.ax_, i)[band] == pytest.approx(100 * share)
    assert notes(display.ax_) == ["1 of 300 images without a prediction is left out"]
    k, n = display.covered[1][2], display.counts[2]
    bar = display.ax_.containers[1].lines[2][0].get_segments()[2][:, 1] / 100
    expected = binomtest(int(k), int(n)).proportion_ci(method="exact")
    np.testing.assert_allclose(bar, [expected.low, expected.high], atol=1e-9)


def test_who_passes_is_counted_by_year_with_exact_bounds():
    y_true = np.array([16, 16.9, 17, 17, 17, 18, 30])
    y_pred = np.array([15, 25, 18, 20, np.nan, 40, 40])
    display = ChallengeAgeDisplay.from_predictions(
        y_true, y_pred, ages=(14, 16, 17), challenge_ages=(18, 20, 25)
    )
    assert list(display.names) == ["16 years", "17 years"]
    assert display.passed.tolist() == [[1, 1, 1], [2, 1, 0]]
    assert notes(display.ax_) == ["1 of 5 images without a prediction is left out"]
    bars = display.ax_.containers[1].lines[2][0].get_segments()
    assert bars[2][:, 1] / 100 == pytest.approx([0, 1 - 0.025 ** (1 / 2)])
    total = ChallengeAgeDisplay.from_predictions(y_true, y_pred, limit=17)
    assert total.counts == [2]
    assert total.passed[0].tolist() == [1] * 8 + [0] * 5
    assert total.ax_.get_title() == "Persons under 17 who pass"


@pytest.mark.parametrize("display", OF_AGES)
def test_predictions_that_are_missing_are_counted_and_axes_may_be_given(display, with_nan):
    ax = Figure(layout="constrained").subplots()
    shown = display.from_predictions(*with_nan, ax=ax)
    assert shown.ax_ is ax
    assert shown.figure_ is ax.figure
    if display is CumulativeScoreDisplay:
        assert notes(ax) == ["left out: 2 without a prediction"]
    elif display is not ChallengeAgeDisplay:
        assert notes(ax) == [LEFT_OUT]
    shown.figure_.canvas.draw()


@pytest.mark.parametrize("display", [*OF_AGES, ReliabilityDisplay, IntervalCoverageDisplay])
def test_pipelines_and_searches_are_shown_as_their_models(display, tabular):
    model, X, y = tabular
    search = GridSearchCV(model, {"binnedageregressor__decode": ["mean"]}, cv=2).fit(X, y)
    for estimator in (model, search):
        fitted = model if estimator is model else search.best_estimator_
        transformed = fitted[:-1].transform(X)
        shown = vars(display.from_estimator(estimator, X, y))
        alone = vars(display.from_estimator(fitted[-1], transformed, y))
        for name in ("y_pred", "scores", "mae", "cdf", "covered", "passed"):
            if name in shown:
                np.testing.assert_array_equal(shown[name], alone[name])


def test_a_model_has_its_class_as_name(tabular):
    model, X, y = tabular
    assert CumulativeScoreDisplay.from_estimator(model, X, y).name == "BinnedAgeRegressor"
    assert CumulativeScoreDisplay.from_estimator(model, X, y, name="mine").name == "mine"


@pytest.mark.parametrize("display", [PredictedAgeDisplay, WorstErrorsDisplay])
def test_images_that_cannot_be_read_are_left_out(display, fitted, paths, faces, tmp_path):
    files = [*paths[:5], str(tmp_path / "gone.jpg")]
    ages = faces.target[:6]
    shown = display.from_estimator(fitted, files, ages)
    assert shown.n_missing == 1
    assert fitted.classifier_.on_error == "raise"
    assert sorted(shown.y_pred) == sorted(fitted.predict(files[:5]))


def test_the_worst_errors_come_first(faces):
    y_true = faces.target[:8]
    y_pred = y_true + np.array([1, -9, 4, np.nan, 30, 0, 2, -9])
    display = WorstErrorsDisplay.from_predictions(faces.data[:8], y_true, y_pred, max_faces=3)
    assert display.positions.tolist() == [4, 1, 7]
    titles = [ax.get_title() for ax in display.axes_]
    assert titles[0] == f"+30:  {y_true[4] + 30:.0f}   (true {y_true[4]:.0f})"
    assert titles[1].startswith("\N{MINUS SIGN}9:  ")
    assert display.figure_.get_suptitle() == (
        "The 3 largest errors of 8 images (years)\n1 of 8 images without a prediction is left out"
    )
    given = WorstErrorsDisplay.from_predictions(
        faces.data[:8], y_true, y_pred, axes=Figure().subplots(1, 2)
    )
    assert given.positions.tolist() == [4, 1]


def test_an_image_is_decoded_once_for_its_tile(monkeypatch, faces):
    from skage.displays import FacesDisplay, _tiles

    decoded = []

    def count(image, position):
        decoded.append(position)
        return digest_and_decoder(image, position)

    digest_and_decoder = _tiles.digest_and_decoder
    monkeypatch.setattr(_tiles, "digest_and_decoder", count)
    model = tiny_model(2, max_epochs=1).fit(faces.data[:6], faces.target[:6])
    FacesDisplay.from_estimator(model, faces.data[:6])
    assert sorted(decoded) == list(range(6))


@pytest.mark.parametrize("display", OF_AGES)
def test_ages_that_do_not_fit_are_refused(display):
    with pytest.raises(ValueError, match=r"None of the 2 images has a prediction.* to plot"):
        display.from_predictions([10, 20], [np.nan, np.nan])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        display.from_predictions([10, 20], [10, 20, 30])
    with pytest.raises(ValueError, match=r"Input y_true contains NaN: y_true\[1\]"):
        display.from_predictions([10, np.nan], [10, 20])


def test_what_cannot_be_drawn_is_refused(faces, tabular):
    model, X, y = tabular
    ages = [10, 20, 30], [11, 19, 35]
    with pytest.raises(ValueError, match=r"width=0 must be above 0\. Pass a number of years"):
        ErrorByAgeDisplay.from_predictions(*ages, width=0)
    with pytest.raises(ValueError, match=r"must lie between 0 and 1"):
        ErrorByAgeDisplay.from_predictions(*ages, confidence=95)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ErrorByAgeDisplay.from_predictions(*ages, groups=[1, 2])
    with pytest.raises(ValueError, match=r"max_years=0 is not valid\. Pass at least 1"):
        CumulativeScoreDisplay.from_predictions(*ages, max_years=0)
    with pytest.raises(ValueError, match=r"ages=\(17, 18\) must be whole years under the limit"):
        ChallengeAgeDisplay.from_predictions(*ages, ages=(17, 18))
    with pytest.raises(ValueError, match=r"None of the 3 images .* under 5\. Pass images of such"):
        ChallengeAgeDisplay.from_predictions(*ages, limit=5)
    with pytest.raises(ValueError, match=r"nominal coverages are \[\]\. Pass at least one"):
        IntervalCoverageDisplay.from_predictions([10], {})
    with pytest.raises(ValueError, match=r"coverage 0\.9 have shape \(3,\)\. Pass lower and upper"):
        IntervalCoverageDisplay.from_predictions(ages[0], {0.9: [1, 2, 3]})
    with pytest.raises(ValueError, match="kind='bars' is unknown"):
        ReliabilityDisplay.from_estimator(model, X, y, kind="bars")
    plain = LinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="LinearRegression does not predict distributions"):
        ReliabilityDisplay.from_estimator(plain, X, y)
    with pytest.raises(ValueError, match="LinearRegression does not predict intervals"):
        IntervalCoverageDisplay.from_estimator(plain, X, y)
    with pytest.raises(ValueError, match="max_faces=0 is not valid"):
        WorstErrorsDisplay.from_predictions(faces.data[:3], *ages, max_faces=0)
    with pytest.raises(ValueError, match="y_true has 2 ages, but X has 3 images"):
        WorstErrorsDisplay.from_predictions(faces.data[:3], [1, 2], ages[1])
