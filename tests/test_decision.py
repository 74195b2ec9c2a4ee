import pickle

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.base import BaseEstimator, ClassifierMixin, clone, config_context
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks

from skage import AgeBinner, AgeCheck, AgeEnsemble, BinnedAgeRegressor
from skage._decision.thresholds import (
    STEP,
    allowed_errors,
    fail_threshold,
    n_needed,
    pass_threshold,
)

from .conftest import tiny_model


def persons(n, seed=0, noise=2.0, ages=(10, 30)):
    """Ages, and features that tell them with an error."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(*ages, n)
    X = np.column_stack([y + rng.normal(0, noise, n), rng.normal(size=n)])
    return X, y


def regressor(n_bins=15):
    return BinnedAgeRegressor(
        make_pipeline(StandardScaler(), LogisticRegression(C=10)), AgeBinner(n_bins)
    )


@pytest.fixture(scope="module")
def model():
    return regressor().fit(*persons(1500))


@pytest.fixture(scope="module")
def frozen(model):
    return FrozenEstimator(model)


class Skipping(ClassifierMixin, BaseEstimator):
    """A classifier that has no prediction for rows whose last feature is NaN."""

    def fit(self, X, y):
        self.inner_ = LogisticRegression(C=10, max_iter=1000).fit(X[:, :1], y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X):
        found = self.inner_.predict_proba(X[:, :1])
        found[np.isnan(X[:, -1])] = np.nan
        return found


@pytest.mark.filterwarnings("ignore:.*ages are", "ignore:n_bins=", "ignore:SCIPY_ARRAY")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_dict_unchanged",
        "check_estimators_overwrite_params",
        "check_estimators_unfitted",
        "check_estimators_nan_inf",
        "check_fit_check_is_fitted",
        "check_n_features_in",
        "check_requires_y_none",
    ],
)
def test_scikit_learns_checks_that_do_not_compute_with_predictions(check):
    estimator = AgeCheck(
        BinnedAgeRegressor(LogisticRegression(), AgeBinner(5)),
        limit=1,
        max_false_pass_rate=0.9,
        max_false_fail_rate=None,
        confidence=0.6,
        calibration_fraction=0.5,
    )
    getattr(estimator_checks, check)("AgeCheck", estimator)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.998])
@pytest.mark.parametrize("max_rate", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_allowed_errors_is_the_most_that_the_exact_bound_allows(max_rate, confidence):
    needed = n_needed(max_rate, confidence)
    assert allowed_errors(needed, max_rate, confidence) == 0
    if needed > 1:
        assert allowed_errors(needed - 1, max_rate, confidence) == -1
    for n in (needed, needed + 1, 3 * needed + 50):
        k = allowed_errors(n, max_rate, confidence)
        bounds = [
            binomtest(errors, n, alternative="less").proportion_ci(confidence).high
            for errors in (k, min(k + 1, n))
        ]
        assert bounds[0] <= max_rate < bounds[1] or k == n
        # The same as the test of the hypothesis that the rate is above the wanted one.
        assert binom.cdf(k, n, max_rate) <= 1 - confidence + 1e-12


def test_299_images_without_an_error_show_a_rate_of_a_hundredth():
    assert n_needed(0.01, 0.95) == 299
    assert n_needed(0.1, 0.95) == 29


def test_the_threshold_is_the_lowest_whose_bound_is_kept():
    """Against each threshold in turn, from the strictest on."""
    rng = np.random.default_rng(0)
    for digits in (1, 2, 6):  # many ties, some, none
        scores = rng.uniform(size=200).round(digits)
        candidates = [*np.unique(scores)[::-1]]
        lowest = np.inf
        for candidate in candidates:
            k = int((scores >= candidate).sum())
            if binomtest(k, 200, alternative="less").proportion_ci(0.95).high > 0.05:
                break
            lowest = candidate
        found = pass_threshold(scores, 0.05, 0.95)
        assert set(scores[scores >= found]) == set(scores[scores >= lowest])
        assert (scores == round(found - STEP, 6)).any()  # none lower is kept
        mirrored = fail_threshold((1 - scores).round(6), 0.05, 0.95)
        assert ((1 - scores).round(6) < mirrored).sum() == (scores >= found).sum()


@pytest.mark.parametrize(("n", "max_rate"), [(299, 0.01), (473, 0.01), (60, 0.1), (500, 0.1)])
@pytest.mark.parametrize("digits", [6, 1])
def test_thresholds_keep_the_rate_with_the_confidence(n, max_rate, digits):
    """The true rate is known, so that its share above the wanted one is that of the draws."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2000, n)).round(digits)
    thresholds = np.array([pass_threshold(scores, max_rate, 0.95) for scores in draws])
    reached = thresholds - STEP + 10.0**-digits  # the next possible score
    rates = norm.sf(reached - 0.5 * 10.0**-digits)
    broken = (rates > max_rate).mean()
    assert broken <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(draws))
    if digits == 6:  # exact, but for the steps of the binomial distribution
        expected = binom.cdf(allowed_errors(n, max_rate, 0.95), n, max_rate)
        assert broken == pytest.approx(expected, abs=3 * np.sqrt(0.05 * 0.95 / len(draws)))


