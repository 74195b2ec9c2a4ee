import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.pipeline import make_pipeline

import skage
from skage import FaceCropper, evaluate
from skage._app.cli import main
from skage._models.card import ModelCard, read_card
from skage._models.save import save

from .conftest import tiny_model

TEXTS = {
    "title": "Ages: a | \x1b[31mmodel",
    "data": "faces.csv\n---\nevil: yes",
    "licence": "cc-by-4.0",
}


@pytest.fixture(scope="module")
def model(faces):
    return tiny_model(max_epochs=1).fit(faces.data, faces.target)


def front_matter(card):
    lines = card.to_markdown().split("\n---\n", 1)[0].splitlines()[1:]
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


def test_a_card_is_read_as_it_was_written(tmp_path, model):
    path = tmp_path / "age.skage"
    model.save(path, card=TEXTS | {"errors": {"MAE, years": 4.5, "NLL": float("nan")}})
    card = read_card(path)
    assert {name: getattr(card, name) for name in TEXTS} == TEXTS
    assert card.date == ""
    assert card.versions["skage"] == skage.__version__
    assert [row["value"] for row in card.errors["overall"]] == [4.5, None]
    assert card.model.n_bins == len(model.binner_.bin_values_)
    assert card.model.n_bytes == path.stat().st_size
    assert front_matter(card)["license"] == "cc-by-4.0"
    assert front_matter(card)["model-index"][0]["results"][0]["metrics"][0]["value"] == 4.5
    model.save(tmp_path / "again.skage", card=card)
    again = read_card(tmp_path / "again.skage")
    assert again.errors == card.errors
    assert again.title == card.title


def test_a_file_without_a_card_has_the_facts(tmp_path, model):
    save(make_pipeline(FaceCropper(size=32), model), tmp_path / "age.skage")
    card = read_card(tmp_path / "age.skage")
    assert card.title == ""
    assert card.model.cropper["margin"] == 0.4
    assert "model-index" not in front_matter(card)


def test_an_evaluation_is_part_of_the_card(faces, tmp_path, model):
    sex = np.resize(["f", "m"], len(faces.data))
    result = evaluate(model, faces.data, faces.target, by={"sex": sex}, n_resamples=20)
    model.save(tmp_path / "age.skage", card=ModelCard(errors=result))
    card = read_card(tmp_path / "age.skage")
    found = {row["name"]: row["value"] for row in card.errors["overall"]}
    assert found["mae"] == pytest.approx(result.overall.loc["mae", "value"])
    groups = [row["mae"] for row in card.errors["groups"] if row["by"] == "sex"]
    assert groups == pytest.approx(list(result.by["sex"]["mae"]))
    assert "### By group" in card.to_markdown()


@pytest.mark.parametrize(
    ("card", "error", "message"),
    [
        ({"license": "mit"}, ValueError, "unknown field 'license'"),
        ({"title": 3}, TypeError, "title=3 of the card is not a string"),
        ({"errors": [1]}, TypeError, "neither an Evaluation nor a dict"),
        ("a card", TypeError, "neither a ModelCard nor a dict"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, model, card, error, message):
    with pytest.raises(error, match=message):
        model.save(tmp_path / "age.skage", card=card)
    assert not (tmp_path / "age.skage").exists()


def test_info_prints_the_card(tmp_path, model):
    path = tmp_path / "age.skage"
    model.save(path, card=TEXTS | {"errors": {"MAE, years": 4.5}})
    shown = CliRunner().invoke(main, ["info", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "\x1b" not in shown.output
    assert "vgg11" in shown.output
    assert "MAE, years" in shown.output
    assert "SHA-256" in shown.output
    written = CliRunner().invoke(main, ["info", str(path), "--markdown"])
    assert written.output == read_card(path).to_markdown().replace("\x1b", " ")
    path.write_bytes(path.read_bytes()[:-1])
    damaged = CliRunner().invoke(main, ["info", str(path)])
    assert damaged.exit_code == 1
    assert "is damaged" in damaged.output


def test_an_exported_file_keeps_the_card_and_says_what_8_bit_integers_change(
    fitted, faces, tmp_path
):
    skage.save(fitted, tmp_path / "age.skage", card={"title": "Ages", "licence": "mit"})
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    given = ["export", tmp_path / "age.skage", "-o", whole]
    done = CliRunner().invoke(main, list(map(str, given)))
    assert done.exit_code == 0, done.output
    card = skage.read_card(whole)
    assert (card.title, card.licence) == ("Ages", "mit")
    assert dict(card.model.rows())["arithmetic"] == "float32"
    ages = faces.target[:16]
    fitted.export(small, int8_images=faces.data[:16], int8_ages=ages, card={"title": "Small"})
    told = CliRunner().invoke(main, ["info", str(small)]).output
    assert "Small" in told
    assert "8-bit integers; the ages of 16 images change by" in told
    assert "MAE on them" in told


class Payload:
    """What a pickle runs when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize("name", ["age.skage", "age.onnx"])
def test_files_that_run_code_or_unpack_to_much_are_refused_and_nothing_is_run(name, tmp_path):
    file, ran = tmp_path / name, tmp_path / "ran"
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10**7))
    saved = io.BytesIO()
    torch.save(Payload(ran), saved)
    for content in (pickle.dumps(Payload(ran)), saved.getvalue(), bomb.getvalue()):
        file.write_bytes(content)
        for read in (skage.load, skage.read_card):
            with pytest.raises(ValueError, match="not"):
                read(file)
    assert not ran.exists()
