"""Files as DEX circulates in, written here byte by byte, and what is predicted from them.

The networks have VGG16's layers with few channels; wire formats are encoded by hand, so
that reader and writer share no declaration of them.
"""

import struct
import subprocess
import sys
from itertools import pairwise

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import skage
from skage import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier, load_dex
from skage._networks import vgg as network

NAMES = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
WIDTHS = [3, 4, 3, 5, 4, 3, 4, 3, 4, 3, 4, 5, 4, 3]
MEAN = (123.68, 116.779, 103.939)


def weights(n_outputs=101, seed=3, widths=WIDTHS):
    """Weight and bias of each layer by Caffe's name."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, (n_in, n_out) in zip(NAMES, pairwise(widths), strict=True):
        weight = rng.normal(scale=(1.6 / n_in / 9) ** 0.5, size=(n_out, n_in, 3, 3))
        found[name] = weight, rng.normal(scale=3, size=n_out)
    for name, n_in, n_out in (
        ("fc6", 49 * widths[-1], 7),
        ("fc7", 7, 6),
        (f"fc8-{n_outputs}", 6, n_outputs),
    ):
        found[name] = (
            rng.normal(scale=1.2 * n_in**-0.5, size=(n_out, n_in)),
            rng.normal(scale=0.1, size=n_out),
        )
    return {k: tuple(a.astype(np.float32) for a in v) for k, v in found.items()}


def direct(parameters, images, mean=MEAN, padded_first=False):
    """Distributions over the ages, by the network as it is defined: BGR less the mean.

    With `padded_first` the image is padded before the mean is subtracted, as if the
    mean were part of the first layer's bias.
    """
    x = torch.from_numpy(images[..., ::-1].astype(np.float64)).permute(0, 3, 1, 2)
    if padded_first:
        x = F.pad(x, (1, 1, 1, 1))
    x = x - torch.tensor(mean[::-1], dtype=torch.float64).view(1, 3, 1, 1)
    layers = {k: tuple(torch.from_numpy(a).double() for a in v) for k, v in parameters.items()}
    for name in NAMES:
        padding = 0 if padded_first and name == "conv1_1" else 1
        x = F.conv2d(x, *layers[name], padding=padding).relu()
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x = F.max_pool2d(x, 2, 2)
    x = x.flatten(1)
    *hidden, last = list(layers)[13:]
    for name in hidden:
        x = F.linear(x, *layers[name]).relu()
    return F.linear(x, *layers[last]).softmax(dim=1).numpy()


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A VGG16 of few channels in place of torchvision's."""

    def get_model(name, **options):
        model, widths = torchvision_model(name, **options), iter(pairwise(WIDTHS))
        for i, layer in enumerate(model.features):
            if isinstance(layer, torch.nn.Conv2d):
                model.features[i] = torch.nn.Conv2d(*next(widths), 3, padding=1)
        return model

    torchvision_model = network.get_model
    monkeypatch.setattr(network, "get_model", get_model)


