"""Check and read images: paths, PIL images, arrays, and images derived from these."""

from __future__ import annotations

import io
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count
from PIL import Image, UnidentifiedImageError

from .._keys import derived_key, file_key, pixels_key
from .._memory import digests, pillow_lock
from .pixels import OVERSHOOT, float_advice, integer_advice, to_rgb

#: Larger files are refused without being read; photographs are far smaller.
MAX_FILE_BYTES = 512 * 2**20
_N_SHOWN = 20  # unreadable images that an error names
SKIP_HINT = "Pass on_error='skip' to leave such images out."

T = TypeVar("T")
R = TypeVar("R")

# Pillow runs another program to draw these, or opens an image of any format inside them
# before its size is known; or it takes very long for a few bytes (FITS), only recognises
# their first bytes (BUFR, GRIB, HDF5, MPEG), or swaps black and white (XBM).
_REFUSED_FORMATS = {
    *("EPS", "FITS", "FPX", "ICNS", "ICO", "IPTC", "MIC", "WMF"),
    *("BUFR", "GRIB", "HDF5", "MPEG", "XBM"),
}

# A progressive JPEG of a few kilobytes can make the decoder pass over millions of pixels
# any number of times; encoders write about ten scans.
_MAX_SCANS = 100
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")

#: A JPEG is decoded at a half, a quarter or an eighth of its size, but at least at this
#: multiple of the requested size. The pixels of photographs then differ by about 0.1 of
#: 255 levels.
_DRAFT = 2

_Stamp = tuple[int, int, int, int, int]  # device, inode, size, times of change
_SETTLED = 2 * 10**9  # nanoseconds; a more recent file may change again within its timestamp


class ImageError(ValueError):
    """An image cannot be read; the message names it and its position.

    Parameters
    ----------
    message : str
    hint : str, default=""
        What callers in Python can do; ``str`` puts it after the first line.

    Attributes
    ----------
    message : str
        The message without the hint.
    position : int
        Index of the image in X; -1 if unknown.
    errors : list of ImageError
        One for each image, if the message is about several images.
    """

    position = -1
    errors: list[ImageError] = []
    what = "cannot be read"
    skip = False  # whether to leave the image out even with on_error="raise"

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message, hint)

    @property
    def message(self) -> str:
        return self.args[0]

    def __str__(self) -> str:
        first, newline, rest = self.message.partition("\n")
        return f"{first} {self.args[1]}".rstrip() + newline + rest


class DerivedImage(ABC):
    """An image made from another image when it is read, such as a face crop."""

    #: The image that it is made from.
    source: Any
    #: Index of the source in X, for error messages.
    position = 0

    @property
    @abstractmethod
    def recipe(self) -> bytes | None:
        """Identifies the image among all images of its source; None if only its pixels do."""

    @property
    def preparation(self) -> str:
        """A description of how it is made, which models compare between fit and predict."""
        return ""

    @abstractmethod
    def derive(self, digest: bytes, decode: Callable[..., Image.Image], name: str) -> Image.Image:
        """Make the image.

        Parameters
        ----------
        digest : bytes
            Digest of the source's content.
        decode : callable
            Decodes the source to an RGB image. It accepts a side in pixels, and may then
            return a smaller version of the source with at least this side.
        name : str
            Name of the source, for error messages.

        Returns
        -------
        image : PIL.Image.Image
            In RGB.
        """

    def image(self) -> Image.Image:
        """Make the image now.

        Returns
        -------
        image : PIL.Image.Image
            In RGB.

        Raises
        ------
        ImageError
            If the source cannot be read, or this image cannot be made from it.
        """
        return digest_and_decoder(self, self.position)[1]()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("This image is made when it is read, so copy=False is not possible.")
        return np.array(self.image(), dtype=dtype)

    def check(
        self, digest: bytes, decode: Callable[..., Image.Image], name: str, size: int
    ) -> None:
        """Raise an ImageError if the image cannot be made, as far as a quick check can tell.

        Parameters
        ----------
        digest, decode, name : bytes, callable, str
            As for `derive`.
        size : int
            Side in pixels that is sufficient for the check.
        """
        decode(size)


_IMAGES = (str, os.PathLike, Image.Image, DerivedImage, np.ndarray)


