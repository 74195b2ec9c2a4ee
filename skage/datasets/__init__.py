"""Faces with known ages: drawn ones, and loaders of public data sets."""

from ._faces import make_faces
from ._utkface import load_utkface

__all__ = ["load_utkface", "make_faces"]
