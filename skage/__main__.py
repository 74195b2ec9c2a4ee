"""``python -m skage``."""

from ._app.cli import main

main(prog_name="python -m skage")