@pytest.mark.parametrize("criterion", ["probability", "age"])
def test_the_rates_on_new_persons_are_kept(frozen, criterion):
    check = AgeCheck(
        frozen, max_false_pass_rate=0.05, max_false_fail_rate=0.05, criterion=criterion
    )
    X, y = persons(20000, seed=1)
    under, over = X[y < 18][:3000], X[y >= 18][:3000]
    n_draws, broken = 100, np.zeros(2)
    for seed in range(n_draws):
        check.fit(*persons(400, seed=100 + seed))
        broken += [
            (check.predict(under) == "pass").mean() > 0.05,
            (check.predict(over) == "fail").mean() > 0.05,
        ]
    assert (broken / n_draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_draws)).all()


def test_decisions_follow_the_thresholds(frozen):
    X, y = persons(2000, seed=1)
    check = AgeCheck(frozen).fit(X, y)
    table = check.decide(X)
    decisions = check.predict(X)
    assert [*table.columns] == ["age", "low", "high", "probability", "decision"]
    assert (table.decision == decisions).all()
    p = table.probability.to_numpy(dtype=float).round(6)
    assert ((p >= check.pass_threshold_) == (decisions == "pass")).all()
    assert ((p < check.fail_threshold_) == (decisions == "fail")).all()
    assert set(decisions) == {"pass", "fail", "unsure"}
    np.testing.assert_array_equal(table.age, frozen.predict(X))
    np.testing.assert_array_equal(table[["low", "high"]], frozen.predict_interval(X, 0.9))
    below = frozen.binner_.cdf(frozen.predict_dist(X), [18])[:, 0]
    np.testing.assert_allclose(table.probability, 1 - below, atol=1e-6)


def test_rates_are_counted(frozen):
    X, y = persons(8000, seed=1)
    check = AgeCheck(frozen, margin=1).fit(X, y)
    new, ages = persons(500, seed=2)
    table, decisions = check.rates(new, ages), check.predict(new)
    sides = {
        "under": ages < 18,
        "just under": (ages >= 17) & (ages < 18),
        "over": ages >= 18,
    }
    assert [*table.index] == [(s, d) for s in sides for d in ("pass", "unsure", "fail")]
    for (side, decision), row in table.iterrows():
        chosen = decisions[sides[side]] == decision
        assert (row["count"], row["n"]) == (chosen.sum(), len(chosen))
        assert row["rate"] == pytest.approx(chosen.mean())
        interval = binomtest(int(chosen.sum()), len(chosen)).proportion_ci(0.9)
        assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
        assert row["no_prediction"] == 0
    assert check.rates_.loc[("just under", "pass"), "high"] <= 0.01
    assert check.rates_.loc[("over", "fail"), "high"] <= 0.01
    expected = np.where(ages >= 18, "pass", "fail")
    assert check.score(new, ages) == pytest.approx((decisions == expected).mean())


