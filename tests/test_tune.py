import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import skage
from skage import BinnedAgeRegressor
from skage._app import search
from skage.datasets import make_faces

from .test_cli import TINY, run

GRID = ["--grid", "binner.n_bins=3,4", "--grid", "classifier.lr=0.001,0.01"]


@pytest.fixture
def table(tmp_path, paths, faces):
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "age", "name", "other"])
        people = [f"p{i // 4}" for i in range(40)]
        writer.writerows(zip(paths, faces.target, people, faces.target + 1, strict=True))
    return tmp_path / "faces.csv"


class Fits(list):
    """The images that each fit was given, and their groups."""


@pytest.fixture
def fits(monkeypatch):
    seen, fit = Fits(), BinnedAgeRegressor.fit
    seen.groups = []

    def noting(self, X, *arguments, **options):
        seen.append(X)
        seen.groups.append(options["groups"])
        return fit(self, X, *arguments, **options)

    monkeypatch.setattr(BinnedAgeRegressor, "fit", noting)
    return seen


def arguments(table, grid):
    """A search with tiny networks, which sets no parameter that is searched."""
    searched = {text.partition("=")[0] for text in grid}
    settings = [text for text in TINY[1::2] if text.partition("=")[0] not in searched]
    folder = table.parent
    given = [table, "-o", folder / "age.skage", "--cache", folder / "kept", "--folds", 2, *grid]
    return ["tune", *map(str, given), *(word for text in settings for word in ("--set", text))]


def tune(table, *more, grid=GRID):
    return run(*arguments(table, grid), *more)


def test_it_writes_a_table_and_the_best_model(table, tmp_path, fits):
    result = tune(table)
    assert result.exit_code == 0, result.output
    assert "4 candidates in 2 folds: 8 fits." in result.output
    assert "Mean absolute error of always predicting the median age: " in result.output
    assert len(fits) == 9
    found = pd.read_csv(tmp_path / "age.search.csv")
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
    for images, groups in zip(fits, fits.groups, strict=True):
        assert len(set(groups)) == len({people[path] for path in images})
    for images in fits[:-1]:
        outside = set(people) - set(images)
        assert not {people[path] for path in images} & {people[path] for path in outside}


def test_a_search_that_was_stopped_goes_on_to_the_same_table(table, tmp_path, fits):
    expected = tune(table)
    table_before = pd.read_csv(tmp_path / "age.search.csv").drop(columns="seconds")
    journal = tmp_path / "age.search.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:5], lines[5][:20]]))  # as if killed while it wrote
    fits.clear()
    result = tune(table)
    assert "age.search.jsonl contains 5 of them already." in result.output
    assert len(fits) == 3 + 1
    assert pd.read_csv(tmp_path / "age.search.csv").drop(columns="seconds").equals(table_before)
    assert expected.exit_code == result.exit_code == 0
    fits.clear()
    assert tune(table, grid=[*GRID[:2], "--grid", "classifier.lr=0.001,0.01,0.1"]).exit_code == 0
    assert len(fits) == 4 + 1


@pytest.mark.parametrize(
    "change",
    [
        ["--set", "classifier.dropout=0.1"],
        ["--set", "classifier.runtime.precision=float32"],
        ["--folds", 4],
        ["--seed", 1],
        ["--age-column", "other"],
        ["--crop", "haar", "--on-no-face", "whole"],
    ],
)
def test_fits_with_other_data_or_settings_are_told_of_and_not_used(table, fits, change):
    few = ["--grid", "binner.n_bins=3"]
    assert tune(table, grid=few).exit_code == 0
    fits.clear()
    result = tune(table, *change, grid=few)
    assert result.exit_code == 0, result.output
    assert len(fits) == (4 if "--folds" in change else 2) + 1
    assert "age.search.jsonl contains 2 fits with other data, parameters, folds" in result.output
    fits.clear()
    assert tune(table, grid=few).exit_code == 0  # which are still there
    assert len(fits) == 1


def test_an_image_that_changed_is_other_data(table, paths, fits):
    images = [table.parent / f"{i}.png" for i in range(40)]
    for path, image in zip(paths, images, strict=True):
        shutil.copy(path, image)
    frame = pd.read_csv(table).assign(path=[image.name for image in images])
    frame.to_csv(table, index=False)
    assert tune(table, grid=["--grid", "binner.n_bins=3"]).exit_code == 0
    fits.clear()
    Image.open(paths[1]).save(images[0])
    assert tune(table, grid=["--grid", "binner.n_bins=3"]).exit_code == 0
    assert len(fits) == 2 + 1


@pytest.mark.parametrize("content", ["my notes", "my notes\n"])
def test_a_file_that_is_not_of_a_search_is_left_alone(table, tmp_path, fits, content):
    (tmp_path / "age.search.jsonl").write_text(content)
    result = tune(table)
    assert result.exit_code == 1
    assert "age.search.jsonl, line 1, is not a finished fit. Remove the file, or" in result.output
    assert (tmp_path / "age.search.jsonl").read_text() == content
    assert not fits


