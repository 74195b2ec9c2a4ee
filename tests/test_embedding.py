import copy
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from joblib import Parallel, delayed
from onnx import TensorProto
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

import skage
from skage import (
    AgeBinner,
    BinnedAgeRegressor,
    EmbeddingClassifier,
    Preprocessing,
    Runtime,
    load_age_network,
)
from skage._files.container import read_container, write_container
from skage.augment import Jitter
from skage.images import check_images

from .conftest import tiny_classifier, write_onnx

RAW = Preprocessing(mean=0, std=255)


def embedding(network, cache=None, **options):
    defaults = {
        "preprocessing": RAW,
        "output": None if isinstance(network, nn.Module) else "features",
        "hidden_layer_sizes": (8,),
        "test_augment": None,
        "max_epochs": 2,
        "batch_size": 16,
        "lr": 0.01,
        "random_state": 0,
        "runtime": Runtime(n_jobs=1, feature_cache=cache),
    }
    return EmbeddingClassifier(network, **defaults | options)


def model_of(network, n_bins=4, **options):
    return BinnedAgeRegressor(embedding(network, **options), AgeBinner(n_bins))


class Tiny(nn.Module):
    def __init__(self, seed=0, names=None):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.Flatten())
        self.names = names

    def forward(self, x):
        found = self.layers(x)
        return found if self.names is None else dict.fromkeys(self.names, found)


def test_it_learns_ages_from_the_features_of_an_onnx_file(network, faces):
    model = model_of(network, max_epochs=60, validation_fraction=0).fit(faces.data, faces.target)
    ages = model.predict(faces.data)
    constant = np.abs(faces.target - np.median(faces.target)).mean()
    assert np.abs(ages - faces.target).mean() < 0.7 * constant
    assert model.classifier_.frozen_(torch.from_numpy(faces.data[:2])).shape == (2, 16)
    assert model.classifier_.net_.predict_proba(np.zeros((3, 16), np.float32)).shape == (3, 4)


def test_pixels_are_fed_as_the_preprocessing_says(network, faces):
    import onnxruntime

    settings = Preprocessing(channels="bgr", mean=(10, 20, 30), std=2.0)
    fitted = embedding(network, preprocessing=settings).fit(faces.data, faces.target > 30)
    pixels = faces.data[:3]
    x = ((pixels[..., ::-1] - np.array([10.0, 20, 30])) / 2).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(network)
    [expected] = session.run(["features"], {"image": x.astype(np.float32)})
    np.testing.assert_allclose(fitted.frozen_(torch.from_numpy(pixels)), expected, rtol=1e-4)


def test_channels_last_and_a_fixed_batch_give_the_same_features(tmp_path, faces):
    shapes = [("n", 3, 32, 32), ("n", 32, 32, 3), (3, 3, 32, 32), ("n", 3, "h", "w")]
    found = []
    for i, shape in enumerate(shapes):
        path = write_onnx(tmp_path / f"{i}.onnx", shape=shape)
        settings = Preprocessing(size=32, std=255)
        fitted = model_of(path, preprocessing=settings).fit(faces.data, faces.target)
        found.append(fitted.predict(faces.data[:7]))
    for ages in found[1:]:
        np.testing.assert_allclose(ages, found[0], rtol=1e-4)


def test_what_a_file_states_is_used(tmp_path, faces):
    stated = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"}
    path = write_onnx(tmp_path / "a.onnx", metadata=stated)
    fitted = embedding(path, preprocessing=None).fit(faces.data, faces.target > 30)
    assert fitted.frozen_.is_bgr
    assert fitted.frozen_.std.tolist() == [255.0] * 3
    assert fitted.image_size_ == 32


def test_what_a_torch_module_of_timm_states_is_used(faces):
    module = Tiny()
    record = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5, 0.25, 0.5)}
    module.pretrained_cfg = record
    fitted = embedding(module, preprocessing=None).fit(faces.data, faces.target > 30)
    assert fitted.frozen_.mean.tolist() == [127.5] * 3
    assert fitted.frozen_.std.tolist() == [127.5, 63.75, 127.5]