def test_rates_of_one_side_alone(frozen):
    check = AgeCheck(frozen).fit(*persons(2000, seed=1))
    X, y = persons(50, seed=2, ages=(20, 25))
    table = check.rates(X, y)
    assert (table.loc["under", "n"] == 0).all()
    assert table.loc["under", "rate"].isna().all()
    assert (table.loc["under", ["low", "high"]] == [0, 1]).all(axis=None)
    assert table.loc["over", "count"].sum() == 50


def test_a_margin_makes_it_stricter(frozen):
    X, y = persons(8000, seed=1)
    loose = AgeCheck(frozen).fit(X, y)
    strict = AgeCheck(frozen, margin=1).fit(X, y)
    assert strict.pass_threshold_ > loose.pass_threshold_
    assert strict.fail_threshold_ == loose.fail_threshold_
    assert loose.rates(*persons(8000, seed=3, ages=(17, 18))).loc[("under", "pass"), "low"] > 0.01


def test_age_as_the_criterion_is_a_challenge_age(frozen):
    X, y = persons(2000, seed=1)
    check = AgeCheck(frozen, criterion="age").fit(X, y)
    assert check.fail_threshold_ < 18 < check.pass_threshold_ < 30
    ages = frozen.predict(X)
    assert (check.predict(X)[ages >= check.pass_threshold_] == "pass").all()


def test_nobody_fails_if_not_wanted(frozen):
    X, y = persons(2000, seed=1)
    check = AgeCheck(frozen, max_false_fail_rate=None).fit(X, y)
    assert check.fail_threshold_ == -np.inf
    assert set(check.predict(X)) == {"pass", "unsure"}
    young = y < 18
    alone = AgeCheck(frozen, max_false_fail_rate=None).fit(X[young], y[young])
    assert alone.pass_threshold_ == check.pass_threshold_


def test_nobody_is_unsure_where_one_threshold_keeps_both_rates(frozen):
    X, y = persons(2000, seed=1)
    check = AgeCheck(frozen, max_false_pass_rate=0.3, max_false_fail_rate=0.3).fit(X, y)
    assert check.pass_threshold_ == check.fail_threshold_
    assert set(check.predict(X)) == {"pass", "fail"}
    assert (check.rates_["high"].loc[[("under", "pass"), ("over", "fail")]] <= 0.3).all()


def test_images_without_a_prediction_are_unsure():
    X, y = persons(3000)
    model = BinnedAgeRegressor(Skipping(), AgeBinner(10)).fit(X[:1000], y[:1000])
    X[1000::5, 1] = np.nan
    check = AgeCheck(FrozenEstimator(model)).fit(X[1000:], y[1000:])
    kept = ~np.isnan(X[1000:, 1])
    without = AgeCheck(FrozenEstimator(model)).fit(X[1000:][kept], y[1000:][kept])
    assert check.pass_threshold_ == without.pass_threshold_
    assert check.fail_threshold_ == without.fail_threshold_
    decisions = check.predict(X[1000:])
    assert (decisions[~kept] == "unsure").all()
    table = check.decide(X[1000:])
    assert table.loc[~kept].isna().sum().tolist() == [400, 400, 400, 400, 0]
    for side, mask in (("under", y[1000:] < 18), ("over", y[1000:] >= 18)):
        assert check.rates_.loc[side, "no_prediction"].to_dict() == {
            "pass": 0,
            "unsure": (mask & ~kept).sum(),
            "fail": 0,
        }
        assert check.rates_.loc[side, "count"].sum() == mask.sum()


def test_a_model_that_is_not_fitted_is_fitted_to_the_others():
    X, y = persons(1000)
    check = AgeCheck(regressor(), max_false_pass_rate=0.1, max_false_fail_rate=0.1, random_state=0)
    check.fit(X, y)
    assert not hasattr(check.estimator, "binner_")
    assert check.n_features_in_ == 2
    assert check.rates_.groupby("truth")["n"].first().sum() == 200
    again = clone(check).fit(X, y)
    assert again.pass_threshold_ == check.pass_threshold_


def test_persons_are_not_split():
    X, y = persons(600)
    X, y, groups = X.repeat(4, axis=0), y.repeat(4), np.arange(600).repeat(4)
    check = AgeCheck(regressor(), calibration_fraction=0.25, random_state=0)
    check.set_params(max_false_pass_rate=0.1, max_false_fail_rate=0.1)
    _, rows = check._fit_model(X, y, groups)
    assert not set(groups[rows]) & set(np.delete(groups, rows))
    check.fit(X, y, groups=groups)
    assert check.rates_.groupby("truth")["n"].first().sum() == 150  # one image of each person