def has_image_suffix(path: str | bytes | os.PathLike) -> bool:
    """Return whether a path has the suffix of an image format that can be read.

    These are the suffixes of all formats that the installed Pillow reads, including
    registered plugins, except for those that skage refuses: formats that contain other
    formats or are drawn by another program (.eps, .ico, .wmf), and data that Pillow only
    recognises (.h5, .mpg). The file itself is not read.

    Parameters
    ----------
    path : str, bytes or path-like

    Returns
    -------
    is_image : bool

    Examples
    --------
    >>> from skage.images import has_image_suffix
    >>> [has_image_suffix(name) for name in ("face.JPG", "face.jfif", "faces.csv", "jpg")]
    [True, True, False, False]
    """
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    name = Image.registered_extensions().get(suffix, "")
    # An MPO file is a JPEG followed by others; Pillow's JPEG reader reads both.
    return ("JPEG" if name == "MPO" else name) in Image.OPEN and name not in _REFUSED_FORMATS


def check_images(X: Any) -> Any:
    """Check a sequence of images, without reading any of them.

    Parameters
    ----------
    X : sequence of images
        Paths (str or Path) in a list, array, Series or DataFrame of one column; PIL
        images (lazily opened ones are loaded, and stay in memory); arrays of shape
        (H, W) or (H, W, 3); or one array of shape (n, H, W) or (n, H, W, 3). Arrays
        must be uint8, or floats in [0, 1].

    Returns
    -------
    images : sequence of length n
        Each item is one image.

    Raises
    ------
    ValueError
        If X is a single image, is empty, is not a sequence, or is an array of another
        shape, dtype or range.

    Notes
    -----
    A PIL image is treated like its file: it is rotated as its EXIF orientation says, and
    its colour profile is converted to sRGB. If you rotate one yourself, remove the
    orientation tag, or use `PIL.ImageOps.exif_transpose`, which removes it.
    """
    if isinstance(X, (str, bytes, os.PathLike, Image.Image, DerivedImage)):
        raise ValueError(_one_image(X))
    columns = getattr(X, "columns", None)  # of a frame
    if columns is not None and len(columns) != 1:
        raise ValueError(_many_columns(X, list(columns)))
    if hasattr(X, "iloc"):  # pandas: a Series or a one-column frame
        X = X.to_numpy()
    if hasattr(X, "__array__") and not isinstance(X, np.ndarray):
        try:
            X = np.asarray(X)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(
                f"X is a {type(X).__name__} that NumPy cannot convert: {str(error).rstrip('.')}. "
                "Pass an array of uint8 or float32 (torch: X.detach().cpu().float().numpy())."
            ) from error
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.dtype.kind in "OUS" and X.ndim == 1:
            X = X.tolist()
        elif X.ndim == 1:
            raise ValueError(
                f"X contains {len(X)} numbers ({X.dtype}), not images. Pass paths, PIL images or "
                "arrays."
            )
        elif X.dtype.kind in "OUS":
            raise ValueError(
                f"X is an array of shape {X.shape} and dtype {X.dtype}; expected paths of shape "
                "(n,). Pass one of its columns, such as X[:, 0]."
            )
        elif (
            X.ndim not in (3, 4)
            or X.shape[3:] not in ((), (3,))
            or (X.ndim == 3 and X.shape[2] in (3, 4))  # one colour image, not n grey ones
        ):
            raise ValueError(
                f"X is an array of shape {X.shape} and dtype {X.dtype}; expected images of shape "
                "(n, H, W), or (n, H, W, 3) with the channels last, or a list of images of any "
                "size. If X is one image, pass X[None]."
            )
        elif len(X):
            _check_values(X)
    if not isinstance(X, Sequence) and not isinstance(X, np.ndarray):
        advice = ""
        if isinstance(X, Mapping):
            advice = " Pass list(X.values())."
        elif isinstance(X, Set):
            advice = " Pass a list in the order of the ages."
        elif isinstance(X, Iterable) or hasattr(X, "__getitem__"):
            advice = " Pass list(X)."
        raise ValueError(f"X must be a sequence of images, got {type(X).__name__}.{advice}")
    if len(X) == 0:
        raise ValueError("X contains 0 images. Pass at least one (a minimum of 1 is required).")
    return X


def _one_image(X: Any) -> str:
    if isinstance(X, (str, bytes, os.PathLike)):
        path = os.path.expanduser(os.fsdecode(X))
        if os.path.isdir(path):
            return (
                f"X is a folder ({_printable(path)}). Pass the paths of its images, such as "
                "sorted(pathlib.Path(X).glob('*.jpg')), or load it with skage.datasets "
                "(load_utkface, load_table, ...)."
            )
        if os.path.splitext(path)[1].lower() in (".csv", ".tsv"):
            return (
                f"X is a table ({_printable(path)}). Load it with skage.datasets.load_table, and "
                "pass the `data` of the result."
            )
    return f"X is one image ({_name(X)}). Pass a list: [X]."


