"""Feed images to an exported model, and run it with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..._images.reading import digest_and_decoder, resize
from ..._keys import file_key
from ..._networks.onnx import OnnxSession
from ...augment import views as views_of
from .header import View

OUTPUTS = ("distribution", "age", "interval")
#: The distribution of a calibrated model before its calibration, which skage.load applies.
UNCALIBRATED = "uncalibrated"
_BATCH = 8  # images; the feature maps of few fit into a processor's caches


def read_views(image: Any, position: int, views: Sequence[View]) -> dict[str, np.ndarray]:
    """Return the pixels (s, s, 3) of an image for each input, by its name.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    found = {}
    for view in views:
        [[shown]] = views_of([image], view.image_size, view.image_size / view.resized, None)
        _, decode = digest_and_decoder(shown, position)
        found[view.input] = resize(decode(view.image_size), view.image_size)
    return found


class OnnxModel:
    """An exported model, run by onnxruntime in this process.

    Parameters
    ----------
    content : bytes
        Of the ONNX file.
    """

    def __init__(self, content: bytes):
        self.content, self._key = content, file_key(content)

    def open(self) -> OnnxSession:
        """Return the session, which is made on first use.

        Raises
        ------
        ValueError
            If onnxruntime cannot run the file. The message continues a sentence.
        """
        return OnnxSession.of(self._key, lambda: self.content, torch.device("cpu"))

    def run(
        self, images: Sequence[dict[str, np.ndarray]], outputs: Sequence[str] = OUTPUTS
    ) -> tuple[np.ndarray, ...]:
        """Return outputs for images: distributions (n, n_bins), ages (n,), intervals (n, 2).

        Parameters
        ----------
        images : sequence of n dict
            As `read_views` returns them.
        outputs : sequence of str
            Their names.

        Raises
        ------
        ValueError
            If onnxruntime cannot run the file. The message continues a sentence.
        """
        session, parts = self.open().session, []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            feed = {name: np.stack([image[name] for image in batch]) for name in batch[0]}
            try:
                parts.append(session.run(list(outputs), feed))
            except Exception as error:  # onnxruntime's own classes, which have no common base
                reason = str(error).splitlines()[0].rstrip(".")
                raise ValueError(f"fails on {len(batch)} images: {reason}.") from error
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
