"""python -m skage evaluate."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from skage._app.cli import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def table(tmp_path_factory, paths, faces):
    """A CSV of images with their ages, persons and a column of groups."""
    frame = pd.DataFrame(
        {
            "path": paths,
            "age": faces.target,
            "person": [f"p{group}" for group in faces.groups],
            "sex": np.where(np.arange(len(paths)) % 3, "female", "male"),
        }
    )
    path = tmp_path_factory.mktemp("table") / "faces.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "age.skage"
    fitted.save(path)
    return path


def test_a_model_is_evaluated(table, model, tmp_path):
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    options = ["--by", "sex", "--limit", 40, "--group-column", "person", "--samples", 20]
    about = ["--about", "licence=none", "--train-data", table, "--variability", 3]
    done = run("evaluate", table, "-m", model, "-o", report, "--json", figures, *options, *about)
    assert done.exit_code == 0, done.output
    assert "Mean absolute error" in done.output
    assert "licence" in report.read_text().lower()
    found = json.loads(figures.read_text())
    assert found["settings"]["n_persons"] == 20
    assert found["overlap"]["identical"] == 40
    assert found["overlap"]["person"] == 40
    assert set(found["by"]) == {"age band", "sex", "age band x sex"}
    assert found["about"] == {"data": "faces.csv", "licence": "none"}


def test_what_predict_writes_is_evaluated_alike(table, model, tmp_path):
    ages, figures = tmp_path / "ages.csv", tmp_path / "figures.json"
    assert run("predict", table, "-m", model, "-o", ages).exit_code == 0
    for given in (["--predictions", ages], ["-m", model]):
        report = tmp_path / "report.html"
        done = run("evaluate", table, *given, "-o", report, "--json", figures, "--samples", 0)
        assert done.exit_code == 0, done.output
        overall = {row["figure"]: row for row in json.loads(figures.read_text())["overall"]}
        if given[0] == "--predictions":
            expected = overall
    for name in ("mae", "coverage", "width"):
        assert overall[name]["value"] == pytest.approx(expected[name]["value"], abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Pass either --model or --predictions"),
        (["-m", "{model}", "--predictions", "{table}"], "Pass either --model or --predictions"),
        (["-m", "{model}", "--challenge-age", 25], "--challenge-age has no effect without --limit"),
        (["-m", "{model}", "--predicted-age", "age"], "--predicted-age has no effect without"),
        (["--predictions", "{table}", "--variability", 2], "--variability has no effect with"),
        (["-m", "{model}", "--by", "camera"], "--by camera: the data have no such column"),
        (["-m", "{model}", "--about", "licence"], "'licence' is not NAME=TEXT"),
        (["-m", "{model}", "-o", "{table}"], "is one of the inputs"),
        (
            ["-m", "{model}", "-o", "no/x.html"],
            "no/x.html cannot be written: the folder no does not",
        ),
        (["-m", "{model}", "-o", "a.html", "--json", "a.html"], "--json and -o both name a.html"),
    ],
)
def test_what_is_wrong_is_one_line(table, model, tmp_path, options, message):
    given = [str(option).format(model=model, table=table) for option in options]
    output = [] if "-o" in options else ["-o", tmp_path / "report.html"]
    done = run("evaluate", table, *given, *output)
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "report.html").exists()
