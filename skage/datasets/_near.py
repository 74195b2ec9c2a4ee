"""Groups of images that show the same photograph, or nearly the same."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.preprocessing import normalize
from sklearn.utils import check_array, check_consistent_length

from .._groups import group_codes
from .._images.reading import (
    ImageError,
    check_images,
    digest_and_decoder,
    map_ahead,
    raise_all,
)
from .._sklearn import Interval, StrOptions, validate_params

#: Cosine of two images' differences of brightness; see the notes of find_near_duplicates.
_THRESHOLD = 0.88

_SIDE = 16  # of the grey image that is compared
_STEP = 2  # between the two pixels of a difference
_LENGTH = 2 * _SIDE * (_SIDE - _STEP) + 1
_DECODED = 64  # a JPEG need not be decoded at a larger size than a few times _SIDE

_BLOCK = 2**24  # similarities that are computed at once: 64 MB, and as much for mirror images
_MAX_PAIRS = 2 * 10**7

# A group that near-duplicates enlarge by more images than this is probably a mistake.
_LARGE_SHARE, _LARGE = 0.05, 20

_PARAMETERS = {
    "threshold": [Interval(Real, 0, 1, closed="neither"), None],
    "on_error": [StrOptions({"raise", "skip"})],
    "n_jobs": [Integral, None],
}


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def find_near_duplicates(
    X: Any,
    *,
    features: Any = None,
    threshold: float | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
) -> pd.DataFrame:
    """Find pairs of images that show the same photograph, or nearly the same.

    Parameters
    ----------
    X : sequence of n_samples images
        Paths, PIL images or arrays; see `skage.images.check_images`.

    features : array-like of shape (n_samples, n_features), default=None
        Compare these by their cosine rather than the pixels, for example the features of
        a network for face recognition. The images are then not read.

    threshold : float between 0 and 1, default=None
        Similarity from which on two images are a pair. None means 0.88 for pixels;
        features have no default, as the right value depends on the network.

    on_error : {"raise", "skip"}, default="raise"
        Whether to raise an error for unreadable images, or to warn and find no pairs for
        them.

    n_jobs : int, default=None
        Number of threads that read images; None means one for each processor.

    Returns
    -------
    pairs : DataFrame
        The columns i and j, positions of two images in X with i < j, and similarity, at
        most 1. The most similar pair is in the first row.

    Raises
    ------
    ImageError
        If images cannot be read and `on_error` is "raise". The message names them.
    ValueError
        If X does not contain images, `features` does not have one row of finite numbers
        for each of them or comes without a threshold, or there are more than 20 million
        pairs.

    Warns
    -----
    UserWarning
        If images cannot be read and `on_error` is "skip".

    See Also
    --------
    group_near_duplicates : The groups that these pairs form, for cross-validation.

    Notes
    -----
    Pixels are compared as follows. Each image is averaged to 16 x 16 grey pixels. The
    differences between pixels that are two columns or two rows apart, 448 numbers, are
    replaced by their square roots with the sign kept. The similarity of two images is the
    cosine between these vectors, or between one of them and that of the other's mirror
    image if that is larger. It does not depend on the other images of X.

    Measured on 7,870 aligned faces of UTKFace, the default threshold finds all of 500
    copies that were saved as JPEG at quality 60, reduced to 160 pixels, brightened by 10%,
    or cropped by 1.5% on every side; 96% of copies cropped by 3% on two sides, and 67% of
    those cropped by 3% on all four. Of its 175 pairs of different files, 6 show two
    persons. From 0.9 on no pair does, and 85% and 36% of the cropped copies are found.

    A network for faces also finds larger crops, and other photographs of a person: with a
    threshold of 0.9, the 1,024 features of a MobileNet trained on VGGFace2 give 182 pairs,
    and all of the copies above.

    All pairs are compared, so that 100,000 images take some minutes. Similarities are
    computed in blocks of bounded size.

    Examples
    --------
    >>> from skage.datasets import find_near_duplicates, make_faces
    >>> faces = make_faces(6, image_size=64, random_state=0).data
    >>> cropped = faces[2, 1:-1, 1:-1]
    >>> find_near_duplicates([*faces, cropped]).round(2)
       i  j  similarity
    0  2  6        0.95
    """
    return _pairs(check_images(X), features, threshold, on_error, n_jobs)


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def group_near_duplicates(
    X: Any,
    *,
    groups: Any = None,
    features: Any = None,
    threshold: float | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
) -> np.ndarray:
    """Group images that show the same photograph, or nearly the same.

    Copies of a photograph that were saved again, resized, slightly cropped or brightened
    are different files, yet a model that was trained on one of them has seen the others.
    Pass the groups to a splitter or to the fit of a search, and no split separates them.

    Parameters
    ----------
    X : sequence of n_samples images
        Paths, PIL images or arrays; see `skage.images.check_images`.

    groups : array-like of shape (n_samples,), default=None
        Groups to keep together as well, such as `groups` of a loader: the images of a
        person, and identical files.

    features : array-like of shape (n_samples, n_features), default=None
        Compare these by their cosine rather than the pixels, for example the features of
        a network for face recognition. The images are then not read.

    threshold : float between 0 and 1, default=None
        Similarity from which on two images are put into one group. None means 0.88 for
        pixels; features have no default, as the right value depends on the network.

    on_error : {"raise", "skip"}, default="raise"
        Whether to raise an error for unreadable images, or to warn and leave them in
        their given groups, or else each in a group of its own.

    n_jobs : int, default=None
        Number of threads that read images; None means one for each processor.

    Returns
    -------
    groups : ndarray of shape (n_samples,), int
        Numbered from 0 in the order of X. Images that are linked by a chain of pairs, or
        by a given group, share a group.

    Raises
    ------
    ImageError
        If images cannot be read and `on_error` is "raise". The message names them.
    ValueError
        As in `find_near_duplicates`, or if `groups` does not have one value for each
        image.

    Warns
    -----
    UserWarning
        If near-duplicates enlarge a group by more than 20 images and more than 5% of all
        images, or if images cannot be read and `on_error` is "skip".

    See Also
    --------
    find_near_duplicates : The pairs and their similarity, to look at.

    Notes
    -----
    How images are compared is described in `find_near_duplicates`.

    Examples
    --------
    >>> from skage.datasets import group_near_duplicates, make_faces
    >>> faces = make_faces(4, image_size=64, random_state=0).data
    >>> X = [*faces, faces[2, 1:-1, 1:-1]]
    >>> group_near_duplicates(X)
    array([0, 1, 2, 3, 2])
    >>> group_near_duplicates(X, groups=["ann", "ann", "bob", "bob", "eve"])
    array([0, 0, 1, 1, 1])
    """
    images = check_images(X)
    given = _codes(groups, len(images))
    pairs = _pairs(images, features, threshold, on_error, n_jobs)
    n_given = int(given.max()) + 1
    links = coo_array((np.ones(len(pairs)), (given[pairs["i"]], given[pairs["j"]])), (n_given,) * 2)
    found = pd.factorize(connected_components(links, directed=False)[1][given])[0]
    _warn_of_large_groups(found, given)
    return found


def _pairs(
    images: Any, features: Any, threshold: float | None, on_error: str, n_jobs: int | None
) -> pd.DataFrame:
    """Return the pairs as `find_near_duplicates` does, without checking its arguments."""
    if features is None:
        vectors, rows = _read(images, on_error, n_jobs)
        compared = [vectors, _mirrored(vectors)]
        threshold = _THRESHOLD if threshold is None else threshold
    else:
        vectors = normalize(check_array(features, dtype=np.float32, input_name="features"))
        check_consistent_length(images, vectors)
        rows, compared = np.arange(len(vectors)), [vectors]
        if threshold is None:
            raise ValueError(
                "Features need a threshold, as the right one depends on the network. Pass one, "
                "for example threshold=0.9, and look at the pairs that are found."
            )
    i, j, similarity = _similar(vectors, compared, threshold)
    pairs = pd.DataFrame({"i": rows[i], "j": rows[j], "similarity": similarity})
    return pairs.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _codes(groups: Any, n_samples: int) -> np.ndarray:
    """Return given groups as integers from 0 on; None gives each image its own."""
    if groups is not None and len(groups) != n_samples:
        raise ValueError(
            f"groups has {len(groups)} values, but X has {n_samples} images. Pass one for each "
            "image."
        )
    return group_codes(groups, n_samples)


def _read(images: Any, on_error: str, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of all readable images, and their positions."""

    def read(position: int) -> np.ndarray | ImageError:
        try:
            return _vector(digest_and_decoder(images[position], position)[1](_DECODED))
        except ImageError as error:
            error.position = position
            return error

    results = list(map_ahead(read, range(len(images)), n_jobs))
    errors = [result for result in results if isinstance(result, ImageError)]
    if on_error == "raise":
        raise_all(errors)
    if errors:
        warnings.warn(
            f"{len(errors)} of {len(images)} images cannot be read, so no near-duplicates are "
            f"found for them. The first: {errors[0].message}",
            stacklevel=5,
        )
    rows = [i for i, result in enumerate(results) if not isinstance(result, ImageError)]
    vectors = np.array([results[i] for i in rows], dtype=np.float32).reshape(len(rows), _LENGTH)
    return vectors, np.array(rows, dtype=int)


