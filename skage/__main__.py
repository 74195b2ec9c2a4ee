"""``python -m skage``."""

from .cli import main

main(prog_name="python -m skage")
