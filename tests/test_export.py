"""Models as ONNX files."""

import json
import pickle

import numpy as np
import onnx
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

import skage
from skage import (
    AgeBinner,
    AgeEnsemble,
    BinnedAgeRegressor,
    CalibratedAgeRegressor,
    EmbeddingClassifier,
    Preprocessing,
)
from skage._app.cli import main
from skage._models.exported.checksum import seal
from skage.augment import Jitter

from .conftest import tiny_classifier, tiny_model, write_onnx

PLAIN = Preprocessing(mean=127.5, std=127.5)


def head_on(network, n_bins=5, **options):
    """A model of dense layers on an ONNX network."""
    defaults = {
        "output": "features",
        "preprocessing": PLAIN,
        "hidden_layer_sizes": (8,),
        "lr": 0.01,
        "batch_size": 64,
        "max_epochs": 2,
        "random_state": 0,
    }
    return BinnedAgeRegressor(EmbeddingClassifier(network, **defaults | options), AgeBinner(n_bins))


def exported(model, path, **options):
    model.export(path, **options)
    return skage.load(path)


def check_same(model, loaded, X):
    """Ages and intervals that differ by less than 0.01 years, also those of the graph itself."""
    session = loaded._model.open().session
    feeds = [loaded._read(image, i) for i, image in enumerate(X)]
    distribution, age, interval = loaded._model.run(feeds)
    assert [o.name for o in session.get_outputs()] == ["distribution", "age", "interval"]
    expected = model.predict_dist(X)
    np.testing.assert_allclose(distribution, expected, atol=2e-3)
    np.testing.assert_allclose(loaded.predict(X), model.decode_dist(expected), atol=0.05)
    np.testing.assert_allclose(age, loaded.predict(X), atol=1e-3)
    np.testing.assert_allclose(interval, loaded.predict_interval(X, loaded.coverage_), atol=1e-3)


@pytest.fixture(scope="module")
def file(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "age.onnx"
    fitted.export(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"test_augment": "mirror", "n_members": 2},
        {"trainable": "block5"},
        {"trainable": "output", "hidden_layer_sizes": ()},
        {"trainable": "all", "backbone": "vgg11_bn"},
        {"trainable": "block4", "backbone": "vgg13_bn"},
        {"image_size": (32, 40), "hidden_layer_sizes": ()},
        {"image_size": 64, "hidden_layer_sizes": (8, 4)},
        {"loss": "l1"},
    ],
    ids=str,
)
def test_a_vgg_predicts_the_same(options, faces, tmp_path):
    model = tiny_model(**{"precision": "float32", "max_epochs": 1} | options)
    model.fit(faces.data, faces.target)
    check_same(model, exported(model, tmp_path / "age.onnx"), faces.data[:5])


@pytest.mark.parametrize("decode", ["mean", "median", "mode"])
def test_ages_are_decoded_as_the_model_says(decode, fitted, faces, tmp_path):
    model = BinnedAgeRegressor(fitted.classifier, fitted.binner, decode=decode)
    model.classifier_, model.binner_ = fitted.classifier_, fitted.binner_
    loaded = exported(model, tmp_path / "age.onnx", coverage=0.5)
    assert (loaded.decode, loaded.coverage_) == (decode, 0.5)
    check_same(model, loaded, faces.data[:5])