@pytest.mark.parametrize("transform", ["sqrt", "unit", "log", None])
def test_features_are_transformed_and_standardised(network, faces, transform):
    fitted = embedding(network, transform=transform, validation_fraction=0)
    fitted.fit(faces.data, faces.target > 30)
    head = fitted.net_.module_
    features = fitted.frozen_(torch.from_numpy(faces.data))
    x = (head.transformed(features) - head.center) / head.scale
    np.testing.assert_allclose(x.mean(dim=0), 0, atol=0.05)
    spread = x.std(dim=0, correction=0).numpy()
    np.testing.assert_allclose(spread[spread > 0], 1, atol=0.05)


def test_validation_images_do_not_standardise_the_features(network, faces):
    fitted = embedding(network, validation_fraction=0.5).fit(faces.data, faces.target > 30)
    rows = np.delete(np.arange(len(faces.data)), fitted.held_out_[0])
    features = fitted.frozen_(torch.from_numpy(faces.data[rows]))
    np.testing.assert_allclose(fitted.net_.module_.center, features.mean(dim=0), rtol=1e-3)


def test_a_renamed_file_hits_the_cache_and_another_does_not(tmp_path, faces, monkeypatch):
    calls = []
    forward = skage._networks.embedding.OnnxEmbedding.features

    def counted(self, x):
        calls.append(len(x))
        return forward(self, x)

    monkeypatch.setattr("skage._networks.embedding.OnnxEmbedding.features", counted)
    first = write_onnx(tmp_path / "a.onnx")
    model_of(first, cache=tmp_path / "cache").fit(faces.data, faces.target)
    assert sum(calls) > len(faces.data)
    skage.clear_memory()
    calls.clear()
    (tmp_path / "a.onnx").rename(tmp_path / "b.onnx")
    model_of(tmp_path / "b.onnx", cache=tmp_path / "cache").fit(faces.data, faces.target)
    assert sum(calls) <= 2  # gray images that tell the number of features
    calls.clear()
    other = write_onnx(tmp_path / "a.onnx", seed=1)
    model_of(other, cache=tmp_path / "cache").fit(faces.data, faces.target)
    assert sum(calls) > len(faces.data)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_it_is_an_ordinary_estimator(network, faces, kind):
    given = network if kind == "onnx" else Tiny()
    settings = Preprocessing(size=32, std=255)
    model = model_of(given, preprocessing=settings, n_members=2, test_augment="mirror")
    fitted = clone(model).fit(faces.data, faces.target)
    ages = fitted.predict(faces.data)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict(faces.data) == ages).all()
    assert (clone(model).fit(faces.data, faces.target).predict(faces.data) == ages).all()
    assert (np.concatenate([fitted.predict(faces.data[:5]), ages[5:]]) == ages).all()
    [elsewhere] = Parallel(2)([delayed(fitted.predict)(faces.data)])
    np.testing.assert_allclose(elsewhere, ages, rtol=1e-4)


def test_it_is_searched(network, faces, tmp_path):
    grid = {"classifier__transform": [None, "sqrt"], "binner__n_bins": [3, 5]}
    model = model_of(network, cache=tmp_path)
    search = GridSearchCV(model, grid, cv=2, scoring="neg_mean_absolute_error")
    search.fit(faces.data, faces.target)
    assert len(search.predict(faces.data[:3])) == 3


def test_a_torch_module_is_not_changed(faces):
    module = Tiny().train()
    before = copy.deepcopy(module.state_dict())
    model_of(module, preprocessing=Preprocessing(size=32)).fit(faces.data, faces.target)
    assert module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())


def sequence():
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 6, 4, 4)
    return nn.Sequential(first, nn.ReLU(), second, nn.BatchNorm2d(6), nn.Flatten())


def deep(module, **options):
    """A model that trains the second convolution and what follows."""
    settings = {"preprocessing": Preprocessing(size=32, std=255), "n_trainable": 3}
    return model_of(module, **settings | options)


def test_the_last_layers_are_trained_too(faces):
    module = sequence()
    before = copy.deepcopy(module.state_dict())
    fitted = deep(module, n_members=2).fit(faces.data, faces.target)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    classifier = fitted.classifier_
    assert torch.equal(classifier.frozen_.module[0].weight, module[0].weight)
    for net in classifier.nets_:
        assert not torch.equal(net.module_.body[0].weight, module[2].weight)
    assert classifier.embed(faces.data[:2]).shape == (2, 4, 8, 8)
    ages = fitted.predict(faces.data)
    assert (pickle.loads(pickle.dumps(fitted)).predict(faces.data) == ages).all()
    assert (fitted.predict(faces.data[:5]) == ages[:5]).all()


