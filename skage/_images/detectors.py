"""Face detectors: OpenCV's cascade, YuNet, or a callable."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import _memory
from .._files.paths import resolve_path
from .._files.store import get_store, resolve_folder
from .._keys import faces_key

_YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models/face_detection_yunet/"
    "face_detection_yunet_2026may.onnx"
)
_YUNET_SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
_YUNET_SCORE = 0.6
_HAAR_NEIGHBOURS = 4
_MAX_SIDE = 640  # pixels; larger images are reduced to this before detection
_MIN_SIDE = 64  # pixels; YuNet finds faces that do not exist in smaller images


@dataclass(frozen=True)
class Finder:
    """Detects the faces in an image, and caches the result.

    Parameters
    ----------
    detector : {"haar", "yunet"} or callable
    angles : tuple of float
        Degrees by which images are rotated counter-clockwise before detection.
    model : str, default=""
        Path of the detector's model file.
    version : str, default=""
        Identifies the detector in cache keys; empty for a callable, which has no version.
    folder : str, default=None
        Feature cache to keep results in. None keeps them in memory only.
    """

    detector: Any
    angles: tuple[float, ...]
    model: str = ""
    version: str = ""
    folder: str | None = None

    def __call__(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str
    ) -> tuple[np.ndarray, Image.Image | None]:
        """Return faces (n, 6), highest score first, and the image if it was decoded.

        The columns are left, top, width, height, score and angle.
        """
        detector = self._identity()
        key = None if detector is None else (detector, self.angles, digest)
        data, image = None if key is None else _memory.faces.get(key), None
        if data is None:
            store = None if self.folder is None else get_store(self.folder)
            store_key = faces_key(digest, self.version, self.angles)
            data = None if store is None else store.get(store_key)
            if data is None:
                image = decode()
                try:
                    data = self._detect(image).tobytes()
                except Exception as error:
                    error.add_note(f"While detecting faces in {name}.")
                    raise
                if store is not None:
                    store.put({store_key: data}, "faces")
            if key is not None:
                _memory.faces.put(key, data)
        return np.frombuffer(data).reshape(-1, 6), image

    def _identity(self) -> Any:
        """Return the detector's part of a key; None for a callable without weak references."""
        if self.version:
            return self.version
        try:
            return _memory.detectors.setdefault(self.detector, object())
        except TypeError:
            return None

    def _detect(self, image: Image.Image) -> np.ndarray:
        scale = min(1.0, _MAX_SIDE / max(image.size))
        small = image
        if scale < 1:
            side = [max(round(n * scale), 1) for n in image.size]
            small = image.resize((side[0], side[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
        boxes = np.concatenate([self._detect_at(small, angle) for angle in self.angles])
        boxes[:, :4] *= np.array(image.size * 2) / np.array(small.size * 2)
        return _distinct(boxes[np.argsort(-boxes[:, 4], kind="stable")])

    def _detect_at(self, image: Image.Image, angle: float) -> np.ndarray:
        """Detect faces in the rotated image, and return them in the image's coordinates."""
        rotated = image.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else image
        detect = DETECTORS.get(self.detector) if isinstance(self.detector, str) else None
        pixels = np.array(rotated)
        found = detect(pixels, self.model) if detect else self.detector(pixels)
        faces = np.asarray(found, dtype=np.float64)
        faces = faces.reshape(0, 5) if faces.size == 0 else faces
        if faces.ndim != 2 or faces.shape[1] != 5 or not np.isfinite(faces).all():
            raise ValueError(
                f"detector {self.detector!r} returned an array of shape {faces.shape}; expected "
                "finite numbers (n_faces, 5): left, top, width, height, score."
            )
        # Detectors may return boxes that are empty, huge or outside the image.
        middle = faces[:, :2] + faces[:, 2:4] / 2
        valid = (middle >= 0) & (middle <= rotated.size)
        valid &= (faces[:, 2:4] > 0) & (faces[:, 2:4] <= 4 * max(rotated.size))
        faces = faces[valid.all(axis=1)]
        centre = faces[:, :2] + faces[:, 2:4] / 2 - np.array(rotated.size) / 2
        sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        x = centre[:, 0] * cos - centre[:, 1] * sin + image.width / 2
        y = centre[:, 0] * sin + centre[:, 1] * cos + image.height / 2
        left_top = np.stack([x, y], axis=1) - faces[:, 2:4] / 2
        return np.column_stack([left_top, faces[:, 2:], np.full(len(faces), angle)])


def _distinct(faces: np.ndarray) -> np.ndarray:
    """Keep the strongest of the faces that were found in about the same place."""
    centres = faces[:, :2] + faces[:, 2:4] / 2
    kept: list[int] = []
    for i, centre in enumerate(centres):
        apart = np.hypot(*(centres[kept] - centre).T)
        if (apart > faces[kept, 2:4].min(axis=1, initial=np.inf) / 2).all():
            kept.append(i)
    return faces[kept]


def _haar(pixels: np.ndarray, _: str) -> np.ndarray:
    cv2 = import_cv2()
    if not hasattr(_memory.thread_local, "haar"):
        try:
            file = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
            cascade = cv2.CascadeClassifier(file)
            if cascade.empty():
                raise AttributeError(file)
        except AttributeError as error:
            raise ImportError(
                f"OpenCV {cv2.__version__} does not include the face cascade ({error}). Pass "
                "detector='yunet', or install another OpenCV: pip install 'skage[faces]'."
            ) from error
        _memory.thread_local.haar = cascade
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    smallest = max(24, min(grey.shape) // 20)
    boxes, _, scores = _memory.thread_local.haar.detectMultiScale3(
        grey, 1.1, _HAAR_NEIGHBOURS, minSize=(smallest, smallest), outputRejectLevels=True
    )
    return np.column_stack([boxes, scores]) if len(boxes) else np.empty((0, 5))


def _yunet(pixels: np.ndarray, model: str) -> np.ndarray:
    cv2 = import_cv2()
    nets = _memory.thread_local.__dict__.setdefault("yunet", {})
    if model not in nets:
        try:
            net = cv2.FaceDetectorYN.create(model, "", (_MIN_SIDE, _MIN_SIDE), _YUNET_SCORE)
            net.detect(np.zeros((_MIN_SIDE, _MIN_SIDE, 3), np.uint8))  # fails for other networks
        except cv2.error as error:
            raise ValueError(
                f"model_file={model!r} is not a YuNet model that OpenCV can read "
                f"({str(error).strip()}). Pass another file, or None to download YuNet."
            ) from error
        nets[model] = net
    more = [(0, max(_MIN_SIDE - side, 0)) for side in pixels.shape[:2]]
    pixels = np.pad(pixels[:, :, ::-1], (*more, (0, 0)))
    nets[model].setInputSize(pixels.shape[1::-1])
    faces = nets[model].detect(np.ascontiguousarray(pixels))[1]
    return np.empty((0, 5)) if faces is None else faces[:, [0, 1, 2, 3, 14]]


DETECTORS: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {"haar": _haar, "yunet": _yunet}


def import_cv2():
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "Detecting faces needs OpenCV. Install it with pip install 'skage[faces]', or pass a "
            "callable as detector."
        ) from error
    return cv2


def yunet_file(model_file: str | os.PathLike | None) -> tuple[str, str]:
    """Return the path and checksum of YuNet's model, which is downloaded if necessary."""
    if model_file is not None:
        path = Path(resolve_path(model_file, "model_file"))
        if not path.is_file():
            raise ValueError(f"model_file={os.fspath(path)!r} does not exist or is not a file.")
    else:
        try:
            folder = resolve_folder("auto")
        except ValueError as error:
            raise ValueError(f"{error} Or pass the path of YuNet's model as model_file.") from error
        path = Path(folder, _YUNET_URL.rsplit("/", 1)[1])
        if not path.exists():
            _download(path)
    return os.fspath(path), hashlib.sha256(path.read_bytes()).hexdigest()


def _download(path: Path) -> None:
    from torch.hub import download_url_to_file  # torch is slow to import

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(_YUNET_URL, os.fspath(path), _YUNET_SHA256, progress=False)
    except (OSError, RuntimeError) as error:  # no network, wrong checksum, full disk
        raise OSError(
            f"YuNet's model cannot be downloaded from {_YUNET_URL} to {os.fspath(path)!r}: "
            f"{error}. Pass its path as model_file, or detector='haar'."
        ) from error
