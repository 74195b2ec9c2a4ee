"""The card of a model: what its users have to know, as Markdown with YAML before it."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._files.container import read_header
from .exported.header import is_exported
from .facts import ExportedFacts, Facts, facts_of

_PACKAGES = ("skage", "torch", "scikit-learn", "numpy")
_TEXTS = ("title", "description", "data", "split", "licence", "limits", "date")
#: Names of figures of `evaluate` as model hubs know them.
_HUB_NAMES = {"mae": "mae", "rmse": "rmse"}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What users of a model have to know (model cards: Mitchell et al., FAccT 2019).

    Parameters
    ----------
    title : str, default=""
    description : str, default=""
        What the model is for.
    data : str, default=""
        What it was trained on.
    split : str, default=""
        How the images that its errors were measured on were kept apart.
    licence : str, default=""
        Such as "cc-by-4.0"; of the model and of its data.
    limits : str, default=""
        What it must not be used for, and where it is wrong.
    date : str, default=""
        No date is stored unless it is given.
    errors : Evaluation or dict, default={}
        What `skage.evaluate` found: its overall figures and the mean absolute error of
        each group are kept. Or figures by name, such as ``{"MAE, years": 4.5}``.
    versions : dict of str to str
        Of skage and its dependencies; `save` adds them.
    model : Facts, ExportedFacts or None
        What the file holds; `read_card` adds it.

    Examples
    --------
    >>> from skage import ModelCard
    >>> card = ModelCard(title="Ages", licence="mit", errors={"MAE, years": 4.5})
    >>> print(card.to_markdown())
    ---
    license: "mit"
    library_name: "skage"
    tags: ["age-estimation", "face", "image-classification"]
    model-index: [{"name": "Ages", "results": [{"task": {"type": "image-regression"}, \
"dataset": {"name": "unknown", "type": "unknown"}, \
"metrics": [{"type": "MAE, years", "value": 4.5, "name": "MAE, years"}]}]}]
    ---
    <BLANKLINE>
    # Ages
    <BLANKLINE>
    ## Errors
    <BLANKLINE>
    | figure | value | from | to |
    |---|---|---|---|
    | MAE, years | 4.5 |  |  |
    <BLANKLINE>
    ## Licence
    <BLANKLINE>
    mit
    <BLANKLINE>
    """

    title: str = ""
    description: str = ""
    data: str = ""
    split: str = ""
    licence: str = ""
    limits: str = ""
    date: str = ""
    errors: Any = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    model: Facts | ExportedFacts | None = None

    def to_markdown(self) -> str:
        """Return the card as Markdown, after the front matter in YAML that model hubs read.

        Returns
        -------
        text : str
        """
        errors = _figures(self.errors)
        lines = ["---", *self._front_matter(errors["overall"]), "---", ""]
        lines += [f"# {self.title or 'Age from face images'}", ""]
        texts = {"Data": self.data, "Split": self.split, "Limits": self.limits}
        if self.description:
            lines += [self.description, ""]
        for name, text in texts.items():
            if text:
                lines += [f"## {name}", "", text, ""]
        lines += _error_tables(errors)
        if self.model is not None:
            lines += ["## Model", "", *_table(("what", "value"), self.model.rows()), ""]
        if self.licence:
            lines += ["## Licence", "", self.licence, ""]
        if self.date:
            lines += ["## Date", "", self.date, ""]
        if self.versions:
            lines += ["## Versions", "", *_table(("package", "version"), self.versions.items()), ""]
        return "\n".join(lines)

    def _front_matter(self, overall: list[dict[str, Any]]) -> list[str]:
        # JSON values are YAML, and strings in them cannot end early.
        values: dict[str, Any] = {"license": self.licence} if self.licence else {}
        tags = ["age-estimation", "face", "image-classification"]
        values |= {"library_name": "skage", "tags": tags}
        metrics = [
            {
                "type": _HUB_NAMES.get(row["name"], row["name"]),
                "value": row["value"],
                "name": row["label"],
            }
            for row in overall
            if row["value"] is not None
        ]
        if metrics:
            data = self.data.splitlines()[0] if self.data else "unknown"
            results = {
                "task": {"type": "image-regression"},
                "dataset": {"name": data, "type": "unknown"},
                "metrics": metrics,
            }
            name = self.title or "Age from face images"
            values["model-index"] = [{"name": name, "results": [results]}]
        return [f"{name}: {json.dumps(value)}" for name, value in values.items()]


