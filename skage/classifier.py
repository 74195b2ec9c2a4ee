"""VGG16Classifier: a scikit-learn classifier of images that owns a skorch net."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from ._classifier import ImageClassifier
from ._networks.vgg import BACKBONES, BLOCKS, TRAINABLE, VGG, Architecture
from ._sklearn import Interval, StrOptions
from ._training import auto
from ._training.resolve import check_layers, training_config
from .augment import Jitter
from .runtime import Runtime
from .schedules import OneCycle, StepDecay


class VGG16Classifier(ImageClassifier):
    """VGG16 over images (DEX, Rothe et al., IJCV 2016, section 3.1), trained with skorch.

    The network is cut at its first trainable layer. In a fit each image passes the
    frozen layers once, and all epochs train the remaining layers on the resulting
    activations. The networks of an ensemble share these activations.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        Pretrained weights. "imagenet" downloads torchvision's once. A path names a
        .safetensors or torch file with torchvision's names, which may cover the
        convolutions only; or a .skage file that a fitted model's `save` wrote, to
        continue training it, for instance from real to apparent ages. None starts
        from He's random initialisation. The output layer is always fresh, except
        with a .skage file whose bins stand for the same ages. Of an ensemble's
        file the first network is used.

    backbone : {"vgg11", "vgg13", "vgg16", "vgg19", and each with "_bn"}, default="vgg16"
        The network, in torchvision's implementation; "_bn" has batch
        normalisation.

    trainable : {"output", "classifier", "block5", "block4", "block3", "block2", "all"}, \
            default="classifier"
        Which layers are trained: the output layer, all fully connected layers,
        these and the convolutions from that block on, or all layers. The others
        are frozen.

    hidden_layer_sizes : tuple of int or None, default=(512,)
        Widths of fresh fully connected layers before the output layer; () for
        none. None keeps VGG16's own two of 4096.

    n_components : int, "auto" or None, default="auto"
        Number of components to which the frozen activations (25,088 at 224 pixels)
        are reduced before the dense layers are trained on them: a projection to the
        subspace of nearly largest variance, learned from this fit's training
        images and scaled to unit mean square. Training is some ten times faster.
        The projection is merged into the first dense layer afterwards, so that
        prediction is not affected. None trains on all activations. "auto" follows
        the number of training images where fresh dense layers alone are trained
        (see Notes), and is None otherwise.

    loss : str, dict or None, default=None
        A term of `skage.losses`: "cross_entropy" or "cumulative"; with ages in
        years, as in BinnedAgeRegressor, also "expectation_l1", "expectation_l2",
        "variance" and "ranked_probability"; or a weighted sum such as
        ``{"cross_entropy": 1, "expectation_l1": 0.5}``. None stands for this sum
        with ages in years, and for "cross_entropy" without.
        "l1" and "l2" regress the age directly: the network has one output, and the
        predicted probabilities are on the two bins around that age, so that their
        expectation is the age. The loss is measured in standard deviations of the
        bins' values. Ages beyond the outermost values cannot be predicted, so use
        many bins.

    dropout : float, default=0.5
        Dropout rate before the output layer and after each hidden layer.

    image_size : int or (int, int), default=224
        Side in pixels, at least 32, to which images are resized, whatever their
        proportions. A pair also crops: ``(224, 256)``, as in DEX, resizes to
        256 pixels and cuts out the central 224; augmented copies are cut out at a random
        place.

    augment : Jitter, default=None
        Copies of the training images: each time an image is trained on, the image
        or one of its copies is drawn at random. Copies pass the frozen layers once
        and are cached, as the images are.

    test_augment : {"mirror"}, Jitter or None, default="mirror"
        Average predictions over the image and its mirror image, or its copies.
        Each view passes the frozen layers: None predicts twice as fast as "mirror",
        and a little worse.

    n_members : int, default=1
        Number of networks in an ensemble, whose predicted probabilities are
        averaged. They share the frozen layers; each has its own fresh layers,
        batches and validation split.

    lr : float or "auto", default="auto"
        Learning rate of the first epoch; with `OneCycle` the highest. "auto"
        depends on what is trained and by which optimizer; see Notes.

    lr_ratio : float or dict, default=1.0
        Multiplier of `lr` for layers that start from pretrained weights, except
        the output layer. A dict gives the multipliers of blocks, pretrained or not,
        as ``{"block4": 0.1, "block5": 0.3}``. The blocks are "block1" to "block5"
        and "classifier"; those that are not named have a multiplier of 1.

    weight_decay : float, default=5e-3
        L2 penalty (decoupled with "adamw").

    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
        Optimizer of the trained layers. "sgd" has a momentum of 0.9. For other options
        pass ``functools.partial(torch.optim.SGD, momentum=0.8, nesterov=True)``.

    batch_size : int or "auto", default="auto"
        Number of images in a training step. "auto" follows the number of training
        images; see Notes.

    class_weight : {"balanced", "balanced_ages"}, dict or None, default=None
        Weights of the labels in the loss, multiplied by `sample_weight`. "balanced"
        gives every label the same total weight, and "balanced_ages", in
        BinnedAgeRegressor, every year of age. Labels that a dict does not name have
        a weight of 1.

    max_epochs : int, default=20
        Number of passes over the training images.

    lr_schedule : StepDecay, OneCycle, "constant" or None, default=None
        How the learning rate changes; see `skage.schedules`. None stands for
        ``StepDecay(step=10, gamma=0.1)``, as in DEX. "constant" keeps `lr`, or
        leaves it to a scheduler among the `callbacks`.

    validation_fraction : float, default=0.1
        Fraction of the images passed to fit that is held out, evenly over the ages, to
        record the validation loss and MAE. Identical images, and those of a person if fit
        is given `groups`, stay together. 0 trains on all images.

    early_stopping : bool or int, default=False
        Whether to stop after 5 epochs, or this number of epochs, in which the
        validation MAE (without ages, the validation loss) has not improved, and to
        restore the weights of the best epoch. ``early_stopping=max_epochs`` only
        restores them.

    callbacks : list, default=None
        skorch callbacks, which fit copies.

    runtime : Runtime, default=None
        Device, precision, threads, cache and checkpoint folders. None stands for
        ``Runtime()``.

    on_error : {"raise", "skip"}, default="raise"
        How to handle unreadable images. "raise": fit names all of them in one error
        before the work begins, and predict raises at the first. "skip": fit leaves
        them out, and predict returns NaN for them, each with one warning.

    random_state : int, RandomState instance or None, default=None
        Seeds the fresh weights, the validation split, the order of the batches and
        dropout. An int gives the same network each time, bit for bit on one machine.

    verbose : int, default=0
        1 shows progress bars, 2 a table of the epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of `predict_proba`.
    nets_ : list of n_members skorch.NeuralNet
        The trained layers of each network, on the CPU, without the optimizer's
        state. They predict from activations of the frozen layers.
    net_ : skorch.NeuralNet
        The first of `nets_`.
    frozen_ : torch.nn.Module or None
        The frozen layers, on the CPU.
    held_out_ : list of n_members ndarray
        Positions in X of the images that each network was validated on. Model files
        do not store them.
    history_ : list of dict
        One entry for each epoch: epoch, train_loss, valid_loss, lr (of the output
        layer, at the end), dur (in seconds), in BinnedAgeRegressor valid_mae (in
        years), and in an ensemble member.
    image_size_, resized_ : int
        Side in pixels of what the network sees, and of the image it is cut from.
    digests_ : ndarray of shape (n_images, length), uint8
        Digests of the images that it was fitted to, so that an evaluation knows them.
    n_skipped_ : int
        Number of unreadable images that fit left out.
    preparation_ : str or None
        How the training images were made from others, such as the parameters of a
        FaceCropper; "" for images as they are, None if it differs among them.

    See Also
    --------
    BinnedAgeRegressor : Predicts ages with such a classifier.
    Runtime : Device, precision, threads and folders.

    Notes
    -----
    What "auto" stands for follows the number n of training images:

    - n_components: 0.8 n, at most 2,048 and at most the number of activations.
    - batch_size: 32 for n < 500, 64 for n < 1,500, and 128 otherwise.
    - lr: 0.01 on components and 0.001 otherwise with "sgd"; 0.0005 with other
      optimizers.

    The defaults were measured with frozen convolutions on 200, 600, 2,000 and 6,000
    images of UTKFace; see docs/benchmarks.md.

    Fresh hidden layers see the output of block 5 averaged to 7 x 7, or a smaller map
    where the image is smaller than 224 pixels. Images are normalised with ImageNet's
    mean and standard deviation.
    """

    _parameter_constraints = ImageClassifier._parameter_constraints | {
        "weights": [str, os.PathLike, None],
        "backbone": [StrOptions(set(BACKBONES))],
        "trainable": [StrOptions(set(TRAINABLE))],
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "image_size": [Interval(Integral, 32, None, closed="left"), tuple],
        "lr_ratio": [Interval(Real, 0, None, closed="left"), dict],
    }

    def __init__(
        self,
        *,
        weights: str | os.PathLike | None = "imagenet",
        backbone: str = "vgg16",
        trainable: str = "classifier",
        hidden_layer_sizes: Sequence[int] | None = (512,),
        n_components: int | str | None = "auto",
        loss: str | dict[str, float] | None = None,
        dropout: float = 0.5,
        image_size: int | tuple[int, int] = 224,
        augment: Jitter | None = None,
        test_augment: str | Jitter | None = "mirror",
        n_members: int = 1,
        lr: float | str = "auto",
        lr_ratio: float | dict[str, float] = 1.0,
        weight_decay: float = 5e-3,
        optimizer: Any = "sgd",
        batch_size: int | str = "auto",
        class_weight: str | dict | None = None,
        max_epochs: int = 20,
        lr_schedule: StepDecay | OneCycle | str | None = None,
        validation_fraction: float = 0.1,
        early_stopping: bool | int = False,
        callbacks: Sequence[Any] | None = None,
        runtime: Runtime | None = None,
        on_error: str = "raise",
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.weights = weights
        self.backbone = backbone
        self.trainable = trainable
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_components = n_components
        self.loss = loss
        self.dropout = dropout
        self.image_size = image_size
        self.augment = augment
        self.test_augment = test_augment
        self.n_members = n_members
        self.lr = lr
        self.lr_ratio = lr_ratio
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.callbacks = callbacks
        self.runtime = runtime
        self.on_error = on_error
        self.random_state = random_state
        self.verbose = verbose

    def _make_network(self):
        return VGG(self._architecture(), self.weights)

    def _training_config(self, n_training):
        self._check_ratios()
        n_components = self._check_components(n_training)
        lr = auto.learning_rate(self.optimizer, compressed=n_components is not None)
        return training_config(self, n_training, n_components, lr, self.lr_ratio)

    def _is_repeatable(self):
        return self.weights is not None or isinstance(self.random_state, Integral)

    def _is_automatic(self, config):
        compresses = self.n_components == "auto" and config.n_components is not None
        return compresses or super()._is_automatic(config)

    def _check_components(self, n_training):
        """Number of components for this number of training images, or None."""
        n_components = self.n_components
        is_dense = self.trainable in ("output", "classifier")
        has_fresh = self.hidden_layer_sizes is not None or self.trainable == "output"
        n_activations = self._architecture().n_activations
        if n_components == "auto":
            most = min(n_training, n_activations)
            return auto.n_components(n_training, most) if is_dense and has_fresh else None
        if n_components is None:
            return None
        if not is_dense:
            raise ValueError(
                f"n_components={n_components} reduces the input of dense layers, but "
                f"trainable={self.trainable!r} trains convolutions too. Pass "
                "n_components=None, or trainable='classifier'."
            )
        if not has_fresh:
            raise ValueError(
                f"n_components={n_components} needs fresh layers, but hidden_layer_sizes=None "
                "keeps VGG16's own. Pass hidden_layer_sizes=(512,), or trainable='output'."
            )
        if n_components > min(n_training, n_activations):
            raise ValueError(
                f"n_components={n_components} exceeds the number of training images "
                f"({n_training}) or of activations per image ({n_activations}). Pass a lower "
                "n_components, or 'auto'."
            )
        return n_components

    def _check_ratios(self):
        ratios = self.lr_ratio.items() if isinstance(self.lr_ratio, dict) else ()
        for block, ratio in ratios:
            good = isinstance(ratio, int | float | np.number) and 0 <= ratio < np.inf
            if block not in BLOCKS or not good:
                raise ValueError(
                    f"lr_ratio={self.lr_ratio!r} must map blocks to numbers >= 0, and "
                    f"{block!r}: {ratio!r} does not. The blocks are {', '.join(BLOCKS)}."
                )

    def _architecture(self):
        return Architecture(
            backbone=self.backbone,
            trainable=self.trainable,
            hidden_layer_sizes=self._check_layers(),
            dropout=self.dropout,
            image_size=self._sides()[0],
        )

    def _sides(self):
        """Sides in pixels that the network sees, and that images are resized to before."""
        sides: Any = self.image_size
        if isinstance(sides, Integral):
            return sides, sides
        whole = len(sides) == 2 and all(isinstance(side, Integral) for side in sides)
        if not whole or not 32 <= sides[0] <= sides[1]:
            raise ValueError(
                f"image_size={sides!r} must be a number of pixels, or a pair such as (224, 256): "
                "the side that is cut out, at least 32, and the side resized to before, at least "
                "as large."
            )
        return sides

    def _check_layers(self):
        if self.hidden_layer_sizes is None:
            return None
        sizes = check_layers(self.hidden_layer_sizes)
        if sizes and self.trainable == "output" and self.weights is None:
            raise ValueError(
                f"trainable='output' would leave the fresh hidden_layer_sizes={sizes} untrained. "
                "Pass trainable='classifier', or hidden_layer_sizes=() or None."
            )
        return sizes
