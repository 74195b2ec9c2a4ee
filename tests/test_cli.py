import csv
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from sklearn.frozen import FrozenEstimator

import skage
from skage import AgeEnsemble, BinnedAgeRegressor
from skage._app import cache
from skage._app.cli import main
from skage._app.shell import ended_by_signals
from skage._hardware import resolve_precision
from skage.datasets import make_faces


def sets(**parameters):
    """Options that set parameters of the classifier."""
    given = [("--set", f"classifier.{name}={value}") for name, value in parameters.items()]
    return [word for words in given for word in words]


TINY = sets(weights=None, backbone="vgg11", image_size=32, hidden_layer_sizes=(16,), max_epochs=1)
TINY += sets(n_components=None, batch_size=64, lr=1e-3, test_augment=None)
TINY += [*sets(validation_fraction=0.1), "--set", "binner.n_bins=4"]
TUNE = ["tune", "{table}", "--grid", "binner.n_bins=3"]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path, paths, faces):
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "age"])
        writer.writerows(zip(paths, faces.target, strict=True))
    return tmp_path / "faces.csv"


def read(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def model(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "age.skage"
    fitted.save(path)
    return path


def test_help_imports_nothing_slow():
    code = (
        "import sys; from skage._app.cli import main; main(['--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    module = subprocess.run([sys.executable, "-m", "skage", "--help"], check=True, capture_output=1)
    assert b"demo" in module.stdout


def test_train_then_predict(table, paths, tmp_path):
    model, ages = tmp_path / "age.skage", tmp_path / "ages.csv"
    trained = run("train", table, "-o", model, *TINY)
    assert trained.exit_code == 0, trained.output
    assert "Trained on 40 images. Model: " in trained.output
    (tmp_path / "folder").mkdir()
    for i in range(2):
        Image.open(paths[i]).save(tmp_path / "folder" / f"{i}.png")
    (tmp_path / "folder" / "broken.jpg").write_bytes(b"broken")
    predicted = run("predict", tmp_path / "folder", "-m", model, "-o", ages)
    assert predicted.exit_code == 0, predicted.output
    assert "Warning: 1 of 3 images without an age:\n" in predicted.output
    assert "broken.jpg (item 2) is not a readable image: unknown format.\n" in predicted.output
    assert f"2 of 3 images predicted; 1 could not be read. Ages: {ages}\n" in predicted.output
    rows = read(ages)
    expected = skage.load(model)
    low, high = expected.predict_interval(paths[:1])[0]
    age, std = expected.predict(paths[:1], return_std=True)
    assert list(rows[0]) == ["path", "age", "std", "low", "high"]
    found = [float(rows[0][k]) for k in ("age", "std", "low", "high")]
    assert found == pytest.approx([age[0], std[0], low, high], abs=0.006)
    assert rows[2]["path"].endswith("broken.jpg")
    assert rows[2]["age"] == rows[2]["low"] == ""
    assert run("predict", table, "-m", model, "-o", ages).exit_code == 0
    assert len(read(ages)) == 40
    assert run("predict", paths[0], "-m", model, "-o", ages).exit_code == 0
    assert len(read(ages)) == 1


def test_trains_what_is_set(table, tmp_path):
    given = sets(augment="Jitter(n_copies=2)", test_augment="mirror", n_members=2)
    given += sets(loss="ranked_probability", optimizer="adamw", lr_schedule="OneCycle(warmup=0.5)")
    given += [*sets(**{"augment.rotation": 3}), "--set", "binner.encoding=gaussian"]
    given += ["--checkpoint", tmp_path / "kept", "--seed", 3]
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY, *given)
    assert trained.exit_code == 0, trained.output
    model = skage.load(tmp_path / "age.skage")
    found = model.classifier_
    assert (found.backbone, found.n_members, found.test_augment) == ("vgg11", 2, "mirror")
    assert (found.loss, found.optimizer, found.random_state) == ("ranked_probability", "adamw", 3)
    assert (found.augment.n_copies, found.augment.rotation) == (2, 3)
    assert found.lr_schedule.warmup == 0.5
    assert model.binner_.encoding == "gaussian"
    assert len(found.nets_) == 2
    assert not list((tmp_path / "kept").iterdir())


def test_training_validates_on_other_persons(paths, faces, tmp_path):
    table = tmp_path / "persons.csv"
    rows = {"path": paths, "age": faces.target, "name": "the same"}
    pd.DataFrame(rows).to_csv(table, index=False)
    given = ["train", table, "-o", tmp_path / "age.skage", *TINY, *sets(early_stopping=True)]
    assert run(*given).exit_code == 0
    told = run(*given, "--group-column", "name")
    assert told.exit_code == 1
    assert "all are of one person, or identical" in told.output


def test_a_face_network_is_trained_searched_and_predicts(table, paths, tmp_path, network):
    settings = [
        *("--preset", "face", "--network", network, "--no-progress"),
        *("--set", "classifier.output=features", "--set", "classifier.max_epochs=1"),
        *("--set", "classifier.preprocessing=Preprocessing(std=255)"),
    ]
    result = run("train", table, "-o", tmp_path / "age.skage", *settings)
    assert "Trained on 40 images" in result.output
    run("predict", *paths[:3], "-m", tmp_path / "age.skage", "-o", tmp_path / "ages.csv")
    assert len(read(tmp_path / "ages.csv")) == 3
    grid = ("--grid", "classifier.transform=None,sqrt", "--folds", 2, "--cache", tmp_path / "c")
    result = run("tune", table, "-o", tmp_path / "best.skage", *settings, *grid)
    assert "Best: --set classifier.transform=" in result.output


def test_averages_predict(fitted, paths, tmp_path):
    average = AgeEnsemble([("a", FrozenEstimator(fitted)), ("b", FrozenEstimator(fitted))])
    average.fit(paths, np.arange(len(paths))).save(tmp_path / "both.skage")
    run("predict", *paths[:3], "-m", tmp_path / "both.skage", "-o", tmp_path / "ages.csv")
    ages = [float(row["age"]) for row in read(tmp_path / "ages.csv")]
    np.testing.assert_allclose(ages, fitted.predict(paths[:3]), atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "face"), "--preset face needs --network"),
        (("--network", "a.onnx"), "--network needs --preset face"),
        (
            ("--preset", "face", "--network", "a", "--set", "classifier.preprocessing.size=3"),
            "Pass preprocessing=Preprocessing() first",
        ),
        (("--preset", "face", "--network", "a.onnx"), "a.onnx' does not exist"),
    ],
)
def test_a_network_and_its_preset_belong_together(table, arguments, message):
    result = CliRunner().invoke(main, ["train", str(table), *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["train", "tune"])
def test_parameters_are_listed_without_data(command):
    for preset in skage.presets.__all__:
        listed = run(command, "--help-parameters", "--preset", preset)
        assert listed.exit_code == 0, listed.output
        required = ["network.onnx"] if preset == "face" else []
        model = getattr(skage.presets, preset)(*required)
        assert f"  classifier.max_epochs = {model.classifier.max_epochs}\n" in listed.output
    listed = run(command, "--set", "classifier.max_epochs=77", "--help-parameters")
    assert "  classifier.max_epochs = 77\n" in listed.output


def test_presets_are_those_of_python():
    (option,) = (option for option in main.commands["train"].params if option.name == "preset")
    assert sorted(option.type.choices) == sorted(skage.presets.__all__)


def commands(group=main, name="skage"):
    yield name, group
    for child in getattr(group, "commands", {}).values():
        yield from commands(child, f"{name} {child.name}")


@pytest.mark.parametrize(("name", "command"), [*commands()])
def test_every_help_has_examples_and_fits_a_terminal(name, command):
    told = CliRunner().invoke(command, ["--help"], prog_name=f"python -m {name}").output
    assert "Examples:\n" in told
    assert max(map(len, told.splitlines())) <= 80
    for option in command.params:
        assert option.param_type_name == "argument" or option.help.endswith((".", "]")), option.name


def test_trains_on_a_utkface_folder(tmp_path, paths, faces):
    for i in range(20):
        name = f"{faces.target[i]:.0f}_0_0_201701101837263{i:02d}.jpg.chip.jpg"
        Image.open(paths[i]).save(tmp_path / name)
    trained = run(
        "train", tmp_path, "-o", tmp_path / "age.skage", *TINY, "--set", "binner.strategy=uniform"
    )
    assert trained.exit_code == 0, trained.output
    assert skage.load(tmp_path / "age.skage").binner_.strategy == "uniform"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "missing"], "does not exist"),
        (["train", "{folder}"], "Say with --age-pattern where the age is"),
        (["train", "{table}", "--age-column", "years"], "has no column 'years'"),
        (["train", "{table}", "--weights", "vgg.pth"], "weights='vgg.pth' is neither 'imagenet'"),
        (["train", "{table}", "--set", "classifier.lr"], "must be NAME=VALUE, such as"),
        (["train", "{table}", "--set", "classifier.rl=1"], "Did you mean classifier.lr?"),
        (["train", "{table}", "--set", "lr=1"], "Did you mean classifier.lr? --help-parameters"),
        (["train", "{gone}", *sets(trainable="top")], "'trainable' parameter of VGG16Classifier"),
        (["train", "{gone}", *sets(dropout="a lot")], "'dropout' parameter of VGG16Classifier"),
        (["train", "{gone}", *sets(augment="Jitter(rotation=999)")], "'rotation' parameter of Jit"),
        (
            ["train", "{gone}", *sets(augment="Jitter(turn=9)")],
            "Jitter(turn=9) cannot be made. Write",
        ),
        (["train", "{gone}", *sets(augment="open('x')")], "there is no open. Write one of AgeBin"),
        (["train", "{table}", *TINY, *sets(n_components=99)], "exceeds the number of training"),
        (["train", "{table}", *TINY, *sets(trainable="output")], "leave the fresh hidden_layer"),
        (["train", "{table}", *TINY, *sets(lr=1e9, max_epochs=9)], "Lower lr."),
        (["train", "{table}", *TINY, "--cache", ""], "--cache='' is empty"),
        (["train", "{notes}", "--age-pattern", "(x"], "--age-pattern '(x' is not a regular expr"),
        (["train", "{notes}", "--age-pattern", "x"], "--age-pattern 'x' has no group named age"),
        (["train", "{notes}", "--age-pattern", "(?P<age>x)"], "contains no image whose path"),
        (["train", "{notes}", "--loader", "fgnet"], "FG-NET"),
        (["tune", "{table}", "--grid", "binner.bins=3,4"], "Did you mean binner.n_bins?"),
        (["tune", "{table}", "--grid", "classifier.lr=1,fast"], "'lr' parameter of VGG16Class"),
        (["tune", "{table}", "--grid", "lr=1,2"], "There is no parameter 'lr'. Did you mean clas"),
        (["tune", "{gone}", "--grid", "classifier.lr=1,0"], "'lr' parameter of VGG16Classifier"),
        (
            ["tune", "{table}", "--folds", 2, "--grid", "classifier.n_components=9,99"],
            "n_components=99 exceeds the number of training images (1",
        ),
        (["tune", "{table}", "--folds", 2, "--grid", "binner.n_bins=3,many"], "many"),
        (["tune", "{table}", "--folds", 99, "--grid", "binner.n_bins=3"], "Lower --folds."),
        (["tune", "{table}"], "Missing option '--grid'."),
        (["train"], "Missing argument 'DATA'."),
        (["train", "{notes}", "--loader", "aaf", "--age-pattern", "x"], "exclude each other"),
        (["train", "{folder}", "--path-column", "x"], "--path-column has no effect unless DATA is"),
        (
            ["train", "{table}", "--loader", "aaf", "--age-column", "x"],
            "--age-column has no effect",
        ),
        (["train", "{table}", "--margin", 0.4], "--margin has no effect without --crop haar or"),
        (["train", "{table}", "--on-no-face", "nan"], "--on-no-face has no effect without --crop"),
        (
            ["predict", "{face}", "-m", "{model}", "--crop", "haar", "--model-file", "{table}"],
            "--model-file has no effect without --crop yunet. Leave it out.",
        ),
        (
            ["predict", "{face}", "--path-column", "x"],
            "--path-column has no effect unless DATA has",
        ),
        (
            ["tune", "{notes}", "--grid", "binner.n_bins=3", "--group-column", "person"],
            "--group-column has no effect unless DATA is a CSV",
        ),
        (["train", "{table}", "-o", "-"], "A model file cannot be written to standard output."),
        (
            [*TUNE, "-o", "-"],
            "A model file cannot be written to standard output. Name a file with -o.",
        ),
        (
            [*TUNE, "--table", "-"],
            "A table cannot be written to standard output. Name a file with --table.",
        ),
        ([*TUNE, "--table", "{table}"], "is one of the inputs; name another file with --table."),
        ([*TUNE, "--table", "age.skage"], "-o and --table are the same file, age.skage."),
        (
            [*TUNE, "--table", "age.search.jsonl"],
            "--table and the file of finished fits are the same file, age.search.jsonl.",
        ),
        (
            [*TUNE, "--set", "binner.n_bins=4"],
            "--grid binner.n_bins and --set binner.n_bins set the same parameter. Leave out one",
        ),
        (
            ["tune", "{table}", "--grid", "classifier.weights=None", "--weights", "imagenet"],
            "--grid classifier.weights and --weights set the same parameter.",
        ),
        (["train", "{table}", "--weights", "{model}", "-o", "{model}"], "is one of the inputs"),
        (["train", "{table}", "--age-pattern", "(?P<age>.)"], "is not a folder"),
        (["train", "{table}", "-o", "{folder}/none/age.skage"], "cannot be written"),
        (["train", "{bad}"], "line 3: the age 'old' is not a number"),
        (["train", "{short}"], "line 4: there is no path"),
        (["train", "{table}", "-o", "{table}"], "is one of the inputs; name another file"),
        (["train", "{born}", *TINY], "the age '1980' looks like a year of birth"),
        (["train", "{semicolons}"], "separated by semicolons. Name the right one with --path-col"),
        (["train", "{photo}"], "is not a CSV in UTF-8"),
        (["predict", "{semicolons}"], "Name the right one with --path-column."),
        (["predict", "{photo}"], "is neither an image that can be read nor a CSV in UTF-8"),
        (["predict", "{table}", "-o", "{table}"], "is one of the inputs; name another file"),
        (["predict", "{face}", "-o", "{face}"], "is one of the inputs; name another file"),
        (["predict", "{table}", "-m", "{table}", "-o", "{table}"], "is one of the inputs"),
        (["predict", "{face}", "-o", "{folder}"], "is a directory"),
        (
            ["predict", "{face}", "-o", "{folder}/none/ages.csv"],
            "ages.csv cannot be written: the f",
        ),
        (["train", "{gone}", *TINY], "gone.jpg' is missing"),
        (["predict", "{table}", "-m", "{table}"], "is not a skage model"),
        (["predict", "{table}", "-m", "none.skage"], "There is no model file '"),
        (["predict", "{folder}"], "contains no images; it has no files."),
        (["predict", "{notes}"], "contains no images; its files are .hidden.jpg, a.txt."),
        (["predict", "{table}", "--coverage", "90"], "is not in the range"),
        (["demo", "-o", "{folder}/none/demo.png"], "cannot be written"),
        (["demo", "-o", "{folder}/demo.xyz"], "its suffix 'xyz' must be one of "),
        (["demo", "-o", "{folder}/demo"], "its suffix '' must be one of "),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    table, paths, model, tmp_path, monkeypatch, arguments, message
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.csv").write_text("path,age\na.jpg,30\nb.jpg,old\n")
    (tmp_path / "gone.csv").write_text("path,age\ngone.jpg,30\n")
    (tmp_path / "short.csv").write_text("age,path\n30,a.jpg\n\n40\n")
    (tmp_path / "born.csv").write_text("path,age\na.jpg,1980\n")
    (tmp_path / "semicolons.csv").write_text("bild;alter\na.jpg;30\n")
    (tmp_path / "photo.heic").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "notes").mkdir()
    for name in ("a.txt", ".hidden.jpg"):
        (tmp_path / "notes" / name).write_text("")
    monkeypatch.chdir(tmp_path)
    places = {
        "table": table,
        "folder": tmp_path / "folder",
        "bad": tmp_path / "bad.csv",
        "gone": tmp_path / "gone.csv",
        "short": tmp_path / "short.csv",
        "photo": tmp_path / "photo.heic",
        "born": tmp_path / "born.csv",
        "semicolons": tmp_path / "semicolons.csv",
        "notes": tmp_path / "notes",
        "face": paths[0],
        "model": model,
    }
    result = run(*(str(argument).format(**places) for argument in arguments))
    assert result.exit_code != 0
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert not list(tmp_path.glob("*.skage*"))