@pytest.mark.parametrize("side", [1, 3, 7, 8, 9, 15])
def test_the_pooling_is_that_of_torch(side):
    import onnxruntime
    import torch

    from skage._models.exported.graph import Graph
    from skage._models.exported.layers import _add_pool

    graph = Graph()
    x = graph.add("Cast", graph.images("images", side), to=1)
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    model = graph.model({"pooled": (_add_pool(graph, x, side, 7), ["n", 3, 7, 7])})
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    [found] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": pixels})
    expected = torch.nn.AdaptiveAvgPool2d(7)(torch.tensor(pixels).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("transform", [None, "sqrt", "unit", "log"])
def test_a_head_on_an_onnx_network_predicts_the_same(transform, network, faces, tmp_path):
    bgr = Preprocessing(channels="bgr", mean=(100.0, 110.0, 120.0), std=50.0)
    model = head_on(network, transform=transform, preprocessing=bgr, n_members=2)
    model.fit(faces.data, faces.target)
    loaded = exported(model, tmp_path / "age.onnx")
    check_same(model, loaded, faces.data[:5])
    kinds = [node.op_type for node in onnx.load(tmp_path / "age.onnx").graph.node]
    assert kinds.count("Softmax") == 2  # that of the network's other output is left out


@pytest.mark.parametrize("shape", [("n", 32, 32, 3), (1, 3, 32, 32)])
def test_networks_of_other_shapes(shape, faces, tmp_path):
    model = head_on(write_onnx(tmp_path / "face.onnx", shape=shape))
    model.fit(faces.data, faces.target)
    check_same(model, exported(model, tmp_path / "age.onnx"), faces.data[:5])


@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_networks_of_other_opsets(opset, network, faces, tmp_path):
    face = onnx.load(network)
    del face.graph.node[-1]  # the softmax of old opsets is another
    del face.graph.output[-1]
    face.opset_import[0].version = opset
    onnx.save(face, tmp_path / "face.onnx")
    model = head_on(str(tmp_path / "face.onnx")).fit(faces.data, faces.target)
    check_same(model, exported(model, tmp_path / "age.onnx"), faces.data[:5])


def test_a_network_for_batches_of_one_size_is_refused(network, faces, tmp_path):
    face = onnx.load(write_onnx(tmp_path / "face.onnx", shape=(2, 3, 32, 32)))
    flatten = next(node for node in face.graph.node if node.op_type == "Flatten")
    shape = onnx.numpy_helper.from_array(np.array([2, 64]), "shape")
    face.graph.initializer.append(shape)
    flatten.op_type = "Reshape"
    flatten.input.append("shape")
    onnx.save(face, tmp_path / "face.onnx")
    model = head_on(str(tmp_path / "face.onnx")).fit(faces.data, faces.target)
    with pytest.raises(ValueError, match="for batches of any size"):
        model.export(tmp_path / "age.onnx")
    assert not (tmp_path / "age.onnx").exists()


def test_an_ensemble_of_networks_and_sizes_predicts_the_same(fitted, network, faces, tmp_path):
    other = tiny_model(7, image_size=48, max_epochs=1).fit(faces.data, faces.target)
    members = {
        "vgg": fitted,
        "same": fitted,
        "larger": other,
        "face": head_on(network).fit(faces.data, faces.target),
    }
    frozen = [(name, FrozenEstimator(member)) for name, member in members.items()]
    model = AgeEnsemble(frozen, weights=[1, 0, 2, 1], decode="median")
    model.fit(faces.data, faces.target)
    loaded = exported(model, tmp_path / "age.onnx")
    assert [i.name for i in loaded._model.open().inputs] == ["images_32_of_32", "images_48_of_48"]
    check_same(model, loaded, faces.data[:5])


def test_members_share_their_frozen_layers(fitted, tmp_path, faces):
    model = AgeEnsemble([(name, FrozenEstimator(fitted)) for name in "ab"])
    model.fit(faces.data, faces.target).export(tmp_path / "two.onnx")
    fitted.export(tmp_path / "one.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in ("one.onnx", "two.onnx")]
    assert sizes[1] < 1.05 * sizes[0]


def test_bins_that_no_network_was_trained_on(faces, tmp_path):
    edges = [0, 20, 40, 60, 80, 150, 200]  # nobody is older than 150
    model = BinnedAgeRegressor(tiny_classifier(), AgeBinner(edges))
    model.fit(faces.data, faces.target)
    loaded = exported(model, tmp_path / "age.onnx")
    assert (loaded.predict_dist(faces.data[:3])[:, -1] == 0).all()
    check_same(model, loaded, faces.data[:5])


def test_the_bytes_are_the_same_each_time(fitted, faces, file, tmp_path):
    fitted.export(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == file.read_bytes()
    onnx.checker.check_model(str(file), full_check=True)
    for name in ("one.onnx", "two.onnx"):
        fitted.export(tmp_path / name, int8_images=faces.data[:16])
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["vgg", "face"])
def test_int8_is_measured(kind, fitted, network, faces, tmp_path):
    model = fitted if kind == "vgg" else head_on(network).fit(faces.data, faces.target)
    model.export(tmp_path / "float.onnx")
    options = {"int8_images": faces.data, "int8_ages": faces.target}
    loaded = exported(model, tmp_path / "int8.onnx", **options)
    found, before = loaded.quantisation_, skage.load(tmp_path / "float.onnx")
    change = np.abs(loaded.predict(faces.data) - before.predict(faces.data))
    assert found.n_images == len(faces.data)
    np.testing.assert_allclose(found.mean_change, change.mean(), atol=1e-3)
    errors = [np.abs(m.predict(faces.data) - faces.target).mean() for m in (loaded, before)]
    np.testing.assert_allclose([found.mae, found.mae_before], errors, atol=1e-3)
    assert found.largest_change < 3
    if kind == "vgg":
        sizes = [(tmp_path / name).stat().st_size for name in ("int8.onnx", "float.onnx")]
        assert sizes[0] < 0.3 * sizes[1]


def test_int8_needs_images_and_as_many_ages(fitted, faces, tmp_path):
    with pytest.raises(ValueError, match=r"15 images, .* at least 16"):
        fitted.export(tmp_path / "age.onnx", int8_images=faces.data[:15])
    with pytest.raises(ValueError, match="16 images and int8_ages 3 ages"):
        fitted.export(
            tmp_path / "age.onnx", int8_images=faces.data[:16], int8_ages=faces.target[:3]
        )
    with pytest.raises(ValueError, match=r"missing.jpg .*does not exist"):
        fitted.export(tmp_path / "age.onnx", int8_images=["missing.jpg"] * 16)
    assert not list(tmp_path.iterdir())


def test_what_has_no_nodes_is_refused(fitted, faces, unseen, tmp_path):
    X, y = np.arange(20.0)[:, None], np.arange(20.0)
    others = BinnedAgeRegressor(LogisticRegression(), AgeBinner(3)).fit(X, y)
    with pytest.raises(TypeError, match="model of LogisticRegression"):
        others.export(tmp_path / "age.onnx")
    calibrated = CalibratedAgeRegressor(FrozenEstimator(fitted), min_band_size=10)
    calibrated.fit(unseen, faces.target)
    outer = AgeEnsemble([("calibrated", FrozenEstimator(calibrated))])
    with pytest.raises(TypeError, match="calibrate the whole"):
        outer.fit(faces.data, faces.target).export(tmp_path / "age.onnx")
    jittered = pickle.loads(pickle.dumps(fitted))
    jittered.classifier_.test_augment = Jitter(2)
    with pytest.raises(TypeError, match="test_augment='mirror' or None"):
        jittered.export(tmp_path / "age.onnx")
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        fitted.export(tmp_path / "age.skage")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        fitted.export(tmp_path / "missing" / "age.onnx")


@pytest.mark.parametrize("by", ["predicted", "true", "group", None])
@pytest.mark.parametrize("tails", ["joint", "apart"])
def test_a_calibrated_model_predicts_the_same(by, tails, network, faces, unseen, tmp_path):
    fitted = head_on(network).fit(faces.data, faces.target)
    options = {"by": by, "tails": tails, "band_width": 20, "min_band_size": 10}
    model = CalibratedAgeRegressor(FrozenEstimator(fitted), decode="median", **options)
    bands = {"bands": np.arange(40) % 2} if by == "group" else {}
    for step in (0, 0.3):  # whole ages, and others
        model.fit(unseen, faces.target + step, **bands)
        loaded = exported(model, tmp_path / "age.onnx", coverage=0.5)
        X = faces.data[:8]
        onnx_model, distribution = loaded.estimator_, model.predict_dist(X)
        feeds = [onnx_model._read(image, i) for i, image in enumerate(X)]
        found = onnx_model._model.run(feeds)
        np.testing.assert_allclose(loaded.predict_dist(X), distribution, atol=2e-3)
        np.testing.assert_allclose(found[0], loaded.predict_dist(X), atol=1e-6)
        np.testing.assert_allclose(found[1], loaded.predict(X), atol=1e-4)
        np.testing.assert_allclose(found[2], loaded.predict_interval(X, 0.5), atol=1e-4)


def test_a_calibration_that_no_images_give_is_refused(fitted, faces, unseen, tmp_path):
    model = CalibratedAgeRegressor(FrozenEstimator(fitted), min_band_size=10)
    model.fit(unseen, faces.target).export(tmp_path / "age.onnx", coverage=0.5)
    facts = {p.key: p.value for p in onnx.load(tmp_path / "age.onnx").metadata_props}
    calibration = json.loads(facts["skage"])["calibration"]
    for name, wrong in (("calibration.codes", ["int64", [7] * 40]), ("calibration.low", ["O", []])):
        arrays = calibration["arrays"] | {name: wrong}
        target = tmp_path / "changed.onnx"
        change_header(tmp_path / "age.onnx", target, calibration=calibration | {"arrays": arrays})
        with pytest.raises(ValueError, match="cannot load the model in"):
            skage.load(target)


def test_a_torch_module_is_refused(faces, tmp_path):
    import torch

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8))
    preprocessing = Preprocessing(size=32, mean=127.5, std=127.5)
    model = head_on(module, output=None, preprocessing=preprocessing)
    with pytest.raises(TypeError, match=r"torch\.onnx\.export"):
        model.fit(faces.data, faces.target).export(tmp_path / "age.onnx")


