"""Parameters of a preset on the command line: --set, --grid and --help-parameters."""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
from collections.abc import Sequence
from typing import Any

_WIDTH = 79


def parse_value(text: str) -> Any:
    """The Python value that a text writes, else the text itself.

    Literals, and the value objects that parameters take, as ``Jitter(n_copies=2)``.
    Nothing is executed.

    Raises
    ------
    ValueError
        If a value object does not exist or does not have such a parameter.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return text
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _value_object(node, text)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return text


def _value_object(node: ast.Call, text: str) -> Any:
    kinds = {kind.__name__: kind for kind in _value_classes()}
    name = node.func.id  # type: ignore[attr-defined]
    if name not in kinds:
        raise ValueError(f"{text}: there is no {name}. Write one of {', '.join(kinds)}.")
    try:
        positional = [ast.literal_eval(argument) for argument in node.args]
        named = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
        return kinds[name](*positional, **named)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text} cannot be made: {error}.") from error


def _value_classes() -> tuple[Any, ...]:
    from ..augment import Jitter
    from ..runtime import Runtime
    from ..schedules import OneCycle, StepDecay

    return Jitter, OneCycle, Runtime, StepDecay


def set_parameters(model: Any, assignments: Sequence[str]) -> None:
    """Set parameters that are written as ``classifier.lr=0.01``.

    Raises
    ------
    ValueError
        If an assignment has no "=", the parameter is unknown, or the value is not valid.
    """
    values = {}
    for assignment in assignments:
        name, text = _split(assignment, "--set")
        values[name] = parse_value(text)
    for name in values:
        check_name(model, name)
    model.set_params(**{name.replace(".", "__"): value for name, value in values.items()})
    check_values(model)


def parse_grid(model: Any, assignments: Sequence[str]) -> dict[str, list[Any]]:
    """The values to search, by parameter, of ``binner.n_bins=10,20,50`` and the like.

    Raises
    ------
    ValueError
        As `set_parameters`, or if a parameter comes twice.
    """
    from sklearn.base import clone

    grid: dict[str, list[Any]] = {}
    for assignment in assignments:
        name, text = _split(assignment, "--grid")
        check_name(model, name)
        key = name.replace(".", "__")
        if key in grid:
            raise ValueError(f"--grid {name} is given twice. Put all its values behind one.")
        grid[key] = [parse_value(value) for value in _commas(text)]
        for value in grid[key]:
            check_values(clone(model).set_params(**{key: value}))
    return grid


def _split(assignment: str, option: str) -> tuple[str, str]:
    name, equals, text = assignment.partition("=")
    if not equals or not text.strip():
        raise ValueError(f"{option} {assignment!r} must be NAME=VALUE, such as classifier.lr=0.01.")
    return name.strip().replace("__", "."), text


def _commas(text: str) -> list[str]:
    """Parts between the commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and not depth:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def check_name(model: Any, name: str) -> None:
    """Refuse a parameter that the model does not have.

    Raises
    ------
    ValueError
        It suggests the nearest ones.
    """
    known = [name.replace("__", ".") for name in _whole(model).get_params(deep=True)]
    for value in ("augment", "test_augment"):  # a Jitter, once they are set
        known += [f"classifier.{value}.{p}" for p in _value_classes()[0]().get_params()]
    if name in known:
        return
    last = {k.rpartition(".")[2]: k for k in known}
    near = difflib.get_close_matches(name, known, n=1) or [
        last[k] for k in difflib.get_close_matches(name.rpartition(".")[2], last, n=1)
    ]
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(f"There is no parameter {name!r}.{hint} --help-parameters lists all of them.")


def check_values(model: Any) -> None:
    """Refuse values that are not valid, before the work.

    Raises
    ------
    ValueError
    """
    for estimator in (model, model.classifier, model.binner):
        estimator._validate_params()
        for value in estimator.get_params(deep=False).values():
            if isinstance(value, _value_classes()):
                value._validate_params()


def _whole(model: Any) -> Any:
    """The model with the value objects that None stands for."""
    from sklearn.base import clone

    whole = clone(model)
    defaults = {kind.__name__: kind for kind in _value_classes()}
    for name, kind in (("lr_schedule", "StepDecay"), ("runtime", "Runtime")):
        if getattr(whole.classifier, name) is None:
            whole.set_params(**{f"classifier__{name}": defaults[kind]()})
    return whole


def describe_parameters(model: Any) -> str:
    """All parameters of a model, with their values and what they are."""
    whole = _whole(model)
    sections = [("", whole), ("binner.", whole.binner), ("classifier.", whole.classifier)]
    for name, value in whole.classifier.get_params(deep=False).items():
        if isinstance(value, _value_classes()):
            sections.append((f"classifier.{name}.", value))
    lines = []
    for prefix, estimator in sections:
        lines.append(f"{type(estimator).__name__}\n")
        told = _summaries(type(estimator))
        for name, value in estimator.get_params(deep=False).items():
            if isinstance(value, (type(whole.binner), type(whole.classifier))):
                continue
            lines.append(f"  {prefix}{name} = {value!r}")
            if told.get(name):
                lines.append(textwrap.indent(textwrap.fill(told[name], _WIDTH - 6), " " * 6))
        lines.append("")
    return "\n".join(lines).rstrip()


def _summaries(kind: type) -> dict[str, str]:
    """The first sentence on each parameter in the docstring of a class."""
    text = textwrap.dedent(f"    {kind.__doc__}")
    text = re.split(r"\n\w[\w ]+\n-{3,}\n", text.partition("Parameters\n----------\n")[2])[0]
    found = {}
    for entry in re.split(r"\n(?=\w)", text):
        head, _, body = entry.partition("\n")
        while head.endswith("\\"):  # the type goes on
            _, _, body = body.partition("\n")
            head = head[:-1]
        paragraph = " ".join(textwrap.dedent(body).split("\n\n")[0].split())
        found[head.partition(" :")[0].strip()] = re.split(r"(?<=[.])\s+(?=[A-Z\"`\d])", paragraph)[
            0
        ]
    return found
