"""The command ``python -m skage serve``."""

from __future__ import annotations

import socket
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from PIL import Image

from .predict import load_model
from .shell import FILE, PathType, clear_errors, refuse_idle, tell


@click.command()
@click.argument("model_path", type=FILE, metavar="MODEL")
@click.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen at. Any other than the default lets other machines in.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 is any that is free.")
@click.option(
    "--allow-host",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Name of this machine that may be in the address bar. May be repeated.",
)
@click.option(
    "--crop",
    "detector",
    type=click.Choice(["no", "haar", "yunet"]),
    help="Find faces with this detector; no takes the whole photo as one face.  "
    "[default: as the model file says, else haar]",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 10),
    default=0.4,
    help="Margin on each side, as a share of the face's size; the same as in training.",
)
@click.option(
    "--model-file",
    type=PathType(exists=True),
    help="With --crop yunet: the detector's file, which is downloaded otherwise.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    help="Probability between the bounds of the interval.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0, min_open=True),
    help="Limit of age, such as 18; an interval that contains it is shown as unsure.",
)
def serve(
    model_path: Path,
    host: str,
    port: int,
    allowed: tuple[str, ...],
    detector: str | None,
    margin: float,
    model_file: str | None,
    coverage: float,
    limit: float | None,
) -> None:
    """Show a page that estimates ages in photos, with the model file MODEL.

    The page is for this machine alone, unless --host says otherwise: it has neither a
    password nor encryption. No photo is stored or logged. Programs send a photo to
    POST /predict; /openapi.json describes the answer.

    Needs pip install 'skage[app]', and 'skage[faces]' unless --crop is no.

    \b
    Examples:
      python -m skage serve age.skage
      python -m skage serve age.skage --limit 18 --crop yunet --margin 0.2
      curl -H 'Content-Type: image/jpeg' --data-binary @me.jpg \\
        localhost:8000/predict
    """
    with clear_errors():
        try:
            import uvicorn

            from .._serve.app import make_app
            from .._serve.estimator import Estimator
            from .._serve.limits import LOOPBACK
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in ("starlette", "uvicorn"):
                raise
            raise ImportError(
                "The page needs Starlette and uvicorn. Install them with pip install 'skage[app]'."
            ) from error
        # The reader refuses such images.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        model, size, cropper = load_model(model_path, None)
        if cropper is not None:
            own = "with a model file that cuts out faces itself"
            refuse_idle(own, "detector", "margin", "model_file")
        else:
            cropper = _make_cropper(detector or "haar", margin, model_file)
        estimate = Estimator(model, size, cropper, coverage=coverage, limit=limit)
        app = make_app(estimate, coverage=coverage, limit=limit, hosts=[host, *allowed])
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=512,
            timeout_graceful_shutdown=5,
        )
        with _listening(host, port, config.backlog) as listening:
            name = f"[{host}]" if ":" in host else host
            address = f"http://{name}:{listening.getsockname()[1]}"
            if host not in LOOPBACK:
                tell("Warning: other machines can reach the page, without password or encryption.")
            click.echo(f"Open {address} in a browser. Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
                uvicorn.Server(config).run(sockets=[listening])


def _make_cropper(detector: str, margin: float, model_file: str | None) -> Any:
    if detector != "yunet":
        refuse_idle("without --crop yunet", "model_file")
    if detector == "no":
        refuse_idle("with --crop no", "margin")
        return None
    from ..faces import FaceCropper

    return FaceCropper(detector, margin=margin, model_file=model_file)


def _listening(host: str, port: int, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise OSError(
            f"Cannot listen at {host}, port {port}: {reason}. Choose another --host or --port."
        ) from error