def _vector(image: Image.Image) -> np.ndarray:
    """Return the square roots of the differences of brightness with their signs, of length 1.

    The root makes edges everywhere count, rather than the few strongest; unlike the sign
    alone, it lets the noise of an even background count little. The constant at the end
    makes images of one colour equal, and hardly changes any other cosine.
    """
    size = (_SIDE, _SIDE)
    grey = np.asarray(image.convert("L").convert("F").resize(size, Image.Resampling.BOX))
    down, right = grey[_STEP:] - grey[:-_STEP], grey[:, _STEP:] - grey[:, :-_STEP]
    steps = np.concatenate([down.ravel(), right.ravel(), [1]])
    vector = np.sign(steps) * np.sqrt(np.abs(steps))
    return vector / np.linalg.norm(vector)


def _mirrored(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors of the mirror images."""
    down, right, constant = np.split(vectors, [_LENGTH // 2, _LENGTH - 1], axis=1)
    down = down.reshape(-1, _SIDE - _STEP, _SIDE)[:, :, ::-1].reshape(down.shape)
    right = -right.reshape(-1, _SIDE, _SIDE - _STEP)[:, :, ::-1].reshape(right.shape)
    return np.hstack([down, right, constant])


def _similar(
    vectors: np.ndarray, compared: Sequence[np.ndarray], threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of unit vectors with at least this cosine, and their cosines.

    The largest cosine between the first image's vector and the second's in `compared` counts.
    """
    n_samples, n_pairs = len(vectors), 0
    n_rows = max(1, _BLOCK // max(1, n_samples))
    parts = [(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))]
    for start in range(0, n_samples, n_rows):
        block = vectors[start : start + n_rows]
        cosines = np.maximum.reduce([block @ others[start:].T for others in compared])
        i, j = np.nonzero(cosines >= threshold)
        i, j = i[later := j > i], j[later]
        n_pairs += len(i)
        if n_pairs > _MAX_PAIRS:
            raise ValueError(
                f"More than {_MAX_PAIRS:,} pairs of images have a similarity of at least "
                f"{threshold}. Pass a higher threshold, and leave out images that stand for "
                "missing photographs."
            )
        parts.append((i + start, j + start, np.minimum(cosines[i, j], 1)))
    i, j, similarity = (np.concatenate(part) for part in zip(*parts, strict=True))
    return i, j, similarity


def _warn_of_large_groups(found: np.ndarray, given: np.ndarray) -> None:
    """Warn if near-duplicates enlarge a group by so many images that it is a mistake."""
    largest = pd.Series(np.bincount(given)[given]).groupby(found).max().to_numpy()
    sizes = np.bincount(found)
    added = sizes - largest
    worst = int(np.argmax(added))
    if added[worst] > max(_LARGE, _LARGE_SHARE * len(found)):
        warnings.warn(
            f"{sizes[worst]} of {len(found)} images form one group of near-duplicates, probably "
            "through chains of images that are merely alike. Look at the pairs of "
            "find_near_duplicates, and pass a higher threshold.",
            stacklevel=4,
        )