def describe_card(card: ModelCard | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the card as JSON, with the versions of skage and its dependencies.

    Raises
    ------
    ValueError
        If a field is unknown.
    TypeError
        If a text is not a string, or the errors are neither an Evaluation nor a dict.
    """
    if isinstance(card, ModelCard):
        fields: dict[str, Any] = {name: getattr(card, name) for name in (*_TEXTS, "errors")}
    elif card is None or isinstance(card, Mapping):
        fields = dict(card or {})
    else:
        raise TypeError(f"card={card!r} is neither a ModelCard nor a dict. Pass one of them.")
    unknown = [name for name in fields if name not in (*_TEXTS, "errors")]
    if unknown:
        names = ", ".join((*_TEXTS, "errors"))
        raise ValueError(f"card has the unknown field {unknown[0]!r}. Its fields are {names}.")
    for name in _TEXTS:
        if not isinstance(fields.get(name, ""), str):
            raise TypeError(f"{name}={fields[name]!r} of the card is not a string. Pass a string.")
    versions = {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    errors = _figures(fields.pop("errors", {}))
    return {k: v for k, v in fields.items() if v} | {"errors": errors, "versions": versions}


def read_card(path: str | os.PathLike) -> ModelCard:
    """Read the card of a model file, without loading the model.

    Parameters
    ----------
    path : path
        A .skage file, or an ONNX file that `export` wrote.

    Returns
    -------
    card : ModelCard
        As it was given to `save`; fields that were not given are empty. `versions` is what
        the model was saved with, and `model` is what the file holds.

    Raises
    ------
    ValueError
        If the file does not exist, is not a model file, or is corrupted.

    Examples
    --------
    >>> from skage import read_card
    >>> print(read_card("age.skage").to_markdown())  # doctest: +SKIP
    """
    facts: Facts | ExportedFacts
    if is_exported(path):
        from .exported.model import read_exported_card  # needs onnxruntime

        stored, facts = read_exported_card(path)
    else:
        header, checksum, shapes = read_header(path)
        stored = header.get("card", {})
    try:
        stored = {"errors": {}, "versions": {}} | stored
        found = {name: stored[name] for name in _TEXTS if name in stored}
        described = describe_card(found | {"errors": stored["errors"]})
        versions = {str(k): str(v) for k, v in stored["versions"].items()}
        if not is_exported(path):
            facts = facts_of(header, checksum, shapes, os.path.getsize(os.path.expanduser(path)))
        return ModelCard(**found, errors=described["errors"], versions=versions, model=facts)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"This version of skage cannot read the card in {os.fspath(path)!r}: {error}. Read it "
            "with the version that saved it."
        ) from error


def _version(package: str) -> str:
    if package == "skage":
        from .. import __version__

        return __version__
    return importlib.metadata.version(package)


def _figures(errors: Any) -> dict[str, Any]:
    """The errors as JSON: overall figures, and the mean absolute errors of groups."""
    from ..evaluation import Evaluation  # pandas is slow to import

    if isinstance(errors, Evaluation):
        return _figures_of_evaluation(errors)
    if not isinstance(errors, Mapping):
        raise TypeError(
            f"errors={errors!r} of the card is neither an Evaluation nor a dict. Pass what "
            "skage.evaluate returns, or figures by name."
        )
    if set(errors) == {"overall", "groups"}:  # from a file
        return {name: [dict(row) for row in errors[name]] for name in ("overall", "groups")}
    overall = [
        {"name": str(name), "label": str(name), "value": _number(value), "low": None, "high": None}
        for name, value in errors.items()
    ]
    return {"overall": overall, "groups": []}


def _figures_of_evaluation(errors: Any) -> dict[str, Any]:
    overall = [
        {
            "name": str(name),
            "label": f"{row.label}, {row.unit}" if row.unit else str(row.label),
            **{part: _number(getattr(row, part)) for part in ("value", "low", "high")},
        }
        for name, row in errors.overall.iterrows()
    ]
    groups = [
        {
            "by": str(by),
            "group": str(group),
            "n_images": int(row["n_images"]),
            "mae": _number(row["mae"]),
        }
        for by, table in errors.by.items()
        for group, row in table.iterrows()
    ]
    return {"overall": overall, "groups": groups}


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _error_tables(errors: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if errors["overall"]:
        rows = [[row[k] for k in ("label", "value", "low", "high")] for row in errors["overall"]]
        lines += ["## Errors", "", *_table(("figure", "value", "from", "to"), rows), ""]
    if errors["groups"]:
        names = ("by", "group", "n_images", "mae")
        rows = [[row[k] for k in names] for row in errors["groups"]]
        lines += ["### By group", "", *_table(("by", "group", "images", "MAE, years"), rows), ""]
    return lines


def _table(names: Any, rows: Any) -> list[str]:
    """A table in Markdown."""
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
