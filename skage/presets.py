"""Whole recipes as models that are ready to fit, and to change by set_params."""

from __future__ import annotations

from typing import Any

from .augment import Jitter
from .binning import AgeBinner
from .classifier import VGG16Classifier
from .regressor import BinnedAgeRegressor


def dex(**parameters: Any) -> BinnedAgeRegressor:
    """Make the model of DEX (Rothe et al., ICCVW 2015 and IJCV 2016), not yet fitted.

    Parameters
    ----------
    **parameters : dict
        Parameters of VGG16Classifier, in place of the recipe's or beside them.

    Returns
    -------
    model : BinnedAgeRegressor

    Notes
    -----
    101 bins of the ages 0 to 100; VGG16 pretrained on ImageNet, all layers trained,
    at 224 pixels out of 256; ten copies of each image, turned by 10 degrees at most,
    shifted by a tenth, scaled by a tenth and mirrored; every age drawn as often;
    stochastic gradient descent with momentum 0.9, weight decay 0.0005, dropout 0.5, a
    learning rate of 1e-3 for the output layer and 1e-4 for the others, both divided by
    10 every 10 epochs; twenty networks, each with a tenth held out of every age, the
    weights of its best epoch, and the average of their predictions.

    Not stated in what could be read of the papers, and chosen here: the number of
    epochs, the size of the batches and how copies, shifts and mirror images are drawn.
    The learning rates are as commonly quoted. The paper made ages even by leaving out
    images of IMDB-WIKI; here they are drawn by weight, which leaves out none. It does
    not average over views of a test image; ``test_augment="mirror"`` does.

    Trained so from IMDB-WIKI, a model goes on to apparent ages with
    ``dex(weights="real.skage")``, where real.skage is what its `save` wrote.

    Examples
    --------
    >>> from skage import presets
    >>> model = presets.dex(trainable="block5", n_members=5)
    >>> model.classifier.lr_ratio
    0.1
    """
    recipe: dict[str, Any] = {
        "trainable": "all",
        "image_size": 224,
        "crop": 224 / 256,
        "augment": Jitter(10, rotation=10, shift=0.1, scale=0.1, mirror=True),
        "class_weight": "balanced_ages",
        "sampling": "weighted",
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "dropout": 0.5,
        "lr": 1e-3,
        "lr_ratio": 0.1,
        "lr_step": 10,
        "lr_gamma": 0.1,
        "max_epochs": 30,
        "n_members": 20,
        "validation_fraction": 0.1,
    }
    recipe |= parameters
    recipe.setdefault("early_stopping", recipe["max_epochs"])
    bins = AgeBinner(101, strategy="uniform", age_range=(-0.5, 100.5), representative="midpoint")
    return BinnedAgeRegressor(VGG16Classifier(**recipe), bins)
