import pickle
import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import skage
from skage import AgeBinner, AgeEnsemble, BinnedAgeRegressor, CalibratedAgeRegressor

from .conftest import tiny_model


def members(**classifiers):
    return [(k, BinnedAgeRegressor(v, AgeBinner(5))) for k, v in classifiers.items()]


@pytest.fixture
def tabular():
    X, y = make_regression(300, 5, noise=5, random_state=0)
    return X, 50 + y / y.std() * 15


@pytest.fixture
def pair():
    a = BinnedAgeRegressor(LogisticRegression(C=10), AgeBinner(8))
    b = BinnedAgeRegressor(GaussianNB(), AgeBinner(5, strategy="uniform"))
    return [("a", a), ("b", b)]


@pytest.mark.filterwarnings("ignore:.*ages are", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([AgeEnsemble(members(a=LogisticRegression(), b=GaussianNB()))])
def test_check_estimator(estimator, check):
    check(estimator)


def test_one_member_is_what_it_was(tabular, pair):
    X, y = tabular
    for _, model in pair:
        model.fit(X, y)
        average = AgeEnsemble([("only", model)]).fit(X, y)
        for decode in ("mean", "median"):
            model.decode = average.decode = decode
            np.testing.assert_allclose(average.predict(X), model.predict(X), atol=1e-3)
        np.testing.assert_allclose(
            average.predict(X, return_std=True)[1], model.predict(X, return_std=True)[1], rtol=1e-3
        )
        interval = model.set_params(decode="mean").predict_interval(X)
        average.decode = "mean"
        np.testing.assert_allclose(average.predict_interval(X), interval, atol=1e-2)


def test_it_averages_distributions_over_age(tabular, pair):
    X, y = tabular
    model = AgeEnsemble(pair, weights=[3, 1]).fit(X, y)
    ages = np.linspace(y.min() - 5, y.max() + 5, 50)
    parts = [m.binner_.cdf(m.predict_dist(X), ages) for m in model.estimators_]
    cdf = model.binner_.cdf(model.predict_dist(X), model.binner_.bin_edges_)
    edges = model.binner_.bin_edges_
    expected = 0.75 * parts[0] + 0.25 * parts[1]
    found = np.stack([np.interp(ages, edges, row) for row in cdf])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    a, b = (m.predict(X) for m in model.estimators_)
    np.testing.assert_allclose(model.predict(X), 0.75 * a + 0.25 * b, atol=1e-3)


def test_learned_weights_favour_the_better_member(tabular):
    X, y = tabular
    named = members(good=LogisticRegression(C=10), bad=DummyClassifier())
    model = AgeEnsemble(named, weights="learned", random_state=0).fit(X, y)
    assert model.weights_[0] > 0.9
    assert model.weights_.sum() == pytest.approx(1)


def test_learned_weights_have_the_lowest_crps():
    """Against numerical integration, on a grid of weights."""
    rng = np.random.default_rng(0)
    ages = rng.normal(40, 10, 2000)

    class Normal:
        def __init__(self, mean, sd):
            edges = np.linspace(-20, 120, 141)
            self.binner_ = AgeBinner(edges.tolist(), representative="midpoint")
            self.binner_.fit((edges[1:] + edges[:-1]) / 2)
            self.mass = np.diff(norm.cdf(edges, mean, sd))

        def predict_dist(self, X):
            return np.tile(self.mass / self.mass.sum(), (len(X), 1))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ages below 0
        pair = [Normal(30, 10), Normal(55, 10)]
    weights = skage.ensemble._learn_weights(pair, ages, ages)
    x = np.linspace(-20, 120, 1401)
    cdfs = [norm.cdf(x, m, 10) for m in (30, 55)]

    def crps(w):
        F = w * cdfs[0] + (1 - w) * cdfs[1]
        return np.trapezoid((F - (ages[:, None] <= x)) ** 2, x, axis=1).mean()

    grid = np.linspace(0, 1, 101)
    assert weights[0] == pytest.approx(grid[np.argmin([crps(w) for w in grid])], abs=0.03)


def test_persons_are_not_split_to_learn_weights(tabular, pair):
    X, y = tabular
    groups = np.repeat(np.arange(60), 5)
    train, test = AgeEnsemble(pair, weights="learned", random_state=0)._split(X, y, groups)
    assert not set(groups[train]) & set(groups[test])
    assert 0.1 < len(test) / len(y) < 0.3


def test_groups_reach_the_members_that_take_them(tabular, pair):
    class Noting(BinnedAgeRegressor):
        def fit(self, X, y, groups=None):
            self.groups_ = groups
            return super().fit(X, y)

    X, y = tabular
    average = AgeEnsemble([("noting", Noting(LogisticRegression())), pair[1]])
    average.fit(X, y, groups=y.tolist())
    assert (average.estimators_[0].groups_ == y).all()
    calibrated = CalibratedAgeRegressor(average, random_state=0).fit(X, y, groups=y)
    within = calibrated.estimator_.estimators_[0].groups_
    assert len(within) == len(y) - calibrated.n_calibration_
    assert set(within) < set(y)


def test_fitted_models_are_used_as_they_are(tabular, pair):
    X, y = tabular
    fitted = pair[0][1].fit(X, y)
    average = AgeEnsemble([("prefit", FrozenEstimator(fitted)), pair[1]])
    average.fit(X[:100], y[:100])
    assert (average.estimators_[0].predict(X) == fitted.predict(X)).all()
    assert len(clone(average).estimators) == 2


def test_parameters_of_members_are_searched(tabular, pair):
    X, y = tabular
    grid = {"a__binner__n_bins": [4, 8], "weights": [None, "learned", [1, 3]]}
    search = GridSearchCV(AgeEnsemble(pair), grid, cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_sample_weight_reaches_the_members(tabular):
    X, y = tabular
    weight = (y < 50).astype(float)
    ages = AgeEnsemble(members(a=LogisticRegression())).fit(X, y, sample_weight=weight).predict(X)
    assert ages.max() < 50


def test_images_pickles_and_model_files(faces, tmp_path):
    named = [("a", tiny_model(max_epochs=1)), ("b", tiny_model(4, max_epochs=1, n_members=2))]
    model = AgeEnsemble(named, weights="learned", decode="median").fit(faces.data, faces.target)
    ages = model.predict(faces.data)
    assert (pickle.loads(pickle.dumps(model)).predict(faces.data) == ages).all()
    model.save(tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    assert (loaded.predict(faces.data) == ages).all()
    assert (loaded.predict_interval(faces.data) == model.predict_interval(faces.data)).all()
    loaded.save(tmp_path / "again.skage")
    assert (skage.load(tmp_path / "again.skage").predict(faces.data) == ages).all()


def test_a_model_file_holds_shared_frozen_layers_once(faces, tmp_path, vgg11_file):
    named = [
        (str(seed), tiny_model(max_epochs=1, weights=vgg11_file, random_state=seed))
        for seed in range(3)
    ]
    model = AgeEnsemble(named).fit(faces.data, faces.target)
    model.save(tmp_path / "three.skage")
    model.estimators_[0].save(tmp_path / "one.skage")
    sizes = [(tmp_path / name).stat().st_size for name in ("one.skage", "three.skage")]
    assert sizes[1] < 1.1 * sizes[0]
    loaded = skage.load(tmp_path / "three.skage")
    assert (loaded.predict(faces.data) == model.predict(faces.data)).all()


def test_skipped_images_are_nan(faces, paths, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    given = [*paths[:39], str(tmp_path / "bad.jpg")]
    named = [(str(i), tiny_model(max_epochs=1, on_error="skip")) for i in range(2)]
    with pytest.warns(UserWarning, match="bad.jpg"):
        model = AgeEnsemble(named, weights="learned").fit(given, faces.target)
    with pytest.warns(UserWarning, match="bad.jpg"):
        assert np.isnan(model.predict(given)).tolist() == [False] * 39 + [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimators": []}, "must be a list of .name, model. pairs"),
        ({"estimators": [BinnedAgeRegressor()]}, "must be a list of .name, model. pairs"),
        ({"estimators": [("a", FrozenEstimator(BinnedAgeRegressor()))]}, "'a' is not fitted"),
        ({"estimators": [("a", make_pipeline(BinnedAgeRegressor()))]}, "'a' is a Pipeline"),
        ({"weights": [np.inf, 1]}, "must be 2 numbers >= 0"),
        ({"weights": ["a", "b"]}, "must be 2 numbers >= 0"),
        ({"weights": [1]}, "must be 2 numbers >= 0"),
        ({"weights": [1, -1]}, "must be 2 numbers >= 0"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": "equal"}, "'weights' parameter"),
        ({"validation_fraction": 0.6}, "'validation_fraction' parameter"),
        ({"estimators": [("a", LogisticRegression())]}, "does not predict a distribution"),
        ({"estimators": 2 * members(a=LogisticRegression())}, "not unique"),
    ],
)
def test_wrong_parameters_are_refused(tabular, pair, options, message):
    with pytest.raises(ValueError, match=message):
        AgeEnsemble(**{"estimators": pair} | options).fit(*tabular)


def test_weights_learned_on_training_images_are_warned_of(faces):
    trained = tiny_model(max_epochs=1).fit(faces.data, faces.target)
    members = [("a", FrozenEstimator(trained)), ("b", tiny_model(max_epochs=1, random_state=1))]
    average = AgeEnsemble(members, weights="learned", random_state=0)
    with pytest.warns(UserWarning, match="trained on 8 of the 8 images that the weights") as told:
        average.fit(faces.data, faces.target)
    assert [warning.filename for warning in told] == [__file__]


def test_images_without_weight_do_not_decide_the_weights(tabular):
    X, y = tabular
    shuffled = np.random.RandomState(0).permutation(y)
    X, y = np.concatenate([X, X]), np.concatenate([y, shuffled])
    named = members(good=LogisticRegression(), bad=DummyClassifier(strategy="prior"))
    average = AgeEnsemble(named, weights="learned", random_state=0)
    weighted = average.fit(X, y, sample_weight=np.repeat([1.0, 0.0], 300)).weights_
    assert weighted[0] > 0.95
    assert average.fit(X, y).weights_[0] < 0.9
