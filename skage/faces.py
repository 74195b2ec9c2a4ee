"""FaceCropper: find the face, turn it upright, and cut it out with a margin, as DEX does."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions

from .files import resolve_path
from .geometry import cut_out
from .images import (
    DerivedImage,
    ImageError,
    check_images,
    describe,
    digest_and_decoder,
    image_tags,
    map_ahead,
)
from .store import kept_store, resolve_folder

#: The rotations of DEX: every 5 degrees up to 60 either way, a quarter turn either way,
#: and upside down.
DEX_ANGLES = (0, *(sign * angle for angle in (*range(5, 61, 5), 90) for sign in (1, -1)), 180)

_YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models/face_detection_yunet/"
    "face_detection_yunet_2026may.onnx"
)
_YUNET_SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
_YUNET_SCORE = 0.6
_HAAR_NEIGHBOURS = 4
_SIDE = 640  # pixels; faces are looked for in images made so small
_VERSION = 2  # of the procedure: another one, other crops
_SMALLEST = 64  # pixels; in less YuNet sees what is not there
_MAX_REMEMBERED = 250_000  # images, some 250 bytes each

# Faces by the digest of the image, as the bytes of an array (n, 6) of float64: one
# such memory for each version of our detectors, and one for each callable.
_found: dict[Any, dict[bytes, bytes]] = {}
_found_by: WeakKeyDictionary[Any, dict[Any, dict[bytes, bytes]]] = WeakKeyDictionary()
_memory_lock = threading.Lock()
_local = threading.local()  # OpenCV's detectors, of which each thread needs its own


def _after_fork() -> None:
    """Another thread, which the forked child does not have, may have held the lock."""
    global _memory_lock
    _memory_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class NoFaceError(ImageError):
    """No face is found in an image; the message names it and its position."""

    what = "show no face"


class FaceCropper(TransformerMixin, BaseEstimator):
    """Cut faces out of photographs (DEX, Rothe et al., IJCV 2016, section 3.1).

    The strongest detection is turned upright and widened by a margin; where
    that leaves the image, its last pixels are repeated. The crop is squeezed
    to a square.

    A crop is made when it is read. The activations that an estimator keeps of
    it are known by the original image and by the parameters here, so a search
    detects no face twice.

    Parameters
    ----------
    detector : {"haar", "yunet"} or callable, default="haar"
        "haar" is the frontal face cascade inside OpenCV. "yunet" is a small
        network, better at profiles, rotation and dim light, in OpenCV's
        FaceDetectorYN. A callable takes RGB pixels (height, width, 3), uint8, of
        an image made at most 640 pixels large and maybe turned, and returns
        faces (n, 5): left, top, width and height in these pixels, and a score.
        It must be picklable for use in several processes, and find the same
        faces each time: what it found is remembered as long as it lives.

    margin : float, default=0.4
        Share of the box's width that is added left and right, and of its height
        above and below. Photographs that are cut close around the face want less;
        see Notes.

    keep_aspect : bool, default=False
        Make the box a square first, by its longer side, so that the face keeps
        its proportions. The paper squeezes it. A box of "yunet" is some 4 to 3.

    size : int, default=224
        Side of the crop in pixels.

    angles : None, "dex" or sequence of float, default=None
        Degrees by which the image is turned counter-clockwise to find faces
        that are not upright; None looks at it as it is. "dex" stands for the 28
        rotations of the paper, `DEX_ANGLES`, and so for 28 times the work.

    select : {"strongest", "largest"}, default="strongest"
        Which of several faces to take.

    on_no_face : {"whole", "raise", "nan"}, default="whole"
        Without any face: squeeze the whole image, as the paper; raise
        `NoFaceError`, as of an unreadable image, so that ``on_error="skip"``
        of the classifier leaves it out; or leave it out of fit and let its
        prediction be NaN, with one warning, whatever `on_error` says. Where a
        metric takes no NaN, as those of scikit-learn, leave such images out first:
        ``skage.images.readable(cropper.transform(X))`` is a mask of the others.

    model_file : path, default=None
        Of "yunet". None takes it from the user's cache folder, where it is
        downloaded (230 kB) and its checksum compared the first time.

    feature_cache : path, "auto" or None, default=None
        Folder where the faces found are kept, for other processes and days; best
        that of the classifier. Pass it with ``n_jobs``, else each process finds
        the faces itself. Not for a callable, whose changes would go unnoticed.
        None keeps them in this process only.

    Raises
    ------
    ImportError
        From fit, transform and detect, if OpenCV is missing:
        ``pip install 'skage[faces]'``.

    Notes
    -----
    A margin that leaves the image is made up, and shows as stripes. In 400 portraits
    whose faces are half as wide as the picture, so much of YuNet's crops was made up,
    on average:

    ======  ================  =================
    margin  keep_aspect=True  keep_aspect=False
    ======  ================  =================
    0.4     31 %              17 %
    0.3     19 %              9 %
    0.2     9 %               4 %
    0.1     2 %               1 %
    0       0 %               0 %
    ======  ================  =================

    There, 0.2 with `keep_aspect` shows the whole head and few stripes. Mirrored pixels
    would be worse: they show a second head. `skage.displays.FacesDisplay` shows the
    crops of a pipeline.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skage import BinnedAgeRegressor, FaceCropper
    >>> model = make_pipeline(FaceCropper(margin=0.4), BinnedAgeRegressor())
    """

    _parameter_constraints = {
        "detector": [StrOptions({"haar", "yunet"}), callable],
        "margin": [Interval(Real, 0, 10, closed="both")],
        "keep_aspect": ["boolean"],
        "size": [Interval(Integral, 16, 4096, closed="both")],
        "angles": [StrOptions({"dex"}), "array-like", None],
        "select": [StrOptions({"strongest", "largest"})],
        "on_no_face": [StrOptions({"whole", "raise", "nan"})],
        "model_file": [str, os.PathLike, None],
        "feature_cache": [str, os.PathLike, None],
    }

    def __init__(
        self,
        detector="haar",
        *,
        margin=0.4,
        keep_aspect=False,
        size=224,
        angles=None,
        select="strongest",
        on_no_face="whole",
        model_file=None,
        feature_cache=None,
    ):
        self.detector = detector
        self.margin = margin
        self.keep_aspect = keep_aspect
        self.size = size
        self.angles = angles
        self.select = select
        self.on_no_face = on_no_face
        self.model_file = model_file
        self.feature_cache = feature_cache

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and X; nothing is learned.

        Parameters
        ----------
        X : sequence of n_samples images
        y : ignored

        Returns
        -------
        self : FaceCropper
        """
        check_images(X)
        self._finder()
        return self

    def transform(self, X):
        """Cut out one face an image.

        Parameters
        ----------
        X : sequence of n_samples images
            Paths, PIL images or arrays; see `skage.images.check_images`.

        Returns
        -------
        crops : list of n_samples FaceCrop
            Images for any estimator of images. They are made when they are
            read, which is where a missing face or a broken file raises.
        """
        self._validate_params()
        images, finder = check_images(X), self._finder()
        how = _How(
            float(self.margin),
            bool(self.keep_aspect),
            int(self.size),
            self.select,
            self.on_no_face,
        )
        return [FaceCrop(image, finder, how, i) for i, image in enumerate(images)]

    def detect(self, X, *, on_error="raise", n_jobs=None):
        """Find all faces.

        Parameters
        ----------
        X : sequence of n_samples images
        on_error : {"raise", "skip"}, default="raise"
            Whether an unreadable image raises, or has no faces, with one warning.
        n_jobs : int, default=None
            Threads; None takes as many as there are processors.

        Returns
        -------
        faces : list of n_samples Bunch
            boxes : ndarray of shape (n_faces, 4)
                Left, top, width and height in pixels. A box found at an angle is
                turned about its own centre, which is where it is in the image.
            scores : ndarray of shape (n_faces,)
                Falling; on the detector's own scale.
            angles : ndarray of shape (n_faces,)
                Degrees by which the image is to be turned counter-clockwise for
                the face to stand upright.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise".
        """
        self._validate_params()
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'skip'.")
        images, finder = check_images(X), self._finder()

        def find(position: int) -> np.ndarray | ImageError:
            try:
                digest, decode = digest_and_decoder(images[position], position)
                return finder(digest, decode, describe(images[position], position))[0]
            except ImageError as error:
                if on_error == "raise":
                    raise
                return error

        results = list(map_ahead(find, range(len(images)), n_jobs))
        errors = [result for result in results if isinstance(result, ImageError)]
        if errors:
            warnings.warn(
                f"{len(errors)} of {len(images)} images cannot be read and have no faces: "
                f"{errors[0]}",
                stacklevel=2,
            )
        faces = [np.empty((0, 6)) if isinstance(r, ImageError) else r for r in results]
        return [
            Bunch(boxes=f[:, :4].copy(), scores=f[:, 4].copy(), angles=f[:, 5].copy())
            for f in faces
        ]

    def _finder(self) -> _Finder:
        if self.angles is None:
            angles: tuple[float, ...] = (0.0,)
        elif isinstance(self.angles, str):
            angles = tuple(map(float, DEX_ANGLES))
        else:
            try:
                angles = tuple(float(angle) for angle in self.angles)
            except (TypeError, ValueError):
                angles = ()
            if not angles or not all(map(math.isfinite, angles)):
                raise ValueError(f"angles={self.angles!r} must hold degrees, at least one.")
        if callable(self.detector):
            return _Finder(self.detector, angles)
        cv2 = _import_cv2()
        model, version = "", f"{_VERSION} {self.detector} {cv2.__version__}"
        if self.detector == "yunet":
            model, checksum = _yunet_file(self.model_file)
            version += f" {checksum}"
        _DETECTORS[self.detector](np.zeros((64, 64, 3), np.uint8), model)  # whether it works
        folder = None if self.feature_cache is None else resolve_folder(self.feature_cache)
        return _Finder(self.detector, angles, model, version, folder)

    def __sklearn_clone__(self):
        # The detector itself, which a search would else copy for every fit.
        return copy.copy(self)

    def __sklearn_tags__(self):
        tags = image_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        return tags


