"""What the commands share: options, how errors and lines are shown, checks of the output."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .._files.paths import resolve_path

# torch and scikit-learn are imported inside the commands: help must not wait for them.


class PathType(click.Path):
    """A path as it was given, but with ~ expanded; an empty one is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            resolved = resolve_path(value, param.opts[-1] if param.opts[-1][0] == "-" else "DATA")
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        return super().convert(resolved if os.fsdecode(value)[0] == "~" else value, param, ctx)


FILE = PathType(dir_okay=False, path_type=Path)
DATA = PathType(exists=True, path_type=Path)
DATA_OR_SHELL = PathType(exists=True, allow_dash=True, path_type=Path)
progress_option = click.option(
    "--progress/--no-progress",
    default=lambda: sys.stderr.isatty(),
    show_default="on a terminal",
    help="Show progress bars.",
)
cache_option = click.option(
    "--cache",
    "feature_cache",
    type=PathType(),
    help='Folder that keeps activations for later commands; "auto" is your cache folder.',
)


def with_options(*options: Any) -> Callable[[Any], Any]:
    """A decorator that adds options to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def refuse_idle(when: str, *names: str) -> None:
    """Refuse options that are on the command line although they have no effect.

    Raises
    ------
    ValueError
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise ValueError(f"{parameter.opts[-1]} has no effect {when}. Leave it out.")


#: The options that `cropped` takes.
face_options = with_options(
    click.option(
        "--crop",
        "detector",
        type=click.Choice(["no", "haar", "yunet"]),
        default="no",
        help="Find the face with this detector and cut it out.",
    ),
    click.option(
        "--margin",
        type=click.FloatRange(0, 10),
        default=0.4,
        help="With --crop: margin on each side, as a share of the face's size; the same for "
        "training and prediction.",
    ),
    click.option(
        "--on-no-face",
        type=click.Choice(["nan", "whole"]),
        default="nan",
        help="With --crop: what to do without a face: leave the image out (nan), or take all "
        "of it (whole).",
    ),
    click.option(
        "--model-file",
        type=PathType(exists=True),
        help="With --crop yunet: the detector's file, which is downloaded otherwise.",
    ),
)


def crop_settings(
    *, detector: str, margin: float, on_no_face: str, model_file: str | None, **others: Any
) -> Any:
    """What decides how faces are cut out, or None if they are not."""
    return None if detector == "no" else (detector, margin, on_no_face, model_file)


def cropped(
    paths: list[str],
    size: int,
    cropper: Any = None,
    *,
    detector: str,
    model_file: str | None,
    feature_cache: str | None,
    **options: Any,
) -> Any:
    """The paths, or the faces that the model's own cropper or the options cut out of them.

    Raises
    ------
    ValueError
        If there are options that have no effect with this detector or this model.
    """
    if cropper is not None:
        refuse_idle(
            "with this model, which cuts out faces itself", "detector", "margin", "on_no_face"
        )
        if cropper.detector != "yunet":
            refuse_idle("with this model, which does not use YuNet", "model_file")
        cropper.set_params(model_file=model_file, feature_cache=feature_cache)
        return cropper.transform(paths)
    if detector != "yunet":
        refuse_idle("without --crop yunet", "model_file")
    if detector == "no":
        refuse_idle("without --crop haar or --crop yunet", "margin", "on_no_face")
        return paths
    found = make_cropper(
        size, detector=detector, model_file=model_file, feature_cache=feature_cache, **options
    )
    return found.transform(paths)


def make_cropper(
    size: int,
    *,
    detector: str,
    margin: float,
    on_no_face: str,
    model_file: str | None,
    feature_cache: str | None,
    **others: Any,
) -> Any:
    """The FaceCropper of the options."""
    from ..faces import FaceCropper

    return FaceCropper(
        detector,
        margin=margin,
        size=size,
        on_no_face=on_no_face,
        model_file=model_file,
        feature_cache=feature_cache,
    )


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show what the user can mend as one line, rather than a traceback."""

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        tell(f"Warning: {message}")

    if sys.flags.optimize > 1:
        raise click.ClickException(
            "skorch needs the docstrings that python -OO removes. Run Python without -OO."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    except BrokenPipeError:
        raise  # click ends quietly when nobody reads its output any more
    except BrokenExecutor as error:
        raise click.ClickException(
            "A process that fitted models was killed, perhaps for lack of memory. Lower --jobs."
        ) from error
    except (ValueError, OSError, ImportError, csv.Error, sqlite3.Error) as error:
        message = str(error).strip().replace("Pass on_error='skip'", "Pass --on-error skip")
        raise click.ClickException(message) from error


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the signals that ask a process to end raise, so that it can say what it leaves."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    # nohup has SIGHUP ignored, and wants it so.
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def tell(message: str) -> None:
    """Write a line to standard error, above a progress bar if there is one."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        click.echo(message, err=True)


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def is_shell(output: Path) -> bool:
    """Whether the output is standard output."""
    return output == Path("-")


def check_output(
    output: Path, inputs: Iterable[str | Path] = (), what: str = "A model file", option: str = "-o"
) -> None:
    """Fail before the work rather than after it, and keep the user's data."""
    if is_shell(output):
        raise ValueError(f"{what} cannot be written to standard output. Name a file with {option}.")
    folder = output.parent
    if output.exists():
        for given in inputs:
            if os.path.exists(given) and os.path.samefile(output, given):
                raise ValueError(f"{output} is one of the inputs; name another file with {option}.")
        if not os.access(output, os.W_OK):
            raise ValueError(f"{output} cannot be written: you may not write it.")
        if not output.is_file():  # a device or a pipe
            return
        folder = Path(os.path.realpath(output)).parent
    if not folder.is_dir():
        raise ValueError(f"{output} cannot be written: the folder {folder} does not exist.")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{output} cannot be written: you may not write in {folder}.")


def save_model(model: Any, output: Path, size: int, card: Any = None, **options: Any) -> None:
    """Write the model, and how its faces were cut out, elsewhere if need be.

    Its training may have taken days.
    """
    from sklearn.pipeline import Pipeline

    from .._models.save import save

    if options["detector"] != "no":
        model = Pipeline([("cropper", make_cropper(size, **options)), ("model", model)])
    try:
        save(model, output, card=card)
    except OSError as error:
        rescued = Path(tempfile.mkdtemp(prefix="skage-"), output.name)
        save(model, rescued, card=card)
        raise OSError(f"{error} The model is in {rescued} instead.") from error
