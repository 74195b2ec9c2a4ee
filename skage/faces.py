"""FaceCropper: detect the face, rotate it upright, and crop it with a margin, as DEX does."""

from __future__ import annotations

import copy
import math
import os
import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Bunch

from ._files.store import resolve_folder
from ._images.crops import DEX_ANGLES, CropSettings, FaceCrop, NoFaceError
from ._images.detectors import DETECTORS, Finder, import_cv2, yunet_file
from ._images.reading import (
    ImageError,
    check_images,
    describe,
    digest_and_decoder,
    image_tags,
    map_ahead,
)
from ._keys import detector_version
from ._sklearn import Interval, StrOptions, fit_context

__all__ = ["DEX_ANGLES", "FaceCropper", "NoFaceError"]


class FaceCropper(TransformerMixin, BaseEstimator):
    """Crop faces from photographs (DEX, Rothe et al., IJCV 2016, section 3.1).

    The strongest detection is rotated upright and enlarged by a margin. Beyond the border
    of the image, its outermost pixels are repeated. The crop is then resized to a square.

    A crop is made when it is read. An estimator's cached activations of it are identified
    by the original image and the parameters of the cropper, so a search detects each face
    only once.

    Parameters
    ----------
    detector : {"haar", "yunet"} or callable, default="haar"
        "haar" is the frontal face cascade included in OpenCV. "yunet" is a small network,
        better with profiles, rotated faces and dim light, in OpenCV's FaceDetectorYN. A
        callable is given the RGB pixels (height, width, 3), uint8, of the image, which
        may have been rotated and is reduced to at most 640 pixels. It returns an array
        (n_faces, 5): left, top, width and height in these pixels, and a score. For use in
        several processes it must be picklable. It must always return the same faces for
        the same image, as its results are cached for as long as it exists.

    margin : float, default=0.4
        Fraction of the box's width that is added on the left and on the right, and of its
        height above and below. Portraits that are cut close around the face need a
        smaller one; see Notes.

    keep_aspect : bool, default=False
        Whether to enlarge the box to a square first, so that the face keeps its
        proportions. False distorts the box to a square, as the paper does. The boxes of
        "yunet" have an aspect ratio of about 4 to 3.

    size : int, default=224
        Side of the crop in pixels.

    angles : None, "dex" or sequence of float, default=None
        Degrees by which the image is rotated counter-clockwise to detect faces that are
        not upright; None does not rotate it. "dex" stands for the 28 rotations of the
        paper, `DEX_ANGLES`, and takes 28 times as long.

    select : {"strongest", "largest"}, default="strongest"
        Which of several faces to crop: the one with the highest score, or the one with the
        largest box.

    on_no_face : {"whole", "raise", "nan"}, default="whole"
        What to do if no face is found. "whole" resizes the whole image to a square, as in
        the paper. "raise" raises `NoFaceError`, which counts as an unreadable image, so
        the classifier's ``on_error="skip"`` leaves it out. "nan" leaves the image out of
        fit and makes its prediction NaN, with one warning, whatever `on_error` is.
        scikit-learn's own metrics do not accept NaN: before using them, leave such images
        out with the mask ``skage.images.readable(cropper.transform(X))``.

    model_file : path, default=None
        Model file of "yunet". None uses the one in the user's cache folder, which is
        downloaded (230 kB) and verified by its checksum the first time.

    feature_cache : path, "auto" or None, default=None
        Folder in which detected faces are cached for other processes and later sessions;
        preferably that of the classifier. Set it if you use ``n_jobs``, as otherwise each
        process detects the faces again. It is not used for a callable, as a change of the
        callable could not be noticed. None caches faces in this process only.

    Raises
    ------
    ImportError
        By fit, transform and detect, if OpenCV is not installed:
        ``pip install 'skage[faces]'``.

    Notes
    -----
    The part of a margin beyond the border of the image shows as stripes. In 400 portraits
    whose faces are half as wide as the image, it was this fraction of YuNet's crops, on
    average:

    ======  ================  =================
    margin  keep_aspect=True  keep_aspect=False
    ======  ================  =================
    0.4     31 %              17 %
    0.3     19 %              9 %
    0.2     9 %               4 %
    0.1     2 %               1 %
    0       0 %               0 %
    ======  ================  =================

    For these, a margin of 0.2 with `keep_aspect` shows the whole head and few stripes.
    Mirroring the image at its border would be worse, as it shows a second head.
    `skage.displays.FacesDisplay` shows the crops of a pipeline.

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

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
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

    def transform(self, X: Any) -> list[FaceCrop]:
        """Return a crop of one face for each image.

        Parameters
        ----------
        X : sequence of n_samples images
            Paths, PIL images or arrays; see `skage.images.check_images`.

        Returns
        -------
        crops : list of n_samples FaceCrop
            Images that any estimator of images accepts. They are made when they are read;
            a missing face or a broken file raises an error only then.
        """
        self._validate_params()
        images, finder = check_images(X), self._finder()
        settings = CropSettings(
            float(self.margin),
            bool(self.keep_aspect),
            int(self.size),
            self.select,
            self.on_no_face,
        )
        return [FaceCrop(image, finder, settings, i) for i, image in enumerate(images)]

    def detect(self, X: Any, *, on_error: str = "raise", n_jobs: int | None = None) -> list[Bunch]:
        """Detect all faces in each image.

        Parameters
        ----------
        X : sequence of n_samples images
        on_error : {"raise", "skip"}, default="raise"
            Whether to raise an error for an unreadable image, or to return no faces for it
            and warn once.
        n_jobs : int, default=None
            Number of threads; None means one for each processor.

        Returns
        -------
        faces : list of n_samples Bunch
            boxes : ndarray of shape (n_faces, 4)
                Left, top, width and height in pixels. A box with an angle is to be
                rotated about its own centre.
            scores : ndarray of shape (n_faces,)
                In descending order; on the detector's own scale.
            angles : ndarray of shape (n_faces,)
                Degrees by which rotating the image counter-clockwise makes the face
                upright.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise".
        """
        self._validate_params()
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r} is not valid. Pass 'raise' or 'skip'.")
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
                f"{len(errors)} of {len(images)} images cannot be read, so no faces are returned "
                f"for them. The first: {errors[0].message}",
                stacklevel=2,
            )
        faces = [np.empty((0, 6)) if isinstance(r, ImageError) else r for r in results]
        return [
            Bunch(boxes=f[:, :4].copy(), scores=f[:, 4].copy(), angles=f[:, 5].copy())
            for f in faces
        ]

    def _finder(self) -> Finder:
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
                raise ValueError(
                    f"angles={self.angles!r} is not valid. Pass 'dex', None, or a sequence of at "
                    "least one finite number of degrees."
                )
        if callable(self.detector):
            return Finder(self.detector, angles)
        opencv = import_cv2().__version__
        model, checksum = "", ""
        if self.detector == "yunet":
            model, checksum = yunet_file(self.model_file)
        version = detector_version(self.detector, opencv, checksum)
        DETECTORS[self.detector](
            np.zeros((64, 64, 3), np.uint8), model
        )  # fail early if it does not work
        folder = None if self.feature_cache is None else resolve_folder(self.feature_cache)
        return Finder(self.detector, angles, model, version, folder)

    def __sklearn_clone__(self):
        # A shallow copy shares the detector, which a search would otherwise copy for each fit.
        return copy.copy(self)

    def __sklearn_tags__(self):
        tags = image_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        return tags