def test_demo_writes_a_picture(tmp_path, monkeypatch):
    from skage._app import demo

    monkeypatch.setattr(demo, "N_FACES", 60)
    monkeypatch.setattr(demo, "MAX_EPOCHS", 2)
    old = os.umask(0o027)
    try:
        result = run("demo", "-o", tmp_path / "demo.png")
    finally:
        os.umask(old)
    assert result.exit_code == 0, result.output
    assert os.listdir(tmp_path) == ["demo.png"]
    assert stat.S_IMODE((tmp_path / "demo.png").stat().st_mode) == 0o640
    assert "MAE, constant median" in result.output
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 1000


def test_cache_is_looked_at_limited_and_emptied(table, tmp_path):
    folder = tmp_path / "cache"
    there = ("--folder", folder)
    for command in ("info", "clear"):
        missing = run("cache", command, *there)
        assert (missing.exit_code, "There is no feature cache" in missing.output) == (1, True)
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY, "--cache", folder)
    assert trained.exit_code == 0, trained.output
    shown = run("cache", "info", *there).output
    assert f"{folder}: " in shown
    assert "kB of at most 20.0 GB" in shown
    arithmetic = str(resolve_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    assert f"40 x 32 px, 8 convolutions, {arithmetic}: " in shown
    assert "of at most 1.5 TB" in run("cache", "limit", "1.5 TB", *there).output
    assert "of at most 100.0 kB" in run("cache", "limit", "100kB", *there, "--yes").output
    assert "convolutions" not in run("cache", "info", *there).output
    assert "kB deleted" in run("cache", "clear", *there, "-y").output
    assert "of at most 100.0 kB" in run("cache", "info", *there).output


@pytest.mark.parametrize("size", ["5", "1000", "much", "5 G", "-1GB", "5GiB", ".GB", ""])
def test_a_size_needs_a_number_and_a_unit(tmp_path, size):
    result = run("cache", "limit", "--folder", tmp_path / "new", "--", size)
    assert result.exit_code == 1
    assert f"{size!r} is not a size with its unit, such as 500MB" in result.output
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("arguments", [["clear"], ["limit", "300kB"]])
def test_nothing_is_deleted_from_the_cache_without_a_yes(tmp_path, monkeypatch, arguments):
    with skage._files.store.open_store(tmp_path) as store:
        store.put({bytes([i]) * 20: bytes(50_000) for i in range(20)}, "rows")

    def ask(*more, answer=""):
        given = ["cache", *arguments, "--folder", str(tmp_path), *more]
        result = CliRunner().invoke(main, given, input=answer)
        with skage._files.store.open_store(tmp_path) as store:
            return result, sum(holding.n_entries for holding in store.holdings())

    refused, n_left = ask()
    assert (refused.exit_code, n_left) == (1, 20)
    assert "Nobody can be asked, so nothing is deleted: pass --yes." in refused.output
    monkeypatch.setattr(cache, "_may_ask", lambda: True)
    declined, n_left = ask(answer="n\n")
    assert (declined.exit_code, n_left) == (1, 20)
    assert " MB in " in declined.output or " kB of the " in declined.output
    accepted, n_left = ask(answer="y\n")
    assert accepted.exit_code == 0
    assert n_left < 10


def test_a_limit_can_be_set_before_the_first_use(tmp_path):
    limited = run("cache", "limit", "5GB", "--folder", tmp_path / "new")
    assert "of at most 5.0 GB" in limited.output


def test_a_cache_that_cannot_be_used_says_so_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    limited = run("cache", "limit", "5GB", "--folder", tmp_path / "file")
    assert limited.output.startswith("Error: The feature cache in ")
    assert limited.output.endswith(" cannot be used: it is a file, not a folder.\n")


def test_faces_are_found_first(tmp_path):
    scenes = make_faces(16, 160, random_state=1, scenes=True)
    rows = [["path", "age"]]
    for i, (pixels, age) in enumerate(zip(scenes.data, scenes.target, strict=True)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append([f"{i}.png", age])
    with open(tmp_path / "scenes.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    crop = ["--crop", "haar", "--margin", "0.2", "--cache", tmp_path / "cache"]
    model, ages = tmp_path / "age.skage", tmp_path / "ages.csv"
    trained = run("train", tmp_path / "scenes.csv", "-o", model, *crop, *TINY)
    assert trained.exit_code == 0, trained.output
    assert "No face was found in" in trained.output
    command = "predict", tmp_path / "scenes.csv", "-m", model, "-o", ages
    refused = run(*command, *crop)
    assert "--crop has no effect with this model, which cuts out faces itself" in refused.output
    predicted = run(*command, *crop[-2:])
    assert predicted.exit_code == 0, predicted.output
    n_found = sum(row["age"] != "" for row in read(ages))
    assert 0 < n_found < 16
    assert f"Trained on {n_found} images" in trained.output
    assert f"{n_found} of 16 images predicted; {16 - n_found} showed no face" in predicted.output


def test_a_file_name_that_is_not_utf8_reaches_the_output(tmp_path, paths, model):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/faces/caf\xe9.png")
    (tmp_path / "faces").mkdir()
    for target in (name, str(tmp_path / "faces" / "line\nbreak, comma.png")):
        shutil.copy(paths[0], target)
    result = run("predict", tmp_path / "faces", "-m", model, "-o", tmp_path / "ages.csv")
    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "ages.csv")
    assert all(os.path.exists(row["path"]) for row in rows)
    assert name in [row["path"] for row in rows]
    frame = pd.read_csv(tmp_path / "ages.csv", encoding_errors="surrogateescape")
    assert name in frame["path"].tolist()


@pytest.fixture
def folder(tmp_path, paths):
    """Forty faces, and among the first and the last of them files that cannot be read."""
    (tmp_path / "faces").mkdir()
    for i, path in enumerate(paths):
        shutil.copy(path, tmp_path / "faces" / f"{i:02d}.png")
    for name in ("00a.png", "39a.png"):
        (tmp_path / "faces" / name).write_bytes(b"")
    return tmp_path / "faces"


def test_ages_that_are_written_as_they_come_are_those_of_one_prediction(
    folder, tmp_path, model, monkeypatch
):
    calls = []
    predict_dist = BinnedAgeRegressor.predict_dist
    monkeypatch.setattr(
        BinnedAgeRegressor,
        "predict_dist",
        lambda self, X: [calls.append(len(X)), predict_dist(self, X)][1],
    )
    result = run("predict", folder, "-m", model, "-o", tmp_path / "ages.csv")
    assert result.exit_code == 0, result.output
    assert calls == [32, 10]
    rows = read(tmp_path / "ages.csv")
    names = sorted(str(path) for path in folder.iterdir())
    assert [row["path"] for row in rows] == names
    read_ones = [name for name in names if not name.endswith("a.png")]
    expected = skage.load(model).predict(read_ones)
    found = [float(row["age"]) for row in rows if row["age"]]
    np.testing.assert_allclose(found, expected, atol=0.006)
    assert result.output.count("Warning") == 1
    assert "Warning: 2 of 42 images without an age:\n" in result.output
    for name, item in (("00a.png", 1), ("39a.png", 41)):
        assert f"  {folder / name} (item {item}) is empty (0 bytes).\n" in result.output
    assert "40 of 42 images predicted; 2 could not be read" in result.output


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken"), OSError(28, "full")])
def test_what_was_predicted_before_an_error_is_kept_beside_the_earlier_file(
    folder, tmp_path, model, monkeypatch, error
):
    predict_dist = BinnedAgeRegressor.predict_dist

    def fail(self, X):
        if len(X) < 32:
            raise error
        return predict_dist(self, X)

    ages = tmp_path / "ages.csv"
    ages.write_text("earlier")
    monkeypatch.setattr(BinnedAgeRegressor, "predict_dist", fail)
    result = run("predict", folder, "-m", model, "-o", ages)
    assert result.exit_code == 1
    assert ages.read_text() == "earlier"
    (kept,) = tmp_path.glob("*.partial")
    assert f"The ages of the first 32 of 42 images are in {kept}." in result.output
    assert len(read(kept)) == 32
    if isinstance(error, KeyboardInterrupt):
        monkeypatch.undo()
        again = run("predict", folder, "-m", model, "-o", ages)
        assert "Going on after 32 images of an earlier run." in again.output
        assert not list(tmp_path.glob("*.partial"))
        assert run("predict", folder, "-m", model, "-o", tmp_path / "whole.csv").exit_code == 0
        assert ages.read_text() == (tmp_path / "whole.csv").read_text()


def left(tmp_path, text):
    """What a run that was killed leaves; no process has this number."""
    file = tmp_path / "ages.csv.4194305.partial"
    file.write_text(text)
    return file


def test_rows_of_another_model_or_of_other_images_are_not_taken_over(paths, tmp_path, model):
    ages = tmp_path / "ages.csv"
    assert run("predict", *paths[:3], "-m", model, "-o", ages).exit_code == 0
    text = ages.read_text()
    rows = text.splitlines(keepends=True)
    for changed, told in (
        (rows[0] + rows[1].replace(",", ",9", 1), "another model or other options"),
        (rows[0] + rows[2], ""),  # another image first
        ("path,age\n" + rows[1], ""),
        ("{", ""),
    ):
        file = left(tmp_path, changed)
        result = run("predict", *paths[:3], "-m", model, "-o", ages)
        assert result.exit_code == 0
        assert told in result.output
        assert "Going on" not in result.output
        assert ages.read_text() == text
        assert file.exists()
    left(tmp_path, rows[0] + rows[1] + rows[2][:-4])  # killed within a row
    result = run("predict", *paths[:3], "-m", model, "-o", ages)
    assert "Going on after 1 image of an earlier run." in result.output
    assert ages.read_text() == text


def test_json_lines_hold_what_the_csv_holds(paths, tmp_path, model):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")
    given = [*paths[:3], broken]
    assert run("predict", *given, "-m", model, "-o", tmp_path / "ages.csv").exit_code == 0
    assert run("predict", *given, "-m", model, "-o", tmp_path / "ages.jsonl").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "ages.jsonl").read_text().splitlines()]
    for line, row in zip(lines, read(tmp_path / "ages.csv"), strict=True):
        assert {k: "" if v is None else v for k, v in line.items()} == {
            k: v if k == "path" or not v else float(v) for k, v in row.items()
        }
    killed = tmp_path / "ages.jsonl.4194305.partial"
    killed.write_text("".join((tmp_path / "ages.jsonl").read_text().splitlines(True)[:2]) + '{"p')
    again = run("predict", *given, "-m", model, "-o", tmp_path / "ages.jsonl")
    assert "Going on after 2 images" in again.output
    assert [
        json.loads(line) for line in (tmp_path / "ages.jsonl").read_text().splitlines()
    ] == lines


