import copy
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from torchvision.models import vgg11

import skage
from skage import (
    AgeBinner,
    AgeEnsemble,
    BinnedAgeRegressor,
    CalibratedAgeRegressor,
    EmbeddingClassifier,
    Preprocessing,
)
from skage._files.container import read_container, write_container
from skage.augment import Jitter

from .conftest import tiny_model, write_onnx


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trainable": "output", "hidden_layer_sizes": ()},
        {"trainable": "block5", "precision": "float32"},
        {"trainable": "all"},
        {"n_components": 8},
        {"n_members": 2, "trainable": "block5"},
        {"backbone": "vgg11_bn", "test_augment": "mirror"},
        {"test_augment": Jitter(2), "augment": Jitter(1), "image_size": (32, 36)},
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


def test_files_that_are_not_models_are_refused(tmp_path, fitted):
    def refused(name, message):
        with pytest.raises(ValueError, match=message):
            skage.load(tmp_path / name)

    refused("missing.skage", "There is no model file .*missing.skage")
    (tmp_path / "text.skage").write_text("no model")
    refused("text.skage", "text.skage' is not a skage model file, or is damaged")
    refused(".", "is a folder, not a model file")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.skage")
    refused("other.skage", "its format is None")
    fitted.save(tmp_path / "cut.skage")
    content = (tmp_path / "cut.skage").read_bytes()
    (tmp_path / "cut.skage").write_bytes(content[:-100])
    refused("cut.skage", "is damaged")


@pytest.fixture(scope="module")
def files(faces, tmp_path_factory):
    """Of one network, and of an ensemble."""
    folder = tmp_path_factory.mktemp("models")
    for n_members in (1, 2):
        model = tiny_model(max_epochs=1, n_members=n_members, hidden_layer_sizes=(4,))
        model.fit(faces.data, faces.target).save(folder / f"{n_members}.skage")
    return [folder / "1.skage", folder / "2.skage"]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("share", [0, 1e-6, 1e-3, 0.5])
@pytest.mark.parametrize("where", ["header", "anywhere"])
def test_every_corruption_is_refused(files, tmp_path, which, share, where):
    content = np.fromfile(files[which], dtype=np.uint8)
    n_header = 8 + int.from_bytes(content[:8].tobytes(), "little")
    rng = np.random.default_rng(0)
    end = n_header if where == "header" else len(content)
    for _ in range(2):
        damaged = content.copy()
        n_bytes = int(share * end)
        start = rng.integers(end - n_bytes)
        damaged[start] ^= 1 << rng.integers(8)
        damaged[start + 1 : start + n_bytes] = rng.integers(256, size=max(n_bytes - 1, 0))
        damaged.tofile(tmp_path / "damaged.skage")
        with pytest.raises(ValueError, match=r"damaged.skage' is not a skage model file, or is"):
            skage.load(tmp_path / "damaged.skage")


def test_each_bit_of_the_header_counts(files, tmp_path):
    content = bytearray(files[0].read_bytes())
    for place in [*range(8), *range(8, 400, 29)]:
        for bit in (0, 6) if place < 8 else (3,):
            content[place] ^= 1 << bit
            (tmp_path / "damaged.skage").write_bytes(content)
            with pytest.raises(ValueError, match="or is damaged"):
                skage.load(tmp_path / "damaged.skage")
            content[place] ^= 1 << bit


def test_a_file_that_is_longer_than_written_is_refused(files, tmp_path):
    (tmp_path / "longer.skage").write_bytes(files[0].read_bytes() + b"\0")
    with pytest.raises(ValueError, match="or is damaged"):
        skage.load(tmp_path / "longer.skage")


def test_corrupted_models_are_refused_as_weights(files, faces, tmp_path):
    content = bytearray(files[0].read_bytes())
    content[-1000] ^= 1
    (tmp_path / "damaged.skage").write_bytes(content)
    with pytest.raises(ValueError, match="checksum does not match its content"):
        tiny_model(weights=tmp_path / "damaged.skage").fit(faces.data, faces.target)


def test_a_model_file_has_the_mode_of_other_files(fitted, tmp_path):
    (tmp_path / "other").touch()
    fitted.save(tmp_path / "age.skage")
    modes = {(tmp_path / name).stat().st_mode for name in ("other", "age.skage")}
    assert len(modes) == 1


