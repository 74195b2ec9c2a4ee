"""skage.evaluate and skage.compare: figures, intervals, groups, inputs and reports."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skage
from skage import AgeBinner, BinnedAgeRegressor, evaluate, metrics
from skage.datasets import make_faces
from skage.evaluation import compare, read_predictions
from skage.evaluation._resampling import CellSums, merged, percentiles


@pytest.fixture(scope="module")
def data():
    """True ages, predicted ages with some missing, persons and columns."""
    rng = np.random.default_rng(0)
    n = 2400
    y = rng.integers(1, 80, n).astype(float)
    predicted = np.clip(y + rng.normal(1, 5, n), 0, None)
    predicted[rng.random(n) < 0.03] = np.nan
    by = {"sex": rng.choice(["female", "male"], n), "camera": rng.choice([1, 2, 3], n)}
    return y, predicted, rng.integers(0, 900, n), by


@pytest.fixture(scope="module")
def evaluation(data):
    y, predicted, persons, by = data
    return evaluate(predicted, y=y, groups=persons, by=by, limit=18, n_resamples=200)


@pytest.fixture(scope="module")
def tabular():
    """A model of distributions on tabular features, and data it has not seen."""
    rng = np.random.default_rng(1)
    y = rng.integers(5, 70, 800).astype(float)
    X = np.column_stack([y + rng.normal(0, 8, 800), rng.normal(size=800)])
    model = BinnedAgeRegressor(
        make_pipeline(StandardScaler(), LogisticRegression()), AgeBinner(10)
    ).fit(X[:500], y[:500])
    return model, X[500:], y[500:]


def test_overall_figures_are_those_of_the_metrics(data, evaluation):
    y, predicted, _, by = data
    known = ~np.isnan(predicted)
    t, p, sex = y[known], predicted[known], np.array(by["sex"])[known]
    value = evaluation.overall["value"]
    expected = {
        "mae": metrics.mean_absolute_error(t, p),
        "mae_std": metrics.absolute_error_std(t, p),
        "bias": metrics.mean_error(t, p),
        "rmse": metrics.root_mean_squared_error(t, p),
        "cs5": metrics.cumulative_score(t, p, 5),
        "cs_area": metrics.cumulative_score_area(t, p),
        "macro_mae": metrics.macro_mean_absolute_error(t, p),
        "nist_mae": metrics.nist_mean_absolute_error(t, p, sex),
        "worst_band_mae": max(
            mean_absolute_error(t[at], p[at])
            for low, high in zip(range(0, 80, 10), [*range(10, 80, 10), 999], strict=True)
            if (at := (t >= low) & (t < high)).sum() >= 30
        ),
        "constant_mae": mean_absolute_error(y, np.full(len(y), np.median(y))),
    }
    for name, figure in expected.items():
        assert value[name] == pytest.approx(figure), name
    assert set(value.index) == set(expected)


def test_rates_also_count_images_without_a_prediction_as_failures(data, evaluation):
    y, predicted, *_ = data
    close = np.abs(predicted - y) <= 5  # NaN is not
    assert evaluation.overall.loc["cs5", "value_all"] == pytest.approx(close.mean())
    assert evaluation.n_failed == np.isnan(predicted).sum()
    assert np.isnan(evaluation.overall.loc["mae", "value_all"])


def test_figures_of_groups_are_those_of_fairlearn(data, evaluation):
    y, predicted, _, by = data
    known = ~np.isnan(predicted)
    frame = pd.DataFrame(by)[known]
    for names in (["sex"], ["camera"], ["sex", "camera"]):
        expected = MetricFrame(
            metrics=mean_absolute_error,
            y_true=y[known],
            y_pred=predicted[known],
            sensitive_features=frame[names].astype(str),
        ).by_group
        table = evaluation.by[" x ".join(names)]
        assert table["n_images"].sum() == len(y)
        for row in table.to_dict("records"):
            key = tuple(str(row[name]) for name in names)
            assert row["mae"] == pytest.approx(expected[key if len(key) > 1 else key[0]])


def test_bands_are_named_by_their_years_and_hold_all_images(data):
    y, predicted, *_ = data
    found = evaluate(predicted, y=y, bands=(0, 13, 18, 25), n_resamples=0)
    table = found.by["age band"]
    assert table["age band"].tolist() == ["0-12", "13-17", "18-24", "25+"]
    assert table["n_images"].sum() == len(y)
    assert table["n_images"].iloc[1] == ((y >= 13) & (y < 18)).sum()


def test_the_worst_and_best_groups_have_enough_images():
    y = np.repeat([10.0, 20.0, 30.0], [50, 50, 3])
    predicted = y + np.repeat([1.0, 2.0, 9.0], [50, 50, 3])
    found = evaluate(predicted, y=y, by={"kind": np.repeat(["a", "b", "c"], [50, 50, 3])})
    row = found.gaps.set_index("by").loc["kind"]
    assert (row["worst"], row["best"]) == ("b", "a")
    assert (row["gap"], row["gap_low"], row["gap_high"]) == pytest.approx((1, 1, 1))
    assert row["ratio"] == pytest.approx(2)


def test_intervals_agree_with_a_plain_bootstrap_by_person(data, evaluation):
    y, predicted, persons, _ = data
    known = ~np.isnan(predicted)
    for name, metric in (("mae", metrics.mean_absolute_error), ("bias", metrics.mean_error)):
        expected = metrics.bootstrap_interval(
            metric, y[known], predicted[known], groups=persons[known], random_state=1
        )
        found = evaluation.overall.loc[name, ["low", "high"]].astype(float)
        assert found.to_numpy() == pytest.approx(expected, abs=0.12)


def test_persons_with_many_images_make_intervals_wider():
    rng = np.random.default_rng(2)
    of_person = rng.normal(0, 5, 40)
    persons = np.repeat(np.arange(40), 25)
    y = rng.integers(20, 60, 1000).astype(float)
    predicted = y + of_person[persons] + rng.normal(0, 1, 1000)
    width = {}
    for name, groups in (("images", None), ("persons", persons)):
        row = evaluate(predicted, y=y, groups=groups, n_resamples=300).overall.loc["bias"]
        width[name] = row["high"] - row["low"]
    assert width["persons"] > 3 * width["images"]


def test_sums_over_cells_are_those_of_brute_force():
    rng = np.random.default_rng(3)
    values, cells, persons = rng.random((50, 2)), rng.integers(0, 6, 50), rng.integers(0, 9, 50)
    sums = CellSums(values, cells, persons)
    brute = np.array([values[cells == cell].sum(axis=0) for cell in range(cells.max() + 1)])
    assert sums.once() == pytest.approx(brute)
    drawn = np.concatenate(list(sums.samples(4, np.random.default_rng(0))))
    again = np.random.default_rng(0)
    for sample in drawn:
        chosen = again.integers(0, sums.n_persons, sums.n_persons)
        rows = np.concatenate([np.flatnonzero(persons == person) for person in chosen])
        for cell in range(sums.n_cells):
            at = rows[cells[rows] == cell]
            assert sample[cell] == pytest.approx(values[at].sum(axis=0))
    groups = np.array([0, 1, 0, 1, 2, 2])[: sums.n_cells]
    assert merged(drawn, groups)[:, 2] == pytest.approx(drawn[:, groups == 2].sum(axis=1))


def test_figures_that_most_samples_do_not_define_have_no_interval():
    samples = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 5.0]])
    low, high = percentiles(samples, 0.5)
    assert (low[0], high[0]) == (1.5, 2.5)
    assert np.isnan(low[1])
    assert np.isnan(high[1])


def test_a_model_is_evaluated_with_its_distribution_and_intervals(tabular):
    model, X, y = tabular
    found = evaluate(model, X, y, coverage=0.8, limit=18, n_resamples=50)
    distribution, interval = model.predict_dist(X), model.predict_interval(X, 0.8)
    value = found.overall["value"]
    assert value["mae"] == pytest.approx(mean_absolute_error(y, model.predict(X)))
    assert value["crps"] == pytest.approx(metrics.crps(y, distribution, model.binner_))
    assert value["coverage"] == pytest.approx(metrics.interval_coverage(y, interval))
    assert value["width"] == pytest.approx(metrics.interval_width(y, interval))
    assert value["winkler"] == pytest.approx(metrics.winkler_score(y, interval, 0.8))
    assert value["nll"] == pytest.approx(
        metrics.negative_log_likelihood(y, distribution, model.binner_)
    )
    assert found.overall.loc["calibration_error", "low"] <= value["calibration_error"]
    assert value["calibration_error"] == pytest.approx(
        metrics.calibration_error(y, distribution, model.binner_), abs=1e-3
    )


def test_a_point_regressor_is_evaluated_without_distribution(tabular):
    _, X, y = tabular
    found = evaluate(Ridge().fit(X, y), X, y, n_resamples=10)
    assert "crps" not in found.overall.index
    assert found.name == "Ridge"


def test_images_that_cannot_be_read_are_counted(fitted, tmp_path):
    faces = make_faces(6, image_size=32, random_state=0)
    paths = []
    for i, face in enumerate(faces.data):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(face).save(paths[-1])
    Path(paths[2]).write_bytes(b"not an image")
    found = evaluate(fitted, paths, faces.target, variability=4, n_resamples=10)
    assert found.n_failed == 1
    assert fitted.classifier_.on_error == "raise"
    assert found.variability["n"].max() >= 3
    mirrored = found.variability.set_index("change").loc["mirrored"]
    assert mirrored["mean_absolute_change"] >= 0


def test_images_known_from_training_are_counted(fitted):
    faces = make_faces(12, image_size=64, random_state=3)
    X, trained = faces.data[:6], faces.data[6:].copy()
    trained[0] = X[1]
    trained[1] = X[2]
    trained[1, :2] = 0  # nearly the same
    found = evaluate(
        fitted,
        X,
        faces.target[:6],
        groups=list("aabbcc"),
        X_train=trained,
        groups_train=list("czzzzz"),
        n_resamples=10,
    )
    counts = found.overlap.counts()
    assert counts == {"identical": 1, "near_identical": 1, "person": 2, "any": 4}
    assert "known from training" in found.to_html()


def test_a_model_knows_the_images_that_it_was_fitted_to(fitted, faces, tmp_path):
    fitted.save(tmp_path / "age.skage")
    new = make_faces(3, image_size=32, random_state=9)
    X = np.concatenate([faces.data[:5], new.data])
    y = np.concatenate([faces.target[:5], new.target])
    in_pipeline = make_pipeline(FunctionTransformer(), FrozenEstimator(fitted))
    for model in (fitted, in_pipeline, skage.load(tmp_path / "age.skage")):
        found = evaluate(model, X, y, n_resamples=0).overlap
        assert found.identical.tolist() == [True] * 5 + [False] * 3
        assert found.counts() == {"identical": 5, "near_identical": None, "person": None, "any": 5}


def test_the_limit_counts_false_passes(data, evaluation):
    y, predicted, _, by = data
    known = ~np.isnan(predicted)
    limit = evaluation.limit
    row = limit.challenge_ages.set_index("challenge_age").loc[25]
    under = known & (y < 18)
    assert row["false_pass_n"] == under.sum()
    assert row["false_pass_rate"] == pytest.approx((predicted[under] >= 25).mean())
    assert row["false_pass_rate_all"] == pytest.approx((predicted[y < 18] >= 25).mean())
    figures = limit.figures.set_index("figure")
    expected = metrics.nist_false_positive_rate(
        y[known], predicted[known], np.array(by["sex"])[known], np.array(by["camera"])[known]
    )
    assert figures.loc["nist_fpr", "value"] == pytest.approx(expected)


def test_a_rate_of_none_has_no_bootstrap_interval():
    y = np.repeat([16.0, 17.0, 30.0], 20)
    found = evaluate(y + np.tile([-1.0, 1.0], 30), y=y, limit=18, n_resamples=50)
    row = found.limit.figures.set_index("figure").loc["nist_fpr"]
    assert row["value"] == 0
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])
    assert row["definition"] == "NIST's false positive rate: the rate of 20 images."
    assert found.limit.chosen["false_pass_high"] > 0


def test_a_limit_needs_someone_below_it():
    with pytest.raises(ValueError, match=r"limit=18: no image .* below it"):
        evaluate([30.0, 40.0], y=[31, 42], limit=18)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([20.0, 30.0], r"shape \(2,\) for 3 images"),
        ([20.0, np.inf, 30.0], "predicted age of image 1 is inf"),
        ([np.nan] * 3, "None of the 3 images has a prediction"),
        (pd.DataFrame({"years": [1, 2, 3]}), "no column 'age'; it has 'years'"),
        (pd.DataFrame({"age": [1, 2, 3], "low": [0, 1, 2]}), "column 'low' alone"),
        (pd.DataFrame({"age": [1, 2, 3], "low": [0, 5, 2], "high": [2, 4, 4]}), "Row 1 .* low <="),
        (pd.DataFrame({"age": ["1", "x", "3"]}, index=[7, 8, 9]), "'x' in row 1, which is not a"),
        ("age.skage", "'age.skage' is a model file. Pass skage.load"),
        ("ages.csv", "Pass the paths of the images as X"),
    ],
)
def test_bad_predictions_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        evaluate(given, y=[20, 30, 40])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": None}, "needs the true ages"),
        ({"y": [20, np.nan]}, r"y\[1\] is nan"),
        ({"groups": [1, None]}, r"groups\[1\] is missing"),
        ({"groups": [1]}, "inconsistent numbers"),
        ({"by": {"sex": ["m"]}}, "inconsistent numbers"),
        ({"by": ["m", "f"]}, "by=list is not valid"),
        ({"by": {"age band": ["m", "f"]}}, "'age band' of by"),
        ({"bands": (10, 0)}, "bands=.*ascending"),
        ({"coverage": 2}, "coverage"),
        ({"variability": 3}, "variability=3 needs a model"),
        ({"groups": [[1], [2]]}, r"groups has the shape \(2, 1\)"),
        ({"by": {"predicted": ["m", "f"]}}, "'predicted' of by has a name that the tables"),
        ({"by": {"mae": ["m", "f"]}}, "'mae' of by has a name that the tables"),
        ({"by": {"a x b": ["m", "f"]}}, "'a x b' of by has a name that the tables"),
        ({"by": pd.DataFrame([["m", "f"]] * 2, columns=["s", "s"])}, r"'s' of by has the shape"),
        ({"bands": "ages"}, "bands='ages' are not valid"),
        ({"bands": (0, np.inf)}, "bands=.*ascending"),
        ({"challenge_age": 25}, "challenge_age=25 has no effect without a limit"),
        ({"challenge_age": 20, "limit": 25}, "challenge_age=20 is below limit=25"),
        ({"about": "faces"}, "about='faces' is not a dict"),
        ({"X_train": ["a.jpg"]}, "X_train is given, but X is not"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate([20.0, 30.0], **({"y": [21, 29]} | options))


@pytest.mark.parametrize(
    "given",
    [
        [21, None, 33],
        pd.Series([21, pd.NA, 33], index=[5, 3, 1], dtype=object),
        pd.array([21, None, 33], dtype="Float64"),
        np.array([[21.0], [np.nan], [33.0]]),
        pd.DataFrame({"age": pd.array([21, None, 33], dtype="Float64")}, index=[5, 3, 1]),
    ],
)
def test_missing_ages_of_any_kind_are_images_without_a_prediction(given):
    found = evaluate(given, y=[20, 30, 35], n_resamples=0)
    assert found.images["predicted"].tolist() == pytest.approx([21, np.nan, 33], nan_ok=True)


def test_a_model_has_to_be_fitted_and_predict_ages(tabular):
    _, X, y = tabular
    adults = LogisticRegression().fit(X, np.where(y < 18, "fail", "pass"))
    with pytest.raises(TypeError, match=r"LogisticRegression predicts, for example, .*not an age"):
        evaluate(adults, X, y)
    search = GridSearchCV(Ridge(), {"alpha": [1]}, refit=False, cv=2).fit(X, y)
    with pytest.raises(ValueError, match=r"Search with refit=True"):
        evaluate(search, X, y)


def test_groups_are_in_the_order_of_numbers_and_classes(data):
    y, predicted, *_ = data
    by = {
        "number": pd.Series(np.arange(len(y)) % 11, index=y),
        "class": pd.cut(y, [0, 5, 20, 100]),
        "text": np.where(y < 20, "", "a"),
    }
    found = evaluate(predicted, y=y, by=by, n_resamples=0).by
    assert found["number"]["number"].tolist() == [str(i) for i in range(11)]
    assert found["class"]["class"].tolist() == ["(0, 5]", "(5, 20]", "(20, 100]"]
    assert found["text"]["text"].tolist() == ["a", "unknown"]


def test_bands_that_are_not_whole_years_are_named_by_both_ends(data):
    y, predicted, *_ = data
    found = evaluate(predicted, y=y, bands=(0, 12.5, 18), n_resamples=0).by["age band"]
    assert found["age band"].tolist() == ["0 to below 12.5", "12.5 to below 18", "18+"]


def test_one_person_gives_no_interval(tabular):
    model, X, y = tabular
    found = evaluate(model, X, y, groups=["a"] * len(y), n_resamples=20)
    assert found.overall["low"].isna().all()
    assert found.by["age band"]["mae_low"].isna().all()
    assert "clear bias" not in found.to_html()
    groups = np.r_[["a"] * 150, ["b", "c"] * 75]
    by = {"kind": np.repeat(["one", "two"], 150)}
    table = evaluate(model, X, y, groups=groups, by=by, n_resamples=50).by["kind"]
    assert table["mae_low"].isna().tolist() == [True, False]
    compared = compare(model, y, X, y, groups=groups, by=by, n_resamples=50).by["kind"]
    assert compared["low"].isna().tolist() == [True, False]


def test_the_interval_of_the_calibration_error_contains_it():
    rng = np.random.default_rng(0)
    y = rng.uniform(20, 60, 400)
    model = BinnedAgeRegressor(DummyClassifier(), AgeBinner(8)).fit(y[:, None], y)
    row = evaluate(model, y[:, None], y, n_resamples=100).overall.loc["calibration_error"]
    assert 0 <= row["low"] < 0.01  # the distributions are right
    assert row["low"] <= row["value"] <= row["high"]


def test_gaps_between_single_persons_have_no_interval(data):
    y = np.repeat(30.0, 80)
    predicted = y + np.repeat([1, 2], 40)
    by = {"kind": np.repeat(["a", "b"], 40)}
    found = evaluate(predicted, y=y, by=by, groups=by["kind"], n_resamples=50)
    row = found.gaps.set_index("by").loc["kind"]
    assert row["gap"] == 1
    assert np.isnan(row["gap_low"])
    found.to_html()


def test_the_summary_tells_who_passes(evaluation):
    row = evaluation.limit.challenge_ages.set_index("challenge_age").loc[25]
    passed = round(row["false_pass_rate"] * row["false_pass_n"])
    line = f"aged below 18 and estimated at 25 or above: {100 * row['false_pass_rate']:.1f} %"
    assert f"{line} ({passed} of {row['false_pass_n']:.0f})" in repr(evaluation)


def test_without_samples_nothing_is_called_clear(data):
    y, predicted, *_ = data
    page = evaluate(predicted, y=y, n_resamples=0).to_html()
    assert "is the mean of predicted minus true ages" in page
    assert "clear bias" not in page
    assert compare(predicted, y, y=y, n_resamples=0).overall["low"].isna().all()


def test_bars_of_small_groups_are_as_long_as_their_errors():
    page = evaluate([21.0, 34.0], y=[20, 30]).to_html()
    assert "width: 25.0%" in page
    assert 'width: 100%"></span>' in page


@pytest.mark.parametrize("challenge_age", [24.5, 35])
def test_the_challenge_age_is_among_those_of_the_tables(data, challenge_age):
    y, predicted, *_ = data
    found = evaluate(predicted, y=y, limit=18, challenge_age=challenge_age, n_resamples=0)
    table = found.limit.challenge_ages.set_index("challenge_age")
    under = (y < 18) & ~np.isnan(predicted)
    expected = (predicted[under] >= challenge_age).mean()
    assert table.loc[challenge_age, "false_pass_rate"] == pytest.approx(expected)
    assert f"at a challenge age of {challenge_age}:" in found.to_html()


def test_numbers_of_numpy_are_written(data, tmp_path):
    y, predicted, *_ = data
    options = {"limit": np.int64(18), "min_count": np.int64(10), "about": {"n": np.int64(3)}}
    found = json.loads(evaluate(predicted, y=y, n_resamples=0, **options).to_json())
    assert (found["limit"]["limit"], found["about"]) == (18, {"n": "3"})
    with pytest.raises(FileNotFoundError, match=r"cannot be written: the folder .* does not exist"):
        evaluate(predicted, y=y, n_resamples=0).to_html(tmp_path / "no" / "report.html")


def test_a_column_of_many_values_is_refused():
    with pytest.raises(ValueError, match=r"'id' has 60 values.*pandas.cut"):
        evaluate(np.arange(60.0), y=np.arange(60), by={"id": range(60)})


def test_a_model_needs_images(tabular):
    with pytest.raises(ValueError, match="needs the images"):
        evaluate(tabular[0], y=[20])


def test_what_is_no_prediction_is_a_type_error():
    with pytest.raises(TypeError, match="Cannot evaluate a list"):
        evaluate(["a", "b"], y=[20, 30])


class TestCsv:
    def write(self, tmp_path, text):
        path = tmp_path / "ages.csv"
        path.write_text(text)
        return path

    def test_rows_are_assigned_by_the_end_of_the_path(self, tmp_path):
        csv = self.write(tmp_path, "img_path,predicted_age\nx/b.jpg,31\n/y/a.jpg,\nc.jpg,9\n")
        with pytest.warns(UserWarning, match="1 of 3 images are not listed"):
            found = read_predictions(csv, ["faces/a.jpg", "faces/b.jpg", "faces/d.jpg"])
        assert found["age"].tolist() == pytest.approx([np.nan, 31, np.nan], nan_ok=True)

    @pytest.mark.parametrize(
        "text",
        [
            "file;age\nd/a.jpg;31,5\n",
            "file\tage\nd/a.jpg\t31.5\n",
            '"age","file"\n"31.5","C:\\x\\d\\a.jpg"\n',
            "\ufefffile,age,box\na.jpg,31.5\n",
        ],
    )
    def test_what_spreadsheets_write_is_read(self, tmp_path, text):
        found = read_predictions(self.write(tmp_path, text), ["/y/d/a.jpg"])
        assert found["age"].tolist() == [31.5]

    def test_accents_are_alike_however_they_are_written(self, tmp_path):
        csv = self.write(tmp_path, "file,age\ncafe\u0301.jpg,31\n")
        assert read_predictions(csv, ["caf\u00e9.jpg"])["age"].tolist() == [31]

    def test_a_csv_may_list_other_images_of_the_same_name(self, tmp_path):
        csv = self.write(tmp_path, "file,age\nann/1.jpg,20\nbob/1.jpg,30\ncy/1.jpg,40\n")
        assert read_predictions(csv, ["/d/bob/1.jpg"])["age"].tolist() == [30]

    def test_folders_tell_files_of_one_name_apart(self, tmp_path):
        csv = self.write(tmp_path, "file,age\nann/1.jpg,20\nbob/1.jpg,30\n")
        found = read_predictions(csv, ["/d/bob/1.jpg", "/d/ann/1.jpg"])
        assert found["age"].tolist() == [30, 20]
        csv = self.write(tmp_path, "file,age\n1.jpg,20\n")
        with pytest.raises(ValueError, match=r"several images of X have this name.*last 2 parts"):
            read_predictions(csv, ["/d/bob/1.jpg", "/d/ann/1.jpg"])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1,2\n", "Which column of .* is the path is not clear"),
            ("file,path,age\n1,1,2\n", "several that may be: 'file', 'path'"),
            ("file,age\na.jpg,old\n", "'old' in row 0"),
            ("file,age\nz.jpg,4\n", "None of the 1 rows of the CSV belongs"),
            ("file,age\na.jpg,4\na.jpg,5\n", "Rows 0 and 1 of the CSV both belong to 'a.jpg'"),
            ("", "not a CSV"),
            ("file,age\n", "has a header but no rows"),
            ("file,age,age\na.jpg,4,5\n", "two columns named 'age'"),
            ("age,file\n31,5,a.jpg\n", "quotes around text that contains the delimiter"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, message):
        with pytest.raises(ValueError, match=message):
            read_predictions(self.write(tmp_path, text), ["a.jpg"])

    def test_a_missing_column_and_images_that_are_no_paths(self, tmp_path):
        csv = self.write(tmp_path, "file,age\na.jpg,4\n")
        with pytest.raises(ValueError, match="no column 'years'; it has 'file', 'age'"):
            read_predictions(csv, ["a.jpg"], age="years")
        with pytest.raises(ValueError, match=r"X\[0\] is a ndarray"):
            read_predictions(csv, np.zeros((1, 8, 8, 3)))

    def test_a_csv_is_evaluated_and_compared(self, tmp_path, data):
        y, predicted, *_ = data
        names = [f"{i}.jpg" for i in range(len(y))]
        csv = tmp_path / "peer.csv"
        pd.DataFrame({"file": names, "age": predicted}).to_csv(csv, index=False)
        found = evaluate(csv, names, y, n_resamples=10)
        assert found.name == "peer.csv"
        assert found.n_failed == np.isnan(predicted).sum()
        same = compare(csv, predicted, names, y, n_resamples=10)
        assert same.overall["difference"].abs().max() < 1e-9


class Page(HTMLParser):
    """The tags of a page, closed in the order in which they were opened."""

    void = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_report_is_one_page_without_scripts_or_outside_resources(evaluation, tmp_path):
    html = evaluation.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == html
    page = Page(html)
    assert "script" not in page.tags
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.findall(r"url\((?!#)", html)
    assert "NaN" not in html
    assert "nan" not in re.sub(r"<[^>]*>", "", html).split()
    assert html == evaluation.to_html()


def test_what_users_name_is_escaped_in_the_report(data):
    y, predicted, *_ = data
    by = {"<b>kind": np.where(y > 40, "<script>alert(1)</script>", "b & c")}
    html = evaluate(predicted, y=y, by=by, about={"data": "<i>"}, n_resamples=20).to_html()
    assert "<script" not in html
    assert "<b>kind" not in html
    assert "<i>" not in html


def test_notebooks_show_the_summary_and_the_figures(evaluation):
    html = evaluation._repr_html_()
    Page(html)
    assert "Mean absolute error" in html
    assert "Evaluation of given ages on 2,400 images" in repr(evaluation)


def test_json_follows_the_documented_schema(evaluation, tabular, tmp_path):
    import jsonschema

    schema = json.loads((Path(__file__).parent.parent / "docs/evaluation.schema.json").read_text())
    model, X, y = tabular
    for found in (evaluation, evaluate(model, X, y, n_resamples=10)):
        text = found.to_json(tmp_path / "evaluation.json")
        assert (tmp_path / "evaluation.json").read_text() == text
        jsonschema.validate(json.loads(text), schema)


def test_plot_shows_the_errors(evaluation):
    figure = evaluation.plot()
    assert len(figure.axes) >= 3


def test_the_same_seed_gives_the_same_figures(data):
    y, predicted, persons, _ = data
    first, second = (
        evaluate(predicted, y=y, groups=persons, n_resamples=20, random_state=5).to_json()
        for _ in range(2)
    )
    assert first == second


def test_compare_pairs_the_samples(data):
    y, predicted, persons, by = data
    better = np.where(np.isnan(predicted), np.nan, y + 0.8 * (predicted - y))
    better[0] = np.nan
    found = compare(predicted, better, y=y, groups=persons, by=by, n_resamples=200)
    row = found.overall.loc["mae"]
    both = ~np.isnan(better) & ~np.isnan(predicted)
    assert row["a"] == pytest.approx(mean_absolute_error(y[both], predicted[both]))
    assert row["difference"] == pytest.approx(-0.2 * row["a"])
    # The errors are proportional, so that the interval is a fifth of that of the MAE.
    single = evaluate(predicted, y=y, groups=persons, n_resamples=200).overall.loc["mae"]
    width = row["high"] - row["low"]
    assert width == pytest.approx(0.2 * (single["high"] - single["low"]), rel=0.3)
    assert (found.by["sex"]["difference"] < 0).all()
    assert found.n_images == both.sum()
    assert found.n_left_out == (np.isnan(predicted).sum(), np.isnan(better).sum())
    assert "b - a" in repr(found)
    Page(found._repr_html_())


def test_two_predictions_without_a_common_image_cannot_be_compared():
    with pytest.raises(ValueError, match="No image has a prediction of both"):
        compare([20.0, np.nan], [np.nan, 30.0], y=[20, 30])


def test_differences_of_shares_are_printed_in_points():
    found = compare([20, 30, 40, 50], [20, 30, 40, 60], y=[20, 30, 40, 50], n_resamples=0)
    [line] = [line for line in repr(found).splitlines() if "CS@5" in line]
    assert line.endswith(" 100.0 %   75.0 % -25.0 points")


def test_models_of_one_class_are_told_apart(tabular):
    model, X, y = tabular
    found = compare(model, model, X, y, n_resamples=5)
    assert found.names == ("BinnedAgeRegressor (1)", "BinnedAgeRegressor (2)")
    assert found.overall["difference"].abs().max() == 0


def test_the_functions_are_public():
    assert skage.evaluate is evaluate
    assert skage.compare is compare