@pytest.fixture(scope="module")
def images():
    coarse = np.random.default_rng(1).integers(0, 256, size=(3, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(28, axis=1).repeat(28, axis=2)


# The wire format of protocol buffers.


def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def put(number, value):
    """A field: an int, a float, or bytes (a string, a message, packed numbers)."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(array, kind="f"):
    numbers = np.asarray(array).ravel().tolist()
    return struct.pack(f"<{len(numbers)}{kind}", *numbers)


# Caffe's files.


def blob(array, old=False, double=False):
    data = put(8, packed(array, "d")) if double else put(5, packed(array))
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(put(i, n) for i, n in enumerate(shape, 1)) + data
    return put(7, put(1, b"".join(map(varint, array.shape)))) + data


def chain(parameters):
    """Name, kind and parameters of all layers, in order."""
    for name in NAMES:
        yield name, "Convolution", parameters[name]
        yield name.replace("conv", "relu"), "ReLU", ()
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            yield f"pool{name[4]}", "Pooling", ()
    *hidden, last = list(parameters)[13:]
    for name in hidden:
        yield name, "InnerProduct", parameters[name]
        yield name.replace("fc", "relu"), "ReLU", ()
        yield name.replace("fc", "drop"), "Dropout", ()
    yield last, "InnerProduct", parameters[last]
    yield "prob", "Softmax", ()


OLD_KINDS = {
    "Convolution": 4,
    "Dropout": 6,
    "InnerProduct": 14,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
}
# Fields of a layer in the new and in the old format: name, kind, blobs, settings by kind.
NEW = 1, 2, 7, {"Convolution": 106, "InnerProduct": 117, "Pooling": 121}
OLD = 4, 5, 6, {"Convolution": 10, "InnerProduct": 17, "Pooling": 19}


def caffe_layer(name, kind, arrays, old=False, double=False, settings=None):
    of_name, of_kind, of_blobs, of_settings = OLD if old else NEW
    out = put(of_name, name) + put(of_kind, OLD_KINDS[kind] if old else kind)
    out += b"".join(put(of_blobs, blob(a, old, double)) for a in arrays)
    if settings is None:
        settings = {
            "Convolution": lambda: put(1, len(arrays[0])) + put(3, 1) + put(4, 3),
            "InnerProduct": lambda: put(1, len(arrays[0])),
            "Pooling": lambda: put(1, 0) + put(2, 2) + put(3, 2),
        }.get(kind, bytes)()
    return out + (put(of_settings[kind], settings) if kind in of_settings else b"")


def caffemodel(parameters, old=False, double=False, change=lambda name, kind, arrays: {}):
    number = 2 if old else 100
    start = put(1, "VGG_ILSVRC_16_layers") + put(number, caffe_layer("data", "Dropout", (), old))
    layers = []
    for name, kind, arrays in chain(parameters):
        options = {"old": old, "double": double} | change(name, kind, arrays)
        layers.append(put(number, caffe_layer(name, options.pop("kind", kind), arrays, **options)))
    return start + b"".join(layers)


def prototxt(parameters, old=False, size=224):
    lines = [f'name: "VGG" input: "data" input_dim: 1 input_dim: 3 input_dim: {size}']
    lines.append(f"input_dim: {size}")
    spelled = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT", "ReLU": "RELU"}
    for name, kind, arrays in chain(parameters):
        settings = {
            "Convolution": "convolution_param { num_output: %d pad: 1 kernel_size: 3 }",
            "InnerProduct": "inner_product_param { num_output: %d weight_filler { std: 1 } }",
            "Pooling": "pooling_param { pool: MAX kernel_size: 2 stride: 2 }",
            "Dropout": "dropout_param { dropout_ratio: 0.5 }",
        }.get(kind, "")
        settings = settings % len(arrays[0]) if arrays else settings
        kind = spelled.get(kind, kind.upper()) if old else f'"{kind}"'
        lines.append(
            f'{"layers" if old else "layer"} {{ name: "{name}" type: {kind} bottom: "x" '
            f"{settings} }}"
        )
    return "\n".join(lines)


# ONNX's files.


def tensor(name, array, raw=True, dtype=1):
    data = put(9, packed(array)) if raw else put(4, packed(array))
    return b"".join(put(1, n) for n in array.shape) + put(2, dtype) + data + put(8, name)


def attribute(name, value):
    if isinstance(value, list):
        return put(1, name) + b"".join(put(8, i) for i in value) + put(20, 7)
    return put(1, name) + put(2 if isinstance(value, float) else 3, value)


def node(kind, inputs, outputs, **attributes):
    return put(
        1,
        b"".join(put(1, i) for i in inputs)
        + b"".join(put(2, o) for o in outputs)
        + put(3, outputs[0])
        + put(4, kind)
        + b"".join(put(5, attribute(k, v)) for k, v in attributes.items()),
    )


def onnx(parameters, raw=True, transposed=True, last="Softmax", conv=None, rewire=False):
    nodes, tensors = [], [put(5, tensor("shape", np.array([-1.0, 1.0]), dtype=7))]
    before = "input"
    for name, kind, arrays in chain(parameters):
        inputs = [before]
        for suffix, array in zip(("_W", "_b"), arrays, strict=False):
            if kind == "InnerProduct" and suffix == "_W" and not transposed:
                array = np.ascontiguousarray(array.T)
            tensors.append(put(5, tensor(name + suffix, array, raw)))
            inputs.append(name + suffix)
        if name == "fc6":
            nodes.append(node("Reshape", [before, "shape"], ["flat"]))
            inputs[0] = "flat"
        if rewire and name == "conv3_2":
            inputs[0] = "pool2_Y"
        settings = {
            "Convolution": {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1]},
            "Pooling": {"kernel_shape": [2, 2], "pads": [0] * 4, "strides": [2, 2]},
            "InnerProduct": {"alpha": 1.0, "beta": 1.0} | ({"transB": 1} if transposed else {}),
        }.get(kind, {})
        if kind == "Convolution":
            settings |= conv or {}
        spelled = {"Convolution": "Conv", "Pooling": "MaxPool", "ReLU": "Relu"}
        spelled |= {"InnerProduct": "Gemm", "Softmax": last}
        if kind == "Softmax" and last is None:
            continue
        before = f"{name}_Y"
        nodes.append(node(spelled.get(kind, kind), inputs, [before], **settings))
    return put(1, 6) + put(2, "writer") + put(7, b"".join(nodes + tensors))


def state_dict(parameters, port):
    names = dict(zip(parameters, parameters, strict=True))
    if port == "pytorch-DEX":
        names = {k: f"conv.{int(k[4]) - 1}.conv{k[6]}" for k in NAMES}
        names |= dict(zip(list(parameters)[13:], ("fc1.0", "fc2.0", "cls"), strict=True))
    elif port == "HRFAE":
        names = {k: k.replace("-", "_") for k in parameters}
    return {
        f"{names[k]}.{kind}": torch.from_numpy(array)
        for k, arrays in parameters.items()
        for kind, array in zip(("weight", "bias"), arrays, strict=True)
    }


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    return path


def check(model, parameters, images, mean=MEAN):
    expected = direct(parameters, images, mean)
    assert np.ptp(expected @ np.arange(101)) > 1  # the images are told apart
    model.classifier_.set_params(runtime__precision="float32", runtime__device="cpu")
    np.testing.assert_allclose(model.predict_dist(images), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.predict(images), expected @ np.arange(101), rtol=1e-5)
    return model


@pytest.mark.parametrize(("old", "double"), [(False, False), (True, False), (False, True)])
def test_a_caffe_model_predicts_as_caffe_does(tmp_path, images, old, double):
    parameters = weights()
    path = write(tmp_path / "dex.caffemodel", caffemodel(parameters, old, double))
    text = write(tmp_path / "age.prototxt", prototxt(parameters, old))
    check(load_dex(path, text), parameters, images)
    check(load_dex(str(path), mean=(0, 10, 20)), parameters, images, (0, 10, 20))


@pytest.mark.parametrize(
    ("raw", "transposed", "last"),
    [(True, True, "Softmax"), (False, True, "Softmax"), (True, False, None)],
)
def test_an_onnx_model_predicts_the_same(tmp_path, images, raw, transposed, last):
    parameters = weights()
    path = write(tmp_path / "vgg_age.onnx", onnx(parameters, raw, transposed, last))
    check(load_dex(path), parameters, images)


@pytest.mark.parametrize(
    ("port", "ending"),
    [("pytorch-DEX", ".pth"), ("HRFAE", ".pt"), ("caffemodel2pytorch", ".safetensors")],
)
def test_a_state_dict_predicts_the_same(tmp_path, images, port, ending):
    parameters = weights()
    state = state_dict(parameters, port)
    path = tmp_path / f"age{ending}"
    if ending == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if ending == ".pth" else {"state_dict": state}, path)
    check(load_dex(path), parameters, images)


def test_biases_of_four_axes_are_read_from_a_state_dict(tmp_path, images):
    """caffemodel2pytorch keeps the shapes of Caffe's old format."""
    parameters = weights()
    state = {
        k: v.reshape((1,) * (4 - v.ndim) + v.shape)
        for k, v in state_dict(parameters, "caffemodel2pytorch").items()
    }
    torch.save(state, tmp_path / "dex_imdb_wiki.caffemodel.pt")
    check(load_dex(tmp_path / "dex_imdb_wiki.caffemodel.pt"), parameters, images)


def test_the_model_is_a_fitted_regressor_of_101_ages(tmp_path, images):
    model = load_dex(write(tmp_path / "dex.caffemodel", caffemodel(weights())))
    assert (model.binner_.bin_values_ == np.arange(101)).all()
    assert (model.binner_.bin_edges_ == np.arange(102) - 0.5).all()
    assert (model.classifier_.classes_ == np.arange(101)).all()
    assert model.classifier_.history_ == []
    assert model.predict_dist(images).shape == (3, 101)
    interval = model.predict_interval(images, coverage=0.5)
    assert (interval[:, 0] < interval[:, 1]).all()
    assert not any(p.requires_grad for p in model.classifier_.frozen_.parameters())


def test_the_border_is_padded_after_the_mean_is_subtracted(tmp_path, images):
    parameters = weights()
    path = write(tmp_path / "dex.caffemodel", caffemodel(parameters))
    found = check(load_dex(path), parameters, images).predict(images)
    folded = direct(parameters, images, padded_first=True) @ np.arange(101)
    assert (np.abs(found - folded) > 1e-3 * folded).all()


def test_saved_and_pickled_it_predicts_the_same_bits(tmp_path, images):
    parameters = weights()
    path = write(tmp_path / "dex.caffemodel", caffemodel(parameters))
    model = load_dex(path, mean=(120.1, 110.2, 100.3))
    ages = model.predict(images)
    model.save(tmp_path / "dex.skage")
    joblib.dump(model, tmp_path / "dex.joblib")
    path.unlink()
    loaded = skage.load(tmp_path / "dex.skage")
    assert (loaded.predict(images) == ages).all()
    loaded.save(tmp_path / "again.skage")
    assert (skage.load(tmp_path / "again.skage").predict(images) == ages).all()
    assert (joblib.load(tmp_path / "dex.joblib").predict(images) == ages).all()
    check(loaded, parameters, images, (120.1, 110.2, 100.3))


def test_a_file_of_weights_alone_is_enough(tmp_path, images):
    parameters = weights()
    layers = [layer for layer in chain(parameters) if layer[2]]
    content = b"".join(put(100, caffe_layer(*layer)) for layer in layers)
    check(load_dex(write(tmp_path / "bare.caffemodel", content)), parameters, images)


def test_a_clone_says_how_to_train_on(tmp_path, images):
    path = write(tmp_path / "dex.caffemodel", caffemodel(weights()))
    with pytest.raises(ValueError, match=r"dex.caffemodel is not .* load it with skage.load_dex"):
        load_dex(path).set_params(classifier__lr=0.1, classifier__batch_size=2).fit(
            images, [1, 2, 3]
        )


def test_training_goes_on_from_it(tmp_path, images):
    model = load_dex(write(tmp_path / "dex.caffemodel", caffemodel(weights())), mean=(9, 8, 7))
    model.save(tmp_path / "dex.skage")
    classifier = VGG16Classifier(
        weights=tmp_path / "dex.skage",
        trainable="block5",
        hidden_layer_sizes=(7, 6),
        max_epochs=1,
        lr=1e-12,
        weight_decay=0,
        validation_fraction=0,
        test_augment=None,
        runtime=Runtime(precision="float32"),
    )
    further = BinnedAgeRegressor(classifier, AgeBinner(np.arange(102) - 0.5))
    shown = images[np.arange(303) % 3]
    further.fit(shown, np.arange(303) % 101)
    model.classifier_.set_params(runtime__precision="float32")
    assert further.predict_dist(images) == pytest.approx(model.predict_dist(images), abs=1e-4)


def refused(message, path, *args, **options):
    with pytest.raises(ValueError, match=message):
        load_dex(path, *args, **options)


def test_a_file_that_is_not_a_dex_model_is_refused(tmp_path):
    refused(r"missing.onnx' does not exist", tmp_path / "missing.onnx")
    refused(r"does not exist, or is not a file", tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 537651238\n"
    for name in ("a.onnx", "a.pth", "a.caffemodel"):
        refused(rf"{name}' is a Git LFS pointer.*git lfs pull", write(tmp_path / name, pointer))
    refused("does not end in .caffemodel, ", write(tmp_path / "dex.h5", b"abc"))
    refused("is not a Caffe model: it has no layer", write(tmp_path / "e.caffemodel", b""))
    refused("is not a Caffe model, or is trunc", write(tmp_path / "h.caffemodel", b"\x89HDF\r\n"))
    refused("is not an ONNX model: it has no graph", write(tmp_path / "e.onnx", b""))
    refused("is not an ONNX model, or is truncated", write(tmp_path / "t.onnx", b"\x00\xff text"))
    refused("t.pth' is not a readable state dict", write(tmp_path / "t.pth", b"text"))
    refused("e.pt' is not a readable state dict", write(tmp_path / "e.pt", b""))
    torch.save(torch.nn.ReLU(), tmp_path / "module.pth")
    refused("save its state_dict", tmp_path / "module.pth")
    torch.save({"features.0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "torchvision.pth")
    refused("found features.0.weight. Rename the tensors", tmp_path / "torchvision.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    refused("found no tensors", tmp_path / "list.pth")


def test_a_damaged_file_is_refused(tmp_path):
    content = caffemodel(weights())
    refused("truncated or damaged", write(tmp_path / "a.caffemodel", content[:-3000]))
    refused("truncated or damaged", write(tmp_path / "a.onnx", onnx(weights())[:-50]))
    layers = [put(100, caffe_layer(*layer)) for layer in chain(weights())]
    path = write(tmp_path / "b.caffemodel", b"".join(layers[:-2]))  # cut between two layers
    refused(r"it ends after 'relu7', but VGG16 continues with fc8 \(InnerProduct\)", path)
    array = weights()["conv1_1"][0]
    wrong = put(7, put(1, b"".join(map(varint, (5, 3, 3, 3))))) + put(5, packed(array))
    layer = put(1, "conv1_1") + put(2, "Convolution") + put(7, wrong)
    path = write(tmp_path / "c.caffemodel", put(100, layer))
    refused(r"'conv1_1' has 108 numbers, but its shape \(5, 3, 3, 3\) requires 135", path)
    parameters = weights()
    parameters["conv1_2"] = parameters["conv1_2"][:1]
    path = write(tmp_path / "d.caffemodel", caffemodel(parameters))
    refused(r"layer 'conv1_2' does not have one bias", path)


def test_another_architecture_is_refused_by_its_first_layer(tmp_path):
    def caffe(message, change):
        content = caffemodel(weights(), change=change)
        refused(message, write(tmp_path / "a.caffemodel", content))

    caffe(
        r"'relu2_1' is of kind LRN, not ReLU \(relu2_1\)",
        lambda name, *_: {"kind": "LRN"} if name == "relu2_1" else {},
    )
    caffe(
        r"padding of its layer 'conv2_1' is \(0, 0\), not \(1, 1\)",
        lambda name, *_: {"settings": put(1, 5) + put(4, 3)} if name == "conv2_1" else {},
    )
    caffe(
        r"stride of its layer 'pool3' is \(1, 1\), not \(2, 2\)",
        lambda name, *_: {"settings": put(2, 2)} if name == "pool3" else {},
    )
    caffe(
        r"pooling of its layer 'pool3' is average",
        lambda name, *_: {"settings": put(1, 1) + put(2, 2) + put(3, 2)} if name == "pool3" else {},
    )
    other = weights()
    other["fc6"] = other["fc6"][0][:, :27], other["fc6"][1]
    path = write(tmp_path / "a.caffemodel", caffemodel(other))
    refused(r"'fc6' have shape \(7, 27\), not \(outputs, 147\).*feature maps are 7 x 7", path)
    state = state_dict(weights(), "HRFAE")
    torch.save(state | {"conv3_4.weight": torch.zeros(1)}, tmp_path / "vgg19.pth")
    refused("does not have conv3_4.weight", tmp_path / "vgg19.pth")
    del state["conv4_2.weight"], state["conv4_2.bias"]
    torch.save(state, tmp_path / "vgg13.pth")
    refused(r"'fc6' is of kind InnerProduct, not Convolution \(conv5_3\)", tmp_path / "vgg13.pth")

    def graph(message, **options):
        refused(message, write(tmp_path / "a.onnx", onnx(weights(), **options)))

    graph("stride of its layer 'conv1_1_Y'", conv={"strides": [2, 2]})
    graph("padding of its layer 'conv1_1_Y'", conv={"pads": [0, 0, 1, 1]})
    graph("uses pool2_Y rather than the output of the node before it", rewire=True)
    graph("continues with 'prob_Y' \\(Sigmoid\\) after the last layer", last="Sigmoid")
    named = onnx(weights()).replace(b"Relu", b"Tanh")
    refused("is of kind Tanh, not ReLU", write(tmp_path / "a.onnx", named))


def test_other_outputs_than_ages_are_refused(tmp_path):
    for name, content in (
        ("gender.caffemodel", caffemodel(weights(2))),
        ("vgg_ilsvrc_16_gender_imdb_wiki.onnx", onnx(weights(2))),
    ):
        refused(f"{name}' is a gender model: it has 2 outputs", write(tmp_path / name, content))
    torch.save(state_dict(weights(2), "pytorch-DEX"), tmp_path / "gender_sd.pth")
    refused("is a gender model", tmp_path / "gender_sd.pth")
    path = write(tmp_path / "adience.caffemodel", caffemodel(weights(8)))
    refused("has 8 outputs for unknown ages", path)


def test_a_prototxt_must_be_that_of_the_model(tmp_path):
    parameters = weights()
    path = write(tmp_path / "dex.caffemodel", caffemodel(parameters))
    text = prototxt(parameters)

    def proto(message, content, name="age.prototxt"):
        refused(message, path, write(tmp_path / name, content))

    proto(r"age.prototxt' is not a Caffe network in text", "layer { name: ")
    proto(r"age.prototxt' is not a Caffe network in text", b"\xff\xfe")
    proto(r"before any layer, but VGG16 continues with conv1_1", "name: 'empty'")
    proto(r"kernel of its layer 'conv1_1' is \(5, 5\)", text.replace("size: 3", "size: 5", 1))
    without_end = "\n".join(text.splitlines()[:-2])
    proto(r"it ends after 'relu7', but VGG16 continues with fc8", without_end)
    proto(r"input of shape \(1, 3, 227, 227\)", prototxt(parameters, size=227))
    wider = text.replace("num_output: 101", "num_output: 102")
    proto(r"dex.caffemodel' does not match the prototxt: layer 'fc8-101'", wider)
    proto(r"bias of its layer 'fc6' is False", text.replace("std: 1 }", "} bias_term: false", 1))
    refused("does not exist", path, tmp_path / "missing.prototxt")
    torch.save(state_dict(parameters, "HRFAE"), tmp_path / "age.pth")
    refused("is only used for a .caffemodel", tmp_path / "age.pth", tmp_path / "age.prototxt")


@pytest.mark.parametrize("mean", [(1, 2), 3, (1, 2, "x"), (1, 2, -1), (1, 2, float("nan"))])
def test_a_mean_is_three_numbers_from_0_to_255(mean):
    refused("must be three numbers from 0 to 255: red, green, blue", "dex.caffemodel", mean=mean)
    refused("in 0..1 rather than 0..255", "dex.caffemodel", mean=(0.485, 0.456, 0.406))


def test_protobuf_is_imported_for_such_files_only():
    code = (
        "import skage, sys; skage.load, skage.load_dex; assert 'google.protobuf' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_protobuf_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "dex.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(ImportError, match=r"pip install 'skage\[dex\]'"):
        load_dex(tmp_path / "dex.onnx")
