"""What a model file holds, without its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a model file holds.

    Parameters
    ----------
    kind : str
        The class of the model.
    network : str
    image_size : tuple of 2 ints
        Pixels: the side that the network takes, and that images are resized to.
    n_bins : int
    age_range : tuple of 2 floats
        Years.
    n_networks : int
    n_parameters : int
        Numbers in the tensors of the file.
    n_bytes : int
    checksum : str
        SHA-256 of every other byte of the file.
    frozen : str
        "whole" or "reference".
    calibration : str
    cropper : dict or None
        The parameters of the FaceCropper.
    """

    kind: str
    network: str
    image_size: tuple[int, int]
    n_bins: int
    age_range: tuple[float, float]
    n_networks: int
    n_parameters: int
    n_bytes: int
    checksum: str
    frozen: str
    calibration: str
    cropper: Mapping[str, Any] | None

    def rows(self) -> list[tuple[str, str]]:
        """Return what to show, each with its name."""
        low, high = self.age_range
        crops = self.cropper or {}
        settings = ", ".join(f"{name}={value!r}" for name, value in crops.items())
        return [
            ("model", self.kind),
            ("network", self.network),
            ("networks", str(self.n_networks)),
            ("image size", f"{self.image_size[0]} pixels, from {self.image_size[1]}"),
            ("bins", f"{self.n_bins}, from {low:g} to {high:g} years"),
            ("calibration", self.calibration),
            ("face cropper", settings or "none: the model takes crops of faces"),
            ("frozen layers", self.frozen),
            ("numbers in tensors", f"{self.n_parameters:,}"),
            ("file size", f"{self.n_bytes / 1e6:,.1f} MB"),
            ("checksum", f"SHA-256 {self.checksum}"),
        ]


@dataclass(frozen=True)
class ExportedFacts:
    """What an exported ONNX file holds.

    Parameters
    ----------
    arithmetic : str
    image_sizes : str
    n_bins : int
    age_range : tuple of 2 floats
        Years.
    coverage : float
        Of its intervals.
    calibration : str
    n_bytes : int
    """

    arithmetic: str
    image_sizes: str
    n_bins: int
    age_range: tuple[float, float]
    coverage: float
    calibration: str
    n_bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """Return what to show, each with its name."""
        low, high = self.age_range
        return [
            ("model", "ONNX file"),
            ("arithmetic", self.arithmetic),
            ("image size", self.image_sizes),
            ("bins", f"{self.n_bins}, from {low:g} to {high:g} years"),
            ("intervals", f"of {100 * self.coverage:g} %"),
            ("calibration", self.calibration),
            ("file size", f"{self.n_bytes / 1e6:,.1f} MB"),
        ]


def facts_of(
    header: Mapping[str, Any], checksum: str, shapes: Mapping[str, list[int]], n_bytes: int
) -> Facts:
    """Return the facts of a file from its header and the shapes of its tensors."""
    inner = header["model"] if header["kind"] == "CalibratedAgeRegressor" else header
    members = inner["members"] if inner["kind"] == "AgeEnsemble" else [inner]
    first = members[0]
    size, resized = first["image_size"]
    low, high = first["age_range"]
    named = {_network(member): None for member in members}
    return Facts(
        kind=header["kind"] if header["kind"] != first["kind"] else "BinnedAgeRegressor",
        network=", ".join(named),
        image_size=(int(size), int(resized)),
        n_bins=len(first["bin_values"]),
        age_range=(float(low), float(high)),
        n_networks=sum(int(member["n_networks"]) for member in members),
        n_parameters=sum(math.prod(shape) for shape in shapes.values()),
        n_bytes=n_bytes,
        checksum=checksum,
        frozen="reference" if any("reference" in member for member in members) else "whole",
        calibration=f"by {header['by'] or 'all images'}" if inner is not header else "none",
        cropper=header["cropper"]["parameters"] if "cropper" in header else None,
    )


def _network(header: Mapping[str, Any]) -> str:
    options = header["classifier"]
    if header["kind"] == "EmbeddingClassifier":
        return f"ONNX network, output {header['output']}"
    return f"{options['backbone']}, trained: {options['trainable']}"