def test_links_modes_and_special_files_are_left_as_they_are(fitted, tmp_path):
    earlier, link, pipe = tmp_path / "earlier.skage", tmp_path / "link.skage", tmp_path / "pipe"
    earlier.touch()
    earlier.chmod(0o640)
    link.symlink_to(earlier)
    os.mkfifo(pipe)
    fitted.save(link)
    assert link.is_symlink()
    assert earlier.stat().st_mode & 0o777 == 0o640
    with pytest.raises(OSError, match="it is not a regular file"):
        fitted.save(pipe)
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fitted.save(f"{tmp_path / 'new'}/")
    with pytest.raises(OSError, match=r"Cannot write .*too long"):
        fitted.save(tmp_path / ("a" * 300))
    assert {p.name for p in tmp_path.iterdir()} == {"earlier.skage", "link.skage", "pipe"}


def test_a_model_with_wrong_parameters_is_not_saved(fitted, tmp_path):
    model = copy.deepcopy(fitted).set_params(decode="Mean")
    with pytest.raises(ValueError, match="'decode' parameter"):
        model.save(tmp_path / "age.skage")


def test_home_folders_are_expanded(fitted, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fitted.save("~/age.skage")
    assert (skage.load("~/age.skage").predict(faces.data) == fitted.predict(faces.data)).all()
    with pytest.raises(ValueError, match="path='' is empty"):
        fitted.save("")


def test_a_model_does_not_depend_on_torchs_default_type(faces, tmp_path):
    expected = tiny_model(trainable="block5", n_components=None).fit(faces.data, faces.target)
    torch.set_default_dtype(torch.float64)
    try:
        model = tiny_model(trainable="block5").fit(faces.data, faces.target)
        model.save(tmp_path / "age.skage")
        found = model.predict(faces.data)
        loaded = skage.load(tmp_path / "age.skage").predict(faces.data)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (found == expected.predict(faces.data)).all()
    assert (loaded == found).all()
    assert (skage.load(tmp_path / "age.skage").predict(faces.data) == found).all()


def test_a_model_of_another_classifier_is_not_saved(tmp_path):
    X, y = np.arange(10.0)[:, None], np.arange(10.0)
    model = BinnedAgeRegressor(LogisticRegression(), AgeBinner(2))
    with pytest.raises(NotFittedError):
        model.save(tmp_path / "age.skage")
    with pytest.raises(TypeError, match=r"LogisticRegression and AgeBinner: .* Use joblib.dump"):
        model.fit(X, y).save(tmp_path / "age.skage")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_model_file_is_refused(tmp_path, fitted):
    with pytest.raises(IsADirectoryError, match=r"is a folder\. Name a file in it"):
        fitted.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_named(tmp_path, fitted):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing' does not exist"):
        fitted.save(tmp_path / "missing" / "age.skage")


def test_a_loaded_model_is_fitted_as_the_saved_one(faces, tmp_path):
    options = {"augment": Jitter(2), "class_weight": {0: 2.0, 9: 3.0}, "n_members": 2}
    model = tiny_model(4, **options).fit(faces.data, faces.target)
    model.save(tmp_path / "age.skage")
    loaded = clone(skage.load(tmp_path / "age.skage")).fit(faces.data, faces.target)
    assert (loaded.predict(faces.data) == model.predict(faces.data)).all()


def test_an_output_layer_is_loaded_only_for_the_same_bins(faces, tmp_path):
    model = tiny_model(4).fit(faces.data, faces.target)
    model.save(tmp_path / "real.skage")
    options = {"weights": tmp_path / "real.skage", "optimizer": "sgd", "lr": 1e-12}

    def output_layer(of):
        return of.classifier_.net_.module_.classifier[-1].weight

    same = tiny_model(4, **options).fit(faces.data, faces.target)
    other = tiny_model(4, **options).fit(faces.data, faces.target + 5)
    assert torch.allclose(output_layer(same), output_layer(model))
    assert not torch.allclose(output_layer(other), output_layer(model))


@pytest.mark.parametrize("options", [{}, {"trainable": "block5", "n_members": 2}])
def test_training_continues_from_a_model_file(faces, tmp_path, options):
    model = tiny_model(4, **options).fit(faces.data, faces.target)
    model.save(tmp_path / "real.skage")
    options |= {"weights": tmp_path / "real.skage", "optimizer": "sgd", "n_members": 1}
    options |= {"weight_decay": 0.0, "max_epochs": 1}
    further = tiny_model(4, lr=1e-12, **options).fit(faces.data, faces.target)
    model.classifier_.nets_, model.classifier_._ready = model.classifier_.nets_[:1], None
    assert further.predict_dist(faces.data) == pytest.approx(
        model.predict_dist(faces.data), abs=1e-5
    )
    other = tiny_model(3, lr=1e-12, **options).fit(faces.data, faces.target)  # fresh outputs
    assert other.predict_dist(faces.data).shape == (40, 3)
    first = next(iter(other.classifier_.net_.module_.classifier))
    assert torch.equal(first.weight, next(iter(model.classifier_.net_.module_.classifier)).weight)


def test_apparent_ages_on_top_of_real_ones(faces, tmp_path):
    model = tiny_model(4).fit(faces.data, faces.target)
    model.save(tmp_path / "real.skage")
    apparent = tiny_model(4, weights=tmp_path / "real.skage", validation_fraction=0.25)
    apparent.set_params(binner__encoding="gaussian")
    apparent.fit(faces.data, faces.target + 2, age_std=np.full(40, 3.0))
    assert apparent.predict(faces.data).shape == (40,)


def test_a_model_of_another_backbone_is_refused_as_weights(faces, tmp_path, fitted):
    fitted.save(tmp_path / "real.skage")
    with pytest.raises(ValueError, match=r"another architecture: vgg16 has no layer features"):
        tiny_model(weights=tmp_path / "real.skage", backbone="vgg16").fit(faces.data, faces.target)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": [0.5, 1.5, 2.5, 3.5, 4.5]},
        {"classes": [-1, 0, 1, 2, 3]},
        {"image_size": [32, 0]},
        {"image_size": [60_000, 60_000]},
        {"preparation": ["x"]},
        {"bin_edges": [float("nan")] * 6},
        {"bin_edges": [5, 4, 3, 2, 1, 0]},
        {"bin_values": None},
        {"bin_support": None},
        {"age_range": []},
        {"n_networks": 0},
        {"kind": "Popen"},
        {"precision": "foo"},
        {"history": None},
        {"classifier": {}},
    ],
)
def test_values_that_a_model_cannot_have_are_refused(fitted, tmp_path, wrong):
    path = tmp_path / "age.skage"
    fitted.save(path)
    header, tensors = read_container(path)
    write_container(path, header | wrong, tensors)
    with pytest.raises(ValueError, match="cannot load the model in"):
        skage.load(path)


