"""OnnxAgeRegressor: an exported model as an estimator."""

from __future__ import annotations

import contextlib
import os
import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..._classifier import preparation_of, warn_skipped
from ..._distribution import DECODINGS, DistributionRegressor
from ..._files.paths import resolve_path
from ..._images.reading import ImageError, check_images, image_tags, map_ahead
from ..._sklearn import Interval, StrOptions
from ...calibration import CalibratedAgeRegressor
from ..facts import ExportedFacts
from .calibrated import from_json
from .checksum import is_intact
from .header import KEY, Header, begins_as_exported
from .predict import OUTPUTS, UNCALIBRATED, OnnxModel, read_views

_CHUNK = 32  # images that are read ahead
_MAX_BYTES = 2**31 - 1  # of a protocol buffer
_DAMAGED = (
    "is damaged or has been changed: its checksum does not match its content. Copy the file "
    "again, or export it again."
)
# What metadata of wrong or missing values may raise.
_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class OnnxAgeRegressor(DistributionRegressor, BaseEstimator):
    """A model that `export` wrote, computed by onnxruntime; without its calibration.

    Parameters
    ----------
    path : path
        The ONNX file.
    decode : {"mean", "median", "mode"}, default="mean"
        How to obtain an age from the distribution. `skage.load` sets what the file says.
    n_jobs : int, default=None
        Number of threads that read images; None takes one for each processor.
    on_error : {"raise", "skip"}, default="raise"
        How to handle unreadable images: raise an error, or predict NaN for them.

    Attributes
    ----------
    binner_ : AgeBinner
        The bins of the distribution.
    coverage_ : float
        Coverage of the intervals that the file itself computes.
    quantisation_ : Quantisation or None
        What 8-bit integers changed on the calibration images, with `n_images`, `mean_change`,
        `largest_change`, `mae` and `mae_before` in years; None for a model in float32.
    resized_ : int
        Side in pixels that images are resized to.
    preparation_ : str or None
        How the training images were made from others.
    digests_ : ndarray of shape (n_images, length), uint8
        Digests of the training images.
    """

    _parameter_constraints = {
        "path": [str, os.PathLike],
        "decode": [StrOptions(set(DECODINGS))],
        "n_jobs": [Interval(Integral, None, None, closed="neither"), None],
        "on_error": [StrOptions({"raise", "skip"})],
    }

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        decode: str = "mean",
        n_jobs: int | None = None,
        on_error: str = "raise",
    ):
        self.path = path
        self.decode = decode
        self.n_jobs = n_jobs
        self.on_error = on_error

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Read the file. Nothing is trained.

        Parameters
        ----------
        X, y : None
            Ignored.

        Returns
        -------
        self : OnnxAgeRegressor

        Raises
        ------
        ValueError
            If the file does not exist, `export` did not write it, or it is damaged.
        """
        self._validate_params()
        self._model, header = _read_model(self.path)
        self._header, self.binner_, self.coverage_ = header, header.binner, header.coverage
        self.quantisation_, self.preparation_ = header.quantisation, header.preparation
        self.digests_ = header.digests
        self._output = OUTPUTS[0] if header.calibration is None else UNCALIBRATED
        self.resized_ = max(view.resized for view in header.views)
        return self

    def predict_dist(self, X: Any) -> np.ndarray:
        """Predict the distribution over the bins.

        Parameters
        ----------
        X : sequence of n_samples images

        Returns
        -------
        distribution : ndarray of shape (n_samples, n_bins), float32
            Probabilities of the bins of ``binner_``; NaN where `on_error` is "skip" and the
            image cannot be read.

        Raises
        ------
        ImageError
            If an image cannot be read and `on_error` is "raise".

        Warns
        -----
        UserWarning
            If images are skipped, or were cropped in another way than those of fit.
        """
        check_is_fitted(self)
        self._validate_params()
        images = check_images(X)
        self._check_preparation(images)

        found = np.full((len(images), self.binner_.n_bins_), np.nan, dtype=np.float32)
        errors: list[ImageError] = []
        positions = range(len(images))
        results = map_ahead(lambda i: self._read(images[i], i), positions, self.n_jobs, _CHUNK)
        with contextlib.closing(results):
            for start in range(0, len(images), _CHUNK):
                chunk = [item for _, item in zip(range(_CHUNK), results, strict=False)]
                errors += [item for item in chunk if isinstance(item, ImageError)]
                good = {i: x for i, x in enumerate(chunk, start) if not isinstance(x, ImageError)}
                if good:
                    found[list(good)] = self._run(list(good.values()))
        if errors:
            warn_skipped(errors, len(images), "get NaN, which only skage's scorers leave out")
        return found

    def _read(self, image: Any, position: int) -> dict[str, np.ndarray] | ImageError:
        try:
            return read_views(image, position, self._header.views)
        except ImageError as error:
            error.position = position
            if self.on_error == "raise" and not error.skip:
                raise
            return error

    def _run(self, images: list[dict[str, np.ndarray]]) -> np.ndarray:
        try:
            return self._model.run(images, [self._output])[0]
        except ValueError as error:
            raise ValueError(f"{os.fspath(self.path)!r} {error}") from error

    def _check_preparation(self, images: Any) -> None:
        given = preparation_of(images)
        if self.preparation_ is not None and given != self.preparation_:
            trained = self.preparation_ or "images as they are"
            warnings.warn(
                f"These images are not cropped as the training images were ({trained}), so ages "
                "may be wrong. Crop them in the same way.",
                stacklevel=3,
            )

    def __sklearn_tags__(self):
        tags = image_tags(super().__sklearn_tags__())
        tags.requires_fit = False
        return tags


def load_exported(path: str | os.PathLike) -> OnnxAgeRegressor | CalibratedAgeRegressor:
    """Load a model that `export` wrote.

    Raises
    ------
    ValueError
        If the file does not exist, `export` did not write it, or it is damaged.
    """
    model = OnnxAgeRegressor(path).fit()
    header = model._header
    if header.calibration is None:
        return model.set_params(decode=header.decode)
    try:
        return from_json(header.calibration, model)
    except _WRONG as error:
        raise _refusal(path, error) from error


def read_exported_card(path: str | os.PathLike) -> tuple[dict[str, Any], ExportedFacts]:
    """The stored card of an exported file, and what it holds.

    Raises
    ------
    ImportError
        If onnxruntime is not installed.
    ValueError
        If the file is not one that `export` wrote.
    """
    header = _read_model(path)[1]
    arithmetic, found = "float32", header.quantisation
    if found is not None:
        arithmetic = (
            f"8-bit integers; the ages of {found.n_images} images change by "
            f"{found.mean_change:.2f} years on average, {found.largest_change:.2f} at most"
        )
        if found.mae is not None:
            arithmetic += f"; MAE on them {found.mae:.2f} years, {found.mae_before:.2f} before"
    views = (f"{view.image_size} pixels, from {view.resized}" for view in header.views)
    facts = ExportedFacts(
        arithmetic,
        "; ".join(views),
        header.binner.n_bins_,
        header.binner.age_range_,
        header.coverage,
        "none" if header.calibration is None else "yes",
        os.path.getsize(resolve_path(path)),
    )
    return header.card or {}, facts


def _read_model(path: str | os.PathLike) -> tuple[OnnxModel, Header]:
    path = resolve_path(path)
    if not os.path.isfile(path):
        raise ValueError(f"There is no model file {path!r}. Check the path.")
    if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError(f"{path!r} is larger than 2 GB, which no ONNX file can be.")
    with open(path, "rb") as file:
        content = file.read()
    is_damaged = not is_intact(content)
    if is_damaged and begins_as_exported(content):
        raise ValueError(f"{path!r} {_DAMAGED}")
    model = OnnxModel(content)
    try:
        session = model.open()
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from error
    metadata = session.session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise ValueError(
            f"{path!r} is an ONNX file that skage did not write. Load an original DEX model with "
            "load_dex, and a network that predicts ages with load_age_network; fit on other "
            "networks with EmbeddingClassifier."
        )
    if is_damaged:
        raise ValueError(f"{path!r} {_DAMAGED}")
    try:
        header = Header.read(metadata)
        _check_ends(session, header)
    except _WRONG as error:
        raise _refusal(path, error) from error
    return model, header


def _refusal(path: str | os.PathLike, error: Exception) -> ValueError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return ValueError(
        f"This version of skage cannot load the model in {os.fspath(path)!r}: {reason}. Export it "
        "again."
    )


def _check_ends(session: Any, header: Header) -> None:
    """Refuse inputs and outputs that are not those of the header."""
    given = {i.name: (i.type, i.shape[1:]) for i in session.inputs}
    sides = {v.input: ("tensor(uint8)", [v.image_size, v.image_size, 3]) for v in header.views}
    if given != sides:
        raise ValueError(f"its inputs {given} are not those that it states, {sides}")
    shapes = {o.name: (o.type, o.shape[1:]) for o in session.outputs}
    kind, n_bins = "tensor(float)", header.binner.n_bins_
    expected = dict(zip(OUTPUTS, [(kind, [n_bins]), (kind, []), (kind, [2])], strict=True))
    if header.calibration is not None:
        expected[UNCALIBRATED] = kind, [n_bins]
    if shapes != expected:
        raise ValueError(f"its outputs {shapes} are not those of a model of {n_bins} bins")
