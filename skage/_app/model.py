"""The model that ``train`` and ``tune`` start from: a preset, and what is set in it."""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass
from typing import Any

import click

from .shell import PathType, clear_errors, progress_option, with_options

#: Which parameter each option sets.
_SETS = {
    "weights": "classifier__weights",
    "network": "classifier__network",
    "feature_cache": "classifier__runtime__feature_cache",
    "checkpoint": "classifier__runtime__checkpoint",
    "on_error": "classifier__on_error",
    "random_state": "classifier__random_state",
    "progress": "classifier__verbose",
}
#: Options without which a preset is not a model, with values that stand for any.
_REQUIRED = {"face": {"network": "network.onnx"}}
_OPTIONS = (
    click.option(
        "--preset",
        type=click.Choice(["fast", "accurate", "face", "dex"]),
        default="fast",
        help="Recipe to start from: dense layers on frozen VGG16, its last block too, dense layers "
        "on a face network, or the paper's.",
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a parameter, such as classifier.lr=0.01 or binner.n_bins=20. May be repeated.",
    ),
    click.option(
        "--help-parameters",
        is_flag=True,
        help="List the parameters that --set takes, with their values in the preset, and exit.",
    ),
    click.option(
        "--weights",
        type=PathType(),
        help='Start from "imagenet", from random weights ("none"), or from a file of weights or '
        "of a trained model.  [default: the preset's]",
    ),
    click.option(
        "--network",
        type=PathType(),
        help="With --preset face: the ONNX file of the network.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        help="Stop before the work if an image cannot be read, or leave such images out.  "
        "[default: raise]",
    ),
    click.option(
        "--seed",
        "random_state",
        type=int,
        default=0,
        help="Seed of all that is random: the same seed gives the same model.",
    ),
    progress_option,
)


def model_options(command: Any) -> Any:
    """Add the options that make a `Recipe`, which the command gets as `recipe`.

    Where they ask for the parameters, these are printed instead of running the
    command, so that click must not require the arguments called data and grid; they are
    required here.
    """

    @functools.wraps(command)
    def run(*, preset: str, assignments: Any, help_parameters: bool, **options: Any) -> None:
        context = click.get_current_context()
        if help_parameters:
            with clear_errors():
                from .describe import describe_parameters

                recipe = _recipe(preset, assignments, _REQUIRED.get(preset, {}))
                click.echo(describe_parameters(preset, recipe.model()))
            return
        for parameter in context.command.params:
            if parameter.name in ("data", "grid") and not options[parameter.name]:
                raise click.MissingParameter(ctx=context, param=parameter)
        with clear_errors():
            from .parameters import dotted, read_grid, read_settings

            recipe = _recipe(preset, assignments, options)
            options["on_error"] = recipe.model().classifier.on_error  # --set has the last word
            if "grid" in options:
                fixed = {name: f"--set {dotted(name)}" for name in read_settings(assignments)}
                if options["weights"] is not None:
                    fixed[_SETS["weights"]] = "--weights"
                options["grid"] = read_grid(options["grid"], fixed)
        command(recipe=recipe, **options)

    return with_options(*_OPTIONS)(run)


def _recipe(preset: str, assignments: Any, options: dict[str, Any]) -> Recipe:
    from .parameters import read_settings

    given = {_SETS[k]: v for k, v in options.items() if k in _SETS and v is not None}
    if given.get("classifier__weights") in ("none", "None"):
        given["classifier__weights"] = None
    if "classifier__verbose" in given:
        given["classifier__verbose"] = int(given["classifier__verbose"])
    return Recipe(preset, given | read_settings(assignments))


@dataclass(frozen=True)
class Recipe:
    """A preset, and what is set in it.

    Parameters
    ----------
    preset : str
        Name of a function of `skage.presets`.
    settings : dict of str to object
        By parameter, as set_params takes it.
    """

    preset: str
    settings: dict[str, Any]

    def model(self, **more: Any) -> Any:
        """A new model, with `more` set in it.

        Raises
        ------
        ValueError
            If a parameter is unknown or its value is not valid.
        """
        from sklearn.base import clone

        from .. import AgeBinner, presets
        from .parameters import check_names, check_values

        settings = {k: clone(v, safe=False) for k, v in (self.settings | more).items()}
        make, required = getattr(presets, self.preset), _REQUIRED.get(self.preset, {})
        if "classifier__network" in settings and "network" not in required:
            raise ValueError("--network needs --preset face.")
        check_names(make(**required), settings)
        for option in required:
            if _SETS[option] not in settings:
                raise ValueError(f"--preset {self.preset} needs --{option}.")
        # The preset itself, as some of its values follow from others.
        own = "classifier__"
        model = make(**{k.removeprefix(own): v for k, v in settings.items() if k.startswith(own)})
        model.set_params(**{k: v for k, v in settings.items() if not k.startswith(own)})
        if model.binner is None:
            model.binner = AgeBinner()  # which None stands for
        check_values(model)
        return model


def check_fit(model: Any, ages: Any) -> None:
    """Refuse what would fail in a fit to images of these ages, before any is read.

    Raises
    ------
    ValueError
    """
    from sklearn.base import clone

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fit warns again
        clone(model.binner).fit(ages)
        model.classifier._check_fit(len(ages))


def pretrained_file(model: Any) -> str:
    """The file of weights or of a network that a model starts from, or "" if it has none."""
    parameters = model.classifier.get_params(deep=False)
    found = parameters.get("weights") or parameters.get("network")
    return found if isinstance(found, str) and os.path.isfile(found) else ""


def crop_side(model: Any) -> int:
    """Side in pixels of the face crops that a model is trained on."""
    return model.classifier._sides()[1]
