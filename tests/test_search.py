"""The model where scikit-learn puts estimators: searches, pipelines, ensembles."""

import copy

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skage import BinnedAgeRegressor
from skage._images.reading import readable
from skage.metrics import (
    cumulative_score_scorer,
    neg_epsilon_error_scorer,
    neg_macro_mean_absolute_error_scorer,
    neg_mean_absolute_error_scorer,
)

from .conftest import tiny_model

GRID = {
    "binner__n_bins": [3, 5],
    "binner__strategy": ["uniform", "balanced"],
    "classifier__lr": [1e-2, 1e-3],
    "classifier__weight_decay": [0, 5e-4],
}


def test_grid_search_gives_the_same_with_one_and_two_processes(faces, paths, tmp_path):
    def search(n_jobs):
        model = tiny_model(feature_cache=str(tmp_path), max_epochs=1)
        folds = GroupKFold(2)
        grid = GridSearchCV(model, GRID, scoring="neg_mean_absolute_error", cv=folds, n_jobs=n_jobs)
        return grid.fit(paths, faces.target, groups=faces.groups)

    one, two = search(1), search(2)
    scores = one.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) > 8  # every parameter makes a difference
    assert scores == pytest.approx(two.cv_results_["mean_test_score"], rel=1e-6)
    assert one.best_params_ == two.best_params_
    assert one.predict(paths) == pytest.approx(two.predict(paths), rel=1e-5)


@pytest.mark.parametrize(
    "scoring", [None, neg_mean_absolute_error_scorer, neg_macro_mean_absolute_error_scorer]
)
def test_a_search_scores_the_images_that_can_be_read(faces, paths, tmp_path, scoring):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    data, ages = [*paths[:20], str(tmp_path / "broken.jpg"), *paths[20:]], list(faces.target)
    ages.insert(20, 50.0)
    model = tiny_model(3, max_epochs=1, on_error="skip")
    model.set_params(binner__representative="midpoint")  # which no age of an image changes
    grid = {"binner__n_bins": [[0, 20, 100], [0, 50, 70, 100]]}
    search = GridSearchCV(model, grid, scoring=scoring, cv=KFold(2))
    with pytest.warns(UserWarning, match="cannot be read") as told:
        search.fit(data, ages)
    messages = {str(warning.message).split(":")[0] for warning in told}
    assert messages == {
        "1 of 21 images cannot be read and get NaN, which only skage's scorers leave out",
        "1 of 21 images cannot be read and are left out of fit",
        "1 of 41 images cannot be read and are left out of fit",
    }
    found = search.cv_results_["mean_test_score"]
    assert np.isfinite(found).all()
    mask = readable(data)
    assert mask.tolist() == [True] * 20 + [False] + [True] * 20
    folds = [(train[mask[train]], test[mask[test]]) for train, test in KFold(2).split(data)]
    known = search.set_params(cv=folds, refit=False).fit(data, ages)
    expected = known.cv_results_["mean_test_score"]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "scorer",
    [
        neg_mean_absolute_error_scorer,
        neg_macro_mean_absolute_error_scorer,
        cumulative_score_scorer,
        BinnedAgeRegressor.score,
    ],
)
def test_what_has_no_prediction_at_all_cannot_be_scored(fitted, tmp_path, scorer):
    model = copy.deepcopy(fitted)
    model.classifier_.set_params(on_error="skip")
    with (
        pytest.warns(UserWarning, match="2 of 2 images cannot be read"),
        pytest.raises(ValueError, match="None of the 2 images has a prediction"),
    ):
        scorer(model, [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")], [20, 30])


def test_epsilon_errors_of_what_was_read(fitted, faces, paths, tmp_path):
    model = copy.deepcopy(fitted)
    model.classifier_.set_params(on_error="skip")
    std = np.arange(1.0, 5.0)
    data = [*paths[:3], str(tmp_path / "a.jpg")]
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = neg_epsilon_error_scorer.set_score_request(y_std=True)
        expected = scorer(model, data[:3], faces.target[:3], y_std=std[:3])
        with pytest.warns(UserWarning, match="1 of 4 images cannot be read"):
            found = scorer(model, data, faces.target[:4], y_std=std)
    assert found == expected


def test_the_defaults_can_be_searched():
    search = GridSearchCV(BinnedAgeRegressor(), {"binner__n_bins": [5, 20]})
    for n_bins in search.param_grid["binner__n_bins"]:
        model = clone(search.estimator).set_params(binner__n_bins=n_bins)
        assert model.binner.n_bins == n_bins
    assert search.estimator.binner is None


def test_a_fold_without_a_bin_keeps_the_columns():
    from skage.datasets import make_faces

    images = make_faces(12, image_size=32, random_state=1).data
    ages = np.array([1.0] * 4 + [30] * 4 + [80] * 4)
    model = tiny_model(n_bins=[0, 10, 20, 50, 90], max_epochs=1)
    for train, test in KFold(3).split(ages):
        distribution = model.fit(images[train], ages[train]).predict_dist(images[test])
        assert distribution.shape == (4, 4)
        assert (distribution[:, 1] == 0).all()


def test_pipeline_and_cross_val_predict(faces):
    mirror = FunctionTransformer(lambda X: X[:, :, ::-1], check_inverse=False)
    pipeline = make_pipeline(mirror, tiny_model(max_epochs=1))
    ages = cross_val_predict(pipeline, faces.data, faces.target, cv=2)
    assert ages.shape == (40,)
    assert np.isfinite(ages).all()


@pytest.mark.parametrize("resource", ["n_samples", "classifier__max_epochs"])
def test_halving_search(faces, paths, resource):
    search = HalvingGridSearchCV(
        tiny_model(n_bins=3, max_epochs=1),
        {"classifier__lr": [1e-2, 1e-3]},
        resource=resource,
        max_resources=40 if resource == "n_samples" else 2,
        cv=2,
        random_state=0,
    )
    assert np.isfinite(search.fit(paths, faces.target).predict(paths[:2])).all()


def test_bagging_over_a_column_of_paths(faces, paths):
    column = np.array(paths, dtype=object)[:, None]
    bag = BaggingRegressor(tiny_model(max_epochs=1), n_estimators=2, random_state=0)
    ages = bag.fit(column, faces.target).predict(column)
    members = [member.predict(column) for member in bag.estimators_]
    assert ages == pytest.approx(np.mean(members, axis=0))
    assert (members[0] != members[1]).any()
