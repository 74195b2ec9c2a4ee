"""The command ``python -m skage info``."""

from __future__ import annotations

from pathlib import Path

import click

from .shell import FILE, clear_errors


@click.command()
@click.argument("model_path", type=FILE, metavar="MODEL")
@click.option("--markdown", is_flag=True, help="Write the card as model hubs read it.")
def info(model_path: Path, markdown: bool) -> None:
    """Show what a model file holds, and its card.

    MODEL is a .skage file, or an ONNX file that export wrote. The file is checked,
    but a .skage model is not loaded.

    \b
    Examples:
      python -m skage info age.skage
      python -m skage info age.skage --markdown > README.md
    """
    with clear_errors():
        from .._models.card import read_card

        card = read_card(model_path)
        assert card.model is not None
    if markdown:
        click.echo(_printable(card.to_markdown()), nl=False)
        return
    texts = ("title", "description", "data", "split", "licence", "limits", "date")
    errors = [(row["label"], _figure(row)) for row in card.errors["overall"]]
    rows = [
        *card.model.rows(),
        *((name, getattr(card, name)) for name in texts if getattr(card, name)),
        *errors,
        *((f"MAE, {row['by']} {row['group']}", _figure(row)) for row in card.errors["groups"]),
        ("saved with", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
    ]
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        click.echo(_printable(f"{name:<{width}}{value}".replace("\n", " ")))


def _printable(text: str) -> str:
    """The text without control characters: a file may come from anyone."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _figure(row: dict[str, float | None]) -> str:
    value = row.get("value", row.get("mae"))
    if value is None:
        return "not known"
    low, high = row.get("low"), row.get("high")
    bounds = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
    return f"{value:.4g}{bounds}"