def test_paths_come_from_standard_input_and_rows_go_to_standard_output(paths, model):
    given = "\n".join(paths[:3]) + "\n\n"
    options = ["predict", "-", "-m", str(model), "-o", "-", "--format", "jsonl"]
    result = CliRunner().invoke(main, options, input=given)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["path"] for line in result.stdout.splitlines()] == paths[:3]
    empty = CliRunner().invoke(main, options, input="\n")
    assert empty.exit_code == 1
    assert "Standard input names no images" in empty.output


def test_an_error_before_the_first_age_leaves_nothing_behind(folder, tmp_path, model, monkeypatch):
    monkeypatch.setattr(BinnedAgeRegressor, "predict_dist", lambda self, X: 1 / 0)
    result = run("predict", folder, "-m", model, "-o", tmp_path / "ages.csv")
    assert isinstance(result.exception, ZeroDivisionError)
    assert not list(tmp_path.glob("ages*"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_line_that_names_the_output(paths, model):
    result = run("predict", paths[0], "-m", model, "-o", "/dev/full")
    assert result.exit_code == 1
    assert "Error: /dev/full cannot be written: No space left on device.\n" in result.output


def test_a_folder_that_vanishes_ends_the_work_at_once(folder, tmp_path, model, monkeypatch):
    calls = []
    predict_dist = BinnedAgeRegressor.predict_dist

    def vanish(self, X):
        calls.append(len(X))
        shutil.rmtree(tmp_path / "out")
        return predict_dist(self, X)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(BinnedAgeRegressor, "predict_dist", vanish)
    result = run("predict", folder, "-m", model, "-o", tmp_path / "out" / "ages.csv")
    assert result.exit_code == 1
    assert calls == [32]
    assert "ages.csv is gone.\n" in result.output


def test_ages_can_be_piped(paths, model):
    result = run("predict", paths[0], "-m", model, "-o", "-")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "path,age,std,low,high"
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "1 image predicted.\n"
    assert not os.path.exists("-")


def test_images_folders_and_tables_can_be_predicted_together(tmp_path, table, paths, model):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    jfif, nameless = tmp_path / "deep" / "er" / "face.JFIF", tmp_path / "deep" / "face"
    Image.open(paths[0]).save(jfif, "jpeg")
    shutil.copy(paths[1], nameless)
    for name in ("._face.jpg", "Thumbs.db"):
        (tmp_path / "deep" / name).write_bytes(b"x")
    ages = tmp_path / "ages.csv"
    result = run("predict", nameless, tmp_path / "deep", table, "-m", model, "-o", ages)
    assert result.exit_code == 0, result.output
    assert [row["path"] for row in read(ages)] == [str(nameless), str(jfif), *paths]
    assert (
        f"3 files in {tmp_path / 'deep'} that are hidden or not images were left out: "
        "._face.jpg, Thumbs.db, face\n"
    ) in result.output


def test_nothing_predicted_is_an_error_to_the_shell(tmp_path, model):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    result = run("predict", tmp_path / "broken.jpg", "-m", model, "-o", tmp_path / "ages.csv")
    assert result.exit_code == 1
    assert "0 of 1 image predicted; 1 could not be read" in result.output
    assert len(read(tmp_path / "ages.csv")) == 1


def test_a_home_folder_is_expanded_in_every_path(tmp_path, table, model, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(model, tmp_path / "home" / "age.skage")
    shutil.copy(table, tmp_path / "home" / "faces.csv")
    given = ["~/faces.csv", "-m", "~/age.skage", "-o", "~/ages.csv", "--cache", "~/kept"]
    result = run("predict", *given)
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "home" / "ages.csv")) == 40
    assert run("cache", "info", "--folder", "~/kept").exit_code == 0
    given = ["~/faces.csv", "-o", "~/new.skage", "--checkpoint", "~/training", *TINY]
    assert run("train", *given).exit_code == 0
    assert not os.path.exists("~")
    for option in ("--weights", "--model-file"):
        missing = run("train", "~/faces.csv", option, "~/none.pth")
        assert f"{tmp_path / 'home' / 'none.pth'}" in missing.output


def test_the_validation_error_stands_beside_that_of_a_constant(table, tmp_path, faces):
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY)
    history = skage.load(tmp_path / "age.skage").classifier_.history_
    first, second = trained.output.splitlines()[-2:]
    assert first.startswith("  MAE on 4 images held out of training  ")
    assert first.endswith(f"{history[-1]['valid_mae']:6.2f} years")
    assert 5 < float(re.search(r"median age +([0-9.]+) years", second)[1]) < 50


