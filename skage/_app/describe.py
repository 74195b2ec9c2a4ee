"""What --help-parameters prints."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from .parameters import dotted, spelled_out, value_classes, write_value

_WIDTH = 79


def describe_parameters(preset: str, model: Any) -> str:
    """All parameters of a model: their values, what they are, and what they take."""
    lines = _wrapped(
        f'The parameters of the preset "{preset}" and their values. Change them with --set '
        "NAME=VALUE, such as --set classifier.lr=0.01."
    )
    whole = {"": model, **spelled_out(model).get_params()}
    given = {"": model, **model.get_params()}
    values = {name: value for name, value in whole.items() if hasattr(value, "get_params")}
    for name in sorted(values, key=lambda name: (name.count("__"), name)):
        prefix = f"{dotted(name)}." if name else ""
        estimator = given.get(name) or values[name]
        lines += ["", "", *_title(prefix.rstrip("."), type(estimator)), ""]
        lines += _parameters(estimator, prefix)
    for kind in value_classes().values():
        places = " and ".join(dotted(place) for place in _places(kind, model))
        if places and not any(isinstance(value, kind) for value in values.values()):
            lines += ["", "", *_title(f"{places} may be {kind.__name__}(...)", kind), ""]
            lines += _parameters(kind(), "")
    return "\n".join(lines)


def _title(name: str, kind: type) -> list[str]:
    told = _sentences(kind.__doc__)[0]
    if name and " " not in name:
        name = f"{name} ({kind.__name__})"
    return _wrapped(f"{name or kind.__name__}: {told}")


def _parameters(estimator: Any, prefix: str) -> Iterator[str]:
    values = estimator.get_params(deep=False)
    told = _documented(type(estimator))
    for name in sorted(values, key=[*told].index):
        if name not in ("classifier", "binner", "callbacks"):
            takes, sentence = told[name]
            yield from _wrapped(f"{prefix}{name} = {write_value(values[name])}", 2)
            yield from _wrapped(sentence, 6)
            yield from _wrapped(f"Takes {takes}.", 6)


def _places(kind: type, model: Any) -> Iterator[str]:
    """Parameters that take objects of a class."""
    for prefix, owner in (("", model), ("classifier__", model.classifier)):
        for name, constraints in owner._parameter_constraints.items():
            if kind in constraints:
                yield f"{prefix}{name}"


def _documented(kind: type) -> dict[str, tuple[str, str]]:
    """By parameter of a class: its type, and the docstring's explanation of it."""
    text = inspect.cleandoc(kind.__doc__ or "")
    text = re.split(r"\n\w[\w ]+\n-{3,}\n", text.partition("Parameters\n----------\n")[2])[0]
    found = {}
    for entry in re.split(r"\n(?=\w)", text):
        head, _, body = entry.partition("\n")
        name, _, takes = head.partition(" : ")
        takes, _, default = " ".join(takes.split()).partition(", default=")
        if default.startswith("None") and "None" not in takes:
            takes += " or None"
        found[name] = takes, _explanation(body)
    return found


def _explanation(text: str) -> str:
    """The first sentence, and those that begin with a value and say what it means."""
    first, *others = _sentences(text)
    told = " ".join([first, *(s for s in others if re.match(r'"|None |\d', s))])
    return re.sub(r"; see Notes| \(see Notes\)", "", told)


def _sentences(text: str | None) -> list[str]:
    """Those of the first paragraph."""
    paragraph = (text or "").strip().split("\n\n")[0].replace("`", "")
    paragraph = " ".join(re.sub(r"-\n\s*", "-", paragraph).split())
    return re.split(r"(?<=[.])\s+(?=[A-Z\"\d(])", paragraph)


def _wrapped(text: str, indent: int = 0) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        text, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
