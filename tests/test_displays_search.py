"""The map of a grid search."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skage.displays import GridSearchDisplay

ALPHAS = [10, 0.01, 1, 100]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    return X, X @ [3, 2, 1] + 40 + random.normal(size=60)


def search(data, grid, **options):
    model = make_pipeline("passthrough", Ridge())
    return GridSearchCV(model, grid, cv=3, **options).fit(*data)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_one_parameter_is_a_line_in_the_order_of_its_numbers(data):
    found = search(data, {"ridge__alpha": ALPHAS})
    ax = GridSearchDisplay.from_estimator(found).ax_
    mean = dict(zip(ALPHAS, found.cv_results_["mean_test_score"], strict=True))
    assert ticks(ax.xaxis) == ["0.01", "1", "10", "100"]
    expected = [mean[alpha] for alpha in sorted(ALPHAS)]
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), expected)
    best = {line.get_label(): line for line in ax.lines}["best"]
    assert best.get_ydata()[0] == found.best_score_
    assert not ax.texts


def test_two_parameters_are_a_map_with_the_best_cell_framed(data):
    grid = {"ridge__alpha": ALPHAS, "passthrough": [StandardScaler(), MinMaxScaler()]}
    found = search(data, grid, scoring="neg_mean_absolute_error")
    display = GridSearchDisplay.from_estimator(found, params=["ridge__alpha", "passthrough"])
    ax = display.ax_
    assert ticks(ax.yaxis) == ["StandardScaler()", "MinMaxScaler()"]
    shown = ax.images[0].get_array()
    for params, score in zip(
        found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True
    ):
        column = sorted(ALPHAS).index(params["ridge__alpha"])
        row = ["StandardScaler()", "MinMaxScaler()"].index(str(params["passthrough"]))
        assert shown[row, column] == score
    frame = ax.patches[0]
    row, column = int(frame.get_y() + 0.5), int(frame.get_x() + 0.5)
    assert shown[row, column] == found.best_score_
    bold = [text for text in ax.texts if text.get_weight() == "bold"]
    assert [text.get_position() for text in bold] == [(column, row)]
    assert len(ax.texts) == 8


def test_of_more_parameters_the_others_are_at_their_best(data):
    grid = {"max_depth": [1, 2, 5], "min_samples_leaf": [1, 4], "criterion": ["squared_error"]}
    grid |= {"max_features": [1, 2, 3]}
    found = GridSearchCV(DecisionTreeRegressor(random_state=0), grid, cv=3).fit(*data)
    display = GridSearchDisplay.from_estimator(found, params=("max_depth", "max_features"))
    shown = display.ax_.images[0].get_array()
    results = found.cv_results_
    for row, features in enumerate([1, 2, 3]):
        for column, depth in enumerate([1, 2, 5]):
            scores = [
                score
                for params, score in zip(results["params"], results["mean_test_score"], strict=True)
                if (params["max_depth"], params["max_features"]) == (depth, features)
            ]
            assert shown[row, column] == max(scores)
    assert "with the best min_samples_leaf" in [text.get_text() for text in display.ax_.texts]


def test_the_parameters_that_matter_most_are_shown(data):
    grid = {"ridge__copy_X": [True, False], "ridge__alpha": ALPHAS, "ridge__tol": [1e-4, 1e-3]}
    grid["ridge__fit_intercept"] = [True, False]
    display = GridSearchDisplay.from_estimator(search(data, grid))
    assert display.shown == ("ridge__fit_intercept", "ridge__alpha")
    assert ticks(display.ax_.xaxis) == ["True", "False"]


def test_failed_and_missing_candidates_are_empty_cells(data):
    grids = [
        {"ridge__alpha": [0.1, 1], "ridge__solver": ["svd", "cholesky"]},
        {"ridge__alpha": [10]},
    ]
    ax = GridSearchDisplay.from_estimator(search(data, grids)).ax_
    axes = {ax.get_xlabel(): ticks(ax.xaxis), ax.get_ylabel(): ticks(ax.yaxis)}
    assert axes["ridge__solver"] == ["svd", "cholesky", "\N{EM DASH}"]
    assert ax.images[0].get_array().mask.sum() == 4
    params = [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}]
    display = GridSearchDisplay(params, [0.5, np.nan, 0.7], [0, 0, 0], ("a", "b")).plot()
    assert display.ax_.images[0].get_array()[1, 1] == 0.7
    assert len(display.ax_.texts) == 2


def test_a_search_in_a_pipeline_without_refit_or_with_several_metrics(data):
    inner = GridSearchCV(
        Ridge(), {"alpha": [1, 2]}, cv=2, refit=False, scoring=["r2", "neg_max_error"]
    )
    pipeline = make_pipeline(StandardScaler(), inner).fit(*data)
    display = GridSearchDisplay.from_estimator(pipeline, metric="r2")
    assert display.ax_.get_title() == "Mean r2, higher is better"
    with pytest.raises(ValueError, match=r"metric=None must be one of \['r2', 'neg_max_error'\]"):
        GridSearchDisplay.from_estimator(pipeline)


def test_other_searches_are_shown(data):
    random = RandomizedSearchCV(Ridge(), {"alpha": ALPHAS}, n_iter=3, cv=2, random_state=0)
    assert len(ticks(GridSearchDisplay.from_estimator(random.fit(*data)).ax_.xaxis)) == 3
    halving = HalvingGridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=2, min_resources=20)
    assert len(ticks(GridSearchDisplay.from_estimator(halving.fit(*data)).ax_.xaxis)) == 4


def test_many_cells_have_no_numbers(data):
    grid = {"ridge__alpha": np.logspace(-2, 2, 9), "ridge__tol": np.logspace(-5, -2, 7)}
    ax = GridSearchDisplay.from_estimator(search(data, grid)).ax_
    assert not ax.texts
    assert "0.1" in ticks(ax.xaxis) + ticks(ax.yaxis)


def test_what_is_not_a_search_is_refused(data):
    with pytest.raises(ValueError, match=r"Ridge is not a search\. Pass a fitted GridSearchCV"):
        GridSearchDisplay.from_estimator(Ridge().fit(*data))
    found = search(data, {"ridge__alpha": ALPHAS})
    with pytest.raises(ValueError, match=r"params=\['lr'\] must be one or two of \['ridge__alpha"):
        GridSearchDisplay.from_estimator(found, params=["lr"])
    found.cv_results_["mean_test_score"][:] = np.nan
    with pytest.raises(ValueError, match=r"scores of all candidates are NaN\. Search with error_"):
        GridSearchDisplay.from_estimator(found)