def test_a_file_that_predicts_otherwise_is_not_written(fitted, tmp_path, monkeypatch):
    from skage._models.exported import decode

    def wrong(*args):
        age = add_age(*args)
        return args[0].add("Add", age, 0.02)

    add_age = decode.add_age
    monkeypatch.setattr("skage._models.exported.export.add_age", wrong)
    with pytest.raises(ValueError, match=r"differ from the model's by up to 0\.02"):
        fitted.export(tmp_path / "age.onnx")
    assert not (tmp_path / "age.onnx").exists()


def test_a_loaded_model_is_an_estimator(file, faces, unseen, paths):
    model = skage.load(file)
    ages = model.predict(paths)
    np.testing.assert_array_equal(ages, model.predict(faces.data))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(paths), ages)
    np.testing.assert_array_equal(clone(model).fit().predict(paths), ages)
    assert model.score(faces.data, faces.target) <= 1
    calibrated = CalibratedAgeRegressor(FrozenEstimator(model), min_band_size=10)
    calibrated.fit(unseen, faces.target)
    assert calibrated.predict_interval(faces.data[:2], coverage=0.5).shape == (2, 2)
    with pytest.raises(TypeError, match="Cannot export a OnnxAgeRegressor"):
        model.export(file.with_name("again.onnx"))