class FaceCrop(DerivedImage):
    """A face cut out of an image when it is needed; ``numpy.asarray`` gives its pixels.

    Parameters
    ----------
    source : image
        A path, PIL image or array.
    finder : callable
    how : settings of the crop
    position : int
        Where the source stood among others, for messages.
    """

    def __init__(self, source: Any, finder: _Finder, how: _How, position: int):
        self.source, self._finder, self._how, self.position = source, finder, how, position

    @property
    def recipe(self) -> bytes | None:
        if not self._finder.version:
            return None
        return repr((self._finder.version, self._finder.angles, self._how)).encode()

    @property
    def preparation(self) -> str:
        """How it was cut out, apart from its size; the same for crops that are alike."""
        detector, how = self._finder.detector, self._how
        if not isinstance(detector, str):
            detector = getattr(detector, "__name__", type(detector).__name__)
        shape = "kept in proportion" if how.keep_aspect else "squeezed to a square"
        told = [f"found by {detector}", f"cut out with a margin of {how.margin:g}", shape]
        if self._finder.angles != (0.0,):
            is_dex = self._finder.angles == tuple(map(float, DEX_ANGLES))
            angles = "the angles of DEX" if is_dex else f"angles of {self._finder.angles}"
            told.append(f"turned upright by {angles}")
        return f"the {how.select} face of each photograph, {', '.join(told)}"

    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        faces, image = self._finder(digest, decode, name)
        size = self._how.size
        if len(faces):
            sizes = faces[:, 2] * faces[:, 3]
            index = 0 if self._how.select == "strongest" else int(sizes.argmax())
            box, angle = faces[index, :4], faces[index, 5]
            extent = np.full(2, box[2:].max()) if self._how.keep_aspect else box[2:]
            extent = extent * (1 + 2 * self._how.margin)
            return cut_out(image or decode(), box[:2] + box[2:] / 2, extent, angle, size)
        if self._how.on_no_face == "whole":
            return decode(size).resize((size, size), Image.Resampling.BILINEAR)
        skip = self._how.on_no_face == "nan"
        way_out = "" if skip else " Pass on_no_face='whole' to FaceCropper to take the whole image."
        error = NoFaceError(f"No face is found in {name}.{way_out}")
        error.skip = skip
        raise error

    def check(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str, size: int
    ) -> None:
        if self._how.on_no_face == "raise":  # what is found is remembered
            self.derive(digest, decode, name)
        else:
            decode(size)