def test_training_on_one_image_tells_of_no_error(tmp_path, paths):
    (tmp_path / "one.csv").write_text(f"path,age\n{paths[0]},30\n")
    trained = run("train", tmp_path / "one.csv", "-o", tmp_path / "age.skage", *TINY)
    assert trained.exit_code == 0, trained.output
    assert "Trained on 1 image. Model: " in trained.output
    assert "MAE" not in trained.output
    assert (tmp_path / "age.skage").exists()


def test_what_a_folder_leaves_out_of_training_is_told(tmp_path, paths):
    for i in range(20):
        shutil.copy(paths[i], tmp_path / f"{20 + i}_0_0_201701101837263{i:02d}.jpg")
    (tmp_path / "50_0_0_20170110183726399.jpg").write_bytes(b"")
    shutil.copy(paths[0], tmp_path / "other.png")
    trained = run("train", tmp_path, "-o", tmp_path / "age.skage", *TINY)
    assert trained.exit_code == 0, trained.output
    assert f"Left out of {tmp_path}: 1 file (name is not " in trained.output
    assert "1 file (file is empty)" in trained.output
    assert "Trained on 20 images" in trained.output


def test_an_image_that_cannot_be_read_is_told_with_the_option_that_leaves_it_out(tmp_path, paths):
    (tmp_path / "broken.png").write_bytes(b"broken")
    rows = [f"{path},{20 + i}" for i, path in enumerate([*paths[:10], "broken.png"])]
    (tmp_path / "faces.csv").write_text("\n".join(["path,age", *rows]))
    given = [tmp_path / "faces.csv", "-o", tmp_path / "age.skage", *TINY]
    stopped = run("train", *given)
    assert "broken.png (item 10) is not a readable image: unknown format. " in stopped.output
    assert "Pass --on-error skip to leave such images out.\n" in stopped.output
    assert "Trained on 10 images" in run("train", *given, "--on-error", "skip").output


