import os

# Before scikit-learn is imported: else its suite skips a check.
os.environ["SCIPY_ARRAY_API"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a process, a processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import pytest
import torch
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


@pytest.fixture(scope="session")
def faces():
    return make_faces(40, image_size=32, random_state=0)


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
