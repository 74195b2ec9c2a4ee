import numpy as np
import pytest

from skage import AgeBinner, BinnedAgeRegressor, Preprocessing, presets


def test_dex_is_the_recipe_of_the_paper():
    classifier = presets.dex().classifier
    expected = {
        "trainable": "all",
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "dropout": 0.5,
        "n_members": 20,
        "validation_fraction": 0.1,
    }
    found = classifier.get_params(deep=False)
    assert {name: found[name] for name in expected} == expected
    assert classifier.lr_schedule is None  # which divides it by 10 every 10 epochs
    assert classifier.image_size == (224, 256)
    assert classifier.augment.n_copies == 10
    assert classifier.lr * classifier.lr_ratio == pytest.approx(1e-4)


def test_dex_fits_and_has_a_bin_for_each_age(faces):
    model = presets.dex(
        weights=None,
        image_size=(32, 36),
        hidden_layer_sizes=(8,),
        trainable="block5",
        n_members=2,
        max_epochs=2,
        random_state=0,
    )
    model.classifier.augment.n_copies = 1
    model.fit(faces.data, faces.target // 10 * 10)
    assert (model.binner_.bin_values_ == np.arange(101)).all()
    assert len(model.classifier_.history_) == 4
    assert model.predict_dist(faces.data).shape == (40, 101)


def test_a_parameter_takes_the_place_of_the_recipes():
    assert presets.dex(lr=0.5).classifier.lr == 0.5
    assert presets.dex(max_epochs=7).classifier.early_stopping == 7
    with pytest.raises(ValueError, match="depth"):
        presets.dex(depth=3)


def test_accurate_is_what_was_measured():
    model = presets.accurate()
    assert (model.classifier.trainable, model.classifier.image_size) == ("block5", 192)
    assert model.classifier.validation_fraction == 0
    assert (model.binner.n_bins, model.binner.encoding, model.decode) == (50, "gaussian", "median")


def test_fast_is_the_default_model():
    fast, default = presets.fast(), BinnedAgeRegressor()
    assert fast.classifier.get_params() == default._get_classifier().get_params()
    assert fast.binner.get_params() == AgeBinner().get_params()
    assert fast.decode == default.decode


def test_face_fits_a_face_network(network, faces):
    settings = Preprocessing(std=255)
    model = presets.face(network, output="features", preprocessing=settings, random_state=0)
    assert model.classifier.transform == "sqrt"
    with pytest.warns(UserWarning, match="only 40 images"):
        model.fit(faces.data, faces.target)
    assert model.predict(faces.data).shape == (40,)