def test_a_person_counts_once_on_each_side(frozen):
    X, y = persons(900, seed=1)
    groups = np.arange(900)
    once = AgeCheck(frozen, random_state=0).fit(X, y)
    many = AgeCheck(frozen, random_state=0).fit(
        X.repeat(9, axis=0), y.repeat(9), groups=groups.repeat(9)
    )
    assert many.pass_threshold_ == once.pass_threshold_
    assert many.fail_threshold_ == once.fail_threshold_
    assert many.rates_.equals(once.rates_)
    # The same persons, younger and older
    ages = np.array([15, 25] * 350)
    sides = once._sides(ages, np.arange(350).repeat(2))
    assert sorted(sides["under"]) == [*range(0, 700, 2)]
    assert sorted(sides["over"]) == [*range(1, 700, 2)]


def test_groups_reach_a_model_that_takes_them():
    X, y = persons(900)
    ensemble = AgeEnsemble([("a", regressor())], weights="learned", random_state=0)
    groups = np.arange(300).repeat(3)
    check = AgeCheck(ensemble, max_false_pass_rate=0.2, max_false_fail_rate=0.2, random_state=0)
    check.fit(X, y, groups=groups)
    assert check.estimator_.weights_ == pytest.approx([1])


def test_groups_reach_a_pipeline_and_a_search():
    X, y = persons(900)
    groups = np.arange(300).repeat(3)
    ensemble = AgeEnsemble([("a", regressor())], weights="learned", random_state=0)
    search = GridSearchCV(regressor(), {"binner__n_bins": [5, 6]}, cv=GroupKFold(2))
    for model in (make_pipeline(StandardScaler(), ensemble), search):
        check = AgeCheck(model, max_false_pass_rate=0.2, max_false_fail_rate=0.2, random_state=0)
        assert check.fit(X, y, groups=groups).predict(X).shape == y.shape
        with config_context(enable_metadata_routing=True):
            assert check.fit(X, y, groups=groups).predict(X).shape == y.shape


