import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

import skage
from skage import AgeBinner, BinnedAgeRegressor
from skage.augment import Jitter

from .conftest import tiny_model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trainable": "head", "hidden_layer_sizes": ()},
        {"trainable": "block5", "precision": "float32"},
        {"trainable": "all"},
        {"n_components": 8},
        {"n_members": 2, "trainable": "block5"},
        {"backbone": "vgg11_bn", "test_augment": "mirror"},
        {"test_augment": Jitter(2), "augment": Jitter(1), "crop": 0.9},
        {"loss": {"cross_entropy": 1, "expectation_l1": 0.1}, "class_weight": {0: 1, 1: 2}},
        {"trainable": "block4", "dropout": 0.0, "hidden_layer_sizes": (4, 3)},
    ],
)
def test_a_model_file_predicts_the_same_bits(faces, tmp_path, options):
    path = tmp_path / "age.skage"
    model = tiny_model(max_epochs=1, **options).set_params(decode="median")
    model.fit(faces.data, faces.target).save(path)
    loaded = skage.load(path)
    assert (loaded.predict(faces.data) == model.predict(faces.data)).all()
    assert loaded.decode == "median"
    assert loaded.classifier_.history_ == model.classifier_.history_
    assert loaded.binner_.get_params() == model.binner_.get_params()
    assert [p.name for p in tmp_path.iterdir()] == ["age.skage"]
    loaded.save(path)
    assert (skage.load(path).predict(faces.data) == model.predict(faces.data)).all()


def test_what_is_no_model_is_refused(tmp_path, fitted):
    def refused(name, message):
        with pytest.raises(ValueError, match=message):
            skage.load(tmp_path / name)

    refused("missing.skage", "There is no model file .*missing.skage")
    (tmp_path / "text.skage").write_text("no model")
    refused("text.skage", "text.skage' is no skage model, or is damaged")
    refused(".", "is no skage model")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.skage")
    refused("other.skage", "its format is None")
    fitted.save(tmp_path / "cut.skage")
    content = (tmp_path / "cut.skage").read_bytes()
    (tmp_path / "cut.skage").write_bytes(content[:-100])
    refused("cut.skage", "is damaged")


def test_only_what_can_be_stored_safely_is_saved(tmp_path):
    X, y = np.arange(10.0)[:, None], np.arange(10.0)
    model = BinnedAgeRegressor(LogisticRegression(), AgeBinner(2))
    with pytest.raises(NotFittedError):
        model.save(tmp_path / "age.skage")
    with pytest.raises(TypeError, match=r"LogisticRegression and AgeBinner; use joblib.dump"):
        model.fit(X, y).save(tmp_path / "age.skage")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_named(tmp_path, fitted):
    with pytest.raises(FileNotFoundError, match="cannot be written: there is no"):
        fitted.save(tmp_path / "missing" / "age.skage")
