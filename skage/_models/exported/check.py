"""Whether an exported model predicts what the model predicts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..._unwrap import image_classifiers
from ...datasets import make_faces
from ...runtime import Runtime
from .header import Header
from .predict import OnnxModel, read_views

_N_FACES = 4
_TOLERANCE = 0.01  # years


def check_model(model: Any, content: bytes, header: Header) -> None:
    """Compare the ages and intervals of drawn faces.

    Raises
    ------
    ValueError
        If onnxruntime cannot run the file, or they differ by more than 0.01 years.
    """
    side = max(view.resized for view in header.views)
    faces = list(make_faces(_N_FACES, image_size=side, random_state=0).data)
    feeds = [read_views(face, i, header.views) for i, face in enumerate(faces)]
    try:
        _, age, interval = OnnxModel(content).run(feeds)
    except ValueError as error:
        raise ValueError(
            f"The exported model {error} A network of others that was exported for batches of one "
            "size alone cannot be part of it: export that network for batches of any size."
        ) from error
    with _in_float32(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # drawn faces are not cropped as photographs are
        distribution = model.predict_dist(faces)
    bounds = model.decode_interval(distribution, header.coverage).T
    expected = [model.decode_dist(distribution), *bounds]
    differences = np.abs(np.stack([age, *interval.T]) - np.stack(expected))
    if not differences.max() <= _TOLERANCE:  # also NaN
        raise ValueError(
            f"The exported model was not written, as its ages of drawn faces differ from the "
            f"model's by up to {differences.max():.3g} years. Report this with the model's "
            "parameters."
        )


@contextmanager
def _in_float32(model: Any) -> Iterator[None]:
    """Let a model compute in float32 on the CPU, as onnxruntime does."""
    classifiers = list(image_classifiers(model))
    before = [classifier.runtime for classifier in classifiers]
    for classifier in classifiers:
        classifier.runtime = Runtime(device="cpu", precision="float32")
    try:
        yield
    finally:
        for classifier, runtime in zip(classifiers, before, strict=True):
            classifier.runtime = runtime
