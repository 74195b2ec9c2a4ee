import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import VGG16_Weights, get_model, vgg11, vgg16
from torchvision.transforms.functional import normalize

from skage._networks import vgg as network
from skage._networks import weights

from .conftest import build_network

OPTIONS = {"trainable": "classifier", "hidden_layer_sizes": (8,), "dropout": 0.5, "image_size": 32}


@pytest.fixture(scope="module")
def whole():
    """torchvision's own VGG16 with random weights, and a batch of pixels."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    return vgg16(weights=None).eval(), pixels


@pytest.mark.parametrize("trainable", network.TRAINABLE)
def test_frozen_layers_and_head_together_are_torchvisions_vgg16(whole, tmp_path, trainable):
    reference, pixels = whole
    torch.save(reference.state_dict(), tmp_path / "vgg16.pth")
    frozen, head = build_network(
        1000,
        weights=tmp_path / "vgg16.pth",
        trainable=trainable,
        hidden_layer_sizes=None,
        dropout=0.5,
        image_size=64,
    )
    # The output layer is always fresh.
    head.classifier[-1].load_state_dict(reference.classifier[-1].state_dict())
    head.eval()
    images = normalize(
        pixels.permute(0, 3, 1, 2) / 255, network.IMAGENET_MEAN, network.IMAGENET_STD
    )
    with torch.no_grad():
        expected = reference(images)
        found = head(pixels if frozen is None else frozen(pixels))
    assert torch.allclose(found, expected, atol=1e-4)
    trained = sum(p.numel() for p in head.parameters())
    n_frozen = 0 if frozen is None else sum(p.numel() for p in frozen.parameters())
    assert trained + n_frozen == sum(p.numel() for p in reference.parameters())
    assert frozen is None or not any(p.requires_grad for p in frozen.parameters())


def test_a_file_of_the_convolutions_loads_and_the_log_names_fresh_layers(vgg16_file, caplog):
    with caplog.at_level(logging.INFO, "skage"):
        frozen, _ = build_network(3, weights=vgg16_file, **OPTIONS)
    assert "fresh layers: classifier.0, classifier.3" in caplog.text
    assert torch.equal(frozen.features[0].weight, load_file(vgg16_file)["features.0.weight"])


def test_training_leaves_the_loaded_weights_alone(vgg16_file):
    _, head = build_network(3, weights=vgg16_file, **OPTIONS | {"trainable": "block5"})
    with torch.no_grad():
        head.features[0].weight.zero_()
    _, again = build_network(3, weights=vgg16_file, **OPTIONS | {"trainable": "block5"})
    assert again.features[0].weight.abs().sum() > 0


def test_freezing_a_layer_without_weights_is_refused(vgg16_file):
    options = OPTIONS | {"trainable": "output", "hidden_layer_sizes": None}
    with pytest.raises(ValueError, match=r"freezes layers that .* does not cover \(classifier.0"):
        build_network(3, weights=vgg16_file, **options)


def test_files_without_weights_of_a_vgg16_are_refused(tmp_path):
    def refused(name, message):
        with pytest.raises(ValueError, match=message):
            network.load_weights(tmp_path / name)

    refused("missing.pth", "neither 'imagenet', None, nor an existing file")
    (tmp_path / "text.pth").write_text("not weights")
    refused("text.pth", "text.pth is not a readable .safetensors, torch or .skage file")
    (tmp_path / "text.safetensors").write_text("not weights")
    refused("text.safetensors", "is not a readable")
    save_file({"layer1.0.weight": torch.zeros(2)}, tmp_path / "resnet.safetensors")
    refused("resnet.safetensors", "does not contain VGG weights .* found layer1.0.weight")
    torch.save([1, 2], tmp_path / "list.pth")
    refused("list.pth", "no tensors")
    save_file({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "thin.safetensors")
    with pytest.raises(ValueError, match=r"another architecture: features.0.weight has shape \(8"):
        build_network(3, weights=tmp_path / "thin.safetensors", **OPTIONS)
    torch.save(vgg11(weights=None).features.state_dict(prefix="features."), tmp_path / "vgg11.pth")
    with pytest.raises(ValueError, match=r"another architecture: vgg16 has no layer features.11"):
        build_network(3, weights=tmp_path / "vgg11.pth", **OPTIONS | {"trainable": "all"})


def test_without_a_network_connection_the_error_names_the_file_to_download(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", no_network)
    with pytest.raises(
        OSError, match=r"vgg16-397923af.pth.* Download it .* weights='path/to/vgg16"
    ):
        network.load_weights("imagenet")


def test_imagenet_weights_on_disk_are_used(tmp_path, monkeypatch, vgg16_file):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(load_file(vgg16_file), tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth")
    assert "features.0.weight" in network.load_weights("imagenet").tensors


def test_a_row_does_not_depend_on_its_batch():
    """Not in the last bit, also behind layers as wide as VGG16's own."""
    torch.manual_seed(0)
    options = OPTIONS | {"hidden_layer_sizes": None}
    frozen, head = build_network(20, weights=None, **options)
    head.eval()
    pixels = torch.randint(0, 256, (32, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        together = head(frozen(pixels))
        for start, n_rows in ((0, 1), (3, 1), (5, 2), (7, 5), (20, 9)):
            rows = slice(start, start + n_rows)
            assert torch.equal(head(frozen(pixels[rows])), together[rows])


def test_the_digest_follows_weights_and_preprocessing():
    def build(seed):
        torch.manual_seed(seed)
        return build_network(3, weights=None, **OPTIONS)[0]

    first = build(0)
    assert first.digest() == build(0).digest()
    assert first.digest() != build(1).digest()
    first.mean = first.mean + 1
    assert first.digest() != build(0).digest()


def test_fresh_layers_keep_the_scale_of_their_input():
    torch.manual_seed(0)
    frozen, _ = build_network(3, weights=None, **OPTIONS)
    pixels = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    out = frozen(pixels)
    assert np.isfinite(out.numpy()).all()
    assert 0.05 < out.std() < 20


@pytest.mark.parametrize("backbone", network.BACKBONES)
@pytest.mark.parametrize("trainable", ["block3", "classifier"])
def test_backbones_are_torchvisions(backbone, trainable, monkeypatch):
    torch.manual_seed(0)
    whole = get_model(backbone, weights=None, init_weights=False).features.eval()
    for tensor in whole.state_dict().values():  # batch normalisation that does something
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
    state = whole.state_dict(prefix="features.")
    monkeypatch.setattr(weights, "_imagenet", lambda backbone: weights.Weights(state))
    options = OPTIONS | {"trainable": trainable, "weights": "imagenet", "backbone": backbone}
    frozen, head = build_network(3, **options)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    x = (pixels / 255 - torch.tensor(network.IMAGENET_MEAN)) / torch.tensor(network.IMAGENET_STD)
    expected = head.classifier.eval()(whole(x.permute(0, 3, 1, 2)).flatten(1))
    with torch.inference_mode():
        assert torch.allclose(head.eval()(frozen(pixels)), expected, atol=1e-4)
    n_convolutions = {"vgg11": 8, "vgg13": 10, "vgg16": 13, "vgg19": 16}[backbone.split("_")[0]]
    convolutions = [m for part in (frozen, head) for m in part.modules() if is_convolution(m)]
    assert len(convolutions) == n_convolutions
    in_head = sum(map(is_convolution, head.modules()))
    assert in_head == {8: 6, 10: 6, 13: 9, 16: 12}[n_convolutions] * (trainable == "block3")


def is_convolution(module):
    return isinstance(module, torch.nn.Conv2d)
