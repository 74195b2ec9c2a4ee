"""Parameters as they are written on the command line: --set and --grid."""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

_NOT_A_VALUE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


def parse_value(text: str) -> Any:
    """The Python value that a text writes, else the text itself.

    Literals, and the value objects that parameters take, as ``Jitter(n_copies=2)``.
    Nothing is executed.

    Raises
    ------
    ValueError
        If a value object does not exist, or does not take what it is given.
    """
    text = text.strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about backslashes
            node = ast.parse(text, mode="eval").body
    except _NOT_A_VALUE:
        return text
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _make_object(node.func.id, node, text)
    try:
        value = ast.literal_eval(node)
    except _NOT_A_VALUE:
        return text
    return text if isinstance(value, set) else value  # which no parameter takes


def _make_object(name: str, node: ast.Call, text: str) -> Any:
    kinds = value_classes()
    if name not in kinds:
        raise ValueError(f"{text}: there is no {name}. Write one of {', '.join(kinds)}.")
    try:
        positional = [ast.literal_eval(argument) for argument in node.args]
        named = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
        if len(named) == len(node.keywords):
            return kinds[name](*positional, **named)
    except _NOT_A_VALUE:
        pass
    defaults = kinds[name]().get_params().items()
    shown = ", ".join(f"{parameter}={value!r}" for parameter, value in defaults)
    raise ValueError(
        f"{text} cannot be made. Write parameters and values of {name}({shown}), with quotes "
        "around text."
    )


def value_classes() -> dict[str, Any]:
    """The classes by name that values of parameters may be of."""
    from sklearn.base import BaseEstimator

    from .. import BinnedAgeRegressor, EmbeddingClassifier, VGG16Classifier

    kinds = {
        kind.__name__: kind
        for owner in (BinnedAgeRegressor, EmbeddingClassifier, VGG16Classifier)
        for constraints in owner._parameter_constraints.values()
        for kind in constraints
        if isinstance(kind, type) and issubclass(kind, BaseEstimator)
    }
    return dict(sorted(kinds.items()))


def read_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Values by parameter of ``classifier.lr=0.01`` and the like; the last one counts.

    Raises
    ------
    ValueError
        If an assignment has no "=", or a value object cannot be made.
    """
    pairs = (_split(assignment, "--set") for assignment in assignments)
    return {name: parse_value(text) for name, text in pairs}


def read_grid(
    assignments: Iterable[str], fixed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, list[Any]]:
    """Values to search by parameter, of ``binner.n_bins=10,20,50`` and the like.

    Parameters
    ----------
    assignments : iterable of str
    fixed : mapping of str to str
        The option that sets each parameter that is set.

    Raises
    ------
    ValueError
        As `read_settings`, or if a parameter or a value comes twice.
    """
    grid: dict[str, list[Any]] = {}
    for assignment in assignments:
        name, text = _split(assignment, "--grid")
        if name in grid:
            raise ValueError(f"--grid {dotted(name)} is given twice. Put all its values in one.")
        for other, option in fixed.items():
            if f"{other}__".startswith(f"{name}__"):  # itself, or a parameter of its values
                raise ValueError(
                    f"--grid {dotted(name)} and {option} set the same parameter. Leave out one of "
                    "them."
                )
        parts = _split_at_commas(text)
        if "" in parts:
            raise ValueError(f"--grid {assignment} has an empty value. Leave out one comma.")
        grid[name] = [parse_value(part) for part in parts]
        written = [write_value(value) for value in grid[name]]
        if twice := [value for value in written if written.count(value) > 1]:
            raise ValueError(f"--grid {assignment} has the value {twice[0]} twice. Leave one out.")
    return grid


def _split(assignment: str, option: str) -> tuple[str, str]:
    name, equals, text = assignment.partition("=")
    if not equals or not name.strip() or not text.strip():
        raise ValueError(f"{option} {assignment!r} must be NAME=VALUE, such as classifier.lr=0.01.")
    return name.strip().replace(".", "__"), text


def _split_at_commas(text: str) -> list[str]:
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


def dotted(name: str) -> str:
    """A nested parameter as --set takes it."""
    return name.replace("__", ".")


def write_value(value: Any) -> str:
    """A value as --set takes it."""
    return value if isinstance(value, str) else " ".join(repr(value).split())


def check_names(model: Any, settings: dict[str, Any]) -> None:
    """Refuse parameters that the model does not have, or would not have after the settings.

    Raises
    ------
    ValueError
        It suggests the nearest one.
    """
    from sklearn.base import clone

    model = clone(model)
    for name, value in sorted(settings.items(), key=lambda item: item[0].count("__")):
        if name == "classifier__callbacks":
            raise ValueError(
                "classifier.callbacks are objects, which cannot be written on the command line. "
                "Train in Python to use them."
            )
        known = [*_with_value_objects(model).get_params()]
        if name not in known or name == "classifier":  # which the preset's settings are in
            raise ValueError(_unknown(dotted(name), [dotted(k) for k in known]))
        model.set_params(**{name: clone(value, safe=False)})


def _unknown(name: str, known: Sequence[str]) -> str:
    by_last_word = {k.rpartition(".")[2]: k for k in sorted(known, reverse=True)}
    last_word = name.rpartition(".")[2]
    near = [by_last_word[last_word]] if last_word in by_last_word else []
    near = near or difflib.get_close_matches(name, known, n=1)
    near = near or [by_last_word[k] for k in difflib.get_close_matches(last_word, by_last_word, 1)]
    hint = f" Did you mean {near[0]}?" if near and near != [name] else ""
    return f"There is no parameter {name!r}.{hint} --help-parameters lists all of them."


def _with_value_objects(model: Any) -> Any:
    """A copy with the value objects that None stands for, so that it has their parameters."""
    from ..augment import Jitter
    from ..preprocessing import Preprocessing

    whole = spelled_out(model)
    kinds = {"augment": Jitter, "test_augment": Jitter, "preprocessing": Preprocessing}
    for name, kind in kinds.items():
        if getattr(whole.classifier, name, "") is None:  # what set_params says of it is clear
            whole.set_params(**{f"classifier__{name}": kind()})
    return whole


def spelled_out(model: Any) -> Any:
    """A copy with the runtime and the schedule of learning rates that None stands for."""
    from sklearn.base import clone

    whole = clone(model)
    for name, kind in whole.classifier._value_defaults.items():
        if getattr(whole.classifier, name) is None:
            whole.set_params(**{f"classifier__{name}": kind()})
    return whole


def check_values(model: Any) -> None:
    """Refuse values that are not valid, before any work.

    Raises
    ------
    ValueError
    """
    from sklearn.base import BaseEstimator

    for value in [model, *model.get_params().values()]:
        if isinstance(value, BaseEstimator):
            value._validate_params()