def test_features_of_zero_have_a_gradient(faces):
    module = sequence()
    module[3] = nn.Identity()
    with torch.no_grad():  # of one channel
        module[2].weight[0], module[2].bias[0] = 0, 0
    deep(module, transform="sqrt").fit(faces.data, faces.target)  # or training diverges


def test_a_ratio_of_zero_keeps_the_last_layers(faces):
    module = sequence()
    options = {"lr_ratio": 0, "optimizer": "adam", "weight_decay": 0}
    fitted = deep(module, **options).fit(faces.data, faces.target).classifier_
    assert torch.equal(fitted.net_.module_.body[0].weight, module[2].weight)


@pytest.mark.parametrize(
    ("make", "n_trainable", "message"),
    [
        (sequence, 5, "needs a torch.nn.Sequential of more children"),
        (Tiny, 1, "not a Tiny with output=None"),
        (sequence, -1, "'n_trainable' parameter"),
    ],
)
def test_layers_that_cannot_be_trained_are_refused(faces, make, n_trainable, message):
    with pytest.raises(ValueError, match=message):
        deep(make(), n_trainable=n_trainable).fit(faces.data, faces.target)


def test_layers_of_an_onnx_file_are_not_trained(network, faces):
    with pytest.raises(ValueError, match="for an ONNX file, whose layers stay frozen"):
        model_of(network, n_trainable=1).fit(faces.data, faces.target)


def test_a_forked_process_predicts(network, faces):
    import multiprocessing

    fitted = model_of(network).fit(faces.data, faces.target)
    expected = fitted.predict(faces.data)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(fitted.predict(faces.data)))
    process.start()
    assert receiver.poll(60)
    np.testing.assert_allclose(receiver.recv(), expected, rtol=1e-4)
    process.join()


def test_a_model_file_holds_the_network(tmp_path, faces):
    path = write_onnx(tmp_path / "face.onnx")
    settings = Preprocessing(channels="bgr", mean=(1, 2, 3), std=255)
    model = model_of(path, preprocessing=settings, transform="sqrt", n_members=2)
    model.set_params(classifier__augment=Jitter(1)).fit(faces.data, faces.target)
    model.save(tmp_path / "age.skage")
    (tmp_path / "face.onnx").unlink()
    loaded = skage.load(tmp_path / "age.skage")
    assert (loaded.predict(faces.data) == model.predict(faces.data)).all()
    assert loaded.classifier_.preprocessing.channels == "bgr"
    loaded.save(tmp_path / "again.skage")
    again = skage.load(tmp_path / "again.skage")
    assert (again.predict(faces.data) == model.predict(faces.data)).all()
    with pytest.raises(ValueError, match="network of an EmbeddingClassifier"):
        tiny_classifier(weights=tmp_path / "age.skage").fit(faces.data, faces.target > 30)


def test_a_torch_module_is_not_written_to_a_model_file(tmp_path, faces):
    model = model_of(Tiny(), preprocessing=Preprocessing(size=32)).fit(faces.data, faces.target)
    with pytest.raises(TypeError, match=r"torch\.onnx\.export"):
        model.save(tmp_path / "age.skage")
    assert not list(tmp_path.iterdir())


def test_a_damaged_network_in_a_model_file_is_refused(network, tmp_path, faces):
    model_of(network).fit(faces.data, faces.target).save(tmp_path / "age.skage")
    header, tensors = read_container(tmp_path / "age.skage")
    tensors["frozen.content"] = tensors["frozen.content"][:100]
    write_container(tmp_path / "age.skage", header, tensors)
    with pytest.raises(ValueError, match="The ONNX network is not an ONNX file, or is damaged"):
        skage.load(tmp_path / "age.skage")