def test_a_search_that_was_killed_goes_on(table, tmp_path, fits):
    journal = tmp_path / "age.search.jsonl"
    command = [sys.executable, "-m", "skage", *arguments(table, GRID)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (journal.exists() and journal.read_bytes()):
            time.sleep(0.005)
        process.kill()
    n_done = journal.read_bytes().count(b"\n")
    assert 1 <= n_done < 8
    result = tune(table)
    assert result.exit_code == 0, result.output
    assert len(fits) == 8 - n_done + 1


def test_an_interrupted_search_says_how_to_go_on(table, tmp_path, fits, monkeypatch):
    fit = BinnedAgeRegressor.fit

    def interrupt(self, X, *arguments, **options):
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, X, *arguments, **options)

    monkeypatch.setattr(BinnedAgeRegressor, "fit", interrupt)
    result = tune(table)
    assert result.exit_code == 1
    assert "contains 2 of 8 fits. Run the same command again to go on from there." in result.output
    assert len((tmp_path / "age.search.jsonl").read_text().splitlines()) == 2


def test_candidates_that_diverge_come_last(table, tmp_path):
    result = tune(
        table, grid=["--grid", "classifier.lr=1e9,0.001", "--set", "classifier.max_epochs=9"]
    )
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "age.search.csv")
    assert found["classifier.lr"].tolist() == [0.001, 1e9]
    assert np.isnan(found["mae"][1])
    rows = [json.loads(line) for line in (tmp_path / "age.search.jsonl").read_text().splitlines()]
    assert sum(row["mae"] is None for row in rows) == 2


def test_two_processes_find_the_same(table, tmp_path):
    first = tune(table)
    one = pd.read_csv(tmp_path / "age.search.csv").drop(columns="seconds")
    (tmp_path / "age.search.jsonl").unlink()
    second = tune(table, "--jobs", 2)
    assert first.exit_code == second.exit_code == 0, second.output
    assert pd.read_csv(tmp_path / "age.search.csv").drop(columns="seconds").equals(one)


def test_what_two_candidates_crop_has_their_own_size(table, monkeypatch):
    sizes, fit = [], skage.BinnedAgeRegressor.fit

    def noting(self, X, *arguments, **options):
        sizes.append((self.classifier.image_size, X[0]._settings.size))
        return fit(self, X, *arguments, **options)

    monkeypatch.setattr(BinnedAgeRegressor, "fit", noting)
    grid = ["--grid", "classifier.image_size=32,48"]
    result = tune(table, "--crop", "haar", "--on-no-face", "whole", grid=grid)
    assert result.exit_code == 0, result.output
    assert set(sizes) == {(32, 32), (48, 48)}


@pytest.fixture
def with_broken(table, tmp_path):
    """The table with a file in the middle that is no image."""
    (tmp_path / "broken.png").write_bytes(b"broken")
    lines = table.read_text().splitlines()
    lines.insert(21, f"{tmp_path / 'broken.png'},30,p99,31")
    table.write_text("\n".join(lines))
    return table


def test_an_image_that_cannot_be_read_ends_the_search_before_the_first_fit(with_broken, fits):
    result = tune(with_broken)
    assert result.exit_code == 1
    message = "Error: 1 of 41 images cannot be read. Pass --on-error skip to leave such images out."
    assert message in result.output
    assert "broken.png (item 20) is not a readable image: unknown format.\n" in result.output
    assert not fits


def test_an_image_that_cannot_be_read_is_told_once_and_left_out(with_broken, tmp_path):
    result = tune(with_broken, "--on-error", "skip")
    assert result.exit_code == 0, result.output
    assert "Warning: 1 of 41 images cannot be used and are left out:\n" in result.output
    assert result.output.count("broken.png") == 1
    assert "The best one, fitted to 40 images: " in result.output
    assert np.isfinite(pd.read_csv(tmp_path / "age.search.csv")["mae"]).all()


def test_images_without_a_face_are_left_out_of_a_search(table, tmp_path):
    scenes = make_faces(16, 160, random_state=1, scenes=True)
    rows = ["path,age"]
    for i, (pixels, age) in enumerate(zip(scenes.data, scenes.target, strict=True)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{age}")
    table.write_text("\n".join(rows))
    result = tune(table, "--crop", "haar", "--margin", 0.2, grid=["--grid", "binner.n_bins=2,3"])
    assert result.exit_code == 0, result.output
    n_left_out = int(re.search(r"Warning: (\d+) of 16 images cannot be used", result.output)[1])
    assert 0 < n_left_out < 16
    assert f"fitted to {16 - n_left_out} images" in result.output
    assert "left out of fit" not in result.output


def test_the_files_of_two_searches_do_not_meet(table, tmp_path):
    few = ["--grid", "binner.n_bins=3"]
    for name in ("y.v1", "y.v2"):
        assert tune(table, "-o", tmp_path / name, grid=few).exit_code == 0
        for ending in ("", ".search.csv", ".search.jsonl"):
            assert (tmp_path / f"{name}{ending}").exists()


def test_an_error_is_not_told_to_go_away_by_itself(table, fits, monkeypatch):
    def fail(self, X, *arguments, **options):
        raise ValueError("always")

    monkeypatch.setattr(BinnedAgeRegressor, "fit", fail)
    result = tune(table)
    assert result.output.endswith("age.search.jsonl contains 0 of 8 fits.\nError: always\n")
    assert "Run the same command again" not in result.output


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_is_one_line_and_the_search_can_go_on(table, monkeypatch):
    monkeypatch.setattr(search, "_fit", kill_own_process)
    result = tune(table, "--jobs", 2)
    assert result.exit_code == 1
    assert "age.search.jsonl contains 0 of 8 fits. " in result.output
    assert "Run the same command again to go on from there." in result.output
    assert result.output.splitlines()[-1].startswith("Error: A process that fitted models was kil")


def kill_own_process(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
