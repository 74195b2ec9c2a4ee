"""Where in an image a predicted age comes from, by the gradient of the expected age."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from .._images.reading import digest_and_decoder, resize
from .._networks.vgg import VGGLayers
from ..augment import views


def grad_cam(model: Any, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that the network sees, and the Grad-CAM of the expected age.

    It is the mean of the last feature map's channels, weighted by the mean gradient of the
    expected age (Selvaraju et al., ICCV 2017, section 3). Values below 0, which make the
    age lower, are kept. The heat is divided by its largest absolute value.

    Raises
    ------
    ValueError
        If the model is not a regressor of bins with a VGG network.
    """
    classifier: Any = getattr(model, "classifier_", None)
    nets = getattr(classifier, "nets_", [])
    if not nets or not isinstance(nets[0].module_, VGGLayers):
        raise ValueError(
            "method='grad_cam' needs a BinnedAgeRegressor of a VGG16Classifier, not "
            f"{type(model if classifier is None else classifier).__name__}. Pass "
            "method='occlusion'."
        )
    size, resized = classifier.image_size_, classifier.resized_
    seen = views([image], size, size / resized, None)[0][0]
    pixels = resize(digest_and_decoder(seen, 0)[1](size), size)
    values = torch.tensor(model.binner_.bin_values_[classifier.classes_], dtype=torch.float32)
    heat = np.zeros((1, 1))
    for net in nets:
        network = _ExpectedAge(classifier.frozen_, net, values)
        inputs = torch.tensor(pixels[None], dtype=torch.float32, requires_grad=True)
        found = LayerGradCam(network, network.last_feature_map()).attribute(inputs)
        heat = heat + found[0, 0].detach().numpy()
    return pixels, heat / max(np.abs(heat).max(), np.finfo(np.float32).tiny)


class _ExpectedAge(nn.Module):
    """A trained network with the expected age as its output."""

    def __init__(self, frozen: VGGLayers | None, net: Any, values: Tensor):
        super().__init__()
        self.frozen, self.head, self.values = frozen, net.module_, values
        self.probabilities = net.criterion_.probabilities

    def forward(self, images: Tensor) -> Tensor:
        activations = images if self.frozen is None else self.frozen(images)
        return (self.probabilities(self.head(activations)) * self.values).sum(dim=1)

    def last_feature_map(self) -> nn.Module:
        """Return the layer behind the last convolution."""
        layers = [*([] if self.frozen is None else self.frozen.features), *self.head.features]
        return [layer for layer in layers if isinstance(layer, nn.ReLU)][-1]