def test_embed_returns_the_features(network, paths, tmp_path, faces):
    (tmp_path / "bad.jpg").write_text("no image")
    fitted = embedding(network, transform="sqrt", on_error="skip")
    fitted.fit(faces.data, faces.target > 30)
    with pytest.warns(UserWarning, match="bad.jpg"):
        features = fitted.embed([*paths[:3], str(tmp_path / "bad.jpg")])
    assert (embedding(network).embed(paths[:3]) == features[:3]).all()  # before a fit, too
    assert features.shape == (4, 16)
    expected = fitted.frozen_(torch.from_numpy(faces.data[:3]))
    np.testing.assert_allclose(features[:3], expected, rtol=1e-2, atol=1e-3)
    assert np.isnan(features[3]).all()


def test_its_own_ages_without_training(network, tmp_path, faces):
    import onnxruntime

    model = load_age_network(
        network, preprocessing=RAW, output="probabilities", ages=[10, 20, 40, 80]
    )
    x = (faces.data / 255).transpose(0, 3, 1, 2).astype(np.float32)
    [p] = onnxruntime.InferenceSession(network).run(["probabilities"], {"image": x})
    np.testing.assert_allclose(model.predict_dist(faces.data), p, atol=2e-3)
    np.testing.assert_allclose(model.predict(faces.data), p @ [10, 20, 40, 80], atol=0.1)
    model.save(tmp_path / "age.skage")
    loaded = skage.load(tmp_path / "age.skage")
    assert (loaded.predict(faces.data) == model.predict(faces.data)).all()


def test_ages_count_from_zero_unless_given(network):
    model = load_age_network(network, preprocessing=RAW, output=1)
    assert model.binner_.bin_values_.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_logits_are_ages_too(faces):
    model = load_age_network(Tiny(), preprocessing=Preprocessing(size=32, std=255))
    layers = model.classifier_.frozen_
    expected = layers(torch.from_numpy(faces.data)).softmax(dim=1)
    np.testing.assert_allclose(model.predict_dist(faces.data), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ages": [1, 2]}, r"ages has shape \(2,\), but the network has 4 outputs"),
        ({"ages": [4, 3, 2, 1]}, "finite and ascending"),
    ],
)
def test_ages_that_do_not_match_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        load_age_network(network, preprocessing=RAW, output="probabilities", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": None}, "has several outputs. Pass output= one of: 'features' "),
        ({"output": "fetures"}, "has no output 'fetures'. Pass output= one of: 'features' "),
        ({"output": 2}, "has no output 2"),
        ({"preprocessing": None}, "does not say how its pixels are normalised"),
        ({"preprocessing": Preprocessing(size=64)}, "takes images of 32 pixels, not size=64"),
        ({"preprocessing": Preprocessing(std=0)}, "std=0 must be above 0"),
        (
            {"preprocessing": Preprocessing(mean=(1, 2))},
            "must be a number, or three",
        ),
        ({"preprocessing": Preprocessing(channels="gbr")}, "'channels' parameter"),
        ({"preprocessing": Preprocessing(std=1e-38)}, "not finite"),
        ({"hidden_layer_sizes": (0,)}, "whole numbers above 0"),
    ],
)
def test_wrong_settings_are_refused(network, faces, options, message):
    with pytest.raises(ValueError, match=message):
        embedding(network, **options).fit(faces.data, faces.target > 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ("n", 3, "h", "w")}, "takes images of any size"),
        ({"shape": ("n", 3, 32, 40)}, "which are not square"),
        ({"shape": ("n", 1, 32, 32)}, "not float images of shape"),
        ({"inputs": ("image", "mask")}, r"has 2 inputs \('image', 'mask'\)"),
    ],
)
def test_networks_that_do_not_take_images_are_refused(tmp_path, faces, options, message):
    path = write_onnx(tmp_path / "a.onnx", **options)
    with pytest.raises(ValueError, match=message) as caught:
        embedding(path).fit(faces.data, faces.target > 30)
    assert "a.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_networks_are_refused(tmp_path, faces, network):
    def refused(path, message):
        with pytest.raises(ValueError, match=message) as caught:
            embedding(path).fit(faces.data, faces.target > 30)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    refused(tmp_path / "missing.onnx", "does not exist")
    refused(tmp_path, "is a folder")
    (tmp_path / "text.onnx").write_text("no network")
    refused(tmp_path / "text.onnx", "is not an ONNX file, or is damaged")
    content = Path(network).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.onnx", "is not an ONNX file, or is damaged")
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(2**31)
    refused(tmp_path / "huge.onnx", "larger than 2 GB")
    model = onnx.load(network)
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, tmp_path / "unknown.onnx")
    refused(tmp_path / "unknown.onnx", "cannot be run by this version of onnxruntime.*Convolve")
    model = onnx.load(network)
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0)
    refused(tmp_path / "outside.onnx", "keeps weights in another file. Merge them")


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_a_network_cannot_read_other_files(tmp_path, faces, network, location, monkeypatch):
    folder = tmp_path / "inside"
    folder.mkdir()
    model = onnx.load(network)
    for name in ("weights.bin", "inside/weights.bin"):
        (tmp_path / name).write_bytes(b"\0" * 100_000)
    for tensor in model.graph.initializer:
        n_bytes = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "length": str(n_bytes)}.items():
            tensor.external_data.add(key=key, value=value)
    (folder / "outside.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match="keeps weights in another file"):
        embedding("outside.onnx").fit(faces.data, faces.target > 30)


def test_modules_that_differ_in_a_setting_have_their_own_features(faces, tmp_path):
    class Pooled(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind

        def forward(self, x):
            return x.amax((2, 3)) if self.kind == "max" else x.mean((2, 3))

    settings = {"preprocessing": Preprocessing(size=32), "cache": tmp_path}
    found = [embedding(Pooled(kind), **settings).embed(faces.data) for kind in ("max", "mean")]
    assert not np.allclose(*found)


def test_small_features_do_not_become_zero(faces):
    class Small(nn.Module):
        def forward(self, x):
            return 1e-9 * x.mean((2, 3))

    features = embedding(Small(), preprocessing=Preprocessing(size=32)).embed(faces.data)
    assert (features > 0).all()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: None, "returns a NoneType without tensors"),
        (lambda x: (), "returns a tuple without tensors"),
        (lambda x: x.mean(), r"has shape \(\)"),
        (lambda x: x.mean(0), r"for 1 images has shape|for 8 images has shape"),
        (lambda x: x.mean((2, 3)).int(), "an output of numbers with one row for each image"),
        (lambda x: x[:, :, :0, 0], "has no features"),
        (lambda x: x.view(3, 5, 7), "fails on images of shape .*. Check the size"),
    ],
)
def test_modules_that_do_not_give_features_are_refused(faces, output, message):
    class Wrong(nn.Module):
        def forward(self, x):
            return output(x)

    with pytest.raises(ValueError, match=message) as caught:
        embedding(Wrong(), preprocessing=Preprocessing(size=32)).embed(faces.data)
    assert "\n" not in str(caught.value)