def test_rows_that_are_bad_are_left_out_if_asked(tmp_path, paths):
    rows = [f"{path},{20 + i}" for i, path in enumerate(paths[:10])]
    (tmp_path / "faces.csv").write_text("\n".join(["path,age", *rows, "gone.jpg,30", "a.jpg,old"]))
    given = [tmp_path / "faces.csv", "-o", tmp_path / "age.skage", "--on-error", "skip", *TINY]
    trained = run("train", *given)
    assert trained.exit_code == 0, trained.output
    assert "1 file (age is not a number); 1 file (file is missing)" in trained.output


def test_all_that_is_written_follows_the_umask(table, tmp_path, model):
    (tmp_path / "out").mkdir()
    given = {
        "age.skage": ["train", table, *TINY, "--cache", tmp_path / "out" / "cache"],
        "ages.csv": ["predict", table, "-m", model],
    }
    old = os.umask(0o027)
    try:
        for name, arguments in given.items():
            result = run(*arguments, "-o", tmp_path / "out" / name)
            assert result.exit_code == 0, result.output
    finally:
        os.umask(old)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*given, "cache"}
    for path in (tmp_path / "out").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_a_model_that_cannot_be_written_in_the_end_is_saved_elsewhere(table, tmp_path, monkeypatch):
    fit = BinnedAgeRegressor.fit

    def vanish(self, *arguments, **options):
        shutil.rmtree(tmp_path / "out")
        return fit(self, *arguments, **options)

    (tmp_path / "out").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(BinnedAgeRegressor, "fit", vanish)
    trained = run("train", table, "-o", tmp_path / "out" / "age.skage", *TINY)
    assert trained.exit_code == 1
    (rescued,) = (tmp_path / "temporary").rglob("age.skage")
    assert trained.output.endswith(f"The model is in {rescued} instead.\n")
    assert skage.load(rescued)


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_progress_can_be_asked_for_without_a_terminal(table, tmp_path, model, option):
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY, option)
    predicted = run("predict", table, "-m", model, "-o", tmp_path / "ages.csv", option)
    for result, bar in ((trained, "epochs: "), (predicted, "images: ")):
        assert result.exit_code == 0, result.output
        assert (bar in result.stderr) == (option == "--progress")


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
    assert trained.output.splitlines()[0].endswith("): unknown.png")
    assert "Trained on 20 images" in trained.output
    found = skage.datasets.load_folder(tmp_path / "faces", pattern=pattern)
    assert sorted(found.target) == sorted(faces.target[:20])
    assert found.frame["person"].nunique() == len(set(found.groups)) == 10


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            r"_(?P<age>\w+)-",
            "finds the age 'thirty' in 'ann_thirty-1990.png', which is not a number",
        ),
        (r"-(?P<age>\d+)", "finds the age '1990' in 'ann_thirty-1990.png', which is not a number"),
    ],
)
def test_a_pattern_that_finds_no_age_is_told_with_what_it_finds(tmp_path, paths, pattern, message):
    shutil.copy(paths[0], tmp_path / "ann_thirty-1990.png")
    trained = run("train", tmp_path, "-o", tmp_path / "age.skage", "--age-pattern", pattern)
    assert f"Error: --age-pattern {pattern!r} {message} from 0 to 120." in trained.output
    assert "Let the group match only the age in years" in trained.output