def test_unreadable_images(file, paths):
    model = skage.load(file)
    images = [paths[0], "missing.jpg", paths[1]]
    with pytest.raises(ValueError, match=r"missing\.jpg"):
        model.predict(images)
    model.set_params(on_error="skip")
    with pytest.warns(UserWarning, match="1 of 3 images cannot be read and get NaN"):
        ages = model.predict(images)
    assert np.isnan(ages).tolist() == [False, True, False]


def test_a_loaded_model_can_be_evaluated(file, faces, fitted):
    found = skage.evaluate(skage.load(file), faces.data, faces.target, n_resamples=10)
    expected = skage.evaluate(fitted, faces.data, faces.target, n_resamples=10)
    assert str(found).splitlines()[-1:] == str(expected).splitlines()[-1:]
    np.testing.assert_array_equal(skage.load(file).digests_, fitted.classifier_.digests_)


def test_other_crops_warn(fitted, faces, tmp_path):
    model = pickle.loads(pickle.dumps(fitted))
    model.classifier_.preparation_ = "FaceCropper(margin=0.4)"
    loaded = exported(model, tmp_path / "age.onnx")
    with pytest.warns(UserWarning, match="not cropped as the training images were"):
        loaded.predict(faces.data[:2])


def change_header(file, target, **changes):
    """A copy of an exported file whose header says something else."""
    model = onnx.load(file)
    facts = {p.key: p.value for p in model.metadata_props}
    facts["skage"] = json.dumps(json.loads(facts["skage"]) | changes)
    onnx.helper.set_model_props(model, facts)
    target.write_bytes(seal(model.SerializeToString(deterministic=True)))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "skage ONNX model, format 2"}, "its format is"),
        ({"decode": "mood"}, "decode='mood' is not known"),
        ({"coverage": 2}, "must lie between 0 and 1"),
        ({"bin_values": [1, 2]}, "do not match"),
        ({"bin_values": [5, 4, 3, 2, 1]}, "not in ascending order"),
        ({"bin_values": [1, 2, 3, 4, float("inf")]}, "not finite"),
        ({"views": [{"input": "images", "image_size": 64, "resized": 64}]}, "its inputs"),
        ({"views": [{"input": "images", "image_size": 64, "resized": 32}]}, "not possible"),
        ({"views": [{"input": "images", "image_size": 32, "resized": 10**9}]}, "larger than"),
        ({"views": 3}, "not iterable"),
        ({"digests": "AAA"}, "cannot load"),
    ],
    ids=str,
)
def test_headers_that_no_model_has_are_refused(changes, message, file, tmp_path):
    target = change_header(file, tmp_path / "changed.onnx", **changes)
    with pytest.raises(ValueError, match=f"cannot load the model in .*{message}|{message}"):
        skage.load(target)


