"""Save a model, or a pipeline that cuts out faces first, to one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._files.container import write_container
from ..faces import FaceCropper
from . import reference
from .card import ModelCard, describe_card
from .cropper import describe_cropper
from .skagefile import describe


def save(
    model: Any,
    path: str | os.PathLike,
    *,
    frozen: str = "whole",
    card: ModelCard | Mapping[str, Any] | None = None,
) -> None:
    """Save a fitted model, or a pipeline of a FaceCropper and a model, for `skage.load`.

    The file is a safetensors file with a JSON header and a SHA-256 of every other byte.
    Unlike a pickle, it cannot run code.

    Parameters
    ----------
    model : BinnedAgeRegressor, AgeEnsemble, CalibratedAgeRegressor or Pipeline
        A pipeline may have a `FaceCropper` before the model; its parameters are stored,
        except for `model_file` and `feature_cache`, which belong to the machine.
    path : path
        By convention, the name ends in .skage.
    frozen : {"whole", "reference"}, default="whole"
        "reference" leaves out the layers that were not trained, and stores their digest.
        The file of a head on a face network has a megabyte or two, and that of a head of 512
        units on VGG16 half its size. `skage.load` needs the file with these layers.
    card : ModelCard or dict, default=None
        What users of the model have to know; a dict has the fields of `ModelCard`. The
        versions of skage and its dependencies are added.

    Raises
    ------
    TypeError
        If a classifier is not one of skage, its network is a torch module, or a step of
        the pipeline is not a FaceCropper.
    ValueError
        If the model has no frozen layers to refer to, or the card is not valid.
    OSError
        If the file cannot be written; an existing file is not changed.

    See Also
    --------
    read_card : Reads the card of a file.

    Examples
    --------
    >>> from skage import save
    >>> save(pipeline, "age.skage", card={"licence": "cc-by-4.0"})  # doctest: +SKIP
    """
    if frozen not in ("whole", "reference"):
        raise ValueError(f"frozen={frozen!r} is not valid. Pass 'whole' or 'reference'.")
    check_is_fitted(model)
    cropper, regressor = _steps(model)
    header, tensors = describe(regressor)
    if frozen == "reference":
        reference.take_out(header, tensors)
    if isinstance(model, Pipeline):
        header["pipeline"] = [name for name, _ in model.steps]
    if cropper is not None:
        header["cropper"] = describe_cropper(cropper)
    header["card"] = describe_card(card)
    write_container(path, header, tensors)


def _steps(model: Any) -> tuple[FaceCropper | None, Any]:
    """The cropper and the regressor of a pipeline."""
    if not isinstance(model, Pipeline):
        return None, model
    *before, last = (step for _, step in model.steps)
    if not before:
        return None, last
    if len(before) > 1 or type(before[0]) is not FaceCropper:
        names = ", ".join(type(step).__name__ for step in before)
        raise TypeError(
            f"Cannot save a Pipeline with {names} before the regressor: a .skage file takes one "
            "FaceCropper there. Use joblib.dump instead."
        )
    return before[0], last
