import csv
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import skage
from skage.cli import main
from skage.datasets import make_faces
from skage.hardware import resolve_precision

TINY = ["--weights", "none", "--hidden", "16", "--image-size", "32", "--epochs", "1", "--bins", "4"]


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
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_help_imports_nothing_slow():
    code = (
        "import sys; from skage.cli import main; main(['--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    module = subprocess.run([sys.executable, "-m", "skage", "--help"], check=True, capture_output=1)
    assert b"demo" in module.stdout


def test_train_then_predict(table, paths, tmp_path):
    model, ages = tmp_path / "age.skage", tmp_path / "ages.csv"
    trained = run("train", table, "-o", model, *TINY)
    assert trained.exit_code == 0, trained.output
    assert "Trained on 40 images; validation MAE" in trained.output
    (tmp_path / "folder").mkdir()
    for i in range(2):
        Image.open(paths[i]).save(tmp_path / "folder" / f"{i}.png")
    (tmp_path / "folder" / "broken.jpg").write_bytes(b"broken")
    predicted = run("predict", tmp_path / "folder", "-m", model, "-o", ages)
    assert predicted.exit_code == 0, predicted.output
    assert "Warning: 1 of 3 images cannot be read and get NaN" in predicted.output
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


def test_trains_what_the_options_say(table, tmp_path):
    options = ["--copies", 2, "--mirror", "--members", 2, "--backbone", "vgg11"]
    options += ["--encoding", "gaussian", "--loss", "ranked_probability", "--optimizer", "adamw"]
    options += ["--schedule", "one_cycle", "--sigma", 2, "--checkpoint", tmp_path / "kept"]
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY, *options)
    assert trained.exit_code == 0, trained.output
    found = skage.load(tmp_path / "age.skage").classifier_
    assert (found.backbone, found.n_members, found.test_augment) == ("vgg11", 2, "mirror")
    assert (found.loss, found.optimizer) == ("ranked_probability", "adamw")
    assert len(found.nets_) == 2
    assert not list((tmp_path / "kept").iterdir())


def test_trains_on_a_utkface_folder(tmp_path, paths, faces):
    for i in range(20):
        name = f"{faces.target[i]:.0f}_0_0_201701101837263{i:02d}.jpg.chip.jpg"
        Image.open(paths[i]).save(tmp_path / name)
    trained = run("train", tmp_path, "-o", tmp_path / "age.skage", *TINY, "--strategy", "uniform")
    assert trained.exit_code == 0, trained.output
    assert skage.load(tmp_path / "age.skage").binner_.strategy == "uniform"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "missing"], "does not exist"),
        (["train", "{folder}"], "holds no file named [age]_"),
        (["train", "{table}", "--age-column", "years"], "has no column 'years'"),
        (["train", "{table}", "--weights", "vgg.pth"], "neither 'imagenet', None"),
        (["train", "{table}", "--hidden", "big"], "--hidden 'big' is no list of widths"),
        (["train", "{table}", *TINY, "--trainable", "top"], "'trainable' parameter"),
        (["train", "{table}", "-o", "{folder}/none/age.skage"], "cannot be written"),
        (["train", "{bad}"], "line 3: the age 'old' is no number"),
        (["train", "{short}"], "line 4: there is no path"),
        (["train", "{table}", "-o", "{table}"], "is the input; name another file"),
        (["predict", "{photo}"], "is neither an image known by its suffix nor a CSV"),
        (["train", "{gone}", *TINY], "gone.jpg (item 0) does not exist"),
        (["predict", "{table}", "-m", "{table}"], "is no skage model"),
        (["predict", "{table}", "-m", "none.skage"], "There is no model file 'none.skage'"),
        (["predict", "{folder}"], "holds no image"),
        (["predict", "{table}", "--coverage", "90"], "is not in the range"),
        (["demo", "-o", "{folder}/none/demo.png"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_that_names_it(table, tmp_path, arguments, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.csv").write_text("path,age\na.jpg,30\nb.jpg,old\n")
    (tmp_path / "gone.csv").write_text("path,age\ngone.jpg,30\n")
    (tmp_path / "short.csv").write_text("age,path\n30,a.jpg\n\n40\n")
    (tmp_path / "photo.heic").write_bytes(b"\xff\xd8\xff")
    places = {
        "table": table,
        "folder": tmp_path / "folder",
        "bad": tmp_path / "bad.csv",
        "gone": tmp_path / "gone.csv",
        "short": tmp_path / "short.csv",
        "photo": tmp_path / "photo.heic",
    }
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code != 0
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert not list(tmp_path.glob("*.skage*"))


def test_demo_writes_a_picture(tmp_path, monkeypatch):
    from skage import demo

    monkeypatch.setattr(demo, "N_FACES", 60)
    monkeypatch.setattr(demo, "MAX_EPOCHS", 2)
    result = run("demo", "-o", tmp_path / "demo.png")
    assert result.exit_code == 0, result.output
    assert "MAE, constant median" in result.output
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 1000


def test_cache_is_looked_at_limited_and_emptied(table, tmp_path):
    folder = tmp_path / "cache"
    there = ("--folder", folder)
    assert "There is no feature cache" in run("cache", "info", *there).output
    trained = run("train", table, "-o", tmp_path / "age.skage", *TINY, "--cache", folder)
    assert trained.exit_code == 0, trained.output
    shown = run("cache", "info", *there).output
    assert f"{folder}: 0.00 GB of at most 20.00 GB" in shown
    arithmetic = str(resolve_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    assert f"40 x 32 px, 13 convolutions, {arithmetic}" in shown
    assert "of at most 1500.00 GB" in run("cache", "limit", "1.5 TB", *there).output
    assert "'much' is no size such as 500MB" in run("cache", "limit", "much", *there).output
    assert "of at most 0.00 GB" in run("cache", "limit", "1000", *there).output
    assert "convolutions" not in run("cache", "info", *there).output
    assert "GB deleted" in run("cache", "clear", *there).output
    assert "of at most 0.00 GB" in run("cache", "info", *there).output


def test_a_limit_can_be_set_before_the_first_use(tmp_path):
    assert "of at most 5.00 GB" in run("cache", "limit", "5GB", "--folder", tmp_path / "new").output


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
    assert "No face is found in" in trained.output
    predicted = run("predict", tmp_path / "scenes.csv", "-m", model, "-o", ages, *crop)
    assert predicted.exit_code == 0, predicted.output
    n_found = sum(row["age"] != "" for row in read(ages))
    assert 0 < n_found < 16
    assert f"Trained on {n_found} images" in trained.output
