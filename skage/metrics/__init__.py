"""Errors, scores and rates of age estimators, each with a definition and its source.

Metrics take arrays, weights where they make sense, and no NaN: an image without a
prediction is counted by whoever leaves it out (`predicted_only`). Those of ages take the
true and the predicted ages, those of distributions ``(y_true, distribution, binner)`` as
`predict_dist` and ``binner_`` of a model provide them, and those of intervals
``(y_true, interval)``. `bootstrap_interval` gives a confidence interval of any of them.

Pass the scorers as ``scoring`` to any tool of scikit-learn. Unlike scikit-learn's own
scorers, such as "neg_mean_absolute_error", they leave out images without a prediction
(NaN): with ``on_error="skip"`` those that cannot be read, with ``on_no_face="nan"`` those
without a detected face. They raise if no image is left. Scorers that need more than the
ages take it by metadata routing, such as the standard deviations of the votes for the
epsilon-error, ``neg_epsilon_error_scorer.set_score_request(y_std=True)``, and the sexes for
NIST's figures. Scorers of intervals are of a coverage of 0.9; see `make_interval_scorer`
for others.
"""

from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from ._bootstrap import bootstrap_interval
from ._challenge import (
    age_range_table,
    det_curve,
    nist_false_positive_rate,
    pass_rates,
    smallest_challenge_age,
)
from ._checks import predicted_only
from ._distributions import (
    calibration_error,
    crps,
    negative_log_likelihood,
    over_limit_probability,
    pit_values,
)
from ._errors import (
    absolute_error_std,
    cumulative_score,
    cumulative_score_area,
    epsilon_error,
    macro_mean_absolute_error,
    mean_error,
    nist_mean_absolute_error,
    worst_band_error,
)
from ._intervals import interval_coverage, interval_width, winkler_score
from ._rates import binomial_interval
from ._scorers import (
    cumulative_score_area_scorer,
    cumulative_score_scorer,
    interval_coverage_scorer,
    log_likelihood_scorer,
    make_interval_scorer,
    neg_calibration_error_scorer,
    neg_crps_scorer,
    neg_epsilon_error_scorer,
    neg_interval_width_scorer,
    neg_macro_mean_absolute_error_scorer,
    neg_mean_absolute_error_scorer,
    neg_nist_false_positive_rate_scorer,
    neg_nist_mean_absolute_error_scorer,
    neg_root_mean_squared_error_scorer,
    neg_winkler_scorer,
    neg_worst_band_error_scorer,
)

__all__ = [
    "absolute_error_std",
    "age_range_table",
    "binomial_interval",
    "bootstrap_interval",
    "calibration_error",
    "crps",
    "cumulative_score",
    "cumulative_score_area",
    "cumulative_score_area_scorer",
    "cumulative_score_scorer",
    "det_curve",
    "epsilon_error",
    "interval_coverage",
    "interval_coverage_scorer",
    "interval_width",
    "log_likelihood_scorer",
    "macro_mean_absolute_error",
    "make_interval_scorer",
    "mean_absolute_error",
    "mean_error",
    "neg_calibration_error_scorer",
    "neg_crps_scorer",
    "neg_epsilon_error_scorer",
    "neg_interval_width_scorer",
    "neg_macro_mean_absolute_error_scorer",
    "neg_mean_absolute_error_scorer",
    "neg_nist_false_positive_rate_scorer",
    "neg_nist_mean_absolute_error_scorer",
    "neg_root_mean_squared_error_scorer",
    "neg_winkler_scorer",
    "neg_worst_band_error_scorer",
    "negative_log_likelihood",
    "nist_false_positive_rate",
    "nist_mean_absolute_error",
    "over_limit_probability",
    "pass_rates",
    "pit_values",
    "predicted_only",
    "root_mean_squared_error",
    "smallest_challenge_age",
    "winkler_score",
    "worst_band_error",
]