def _many_columns(X: Any, columns: list[Any]) -> str:
    """Return the message about a DataFrame that does not have exactly one column."""
    if not columns:
        return "X is a DataFrame without columns. Pass paths, PIL images or arrays."
    image_columns = [name for name in columns if isinstance(next(iter(X[name]), None), _IMAGES)]
    text = f"X is a DataFrame of {len(columns)} columns ({', '.join(map(str, columns[:10]))}"
    text += ", ...)" if len(columns) > 10 else ")"
    if not image_columns:
        return f"{text}, none of which contains images. Pass paths, PIL images or arrays."
    return f"{text}. Pass the one that contains the images, such as X[{image_columns[0]!r}]."


def _check_values(X: np.ndarray) -> None:
    """Check the range of all images together, as a dark one may lie in [0, 1] by chance."""
    if X.dtype.kind == "f":
        low, high = float(np.fmin.reduce(X, axis=None)), float(np.fmax.reduce(X, axis=None))
        if np.isfinite((low, high)).all() and not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
            raise ValueError(_range_message("X", low, high))
    elif X.dtype != np.uint8:
        raise ValueError(_dtype_message("X", X))


def digest_and_decoder(item: Any, position: int) -> tuple[bytes, Callable[..., Image.Image]]:
    """Return a digest of the item's content and a function that decodes it.

    The digest of a file is that of its bytes, so an image need not be decoded if its
    activations are known. The function accepts the side in pixels that the image will be
    resized to; a much larger JPEG is then decoded at a reduced size.
    """
    if isinstance(item, DerivedImage):
        source = digest_and_decoder(item.source, position)

        def derived(size: int = 0) -> Image.Image:
            return item.derive(*source, describe(item.source, position))

        if item.recipe is not None:
            return derived_key(source[0], item.recipe), derived
        image = derived()
    elif isinstance(item, (str, os.PathLike)):
        data, stamp = _read_file(item, position)
        digest = file_key(data)
        if stamp is not None:
            digests.put(os.fspath(item), (stamp, digest))
        return digest, lambda size=0: decode_content(data, item, position, size)
    elif isinstance(item, Image.Image):
        try:
            with pillow_lock:
                image = to_rgb(item)
            image = _without_info(item.copy() if image is item else image)
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable_error(item, position, error) from error
    else:
        image = Image.fromarray(_to_uint8(item, position))
    return pixels_key(image.size, image.tobytes()), lambda size=0: image


def check_readable(item: Any, position: int, size: int) -> None:
    """Raise an ImageError if an image cannot be read; derived images are checked quickly."""
    if isinstance(item, DerivedImage):
        item.check(
            *digest_and_decoder(item.source, position), describe(item.source, position), size
        )
    else:
        digest_and_decoder(item, position)[1](size)


def readable(X: Any, *, n_jobs: int | None = None) -> np.ndarray:
    """Return which images can be read, by reading all of them.

    A crop whose face is not found counts as unreadable, unless `FaceCropper` uses the
    whole image instead (``on_no_face="whole"``). scikit-learn's own scorers do not accept
    NaN, so leave such images out before a search.

    Parameters
    ----------
    X : sequence of n_samples images
        Paths, PIL images, arrays or crops; see `check_images`.
    n_jobs : int, default=None
        Number of threads; None means one for each processor.

    Returns
    -------
    mask : ndarray of shape (n_samples,), bool

    Raises
    ------
    ValueError
        If X does not contain images; see `check_images`.

    Examples
    --------
    >>> import numpy as np
    >>> from skage.images import readable
    >>> paths = np.array(["face.jpg", "lost.jpg"])
    >>> mask = readable(paths)
    >>> search.fit(paths[mask], ages[mask], groups=person[mask])  # doctest: +SKIP
    """

    def is_readable(position: int) -> bool:
        try:
            digest_and_decoder(images[position], position)[1](1)
        except ImageError:
            return False
        return True

    images = check_images(X)
    return np.array(list(map_ahead(is_readable, range(len(images)), n_jobs)), dtype=bool)


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Resize an RGB image to (size, size, 3) uint8, ignoring its aspect ratio, as DEX does."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def remembered_digest(item: Any) -> bytes | None:
    """Return the digest of a file that was read before and has not changed, or None."""
    if isinstance(item, DerivedImage):
        source = remembered_digest(item.source)
        if source is None or item.recipe is None:
            return None
        return derived_key(source, item.recipe)
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        stamp, digest = digests.get(os.fspath(item)) or (None, None)
        return digest if stamp and _stamp(os.stat(_expanded(item))) == stamp else None
    except Exception:  # reading the file will raise a better error
        return None