def test_files_that_are_not_exported_models(network, file, tmp_path):
    with pytest.raises(ValueError, match=r"load_dex, and .* load_age_network"):
        skage.load(network)
    with pytest.raises(ValueError, match="There is no model file"):
        skage.load(tmp_path / "missing.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    with pytest.raises(ValueError, match="is not an ONNX file, or is damaged"):
        skage.load(text)


def test_any_damage_is_refused(network, faces, tmp_path):
    file = tmp_path / "age.onnx"
    head_on(network).fit(faces.data, faces.target).export(file)
    content, random = file.read_bytes(), np.random.default_rng(0)
    bits = random.integers(0, 8 * len(content), 300)
    first = np.arange(0, 128)  # the number of the format, and who wrote it
    for bit in [*bits, *first]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"age\.onnx"):
            skage.load(file)
    for length in (0, 10, 1000, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"age\.onnx"):
            skage.load(file)


def test_weights_outside_the_file_are_not_read(file, tmp_path):
    model, target = onnx.load(file), tmp_path / "outside.onnx"
    onnx.save(model, target, save_as_external_data=True, location="weights.bin")
    target.write_bytes(seal(target.read_bytes()))
    with pytest.raises(ValueError, match="keeps weights in another file"):
        skage.load(target)


def test_the_command(fitted, faces, paths, tmp_path):
    def run(*arguments, code=0):
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    model, table = tmp_path / "age.skage", tmp_path / "faces.csv"
    fitted.save(model)
    pd.DataFrame({"path": paths, "age": faces.target}).to_csv(table, index=False)
    assert "age.onnx, 36.9 MB" in run("export", model)
    ages = tmp_path / "ages.csv"
    run("predict", *paths[:3], "-m", tmp_path / "age.onnx", "-o", ages)
    np.testing.assert_allclose(pd.read_csv(ages).age, fitted.predict(paths[:3]), atol=0.05)
    small = tmp_path / "small.onnx"
    told = run("export", model, "-o", small, "--int8", "--calibrate", table)
    assert "changed the ages of 40 images by" in told
    assert "MAE on them" in told
    told = run("export", model, "-o", small, "--int8", "--calibrate", table.parent, code=1)
    assert "contains no images" in told
    assert "go together" in run("export", model, "--int8", code=1)
    assert "no effect without --calibrate" in run("export", model, "--age-column", "a", code=1)
    told = run("predict", paths[0], "-m", small, "--cache", tmp_path, "-o", ages, code=1)
    assert "no effect with an exported model" in told