def test_hidden_files_are_no_images_of_a_folder(tmp_path, paths):
    for name in ("ann_30y.png", "._ann_30y.png", ".trash/bob_40y.png", "._notes.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(paths[0], tmp_path / name)
    found = skage.datasets.load_folder(tmp_path, pattern=r"_(?P<age>\d+)y")
    assert found.data == [str(tmp_path / "ann_30y.png")]
    assert not found.dropped


def test_data_sets_are_read_by_their_loaders(tmp_path, paths):
    (option,) = (option for option in main.commands["tune"].params if option.name == "loader")
    loaders = {name.removeprefix("load_") for name in skage.datasets.__all__ if "load_" in name}
    assert {*option.type.choices} == loaders - {"table", "folder"}
    for i in range(20):
        shutil.copy(paths[i], tmp_path / f"{i // 2 + 1:03d}A{20 + i}.JPG")
    given = ["--loader", "fgnet", "-o", tmp_path / "age.skage", *TINY]
    trained = run("train", tmp_path, *given)
    assert trained.exit_code == 0, trained.output
    assert "Trained on 20 images" in trained.output


def test_what_is_set_of_errors_is_heeded_when_the_table_is_read(tmp_path, paths):
    rows = [f"{path},{20 + i}" for i, path in enumerate(paths[:10])]
    (tmp_path / "faces.csv").write_text("\n".join(["path,age", *rows, "gone.jpg,30"]))
    given = [tmp_path / "faces.csv", "-o", tmp_path / "age.skage", *TINY]
    assert run("train", *given).exit_code == 1
    trained = run("train", *given, "--set", "classifier.on_error=skip")
    assert "1 file (file is missing)" in trained.output
    assert trained.exit_code == 0, trained.output


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_a_signal_that_is_ignored_stays_so_as_nohup_wants_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
