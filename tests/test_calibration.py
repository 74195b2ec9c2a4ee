import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from crepes import ConformalRegressor
from mapie.regression import SplitConformalRegressor
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone, config_context
from sklearn.datasets import make_regression
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skage
from skage import AgeBinner, AgeEnsemble, BinnedAgeRegressor, CalibratedAgeRegressor
from skage._calibration import conformal, learned
from skage._calibration.shift import compare_spread
from skage._distribution import DistributionRegressor
from skage._files.container import read_container, write_container
from skage.metrics import crps, interval_coverage

from .conftest import tiny_model

EDGES = np.arange(-0.5, 101)
BINNER = AgeBinner(EDGES.tolist(), representative="midpoint").fit(np.arange(101))


class Normal(DistributionRegressor, BaseEstimator):
    """Predict the normal distributions whose means and standard deviations are X."""

    decode = "mean"

    def __init__(self):
        self.binner_, self.fitted_ = BINNER, True

    def fit(self, X, y):
        return self

    def predict_dist(self, X):
        below = norm.cdf(EDGES, X[:, [0]], np.maximum(X[:, [1]], 1e-9))
        below[:, 0], below[:, -1] = 0, 1
        return np.diff(below, axis=1)


def drawn(n, seed=0, *, factor=1.5, whole=True):
    """Means, standard deviations that are too small by a factor, and true ages."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(5, 90, n)
    sd = 1 + mean / 12
    ages = rng.normal(mean, factor * sd).clip(0.6, 100.4)
    return np.column_stack([mean, sd]), np.round(ages) if whole else ages


def model(**options):
    return CalibratedAgeRegressor(FrozenEstimator(Normal()), **options)


@pytest.fixture
def tabular():
    X, y = make_regression(300, 5, noise=5, random_state=0)
    return X, (50 + y / y.std() * 15).clip(0, 100)


@pytest.mark.filterwarnings("ignore:.*ages are", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        CalibratedAgeRegressor(BinnedAgeRegressor(LogisticRegression()), **options)
        for options in ({}, {"cv": 2, "by": None})
    ]
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("tails", ["joint", "apart"])
@pytest.mark.parametrize("by", [None, "predicted", "true"])
@pytest.mark.parametrize("whole", [True, False])
def test_intervals_have_their_coverage(coverage, tails, by, whole):
    found = []
    for seed in range(5):
        X, y = drawn(1000, seed, whole=whole)
        X_new, y_new = drawn(1000, 100 + seed, whole=whole)
        interval = model(by=by, tails=tails).fit(X, y).predict_interval(X_new, coverage)
        found.append(interval_coverage(y_new, interval))
    highest = coverage + (0.06 if by == "true" else 0.02)
    assert coverage - 0.01 < np.mean(found) < highest


@pytest.mark.parametrize("tails", ["joint", "apart"])
def test_each_band_has_its_coverage(tails):
    found = {by: np.zeros((6, 9)) for by in (None, "predicted", "true")}
    for seed in range(6):
        # So many that no decades are merged.
        (X, y), (X_new, y_new) = drawn(2000, seed, whole=False), drawn(2000, 50 + seed, whole=False)
        X[:, 1] = X_new[:, 1] = 4  # wrong by age: too wide below 20, too narrow above
        for by in found:
            interval = model(by=by, tails=tails).fit(X, y).predict_interval(X_new)
            inside = (interval[:, 0] <= y_new) & (y_new <= interval[:, 1])
            of = y_new if by == "true" else X_new[:, 0]
            found[by][seed] = [inside[of // 10 == decade].mean() for decade in range(9)]
    # A decade has a standard error of 0.011: 230 images calibrate it and are tested, six times.
    coverage = {by: rows.mean(axis=0) for by, rows in found.items()}
    assert coverage[None].min() < 0.85
    assert coverage["predicted"].min() > 0.86
    assert coverage["predicted"][1:].max() < 0.94
    assert coverage["true"].min() > 0.86


def test_groups_have_their_coverage():
    found = np.zeros((10, 3))
    for seed in range(10):
        (X, y), (X_new, y_new) = drawn(800, seed), drawn(2000, 50 + seed)
        sex, sex_new = (np.where(np.arange(len(y)) % 4, "m", "f") for y in (y, y_new))
        y[sex == "f"], y_new[sex_new == "f"] = y[sex == "f"] + 6, y_new[sex_new == "f"] + 6
        calibrated = model(by="group").fit(X, y, bands=sex)
        interval = calibrated.predict_interval(X_new, bands=sex_new)
        inside = (interval[:, 0] <= y_new) & (y_new <= interval[:, 1])
        unknown = calibrated.predict_interval(X_new)
        assert (unknown[:, 0] <= interval[:, 0]).all()
        assert (unknown[:, 1] >= interval[:, 1]).all()
        found[seed] = [inside[sex_new == "f"].mean(), inside[sex_new == "m"].mean(), len(unknown)]
    assert found[:, :2].mean(axis=0) == pytest.approx(0.9, abs=0.02)
    assert calibrated.bands_["group"].tolist() == ["f", "m"]


def test_positions_and_ages_are_inverse():
    X, _ = drawn(500, whole=False)
    distribution = Normal().predict_dist(X)
    for position in (-3, 1e-3, 0.2, 0.5, 0.9, 1.5):
        ages = conformal.ages_at(position, distribution, BINNER)
        found = conformal.positions(ages, distribution, BINNER)
        np.testing.assert_allclose(found, position, atol=1e-9)
    outside = np.linspace(-5, 110, 300)
    found = conformal.positions(outside, distribution[[0] * 300], BINNER)
    assert (np.diff(found) > 0).mean() == 1


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_models_that_are_certain_and_wrong_get_the_intervals_of_mapie(coverage):
    """On a distribution on one age, the score is the absolute error, as that of MAPIE."""

    class Certain(Normal):
        def predict(self, X):
            return self.binner_.bin_values_[X[:, 0].astype(int)]

        def predict_dist(self, X):
            return np.eye(101)[X[:, 0].astype(int)]

    rng = np.random.default_rng(0)
    X = rng.integers(30, 70, (400, 1)) + 0.0
    y = X[:, 0] + rng.normal(0, 6, 400)
    certain = CalibratedAgeRegressor(FrozenEstimator(Certain()), by=None, min_band_size=500)
    found = certain.fit(X[:200], y[:200]).predict_interval(X[200:], coverage)
    oracle = SplitConformalRegressor(Certain(), coverage, prefit=True)
    expected = oracle.conformalize(X[:200], y[:200]).predict_interval(X[200:])[1][..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_bands_and_levels_are_those_of_crepes(coverage):
    """Mondrian conformal prediction of crepes on the same scores."""
    (X, y), (X_new, _) = drawn(600, whole=False), drawn(300, 1, whole=False)
    calibrated = model(band_width=[30, 60]).fit(X, y)
    calibration = calibrated.calibration_
    scores = np.abs(calibration.low - 0.5)  # low and high are the same for ages like these
    oracle = ConformalRegressor().fit(scores, bins=calibration.codes)
    p = calibrated.predict_dist(X_new)
    bands = np.searchsorted([30, 60], BINNER.inverse_transform(p), side="right")
    radius = oracle.predict_int(np.zeros(300), bins=bands, confidence=coverage)[:, 1]
    limits = np.array(calibration.limits(coverage, True))
    np.testing.assert_allclose(limits[bands, 1], 0.5 + radius)
    np.testing.assert_allclose(limits[bands, 0], 0.5 - radius)
    interval = calibrated.decode_interval(p, coverage)
    for row in range(0, 300, 50):
        low, high = (BINNER.quantile(p[[row]], 0.5 + side * radius[row])[0] for side in (-1, 1))
        assert interval[row] == pytest.approx((low, high), abs=1e-6)


def test_whole_years_are_the_ages_whose_year_is_reached():
    """By brute force over all ages."""
    (X, y), (X_new, _) = drawn(400), drawn(50, 1)
    calibrated = model(by=None).fit(X, y)
    p = calibrated.predict_dist(X_new)
    (low, high), found = calibrated.calibration_.limits(0.8, True)[0], []
    for row in p:
        ends = BINNER.cdf(row[None], EDGES)[0]
        inside = np.flatnonzero((ends[1:] >= low) & (ends[:-1] <= high))
        found.append((inside[0], inside[-1]))
    assert (calibrated.decode_interval(p, 0.8) == found).all()


def test_distributions_are_calibrated_by_band():
    (X, y), (X_new, y_new) = drawn(3000), drawn(3000, 1)
    X[:, 1], X_new[:, 1] = 4, 4
    calibrated = model().fit(X, y)
    before, after = Normal().predict_dist(X_new), calibrated.predict_dist(X_new)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert crps(y_new, after, BINNER) < 0.99 * crps(y_new, before, BINNER)
    errors = [
        [
            skage.metrics.calibration_error(y_new[rows], p[rows], BINNER, age_step=1)
            for rows in (X_new[:, 0] // 10 == d for d in range(1, 9))
        ]
        for p in (before, after)
    ]
    assert np.mean(errors[1]) < 0.5 * np.mean(errors[0])


def test_a_calibrated_model_is_hardly_changed():
    (X, y), (X_new, y_new) = drawn(1000, factor=1), drawn(3000, 1, factor=1)
    before, after = Normal().predict_dist(X_new), model().fit(X, y).predict_dist(X_new)
    assert crps(y_new, after, BINNER) < 1.01 * crps(y_new, before, BINNER)


@pytest.mark.parametrize("by", [None, "predicted", "true"])
def test_intervals_are_nested_and_contain_the_predicted_age(by):
    X, y = drawn(1000)
    for decode in ("mean", "median", "mode"):
        calibrated = model(by=by, decode=decode).fit(X, y)
        p = calibrated.predict_dist(X)
        bounds = [calibrated.decode_interval(p, coverage) for coverage in (0.5, 0.8, 0.9, 0.95)]
        for inner, outer in pairwise(bounds):
            assert (outer[:, 0] <= inner[:, 0]).all()
            assert (outer[:, 1] >= inner[:, 1]).all()
        ages = calibrated.predict(X)
        assert ((bounds[0][:, 0] <= ages) & (ages <= bounds[0][:, 1])).all()


def test_bands_are_merged_with_the_smaller_neighbour():
    ages = np.repeat([5, 15, 25, 35, 45], [200, 150, 20, 120, 90])
    assert conformal.band_edges(ages, 10, 100).tolist() == [10, 20]
    assert conformal.band_edges(ages, 10, 90).tolist() == [10, 20, 40]
    assert conformal.band_edges(ages, 10, 1).tolist() == [10, 20, 30, 40]
    assert conformal.band_edges(ages, [18.0], 100).tolist() == [18]
    assert conformal.band_edges(ages, 10, 10_000).tolist() == []
    assert conformal.band_edges(np.repeat([5, 95], 200), 10, 100).tolist() == [90]


def test_too_few_images_are_an_error_that_says_how_many():
    X, y = drawn(300)
    calibrated = model(min_band_size=20).fit(X, y)
    smallest = calibrated.bands_["n_images"].min()
    assert 20 <= smallest < 99
    with pytest.raises(ValueError, match=f"at least 99 calibration .*has {smallest} of the pred"):
        calibrated.predict_interval(X, 0.99)
    with pytest.raises(ValueError, match=r"at least 199 .* Calibrate with more images"):
        model(tails="apart", by=None).fit(X[:198], y[:198]).predict_interval(X, 0.99)
    model(tails="apart", by=None).fit(X[:199], y[:199]).predict_interval(X, 0.99)
    model(by=None).fit(X[:9], y[:9]).predict_interval(X, 0.9)
    with pytest.raises(ValueError, match="at least 9 calibration images"):
        model(by=None).fit(X[:8], y[:8]).predict_interval(X, 0.9)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, np.nan, "0.9"])
def test_coverage_is_between_0_and_1(coverage):
    X, y = drawn(300)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        model().fit(X, y).predict_interval(X, coverage)


def test_images_without_a_prediction_are_left_out():
    X, y = drawn(300)
    X[::10] = np.nan
    calibrated = model().fit(X, y)
    known = ~np.isnan(X[:, 0])
    assert (calibrated.n_calibration_, calibrated.n_skipped_) == (270, 30)
    interval = calibrated.predict_interval(X)
    assert (np.isnan(interval).all(axis=1) == ~known).all()
    assert (np.isnan(calibrated.predict(X)) == ~known).all()
    expected = model().fit(X[known], y[known]).predict_interval(X[known])
    assert (interval[known] == expected).all()
    assert np.isnan(calibrated.predict_interval(X[::10])).all()
    with pytest.raises(ValueError, match="None of the 30 calibration images has a prediction"):
        model().fit(X[::10], y[::10])


def test_unreadable_images_are_counted(faces, unseen, paths, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    given = [*paths[:39], str(tmp_path / "bad.jpg")]
    inner = tiny_model(max_epochs=1, on_error="skip").fit(unseen, faces.target)
    with pytest.warns(UserWarning, match="bad.jpg"):
        calibrated = CalibratedAgeRegressor(FrozenEstimator(inner)).fit(given, faces.target)
    assert (calibrated.n_calibration_, calibrated.n_skipped_) == (39, 1)


def test_calibrating_with_training_images_is_warned_of(faces, unseen):
    trained = tiny_model(max_epochs=1).fit(faces.data, faces.target)
    calibrated = CalibratedAgeRegressor(FrozenEstimator(trained))
    seen = [*faces.data[:3], *unseen]
    with pytest.warns(
        UserWarning, match="trained on 3 of the 43 images of the calibration"
    ) as told:
        calibrated.fit(seen, [*faces.target[:3], *faces.target])
    assert told[0].filename == __file__
    with pytest.warns(
        UserWarning, match="trained on 3 of the 43 images of the calibration"
    ) as told:
        calibrated.recalibrate(seen, [*faces.target[:3], *faces.target])
    assert told[0].filename == __file__


def test_training_images_are_known_behind_a_pipeline(faces, unseen):
    child = tiny_model(max_epochs=1).classifier
    steps = make_pipeline(FunctionTransformer(lambda X: X[:, :, ::-1]), child)
    trained = BinnedAgeRegressor(steps, AgeBinner(4)).fit(faces.data, faces.target)
    calibrated = CalibratedAgeRegressor(FrozenEstimator(trained))
    calibrated.fit(unseen, faces.target)
    with pytest.warns(UserWarning, match="trained on 40 of the 40 images of the calibration"):
        calibrated.fit(faces.data, faces.target)


def test_frozen_held_out_and_crossed(tabular):
    X, y = tabular
    inner = BinnedAgeRegressor(LogisticRegression(C=10), AgeBinner(8))
    held_out = CalibratedAgeRegressor(inner, random_state=0).fit(X, y)
    assert held_out.n_calibration_ == 60
    crossed = CalibratedAgeRegressor(inner, cv=3, random_state=0).fit(X, y)
    assert crossed.n_calibration_ == 300
    whole = clone(inner).fit(X, y)
    assert (crossed.estimator_.predict(X) == whole.predict(X)).all()
    frozen = CalibratedAgeRegressor(FrozenEstimator(whole)).fit(X[:150], y[:150])
    assert frozen.estimator_ is whole
    assert frozen.n_calibration_ == 150
    assert clone(frozen).fit(X, y).n_calibration_ == 300
    again = CalibratedAgeRegressor(inner, random_state=0).fit(X, y)
    assert (again.predict_interval(X) == held_out.predict_interval(X)).all()


def test_persons_are_not_split():
    class Remembers(Normal):
        def fit(self, X, y):
            self.seen_ = set(X[:, 2])
            return self

        def predict_dist(self, X):
            assert not hasattr(self, "seen_") or not self.seen_ & set(X[:, 2])
            return super().predict_dist(X)

    X, y = drawn(300)
    X = np.column_stack([X, np.repeat(np.arange(100), 3)])
    CalibratedAgeRegressor(Remembers()).fit(X, y, groups=X[:, 2])
    CalibratedAgeRegressor(Remembers(), cv=4).fit(X, y, groups=X[:, 2])
    CalibratedAgeRegressor(Remembers(), cv=LeaveOneGroupOut()).fit(X, y, groups=X[:, 2] // 30)
    with pytest.raises(AssertionError):
        CalibratedAgeRegressor(Remembers()).fit(X, y)


def test_splitters_that_split_persons_are_refused(tabular):
    X, y = tabular
    model = BinnedAgeRegressor(LogisticRegression(), AgeBinner(4))
    persons, folds = np.arange(300) // 3, list(KFold(3, shuffle=True).split(X))
    with pytest.raises(ValueError, match=r"cv fits to and calibrates on images of one person"):
        CalibratedAgeRegressor(model, cv=folds).fit(X, y, groups=persons)
    CalibratedAgeRegressor(model, cv=folds).fit(X, y)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_persons_that_are_missing_are_named(tabular, missing):
    X, y = tabular
    groups = ["ann", missing, *["bob"] * 298]
    for model in (CalibratedAgeRegressor(), AgeEnsemble([("a", Normal())], weights="learned")):
        model.set_params(**{"estimator": Normal()} if hasattr(model, "estimator") else {})
        with pytest.raises(ValueError, match=r"groups\[1\] is missing"):
            model.fit(X, y, groups=groups)


def test_copies_do_not_calibrate_models_that_saw_them(faces):
    images, ages = np.repeat(faces.data, 2, axis=0), np.repeat(faces.target, 2)
    inner = tiny_model(max_epochs=1)
    calibrated = CalibratedAgeRegressor(inner, min_band_size=5, random_state=0).fit(images, ages)
    assert calibrated.n_calibration_ % 2 == 0
    groups = np.arange(80)  # other persons, whose images are the same nevertheless
    for cv in (None, GroupKFold(3)):
        calibrated.set_params(cv=cv).fit(images, ages, groups=groups)


def test_persons_are_not_split_to_recalibrate(monkeypatch):
    seen, learn = [], learned.Curves.learn

    def noting(parts, *arguments):
        seen.append(set(np.concatenate([part.persons for part in parts])))
        return learn(parts, *arguments)

    monkeypatch.setattr(learned.Curves, "learn", noting)
    X, y = drawn(300)
    model().fit(X, y, groups=np.arange(300) // 5)
    every, *parts = seen
    assert [len(part) for part in parts] == [48] * 5
    assert set.union(*parts) == every


def test_a_forest_can_be_calibrated(tabular):
    X, y = tabular
    forest = BinnedAgeRegressor(RandomForestClassifier(10, random_state=0), AgeBinner(4))
    assert CalibratedAgeRegressor(forest, random_state=0).fit(X, y).n_calibration_ == 60
    assert skage.evaluate(forest.fit(X, y), X, y, n_resamples=0).n_images == 300
    child = make_pipeline(StandardScaler(), LogisticRegression())
    bag = BaggingClassifier(child, n_estimators=3, max_features=0.5, random_state=0)
    CalibratedAgeRegressor(BinnedAgeRegressor(bag, AgeBinner(4)), random_state=0).fit(X, y)


def test_sample_weight_reaches_the_model(tabular):
    X, y = tabular
    inner = BinnedAgeRegressor(LogisticRegression(), AgeBinner(5))
    weight = (y < 50).astype(float)
    calibrated = CalibratedAgeRegressor(inner).fit(X, y, sample_weight=weight)
    assert calibrated.estimator_.predict(X).max() < 50


def test_ensembles_searches_and_pipelines(tabular):
    X, y = tabular
    inner = BinnedAgeRegressor(LogisticRegression(), AgeBinner(5))
    ensemble = AgeEnsemble([("a", inner), ("b", clone(inner).set_params(binner__n_bins=8))])
    interval = CalibratedAgeRegressor(ensemble).fit(X, y).predict_interval(X)
    assert np.isfinite(interval).all()
    grid = {"estimator__classifier__C": [0.1, 10], "by": ["predicted", None]}
    search = GridSearchCV(CalibratedAgeRegressor(inner), grid, cv=2).fit(X, y)
    assert search.best_params_["estimator__classifier__C"] == 10
    pipeline = make_pipeline(StandardScaler(), CalibratedAgeRegressor(inner)).fit(X, y)
    scorer = skage.metrics.interval_coverage_scorer
    assert 0.8 < scorer(pipeline, X, y) <= 1
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2, scoring=scorer)).all()


def test_metadata_is_routed(tabular):
    X, y = tabular
    person, sex = np.arange(300) // 2, np.arange(300) % 2
    with config_context(enable_metadata_routing=True):
        classifier = LogisticRegression().set_fit_request(sample_weight=True)
        inner = BinnedAgeRegressor(classifier, AgeBinner(5))
        calibrated = CalibratedAgeRegressor(inner, by="group", min_band_size=10)
        calibrated.set_fit_request(sample_weight=True, groups=True, bands=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, calibrated)
        pipeline.fit(X, y, sample_weight=np.ones(300), groups=person, bands=sex)
    assert pipeline[-1].bands_["group"].tolist() == [0, 1]


def test_images_of_another_kind_are_noticed():
    (X, y), (X_new, _) = drawn(600), drawn(300, 1)
    calibrated = model().fit(X, y)
    shift = calibrated.check_shift(X_new)
    assert not shift.is_shifted
    assert "about as wide" in str(shift)
    calibrated.predict_interval(X_new)
    for factor, word in ((1.3, "wider"), (0.75, "narrower")):
        changed = X_new * [1, factor]
        assert calibrated.check_shift(distribution=calibrated.predict_dist(changed)).is_shifted
        with pytest.warns(UserWarning, match=f"of these 300 images are .*% {word}"):
            calibrated.predict_interval(changed)
    calibrated.predict_interval(changed[:49])
    assert "too few" in str(calibrated.check_shift(changed[:49]))
    calibrated.predict_interval(X_new[(X_new[:, 0] > 20) & (X_new[:, 0] < 40)])
    calibrated.predict_interval(X_new[[0] * 60])  # one image
    with pytest.raises(ValueError, match="either images X or their distribution"):
        calibrated.check_shift()


def test_ordinary_images_rarely_count_as_another_kind():
    (X, _), rng = drawn(2000), np.random.default_rng(0)
    spread = X[:, 1] * rng.lognormal(0, 0.3, len(X))
    p = []
    for _ in range(500):
        order = rng.permutation(len(X))
        known, new = order[:500], order[500 : 500 + rng.integers(50, 1500)]
        p.append(compare_spread(X[known, 0], spread[known], X[new, 0], spread[new]).p_value)
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert min(p) > 1e-4


def test_a_few_hundred_images_recalibrate(tabular):
    (X, y), (X_new, y_new) = drawn(600), drawn(2000, 1)
    calibrated = model().fit(X, y)
    older = y_new + 8
    assert interval_coverage(older, calibrated.predict_interval(X_new)) < 0.75
    inner = calibrated.estimator_
    assert calibrated.recalibrate(X_new[:300], older[:300]) is calibrated
    assert calibrated.estimator_ is inner
    assert calibrated.n_calibration_ == 300
    found = interval_coverage(older[300:], calibrated.predict_interval(X_new[300:]))
    assert found == pytest.approx(0.9, abs=0.04)
    with pytest.raises(NotFittedError):
        model().recalibrate(X, y)


@pytest.fixture(scope="module")
def of_images(faces, unseen):
    inner = tiny_model(max_epochs=1).fit(faces.data, faces.target)
    sex = np.array(["f", "m"])[np.arange(40) % 2]
    middle = np.median(inner.predict(faces.data))
    return {
        "predicted": model_of(inner, band_width=[middle], min_band_size=5).fit(
            unseen, faces.target
        ),
        "group": model_of(inner, by="group", min_band_size=5).fit(unseen, faces.target, bands=sex),
        "true": model_of(inner, by="true", band_width=[30], min_band_size=5, cv=3).fit(
            unseen, faces.target
        ),
    }


def model_of(inner, **options):
    return CalibratedAgeRegressor(FrozenEstimator(inner), **options)


@pytest.mark.parametrize("by", ["predicted", "group", "true"])
def test_pickles_and_model_files_predict_the_same_bits(of_images, by, faces, unseen, tmp_path):
    calibrated = of_images[by]
    calibrated.save(tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    loaded.save(tmp_path / "again.skage")
    for other in (
        loaded,
        skage.load(tmp_path / "again.skage"),
        pickle.loads(pickle.dumps(calibrated)),
    ):
        assert (other.predict_dist(faces.data) == calibrated.predict_dist(faces.data)).all()
        for coverage in (0.5, 0.8):
            bounds = [m.predict_interval(faces.data, coverage) for m in (other, calibrated)]
            assert (bounds[0] == bounds[1]).all()
        assert other.bands_.equals(calibrated.bands_)
    assert loaded.by == by
    assert loaded.recalibrate(
        unseen, faces.target, **{"bands": faces.target > 30} if by == "group" else {}
    )


def test_a_model_file_holds_a_calibrated_ensemble(faces, unseen, tmp_path):
    members = [(str(i), tiny_model(max_epochs=1, random_state=i)) for i in range(2)]
    calibrated = CalibratedAgeRegressor(AgeEnsemble(members), decode="median")
    calibrated.fit(faces.data, faces.target).save(tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    assert (loaded.predict(faces.data) == calibrated.predict(faces.data)).all()
    with pytest.raises(TypeError, match="Cannot save a CalibratedAgeRegressor of a"):
        model_of(calibrated).fit(unseen, faces.target).save(tmp_path / "twice.skage")


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "sex"},
        {"by": "group"},
        {"by": None},
        {"step": 2},
        {"step": None},
        {"labels": ["a"]},
        {"labels": None},
        {"n_skipped": -1},
        {"parameters": {"tails": "both"}},
        {"parameters": {"other": 1}},
        {"model": {}},
        {"model": {"kind": "CalibratedAgeRegressor"}},
    ],
)
def test_headers_that_no_calibration_has_are_refused(of_images, tmp_path, wrong):
    refused(of_images["predicted"], tmp_path / "age.skage", wrong, {})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("edges", lambda x: x[::-1] - np.arange(len(x)) if len(x) > 1 else x * np.nan),
        ("edges", lambda x: np.append(x, np.inf)),
        ("curves.edges", lambda x: np.append(x, 200.0)),
        ("curves.values", lambda x: x[:, ::-1]),
        ("curves.values", lambda x: x[:, 1:]),
        ("codes", lambda x: x + 100),
        ("codes", lambda x: x - 1),
        ("codes", lambda x: x + 0.5),
        ("low", lambda x: x + 1),
        ("low", lambda x: x[1:]),
        ("high", lambda x: x * np.nan),
        ("predicted", lambda x: x.astype(np.float32)),
        ("spread", lambda x: x[:, None]),
    ],
)
def test_numbers_that_no_calibration_has_are_refused(of_images, tmp_path, name, change):
    refused(of_images["predicted"], tmp_path / "age.skage", {}, {f"calibration.{name}": change})


def refused(calibrated, path, wrong, changes):
    calibrated.save(path)
    header, tensors = read_container(path)
    for name, change in changes.items():
        tensors[name] = torch.from_numpy(np.array(change(tensors[name].numpy()), order="C"))
    write_container(path, header | wrong, tensors)
    with pytest.raises(ValueError, match="cannot load the model in"):
        skage.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "age"}, "'by' parameter"),
        ({"by": "group"}, "needs the group of each image as bands"),
        ({"band_width": 0}, "'band_width' parameter"),
        ({"band_width": [20, 10]}, "ages in ascending order"),
        ({"band_width": [20, np.nan]}, "band_width contains NaN"),
        ({"min_band_size": 0}, "'min_band_size' parameter"),
        ({"tails": "one"}, "'tails' parameter"),
        ({"calibration_fraction": 0.6}, "'calibration_fraction' parameter"),
        ({"cv": [([0], [1]), ([2], [1])]}, "holds out the image 1 2 times"),
        ({"estimator": LogisticRegression()}, "does not predict a distribution"),
        ({"estimator": make_pipeline(BinnedAgeRegressor())}, "A Pipeline does not predict"),
        ({"estimator": FrozenEstimator(BinnedAgeRegressor())}, "is not fitted"),
        ({"estimator": GridSearchCV(BinnedAgeRegressor(), {})}, "best_estimator_"),
    ],
)
def test_wrong_parameters_are_refused(options, message):
    X, y = drawn(50)
    with pytest.raises(ValueError, match=message):
        CalibratedAgeRegressor(**{"estimator": Normal()} | options).fit(X, y)


def test_wrong_bands_are_refused():
    X, y = drawn(300)
    bands = np.array(["a", "b", "c"], dtype=object)[np.arange(300) % 3]
    with pytest.raises(ValueError, match="do not match: by='group' needs"):
        model().fit(X, y, bands=bands)
    calibrated = model(by="group").fit(X, y, bands=bands)
    with pytest.raises(ValueError, match=r"The group 'd' is not among .*: 'a', 'b', 'c'"):
        calibrated.predict_interval(X[:3], bands=["a", "b", "d"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        calibrated.predict_interval(X[:3], bands=["a", "b"])
    with pytest.raises(ValueError, match="The group 'c' has 1 calibration images"):
        model(by="group", min_band_size=2).fit(X[:100], y[:100], bands=["a"] * 99 + ["c"])
    bands[7] = None
    with pytest.raises(ValueError, match=r"bands\[7\] is missing"):
        model(by="group").fit(X, y, bands=bands)


def test_the_default_model_is_that_of_images():
    calibrated = CalibratedAgeRegressor().set_params(estimator__classifier__lr=0.1)
    assert calibrated.get_params()["estimator__classifier__lr"] == 0.1
    tags = CalibratedAgeRegressor().__sklearn_tags__()
    assert not tags.input_tags.two_d_array
