"""The part of a model file that holds how faces are cut out."""

from __future__ import annotations

import warnings
from typing import Any

from .._images.detectors import _YUNET_SHA256, yunet_file
from ..faces import FaceCropper
from .header import plain

# These are paths of the machine.
_NOT_STORED = ("feature_cache", "model_file")


def describe_cropper(cropper: FaceCropper) -> dict[str, Any]:
    """Return the parameters of a cropper, and the checksum of its detector's file.

    Raises
    ------
    TypeError
        If the detector is a callable.
    """
    cropper._validate_params()
    if callable(cropper.detector):
        raise TypeError(
            f"Cannot save a FaceCropper with detector={cropper.detector!r}, as it is code. Use "
            "'haar' or 'yunet', or joblib.dump."
        )
    parameters = cropper.get_params(deep=False).items()
    header = {name: plain(value) for name, value in parameters if name not in _NOT_STORED}
    if cropper.detector == "yunet":
        return {"parameters": header, "sha256": yunet_file(cropper.model_file)[1]}
    return {"parameters": header}


def rebuild_cropper(header: dict[str, Any]) -> FaceCropper:
    """Return the cropper of a file.

    Raises
    ------
    ValueError
        If its parameters are not valid.
    """
    parameters = dict(header["parameters"])
    if callable(parameters["detector"]) or set(_NOT_STORED) & parameters.keys():
        raise ValueError("the settings of its FaceCropper are not valid")
    cropper = FaceCropper(**parameters)
    cropper._validate_params()
    return cropper


def warn_of_detector(header: dict[str, Any]) -> None:
    """Warn if the faces were cut out with another file of the detector than the usual one."""
    checksum = header.get("sha256")
    if checksum not in (None, _YUNET_SHA256):
        warnings.warn(
            "The model was trained on faces that a YuNet model of the user's own cut out. Set "
            f"model_file of its FaceCropper to the file with SHA-256 {checksum}.",
            stacklevel=3,
        )
