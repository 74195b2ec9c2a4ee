import csv
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import skage
from skage import BinnedAgeRegressor
from skage._app.parameters import parse_grid, parse_value
from skage.augment import Jitter
from skage.presets import fast

from .test_cli import TINY, run

GRID = ["--grid", "binner.n_bins=3,4", "--grid", "classifier.lr=0.001,0.01"]


@pytest.fixture
def table(tmp_path, paths, faces):
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "age", "name"])
        people = [f"p{i // 4}" for i in range(40)]
        writer.writerows(zip(paths, faces.target, people, strict=True))
    return tmp_path / "faces.csv"


@pytest.fixture
def fits(monkeypatch):
    """The images that each fit was given."""
    seen, fit = [], BinnedAgeRegressor.fit

    def noting(self, X, *arguments, **options):
        seen.append(X)
        return fit(self, X, *arguments, **options)

    monkeypatch.setattr(BinnedAgeRegressor, "fit", noting)
    return seen


def tune(table, *more, grid=GRID):
    folder = table.parent
    given = ["-o", folder / "age.skage", "--cache", folder / "kept", "--folds", 2, *TINY, *grid]
    return run("tune", table, *given, *more)


def test_it_writes_a_table_and_the_best_model(table, tmp_path, fits):
    result = tune(table)
    assert result.exit_code == 0, result.output
    assert "4 candidates x 2 folds: 8 fits." in result.output
    assert "MAE of always predicting the median age on the same folds: " in result.output
    assert len(fits) == 9
    found = pd.read_csv(tmp_path / "age.csv")
    assert found["mae"].is_monotonic_increasing
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert (found["std"] >= 0).all()
    best = skage.load(tmp_path / "age.skage")
    assert best.binner_.n_bins == found["binner.n_bins"][0]
    assert best.classifier_.lr == found["classifier.lr"][0]
    assert len(fits[-1]) == 40


def test_no_fold_parts_a_person(table, fits):
    people = dict(pd.read_csv(table)[["path", "name"]].itertuples(index=False))
    assert tune(table, "--group-column", "name").exit_code == 0
    for images in fits[:-1]:
        outside = set(people) - set(images)
        assert not {people[path] for path in images} & {people[path] for path in outside}


def test_a_search_that_was_stopped_goes_on(table, tmp_path, fits, monkeypatch):
    expected = tune(table)
    table_before = pd.read_csv(tmp_path / "age.csv").drop(columns="seconds")
    journal = tmp_path / "age.fits.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:5], lines[5][:20]]))  # as if killed while it wrote
    fits.clear()
    result = tune(table)
    assert "8 fits. 5 of them are in " in result.output
    assert len(fits) == 3 + 1
    assert pd.read_csv(tmp_path / "age.csv").drop(columns="seconds").equals(table_before)
    assert expected.exit_code == result.exit_code == 0
    fits.clear()
    assert tune(table, grid=[*GRID[:2], "--grid", "classifier.lr=0.001,0.01,0.1"]).exit_code == 0
    assert len(fits) == 4 + 1
    fits.clear()
    assert tune(table, "--set", "classifier.dropout=0.1").exit_code == 0
    assert len(fits) == 8 + 1


def test_an_interrupted_search_says_how_to_go_on(table, tmp_path, fits, monkeypatch):
    fit = BinnedAgeRegressor.fit

    def interrupt(self, X, *arguments):
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, X, *arguments)

    monkeypatch.setattr(BinnedAgeRegressor, "fit", interrupt)
    result = tune(table)
    assert result.exit_code == 1
    assert "2 of 8 fits are in " in result.output
    assert "Run the same command again to go on." in result.output
    assert len((tmp_path / "age.fits.jsonl").read_text().splitlines()) == 2


def test_candidates_that_diverge_come_last(table, tmp_path):
    result = tune(
        table, grid=["--grid", "classifier.lr=1e9,0.001", "--set", "classifier.max_epochs=9"]
    )
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "age.csv")
    assert found["classifier.lr"].tolist() == [0.001, 1e9]
    assert np.isnan(found["mae"][1])
    rows = [json.loads(line) for line in (tmp_path / "age.fits.jsonl").read_text().splitlines()]
    assert sum(row["mae"] is None for row in rows) == 2


def test_two_processes_find_the_same(table, tmp_path):
    first = tune(table)
    one = pd.read_csv(tmp_path / "age.csv").drop(columns="seconds")
    (tmp_path / "age.fits.jsonl").unlink()
    second = tune(table, "--jobs", 2)
    assert first.exit_code == second.exit_code == 0, second.output
    assert pd.read_csv(tmp_path / "age.csv").drop(columns="seconds").equals(one)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.01", 0.01),
        ("None", None),
        ("(200, 200)", (200, 200)),
        ("{'cross_entropy': 1}", {"cross_entropy": 1}),
        ("adamw", "adamw"),
        ("'adamw'", "adamw"),
        ("block5", "block5"),
        ("my file.pth", "my file.pth"),
    ],
)
def test_values_are_pythons_or_text(text, value):
    assert parse_value(text) == value


def test_a_grid_is_parted_at_its_outer_commas():
    model = fast()
    given = [
        "classifier.hidden_layer_sizes=(512,),(),(200, 200)",
        "binner.strategy=uniform,balanced",
    ]
    grid = parse_grid(model, [*given, "classifier.augment=None,Jitter(n_copies=2, shift=0.2)"])
    assert grid["classifier__hidden_layer_sizes"] == [(512,), (), (200, 200)]
    assert grid["binner__strategy"] == ["uniform", "balanced"]
    none, jitter = grid["classifier__augment"]
    assert none is None
    assert isinstance(jitter, Jitter)
    assert jitter.shift == 0.2


def test_ages_are_found_by_a_pattern_in_the_names(tmp_path, paths, faces):
    (tmp_path / "faces").mkdir()
    for i in range(20):
        name = f"ann{i // 2}_{faces.target[i]:.0f}y-{i}.png"
        Image.open(paths[i]).save(tmp_path / "faces" / name)
    Image.open(paths[20]).save(tmp_path / "faces" / "unknown.png")
    pattern = r"(?P<person>\w+)_(?P<age>\d+)y"
    given = [tmp_path / "faces", "-o", tmp_path / "age.skage", "--age-pattern", pattern]
    trained = run("train", *given, *TINY)
    assert trained.exit_code == 0, trained.output
    assert "1 file (path does not match " in trained.output
    assert "Trained on 20 images" in trained.output
    found = skage.datasets.load_folder(tmp_path / "faces", pattern=pattern)
    assert sorted(found.target) == sorted(faces.target[:20])
    assert found.frame["person"].nunique() == len(set(found.groups)) == 10
