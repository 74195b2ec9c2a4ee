"""FaceCropper: find the face, turn it upright, and cut it out with a margin, as DEX does."""

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
        how = CropSettings(
            float(self.margin),
            bool(self.keep_aspect),
            int(self.size),
            self.select,
            self.on_no_face,
        )
        return [FaceCrop(image, finder, how, i) for i, image in enumerate(images)]

    def detect(self, X: Any, *, on_error: str = "raise", n_jobs: int | None = None) -> list[Bunch]:
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
                raise ValueError(f"angles={self.angles!r} must hold degrees, at least one.")
        if callable(self.detector):
            return Finder(self.detector, angles)
        opencv = import_cv2().__version__
        model, checksum = "", ""
        if self.detector == "yunet":
            model, checksum = yunet_file(self.model_file)
        version = detector_version(self.detector, opencv, checksum)
        DETECTORS[self.detector](np.zeros((64, 64, 3), np.uint8), model)  # whether it works
        folder = None if self.feature_cache is None else resolve_folder(self.feature_cache)
        return Finder(self.detector, angles, model, version, folder)

    def __sklearn_clone__(self):
        # The detector itself, which a search would else copy for every fit.
        return copy.copy(self)

    def __sklearn_tags__(self):
        tags = image_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        return tags