def test_modules_without_weights_are_refused(faces):
    with torch.device("meta"):
        module = Tiny()
    for without in (module, nn.LazyLinear(3)):
        with pytest.raises(ValueError, match="Pass an ordinary module with its weights loaded"):
            embedding(without, preprocessing=Preprocessing(size=32)).embed(faces.data)


def test_a_missing_extra_is_named(network, faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    skage.clear_memory()
    with pytest.raises(ImportError, match=re.escape("pip install 'skage[onnx]'")):
        embedding(network).fit(faces.data, faces.target > 30)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Tiny(), {"preprocessing": None}, "Tiny does not say how its pixels are normalised"),
        (Tiny(), {"preprocessing": RAW}, "Tiny does not say the size of its images"),
        (Tiny(), {"output": "a"}, "returns one tensor. Pass output=None"),
        (Tiny(names="ab"), {}, r"returns the outputs \['a', 'b'\]. Pass output='a'"),
    ],
)
def test_wrong_settings_of_a_module_are_refused(faces, module, options, message):
    options = {"preprocessing": Preprocessing(size=32)} | options
    with pytest.raises(ValueError, match=message):
        embedding(module, **options).fit(faces.data, faces.target > 30)


def test_an_output_of_several_is_picked(faces):
    module = Tiny(names="ab")
    fitted = embedding(module, preprocessing=Preprocessing(size=32), output="b")
    fitted.fit(faces.data, faces.target > 30)
    assert fitted.predict_proba(check_images(faces.data)).shape == (len(faces.data), 2)
