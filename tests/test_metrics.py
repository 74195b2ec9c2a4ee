import numpy as np
import pytest
import sklearn
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import cross_validate

from skage import metrics


def test_cumulative_score_counts_errors_up_to_the_threshold():
    truth, predicted = [20, 30, 40, 50], [25, 35.01, 40, 60]
    assert metrics.cumulative_score(truth, predicted) == 0.5
    assert metrics.cumulative_score(truth, predicted, threshold=0) == 0.25
    assert metrics.cumulative_score(truth, predicted, 10) == 1
    assert metrics.cumulative_score(truth, predicted, sample_weight=[1, 0, 1, 0]) == 1
    with pytest.raises(ValueError, match="threshold=-1"):
        metrics.cumulative_score(truth, predicted, -1)


def test_epsilon_error_is_the_challenges():
    assert metrics.epsilon_error([20], [20], [3]) == 0
    assert metrics.epsilon_error([20], [23], [3]) == pytest.approx(1 - np.exp(-0.5))
    mean = metrics.epsilon_error([20, 20], [20, 23], [3, 3], sample_weight=[3, 1])
    assert mean == pytest.approx((1 - np.exp(-0.5)) / 4)
    with pytest.raises(ValueError, match=r"y_std\[1\] is 0.0"):
        metrics.epsilon_error([20, 20], [20, 20], [1, 0])


@pytest.mark.parametrize("bad", [[20, np.nan], ["20", "30"], [20]])
def test_bad_ages_are_refused(bad):
    for metric in (metrics.cumulative_score, lambda a, b: metrics.epsilon_error(a, b, [1, 1])):
        with pytest.raises(ValueError, match=r"y_pred\[|inconsistent"):
            metric([20, 30], bad)


def test_scorers_work_in_cross_validation():
    X, y, votes = np.zeros((20, 1)), np.linspace(20, 40, 20), np.full(20, 4.0)
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(
            DummyRegressor(),
            X,
            y,
            cv=2,
            scoring={
                "mae": metrics.neg_mean_absolute_error_scorer,
                "cs5": metrics.cumulative_score_scorer,
                "macro": metrics.neg_macro_mean_absolute_error_scorer,
                "epsilon": metrics.neg_epsilon_error_scorer.set_score_request(y_std=True),
            },
            params={"y_std": votes},
        )
    assert (found["test_mae"] < 0).all()
    assert ((found["test_cs5"] >= 0) & (found["test_cs5"] <= 1)).all()
    assert ((found["test_epsilon"] < 0) & (found["test_epsilon"] > -1)).all()


def test_the_macro_average_counts_ages_alike():
    true, predicted = [20.2, 20.8, 20.5, 61, 65], [21.2, 20.8, 20.5, 61, 60]
    assert metrics.macro_mean_absolute_error(true, predicted) == pytest.approx((1 / 3 + 0 + 5) / 3)
    by_decade = metrics.macro_mean_absolute_error(true, predicted, width=10)
    assert by_decade == pytest.approx((1 / 3 + 2.5) / 2)
    weighted = metrics.macro_mean_absolute_error(true, predicted, sample_weight=[2, 0, 0, 1, 0])
    assert weighted == pytest.approx((1 + 0) / 2)
    with pytest.raises(ValueError, match="width=0 must be above 0"):
        metrics.macro_mean_absolute_error(true, predicted, width=0)