def test_copies_stay_together_behind_pipelines_and_searches(faces):
    images, ages = np.repeat(faces.data, 2, axis=0), np.repeat(faces.target, 2)
    inner = tiny_model(max_epochs=1)
    steps = make_pipeline(FunctionTransformer(), inner)
    search = GridSearchCV(inner, {"decode": ["mean"]}, cv=GroupKFold(2))
    for model in (steps, search):
        check = AgeCheck(model, limit=40, max_false_pass_rate=0.5, max_false_fail_rate=None)
        check.set_params(confidence=0.6, random_state=0)
        check.fit(images, ages, groups=np.arange(80) // 2)
        check.set_params(estimator=steps).fit(images, ages)


def test_it_works_with_the_tools_of_scikit_learn(frozen):
    X, y = persons(1500)
    check = AgeCheck(regressor(), max_false_pass_rate=0.1, max_false_fail_rate=0.1, random_state=0)
    assert clone(check).get_params()["estimator__binner__n_bins"] == 15
    piped = make_pipeline(StandardScaler(), check).fit(X, y)
    assert set(piped.predict(X)) == {"pass", "fail", "unsure"}
    assert 0.5 < piped.score(X, y) < 1
    search = GridSearchCV(
        check, {"estimator__classifier__logisticregression__C": [1e-6, 10]}, cv=2
    ).fit(X, y)
    assert search.best_params_ == {"estimator__classifier__logisticregression__C": 10}
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_models_inside_pipelines_and_searches(model):
    X, y = persons(2000, seed=1)
    direct = AgeCheck(FrozenEstimator(model)).fit(X, y)
    search = GridSearchCV(regressor(), {"decode": ["mean"]}, cv=2).fit(*persons(1500))
    for inner in (make_pipeline("passthrough", model), search):
        check = AgeCheck(FrozenEstimator(inner)).fit(X, y)
        assert check.pass_threshold_ == direct.pass_threshold_
        np.testing.assert_array_equal(check.predict(X), direct.predict(X))
        assert check.decide(X).equals(direct.decide(X))


def test_too_few_persons_for_a_rate(frozen):
    X, y = persons(500, seed=1)
    n = int((y < 18).sum())
    with pytest.raises(ValueError, match=f"max_false_pass_rate=0.01 .* at least 299 .*got {n} "):
        AgeCheck(frozen).fit(X, y)
    with pytest.raises(ValueError, match=r"max_false_fail_rate=0.001 .* at least 2995 .*over the"):
        AgeCheck(frozen, max_false_pass_rate=0.1, max_false_fail_rate=0.001).fit(X, y)
    with pytest.raises(ValueError, match=r"299 .*at most 1 years under the limit of 18; got"):
        AgeCheck(frozen, margin=1).fit(X, y)
    with pytest.raises(ValueError, match="hold out more of them"):
        AgeCheck(regressor()).fit(X, y)
    with pytest.raises(ValueError, match="under the limit of 18; got 0 "):
        AgeCheck(frozen).fit(X[y >= 18], y[y >= 18])
    with pytest.raises(ValueError, match="over the limit of 18; got 0 "):
        AgeCheck(frozen, max_false_pass_rate=0.1).fit(X[y < 18], y[y < 18])


def test_errors(frozen):
    X, y = persons(500, seed=1)
    with pytest.raises(
        ValueError, match=r"limit=40 is outside the ages .* 10\.\d+ to 29\.\d+ years"
    ):
        AgeCheck(frozen, limit=40).fit(X, y)
    with pytest.raises(ValueError, match="limit=5 is outside"):
        AgeCheck(frozen, limit=5).fit(X, y)
    with pytest.raises(ValueError, match=r"y\[3\] is nan"):
        AgeCheck(frozen).fit(X, np.where(np.arange(500) == 3, np.nan, y))
    with pytest.raises(ValueError, match=r"groups\[2\] is missing"):
        AgeCheck(frozen).fit(X, y, groups=["a", "b", None, *"c" * 497])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        AgeCheck(frozen).fit(X, y[1:])
    with pytest.raises(ValueError, match="LinearRegression, which does not predict a distribution"):
        AgeCheck(FrozenEstimator(LinearRegression().fit(X, y))).fit(X, y)
    with pytest.raises(ValueError, match="at least 5 persons or images; got 2"):
        AgeCheck(regressor()).fit(X, y, groups=np.arange(500) % 2)
    with pytest.raises(NotFittedError):
        AgeCheck(frozen).predict(X)
    with pytest.raises(NotFittedError):
        AgeCheck(FrozenEstimator(regressor())).fit(X, y)
    for wrong in ({"confidence": 0.5}, {"max_false_pass_rate": 0}, {"margin": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
            AgeCheck(frozen, **wrong).fit(X, y)


@pytest.mark.filterwarnings("ignore:1 of 41 images")
def test_images_that_cannot_be_read_are_unsure(faces, paths):
    model = tiny_model(on_error="skip").fit(faces.data, faces.target)
    images = [*paths, "missing.png"]
    ages = [*faces.target, 10]
    check = AgeCheck(
        FrozenEstimator(model),
        limit=float(np.median(faces.target)),
        max_false_pass_rate=0.5,
        max_false_fail_rate=0.5,
        confidence=0.8,
    ).fit(images, ages)
    decisions = check.predict(images)
    assert decisions[-1] == "unsure"
    assert {*decisions[:-1]} & {"pass", "fail"}
    assert check.rates_.loc[("under", "unsure"), "no_prediction"] == 1
    assert check.decide(images)["age"].isna().tolist() == [False] * 40 + [True]


def test_deciding_by_training_images_is_warned_of(faces):
    model = tiny_model(max_epochs=1).fit(faces.data, faces.target)
    check = AgeCheck(FrozenEstimator(model), limit=40, max_false_pass_rate=0.5)
    with pytest.warns(UserWarning, match="trained on 40 of the 40 images of the cal") as told:
        check.set_params(max_false_fail_rate=None).fit(faces.data, faces.target)
    assert told[0].filename == __file__
