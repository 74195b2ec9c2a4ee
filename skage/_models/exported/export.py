"""Write a fitted model as an ONNX file, from uint8 images to ages."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..._checks import check_ages
from ..._classifier import ImageClassifier, digest_table
from ..._files.paths import replacing, resolve_path
from ..._networks.embedding import OnnxEmbedding
from ..._unwrap import image_classifiers, unwrap
from ...binning import AgeBinner, tails
from ...calibration import CalibratedAgeRegressor
from ...classifier import VGG16Classifier
from ...embedding import EmbeddingClassifier
from ...ensemble import AgeEnsemble
from ...regressor import BinnedAgeRegressor
from ..card import describe_card
from .calibrated import add_calibrated, add_calibrated_interval, as_json
from .check import check_model
from .checksum import seal
from .decode import add_age, add_interval, add_probabilities
from .graph import Graph, common_opset, import_onnx
from .header import Header, View
from .int8 import quantise
from .layers import add_layers
from .predict import OUTPUTS, UNCALIBRATED


def export(
    model: Any,
    path: str | os.PathLike,
    *,
    coverage: float = 0.9,
    int8_images: Any = None,
    int8_ages: ArrayLike | None = None,
    card: Any = None,
) -> None:
    """Write a fitted model as an ONNX file; see `DistributionRegressor.export`."""
    from ... import __version__

    path = resolve_path(path)
    if not path.lower().endswith(".onnx"):
        raise ValueError(f"path={path!r} must end in .onnx, so that skage.load recognises it.")
    if not os.path.isdir(os.path.dirname(path)):
        raise FileNotFoundError(f"{path!r} cannot be written: its folder does not exist.")
    tails(coverage)
    if int8_ages is not None:
        int8_ages = check_ages(int8_ages, "int8_ages")
    exporter = _Exporter(model)
    proto = exporter.proto(coverage)
    header = Header(
        model.binner_,
        model.decode,
        coverage,
        list(exporter.views.values()),
        _preparation(model),
        _digests(model),
        __version__,
        calibration=as_json(model) if isinstance(model, CalibratedAgeRegressor) else None,
        card=describe_card(card),
    )
    _describe(proto, header)
    check_model(model, proto.SerializeToString(deterministic=True), header)
    if int8_images is not None:
        proto, header.quantisation = quantise(proto, header, int8_images, int8_ages)
        _describe(proto, header)
    with replacing(path) as file:
        file.write(seal(proto.SerializeToString(deterministic=True)))


def _describe(proto: Any, header: Header) -> None:
    proto.producer_name, proto.producer_version = "skage", header.version
    proto.ClearField("metadata_props")
    import_onnx().helper.set_model_props(proto, header.metadata())


def _preparation(model: Any) -> str | None:
    kinds = {classifier.preparation_ for classifier in image_classifiers(model)}
    return kinds.pop() if len(kinds) == 1 else None


def _digests(model: Any) -> np.ndarray:
    rows = [row.tobytes() for of in image_classifiers(model) for row in of.digests_]
    return digest_table(rows) if rows else np.empty((0, 0), dtype=np.uint8)


class _Exporter:
    """The graph of a fitted model.

    Parameters
    ----------
    model : estimator with predict_dist

    Attributes
    ----------
    views : dict of (int, int) to View
        By the sides of the images.
    """

    def __init__(self, model: Any):
        self.model = model
        self.views: dict[tuple[int, int], View] = {}
        self._done: dict[Any, str] = {}  # names of outputs that several members share
        _check(model.estimator_ if isinstance(model, CalibratedAgeRegressor) else model)
        networks = [classifier.frozen_ for classifier in image_classifiers(model)]
        contents = [
            layers.content.cpu().numpy().tobytes()
            for layers in networks
            if isinstance(layers, OnnxEmbedding)
        ]
        self.graph = Graph(common_opset(contents))
        self._is_single = len({(c.image_size_, c.resized_) for c in image_classifiers(model)}) == 1

    def proto(self, coverage: float) -> Any:
        """Return the ModelProto."""
        graph, model = self.graph, self.model
        shape: list[Any] = ["n", model.binner_.n_bins_]
        more: dict[str, tuple[str, list[Any]]] = {}
        if isinstance(model, CalibratedAgeRegressor):
            before = self._distribution(model.estimator_)
            more[UNCALIBRATED] = before, shape
            graph.stage, graph.dtype = "decode", np.float64
            distribution = add_calibrated(graph, model, graph.cast(before, np.float64))
            age = add_age(graph, model.binner_, model.decode, distribution)
            interval = add_calibrated_interval(graph, model, distribution, age, coverage)
        else:
            distribution = self._distribution(model)
            graph.stage = "decode"
            age = add_age(graph, model.binner_, model.decode, distribution)
            interval = add_interval(graph, model.binner_, distribution, age, coverage)
        ends = distribution, graph.add("Squeeze", age, [1]), interval
        shapes: tuple[list[Any], ...] = shape, ["n"], ["n", 2]
        outputs = {
            name: (graph.cast(end, np.float32), sides)
            for name, end, sides in zip(OUTPUTS, ends, shapes, strict=True)
        }
        told = (
            "Input: uint8 RGB images of faces. Outputs: the distribution over bins of age, the age "
            f"in years, and an interval of coverage {coverage:g} in years."
        )
        return graph.model(outputs | more, doc_string=told)

    def _distribution(self, model: Any) -> str:
        """Probabilities of the bins of a model, (n, n_bins)."""
        model = unwrap(model)[0]
        if isinstance(model, AgeEnsemble):
            return self._average(model)
        found = self._probabilities(model.classifier_)
        seen, n_bins = model.classifier_.classes_, model.binner_.n_bins_
        if len(seen) == n_bins:
            return found
        return self.graph.add("MatMul", found, np.eye(n_bins)[seen])

    def _average(self, model: AgeEnsemble) -> str:
        graph, edges, parts = self.graph, model.binner_.bin_edges_, []
        for weight, member in zip(model.weights_, model.estimators_, strict=True):
            if weight == 0:
                continue
            binner: AgeBinner = unwrap(member)[0].binner_
            shares = np.diff(binner.cdf(np.eye(binner.n_bins_), edges), axis=1)
            part = graph.add("MatMul", self._distribution(member), shares)
            total = graph.add("ReduceSum", part, [1], keepdims=1)
            parts.append(graph.add("Mul", graph.add("Div", part, total), float(weight)))
        return graph.add("Sum", *parts)

    def _probabilities(self, classifier: ImageClassifier) -> str:
        """Probabilities of the classes, averaged over the networks and both views."""
        graph = self.graph
        size, sides = classifier.image_size_, (classifier.image_size_, classifier.resized_)
        is_mirrored = classifier.test_augment == "mirror"
        x = self._images(sides, is_mirrored)
        if classifier.frozen_ is not None:
            key = classifier.frozen_.digest(), x
            if key not in self._done:
                graph.stage = "network"
                self._done[key] = add_layers(graph, classifier.frozen_, x, size)
            x = self._done[key]
        found = []
        for net in classifier.nets_:
            graph.stage = "head"
            outputs = add_layers(graph, net.module_, x, size)
            graph.stage = "decode"
            found.append(add_probabilities(graph, net.criterion_, outputs))
        mean = found[0] if len(found) == 1 else graph.add("Mean", *found)
        if not is_mirrored:
            return mean
        both = graph.add("Reshape", mean, [2, -1, len(classifier.classes_)])
        return graph.add("Mul", graph.add("ReduceSum", both, [0], keepdims=0), 0.5)

    def _images(self, sides: tuple[int, int], is_mirrored: bool) -> str:
        """The input of images of these sides, followed by their mirror images if wanted."""
        if sides not in self.views:
            name = "images" if self._is_single else f"images_{sides[0]}_of_{sides[1]}"
            self.views[sides] = View(self.graph.images(name, sides[0]), *sides)
        x = self.views[sides].input
        if not is_mirrored:
            return x
        if (x, is_mirrored) not in self._done:
            self.graph.stage = "mirror"
            end = np.iinfo(np.int64).min
            flipped = self.graph.add("Slice", x, [-1], [end], [2], [-1])
            self._done[x, is_mirrored] = self.graph.add("Concat", x, flipped, axis=0)
        return self._done[x, is_mirrored]


def _check(model: Any) -> None:
    """Refuse what has no nodes.

    Raises
    ------
    TypeError
    """
    model = unwrap(model)[0]
    name = type(model).__name__
    if isinstance(model, CalibratedAgeRegressor):
        raise TypeError(
            "Cannot export a CalibratedAgeRegressor inside another model. Export the model that it "
            "calibrates, or calibrate the whole."
        )
    if isinstance(model, AgeEnsemble):
        for member in model.estimators_:
            _check(member)
        return
    if type(model) is not BinnedAgeRegressor:
        raise TypeError(f"Cannot export a {name}. Export a BinnedAgeRegressor or an AgeEnsemble.")
    classifier = model.classifier_
    kind = type(classifier).__name__
    if type(classifier) not in (EmbeddingClassifier, VGG16Classifier):
        raise TypeError(
            f"Cannot export a model of {kind}: an ONNX file takes a VGG16Classifier or an "
            "EmbeddingClassifier of an ONNX network."
        )
    if kind == "EmbeddingClassifier" and not isinstance(classifier.frozen_, OnnxEmbedding):
        raise TypeError(
            "Cannot export a model of a torch module. Export the module with torch.onnx.export, "
            "and fit on that .onnx file."
        )
    if classifier.test_augment not in (None, "mirror"):
        raise TypeError(
            f"Cannot export test_augment={classifier.test_augment!r}, whose copies are drawn for "
            "each image. Set test_augment='mirror' or None first; the model need not be fitted "
            "again."
        )