def content_digests(images: Any, positions: Iterable[int] | None = None) -> list[bytes | None]:
    """Return digests of the content of images; None for those that cannot be read."""

    def digest(position: int) -> bytes | None:
        try:
            known = remembered_digest(images[position])
            return digest_and_decoder(images[position], position)[0] if known is None else known
        except ImageError:
            return None

    return list(map_ahead(digest, range(len(images)) if positions is None else positions))


def are_among(images: Any, known: Container[bytes | None]) -> np.ndarray:
    """Return whether the digest of each image is known, (n_images,), bool."""
    return np.array([digest in known for digest in content_digests(images)], dtype=bool)


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], n_jobs: int | None = None, ahead: int = 0
) -> Generator[R, None, None]:
    """Map in threads, in order, and at most `ahead` results ahead of the consumer."""
    if n_jobs == 0:
        raise ValueError("n_jobs=0 is not valid. Pass at least 1, or -1 for all processors.")
    n_threads = -1 if n_jobs is None else n_jobs
    if n_threads < 0:
        n_threads = max(cpu_count() + 1 + n_threads, 1)
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > max(ahead, n_threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def image_tags(tags: Any) -> Any:
    """Set scikit-learn's tags of an estimator that accepts images."""
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = True
    tags.input_tags.string = True
    return tags


def _expanded(path: str | os.PathLike) -> str:
    return os.path.expanduser(os.fspath(path))


def _read_file(path: str | os.PathLike, position: int) -> tuple[bytes, _Stamp | None]:
    """Return a file's content, and a stamp that changes with it.

    The stamp is None if the file may have changed while or just before it was read.
    """
    try:
        status = os.stat(_expanded(path))
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(
                f"{describe(path, position)} is a folder, not an image. Pass the paths of its "
                "images instead."
            )
        if not stat.S_ISREG(status.st_mode):
            raise _error(path, position, "is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise _error(
                path,
                position,
                f"has {status.st_size} bytes, more than the maximum of {MAX_FILE_BYTES}",
            )
        with open(_expanded(path), "rb") as file:
            data = file.read()
            after = _stamp(os.fstat(file.fileno()))
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise _error(path, position, "does not exist") from error
    except Exception as error:
        raise _error(path, position, f"cannot be opened: {error}") from error
    if not data:
        raise _error(path, position, "is empty (0 bytes)")
    settled = max(after[3:]) < time.time_ns() - _SETTLED
    return data, after if settled and after == _stamp(status) else None


def _stamp(status: os.stat_result) -> _Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def decode_content(data: bytes, item: Any, position: int, size: int) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and width * height > limit:
                raise _error(
                    item,
                    position,
                    f"would decode to {width} x {height} pixels, more than "
                    f"PIL.Image.MAX_IMAGE_PIXELS = {limit}; raise it if you trust the file",
                )
            if image.info.get("progressive") and (n_scans := _count_scans(data)) > _MAX_SCANS:
                raise ValueError(f"it has {n_scans} scans, more than {_MAX_SCANS}")
            if size:
                image.draft(None, (_DRAFT * size, _DRAFT * size))
            return _without_info(to_rgb(image))
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise _error(
            item, position, f"is not a readable image: {_explain_unknown(data)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise _error(
            item,
            position,
            f"would decode to too many pixels: {error} Raise PIL.Image.MAX_IMAGE_PIXELS if you "
            "trust the file",
        ) from error
    except Exception as error:  # decoders raise errors of any type for broken files
        raise _unreadable_error(item, position, error) from error


def _without_info(image: Image.Image) -> Image.Image:
    """Remove EXIF tags and colour profile, which must not be applied a second time."""
    image.info = {}
    return image


def _explain_unknown(data: bytes) -> str:
    """Explain why Pillow may not recognise a file."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "it is broken, or a kind of TIFF that Pillow does not read; convert it to 8-bit RGB"
    if data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return (
            "Pillow does not read HEIF; install pillow-heif and call "
            "pillow_heif.register_heif_opener()"
        )
    return "unknown format"


def _count_scans(jpeg: bytes) -> int:
    n_scans, at = 0, 2
    while (marker := _MARKER.search(jpeg, at)) and marker[1] != b"\xd9":  # the end
        n_scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return n_scans


def _formats() -> list[str]:
    """Return the formats that may be opened, and load all of Pillow's plugins.

    Pillow itself loads them when it meets a file of an unusual format, which is not
    thread-safe: it may then fail to recognise a file that another thread opens.
    """
    Image.preinit()
    Image.init()
    return [name for name in Image.ID if name not in _REFUSED_FORMATS]


def _to_uint8(item: Any, position: int) -> np.ndarray:
    name = f"Image {position} of X"
    if isinstance(item, list | tuple) and item and isinstance(item[0], _IMAGES):
        raise ImageError(
            f"{name} is a {type(item).__name__} of {len(item)} images. Pass one flat list of "
            "images."
        )
    try:
        array = np.asarray(item)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable_error(item, position, error) from error
    expected = "expected a path, a PIL image, or an array (H, W) or (H, W, 3)"
    if array.ndim == 0:
        if isinstance(item, bytes) or hasattr(item, "read"):
            what, expected = "the content of a file", "open it with PIL.Image.open"
        else:
            what = repr(item)[:80]
        raise ImageError(f"{name} is {what} ({type(item).__name__}); {expected}.")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or 0 in array.shape:
        advice = ""
        if array.ndim == 3 and array.shape[0] in (1, 3):
            advice = " Put the channels last: numpy.moveaxis(image, 0, 2)."
        elif array.shape[2:] == (4,):
            advice = " Remove the alpha channel: image[:, :, :3]."
        elif array.shape[2:] == (1,):
            advice = " Remove the last axis: image[:, :, 0]."
        raise ImageError(
            f"{name} is a {type(item).__name__} of shape {array.shape}; {expected}.{advice}"
        )
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # also true of NaN
            raise ImageError(_range_message(name, low, high))
        array = np.round(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(_dtype_message(name, array))
    return array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)


def _range_message(name: str, low: float, high: float) -> str:
    return (
        f"{name} has floats from {low} to {high}; expected floats in [0, 1]. "
        f"{float_advice(low, high)}"
    )


def _dtype_message(name: str, array: np.ndarray) -> str:
    return (
        f"{name} has dtype {array.dtype}; expected uint8, or floats in [0, 1]. "
        f"{integer_advice(array)}".rstrip()
    )


def _name(item: Any) -> str:
    if isinstance(item, DerivedImage):
        return _name(item.source)
    try:
        if isinstance(item, Image.Image):
            path = getattr(item, "filename", "")
            return _printable(path) if path else f"{item.mode} image of {item.size}"
        if isinstance(item, (str, os.PathLike)):
            return _printable(item)
    except Exception:  # the user's object may raise any error
        pass
    return type(item).__name__


def _printable(path: str | bytes | os.PathLike) -> str:
    """Return a path, or its repr if it contains characters that cannot be printed."""
    path = os.fsdecode(path)
    return path if path and path.isprintable() else repr(path)


def summarise(errors: Sequence[ImageError], n_shown: int) -> tuple[str, list[str]]:
    """Summarise errors of images: what is wrong, and the first messages without hints."""
    what = " or ".join(sorted({error.what for error in errors}))
    return what, [error.message for error in errors[:n_shown]]


def raise_all(errors: Sequence[ImageError]) -> None:
    """Raise one error that names the unreadable images, if there are any."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        what, shown = summarise(errors, _N_SHOWN)
        more = [f"and {len(errors) - _N_SHOWN} more."] if len(errors) > _N_SHOWN else []
        lines = [f"{len(errors)} images {what}.", *shown, *more]
        error = ImageError("\n  ".join(lines), SKIP_HINT)
        error.errors = list(errors)
        raise error


def describe(item: Any, position: int) -> str:
    """Return the name of an image in error messages."""
    return f"{_name(item)} (item {position})"


def _unreadable_error(item: Any, position: int, error: Exception) -> ImageError:
    reason = str(error) or type(error).__name__
    return _error(item, position, f"is not a readable image: {reason}")


def _error(item: Any, position: int, what: str) -> ImageError:
    return ImageError(f"{describe(item, position)} {what.rstrip('.')}.", SKIP_HINT)
