"""The model that ``train`` and ``tune`` start from: a preset, and what is set in it."""

from __future__ import annotations

from typing import Any

import click

from .shell import PathType, clear_errors, progress_option

#: Which parameter each option sets.
_SETS = {
    "weights": "classifier__weights",
    "feature_cache": "classifier__runtime__feature_cache",
    "checkpoint": "classifier__runtime__checkpoint",
    "on_error": "classifier__on_error",
    "random_state": "classifier__random_state",
}


def _show_parameters(context: click.Context, option: Any, given: bool) -> None:
    if given:
        from .parameters import describe_parameters

        with clear_errors():
            click.echo(describe_parameters(make_model(context.params)))
        context.exit()


_OPTIONS = (
    click.option(
        "--preset",
        type=click.Choice(["fast", "accurate", "dex"]),
        default="fast",
        is_eager=True,
        help="Recipe to start from; see skage.presets.",
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a parameter, as classifier.lr=0.01 or binner.n_bins=20.",
    ),
    click.option(
        "--help-parameters",
        is_flag=True,
        callback=_show_parameters,
        expose_value=False,
        is_eager=True,
        help="List all parameters of the preset, and exit.",
    ),
    click.option(
        "--weights", type=PathType(), help='"imagenet", or a file of weights or of a model.'
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        help="How to handle unreadable images: stop before the work (raise), or leave them out.",
    ),
    click.option("--seed", "random_state", default=0, help="Random seed."),
    progress_option,
)


def model_options(command: Any) -> Any:
    """Add the options that `make_model` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_model(options: dict[str, Any]) -> Any:
    """The preset, with what the options set in it.

    Raises
    ------
    ValueError
        If a parameter is unknown or its value is not valid.
    """
    from .. import presets
    from .parameters import set_parameters

    model = getattr(presets, options.get("preset") or "fast")()
    given = {_SETS[k]: v for k, v in options.items() if k in _SETS and v is not None}
    model.set_params(**given, classifier__verbose=int(options.get("progress") or 0))
    set_parameters(model, options.get("assignments") or ())
    return model