@dataclass(frozen=True)
class _How:
    """The settings that a crop depends on beside its face."""

    margin: float
    keep_aspect: bool
    size: int
    select: str
    on_no_face: str


@dataclass(frozen=True)
class _Finder:
    """Finds the faces of an image, each image once.

    Parameters
    ----------
    detector : "haar", "yunet" or callable
    angles : degrees, counter-clockwise
    model : path of a model file
    version : what results depend on beside the angles; empty if that is unknown
    folder : of a store to keep them in
    """

    detector: Any
    angles: tuple[float, ...]
    model: str = ""
    version: str = ""
    folder: str | None = None

    def __call__(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str
    ) -> tuple[np.ndarray, Image.Image | None]:
        """Faces (n, 6): box, score, angle, strongest first; and the image, if it was decoded."""
        memory, image = self._memory(), None
        data = None if memory is None else memory.get(digest)
        if data is None:
            key = hashlib.blake2b(
                digest + repr((self.version, self.angles)).encode(), digest_size=20
            ).digest()
            store = None if self.folder is None else kept_store(self.folder)
            data = None if store is None else store.get(key)
            if data is None:
                image = decode()
                try:
                    data = self._look(image).tobytes()
                except Exception as error:
                    error.add_note(f"This was in finding the faces of {name}.")
                    raise
                if store is not None:
                    store.put({key: data}, "faces")
            if memory is not None:
                with _memory_lock:
                    memory[digest] = data
                    while len(memory) > _MAX_REMEMBERED:
                        del memory[next(iter(memory))]
        return np.frombuffer(data).reshape(-1, 6), image

    def _memory(self) -> dict[bytes, bytes] | None:
        """What was found in this process; none for a callable that cannot be a key."""
        with _memory_lock:
            if self.version:
                return _found.setdefault((self.version, self.angles), {})
            try:
                return _found_by.setdefault(self.detector, {}).setdefault(self.angles, {})
            except TypeError:
                return None

    def _look(self, image: Image.Image) -> np.ndarray:
        scale = min(1.0, _SIDE / max(image.size))
        small = image
        if scale < 1:
            side = [max(round(n * scale), 1) for n in image.size]
            small = image.resize((side[0], side[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
        faces = [self._look_at(small, angle) for angle in self.angles]
        boxes = np.concatenate(faces)
        boxes[:, :4] *= np.array(image.size * 2) / np.array(small.size * 2)
        return _distinct(boxes[np.argsort(-boxes[:, 4], kind="stable")])

    def _look_at(self, image: Image.Image, angle: float) -> np.ndarray:
        """Faces of an image turned counter-clockwise, in its own coordinates."""
        turned = image.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else image
        detect = _DETECTORS.get(self.detector) if isinstance(self.detector, str) else None
        pixels = np.array(turned)
        found = detect(pixels, self.model) if detect else self.detector(pixels)
        faces = np.asarray(found, dtype=np.float64)
        faces = faces.reshape(0, 5) if faces.size == 0 else faces
        if faces.ndim != 2 or faces.shape[1] != 5 or not np.isfinite(faces).all():
            raise ValueError(
                f"detector {self.detector!r} returned an array of shape {faces.shape}; expected "
                "finite numbers (n_faces, 5): left, top, width, height, score."
            )
        middle = faces[:, :2] + faces[:, 2:4] / 2
        there = (middle >= 0) & (middle <= turned.size)  # a face is in the image,
        there &= (faces[:, 2:4] > 0) & (faces[:, 2:4] <= 4 * max(turned.size))  # and no speck
        faces = faces[there.all(axis=1)]
        centre = faces[:, :2] + faces[:, 2:4] / 2 - np.array(turned.size) / 2
        sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        x = centre[:, 0] * cos - centre[:, 1] * sin + image.width / 2
        y = centre[:, 0] * sin + centre[:, 1] * cos + image.height / 2
        left_top = np.stack([x, y], axis=1) - faces[:, 2:4] / 2
        return np.column_stack([left_top, faces[:, 2:], np.full(len(faces), angle)])


def _distinct(faces: np.ndarray) -> np.ndarray:
    """One of the faces found about the same place at several angles, the strongest."""
    centres = faces[:, :2] + faces[:, 2:4] / 2
    kept: list[int] = []
    for i, centre in enumerate(centres):
        apart = np.hypot(*(centres[kept] - centre).T)
        if (apart > faces[kept, 2:4].min(axis=1, initial=np.inf) / 2).all():
            kept.append(i)
    return faces[kept]


def _haar(pixels: np.ndarray, _: str) -> np.ndarray:
    cv2 = _import_cv2()
    if not hasattr(_local, "haar"):
        try:
            file = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
            cascade = cv2.CascadeClassifier(file)
            if cascade.empty():
                raise AttributeError(file)
        except AttributeError as error:
            raise ImportError(
                f"This OpenCV ({cv2.__version__}) brings no face cascade ({error}): pip install "
                "'skage[faces]', or pass detector='yunet'."
            ) from error
        _local.haar = cascade
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    smallest = max(24, min(grey.shape) // 20)
    boxes, _, scores = _local.haar.detectMultiScale3(
        grey, 1.1, _HAAR_NEIGHBOURS, minSize=(smallest, smallest), outputRejectLevels=True
    )
    return np.column_stack([boxes, scores]) if len(boxes) else np.empty((0, 5))


def _yunet(pixels: np.ndarray, model: str) -> np.ndarray:
    cv2 = _import_cv2()
    nets = _local.__dict__.setdefault("yunet", {})
    if model not in nets:
        try:
            net = cv2.FaceDetectorYN.create(model, "", (_SMALLEST, _SMALLEST), _YUNET_SCORE)
            net.detect(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8))  # another kind of network?
        except cv2.error as error:
            raise ValueError(
                f"model_file={model!r} is not a YuNet model that OpenCV reads: {error}"
            ) from error
        nets[model] = net
    more = [(0, max(_SMALLEST - side, 0)) for side in pixels.shape[:2]]
    pixels = np.pad(pixels[:, :, ::-1], (*more, (0, 0)))
    nets[model].setInputSize(pixels.shape[1::-1])
    faces = nets[model].detect(np.ascontiguousarray(pixels))[1]
    return np.empty((0, 5)) if faces is None else faces[:, [0, 1, 2, 3, 14]]


_DETECTORS: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {"haar": _haar, "yunet": _yunet}


def _import_cv2():
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "Finding faces needs OpenCV: pip install 'skage[faces]'. Or pass a callable as "
            "detector."
        ) from error
    return cv2


def _yunet_file(model_file: str | os.PathLike | None) -> tuple[str, str]:
    """Path and checksum of YuNet's model, downloaded if need be."""
    if model_file is not None:
        path = Path(resolve_path(model_file, "model_file"))
        if not path.is_file():
            raise ValueError(f"model_file={os.fspath(path)!r} is not a file.")
    else:
        try:
            folder = resolve_folder("auto")
        except ValueError as error:
            raise ValueError(f"{error} Or pass YuNet's model as model_file.") from error
        path = Path(folder, _YUNET_URL.rsplit("/", 1)[1])
        if not path.exists():
            _download(path)
    return os.fspath(path), hashlib.sha256(path.read_bytes()).hexdigest()


def _download(path: Path) -> None:
    from torch.hub import download_url_to_file  # not before it is needed

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(_YUNET_URL, os.fspath(path), _YUNET_SHA256, progress=False)
    except (OSError, RuntimeError) as error:  # no network; another checksum; a full disk
        raise OSError(
            f"YuNet's model cannot be downloaded from {_YUNET_URL} to {os.fspath(path)!r}: "
            f"{error}. Pass its path as model_file, or detector='haar'."
        ) from error
