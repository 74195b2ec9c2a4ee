import os

# Before scikit-learn is imported: else its suite skips a check.
os.environ["SCIPY_ARRAY_API"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a process, a processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import vgg11, vgg16

from skage import AgeBinner, BinnedAgeRegressor, Runtime, VGG16Classifier
from skage._networks.vgg import VGG, Architecture
from skage.datasets import make_faces

matplotlib.use("Agg")


def tiny_classifier(**options):
    """The smallest VGG on 32-pixel images: a whole network, in a fraction of a second."""
    defaults = {
        "weights": None,
        "backbone": "vgg11",
        "image_size": 32,
        "hidden_layer_sizes": (16,),
        "n_components": None,
        "loss": "cross_entropy",
        "lr": 1e-3,
        "batch_size": 64,
        "weight_decay": 5e-4,
        "test_augment": None,
        "validation_fraction": 0.1,
        "max_epochs": 2,
        "optimizer": "adam",
        "random_state": 0,
        "runtime": Runtime(n_jobs=1),
    }
    names = Runtime().get_params()
    runtime = {name: options.pop(name) for name in names if name in options}
    defaults["runtime"].set_params(**runtime)
    return VGG16Classifier(**defaults | options)


def build_network(n_outputs, weights=None, *, bin_values=None, n_components=None, **architecture):
    """Frozen layers and head of a VGG."""
    vgg = VGG(Architecture(**architecture), weights)
    return vgg.frozen(), vgg.head(n_outputs, bin_values, n_components)


def tiny_model(n_bins=5, **options):
    return BinnedAgeRegressor(tiny_classifier(**options), AgeBinner(n_bins))


def write_onnx(path, *, shape=("n", 3, 32, 32), inputs=("image",), seed=0, metadata=None):
    """A network whose outputs are features (n, 16) and probabilities of 4 ages."""
    random = np.random.default_rng(seed)
    last = shape[-1] == 3
    sides = [s if isinstance(s, int) else 32 for s in (shape[1:3] if last else shape[2:])]
    n_cells = (sides[0] // 8) * (sides[1] // 8)
    weights = {
        "kernel": random.normal(size=(4, 3, 8, 8)) / 8,
        "dense": random.normal(size=(4 * n_cells, 16)) / 4,
        "ages": random.normal(size=(16, 4)),
    }
    nodes = [
        *([helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2])] * last),
        helper.make_node("Conv", ["first" if last else "image", "kernel"], ["map"], strides=[8, 8]),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["linear"]),
        helper.make_node("Relu", ["linear"], ["features"]),
        helper.make_node("MatMul", ["features", "ages"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in [
            *((name, shape) for name in inputs),
            ("features", ("n", 16)),
            ("probabilities", ("n", 4)),
        ]
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [values[name] for name in inputs],
        [values["features"], values["probabilities"]],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return str(path)


@pytest.fixture(scope="session")
def faces():
    return make_faces(40, image_size=32, random_state=0)


@pytest.fixture(scope="session")
def unseen(faces):
    """The faces mirrored: other images of the same ages, that a model was not trained on."""
    return np.ascontiguousarray(faces.data[:, :, ::-1])


@pytest.fixture(scope="session")
def paths(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    names = [str(folder / f"{i}.png") for i in range(len(faces.data))]
    for name, pixels in zip(names, faces.data, strict=True):
        Image.fromarray(pixels).save(name)
    return names


@pytest.fixture(scope="session")
def fitted(faces):
    return tiny_model().fit(faces.data, faces.target)


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory):
    """A weights file that covers VGG16's convolutions only."""
    return _weights_file(tmp_path_factory, vgg16)


@pytest.fixture(scope="session")
def vgg11_file(tmp_path_factory):
    """One of the tiny classifier's network."""
    return _weights_file(tmp_path_factory, vgg11)


def _weights_file(tmp_path_factory, network):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "features.safetensors"
    features = network(weights=None).features
    save_file({f"features.{k}": v for k, v in features.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("network") / "face.onnx")