def test_huge_layers_are_refused_before_they_are_made(fitted, tmp_path):
    path = tmp_path / "age.skage"
    fitted.save(path)
    header, tensors = read_container(path)
    header["classifier"]["hidden_layer_sizes"] = [10**9, 10**9]
    write_container(path, header, tensors)
    with pytest.raises(ValueError, match="hidden_layer_sizes has 1000000000, but no layer has"):
        skage.load(path)


def test_weights_that_are_not_finite_are_refused(fitted, tmp_path):
    path = tmp_path / "age.skage"
    fitted.save(path)
    header, tensors = read_container(path)
    tensors["head.classifier.0.bias"][0] = np.nan
    write_container(path, header, tensors)
    with pytest.raises(ValueError, match=r"head\.classifier\.0\.bias are not finite"):
        skage.load(path)


def test_a_file_of_a_newer_version_says_so(fitted, tmp_path, monkeypatch):
    path = tmp_path / "age.skage"
    monkeypatch.setattr("skage._files.container._FORMAT", "skage model, format 4")
    monkeypatch.setattr("skage._files.container.__version__", "9.9")
    fitted.save(path)
    monkeypatch.undo()
    message = r"by a newer version of skage \('9.9'\), in format 4; .* reads format 3. Upgrade"
    with pytest.raises(ValueError, match=message):
        skage.load(path)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A file of weights of a tiny VGG11."""
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    torch.manual_seed(3)
    save_file(vgg11(weights=None).features.state_dict(prefix="features."), path)
    return path


@pytest.mark.parametrize("options", [{}, {"trainable": "block5"}, {"n_members": 2}])
def test_frozen_layers_by_reference_are_found_again(faces, tmp_path, pretrained, options):
    path, moved = tmp_path / "age.skage", tmp_path / "moved.safetensors"
    moved.write_bytes(pretrained.read_bytes())
    model = tiny_model(max_epochs=1, weights=str(moved), **options)
    model.fit(faces.data, faces.target).save(path, frozen="reference")
    model.save(tmp_path / "whole.skage")
    ages = model.predict(faces.data)
    difference = (tmp_path / "whole.skage").stat().st_size - path.stat().st_size
    assert difference > 10e6
    assert (skage.load(path).predict(faces.data) == ages).all()
    moved.unlink()
    with pytest.raises(ValueError, match=r"it needs the weights of vgg11 .*SHA-256.*weights=..."):
        skage.load(path)
    loaded = skage.load(path, weights=pretrained)
    assert (loaded.predict(faces.data) == ages).all()
    other = tmp_path / "other.safetensors"
    save_file(vgg11(weights=None).features.state_dict(prefix="features."), other)
    with pytest.raises(ValueError, match=r"frozen layers in .*other.* have SHA-256"):
        skage.load(path, weights=other)
    assert (skage.load(path, weights=[other, pretrained]).predict(faces.data) == ages).all()
    with pytest.raises(ValueError, match=r"has no effect: .* holds its frozen layers"):
        skage.load(tmp_path / "whole.skage", weights=pretrained)


def test_an_onnx_network_by_reference_is_found_again(faces, tmp_path):
    network, path = tmp_path / "net.onnx", tmp_path / "age.skage"
    write_onnx(network)
    classifier = EmbeddingClassifier(
        network,
        preprocessing=Preprocessing(std=255),
        output="features",
        hidden_layer_sizes=(8,),
        lr=1e-3,
        max_epochs=1,
        random_state=0,
    )
    classifier.set_params(dropout=0.0, transform=None, validation_fraction=0.1, batch_size=16)
    member = BinnedAgeRegressor(classifier, AgeBinner(4))
    model = AgeEnsemble([("a", member), ("b", clone(member))]).fit(faces.data, faces.target)
    model.save(path, frozen="reference")
    ages = model.predict(faces.data)
    assert (skage.load(path).predict(faces.data) == ages).all()
    network.rename(tmp_path / "renamed.onnx")
    with pytest.raises(ValueError, match=r"needs the .onnx file of the network"):
        skage.load(path)
    loaded = skage.load(path, weights=tmp_path / "renamed.onnx")
    assert (loaded.predict(faces.data) == ages).all()


def test_a_calibrated_model_by_reference_is_found_again(faces, tmp_path, pretrained):
    members = [(name, tiny_model(max_epochs=1, weights=str(pretrained))) for name in "ab"]
    model = CalibratedAgeRegressor(AgeEnsemble(members), min_band_size=5, random_state=0)
    path = tmp_path / "age.skage"
    model.fit(faces.data, faces.target).save(path, frozen="reference")
    assert path.stat().st_size < pretrained.stat().st_size
    loaded = skage.load(path)
    assert (loaded.predict_dist(faces.data) == model.predict_dist(faces.data)).all()


def test_a_model_without_frozen_layers_is_not_saved_by_reference(faces, tmp_path):
    model = tiny_model(max_epochs=1, trainable="all").fit(faces.data, faces.target)
    with pytest.raises(ValueError, match="all its layers were trained"):
        model.save(tmp_path / "age.skage", frozen="reference")
    with pytest.raises(ValueError, match="frozen='half' is not valid"):
        model.save(tmp_path / "age.skage", frozen="half")


@pytest.mark.parametrize("wrong", [3, {}, {"names": 3, "sha256": 1}, {"names": [], "sha256": ""}])
def test_a_wrong_reference_is_refused(fitted, tmp_path, wrong):
    path = tmp_path / "age.skage"
    fitted.save(path)
    header, tensors = read_container(path)
    write_container(path, header | {"reference": wrong}, tensors)
    with pytest.raises(ValueError, match=r"cannot load the model|by reference"):
        skage.load(path)
