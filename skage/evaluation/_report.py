"""The report of an evaluation: one HTML page without scripts."""

from __future__ import annotations

import html
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd

from .. import __version__
from ._plots import report_plots
from ._result import NOT_ASSESSED, Evaluation, format_bounds, format_value

_FACTS = ("data", "labels", "licence", "split")  # that an auditor asks for
_SHOWN_CHALLENGES = 7
_YEARS_BELOW = 10  # the limit, whose rates are shown


def render_page(evaluation: Evaluation) -> str:
    """Return the report as a page."""
    return _render(evaluation, fragment=False)


def render_fragment(evaluation: Evaluation) -> str:
    """Return the summary and the overall figures, for a notebook."""
    return _render(evaluation, fragment=True)


def render_comparison(comparison: Any) -> str:
    """Return the tables of a comparison, for a notebook."""
    parts = [comparison.overall.drop(columns=["unit"]), *comparison.by.values()]
    title = html.escape(" and ".join(comparison.names))
    tables = "".join(table.to_html(float_format="{:.3f}".format, border=0) for table in parts)
    return f"<h3>Comparison of {title}</h3>{tables}"


def _render(evaluation: Evaluation, fragment: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skage.evaluation", "."), autoescape=True, trim_blocks=True
    )
    environment.globals |= {"format_value": format_value, "format_bounds": format_bounds}
    context: dict[str, Any] = {
        "e": evaluation,
        "fragment": fragment,
        "version": __version__,
        "level": f"{100 * evaluation.settings['confidence_level']:g} %",
        "tiles": _tiles(evaluation),
    }
    if not fragment:
        context |= _details(evaluation)
    return environment.get_template("report.html.jinja").render(context)


def _details(e: Evaluation) -> dict[str, Any]:
    groups = [(name, tuple(name.split(" x ")), table) for name, table in e.by.items()]
    tables = {"overall": e.overall.reset_index(), "gaps": e.gaps, **e.by}
    if e.variability is not None:
        tables["variability"] = e.variability
    found: dict[str, Any] = {}
    if e.limit is not None:
        tables |= {"challenge ages": e.limit.challenge_ages, "pass rates": e.limit.pass_rates}
        found = _limit_details(e)
    groups_mae = pd.concat([table[["mae", "n_images"]] for table in e.by.values()])
    enough = groups_mae[groups_mae["n_images"] >= e.settings["min_count"]]
    return found | {
        "plots": {
            name: [{"svg": jinja2.utils.markupsafe.Markup(svg), "caption": c} for svg, c in made]
            for name, made in report_plots(e).items()
        },
        "groups": groups,
        "csv": {name: _data_uri(table) for name, table in tables.items()},
        "widest": float(np.fmax((enough if len(enough) else groups_mae)["mae"].max(), 1e-9)),
        "missing": [name for name in _FACTS if name not in {k.lower() for k in e.about}],
        "ages_line": _ages_line(e.images["true"]),
        "failed_line": _failed_line(e),
        "overlap_line": _overlap_line(e),
        "not_assessed": NOT_ASSESSED,
    }


def _data_uri(table: pd.DataFrame) -> str:
    return "data:text/csv;charset=utf-8," + quote(table.to_csv(index=False))


def _tiles(e: Evaluation) -> list[dict[str, Any]]:
    """The summary, in sentences."""
    mae, cs5, bias = (e.overall.loc[name] for name in ("mae", "cs5", "bias"))
    constant = e.overall.loc["constant_mae", "value"]
    tiles = [
        _tile(
            f"{mae.value:.1f} years",
            f"is the average error{_brackets(mae)}. Always answering "
            f"{e.settings['constant']:g} would be {constant:.1f} years wrong.",
            mae.value >= constant,
        ),
        _tile(f"{100 * cs5.value:.0f} of 100", "ages are estimated to within 5 years."),
        _bias_tile(bias),
    ]
    single = e.gaps[~e.gaps["by"].str.contains(" x ")] if len(e.gaps) else e.gaps
    tiles += [_gap_tile(row) for row in single.itertuples()]
    if "coverage" in e.overall.index:
        found, nominal = e.overall.loc["coverage"], e.settings["coverage"]
        tiles.append(
            _tile(
                f"{100 * found.value:.0f} of 100",
                f"intervals contain the true age; {100 * nominal:.0f} should. They are "
                f"{e.overall.loc['width', 'value']:.0f} years wide on average.",
                found.high < nominal,
            )
        )
    if e.limit is not None:
        row = e.limit.chosen
        tiles.append(
            _tile(
                format_value(row.false_pass_rate, "share"),
                f"of those below {e.limit.limit:g} pass at a challenge age of "
                f"{row.challenge_age:g}: {round(row.false_pass_rate * row.false_pass_n)} of "
                f"{row.false_pass_n:.0f}.",
            )
        )
    tiles.append(_tile(f"{e.n_failed:,} of {e.n_images:,}", "images have no prediction."))
    if e.overlap is not None and e.overlap.any.any():
        tiles.append(
            _tile(
                f"{int(e.overlap.any.sum()):,} images",
                "are known from training, so that the errors are too small.",
                True,
            )
        )
    return tiles


def _bias_tile(bias: Any) -> dict[str, Any]:
    if np.isnan(bias.low):
        return _tile(f"{bias.value:+.1f} years", "is the mean of predicted minus true ages.")
    if bias.low <= 0 <= bias.high:
        return _tile("no clear bias", f"on average{_brackets(bias)} years.")
    direction = "older" if bias.value > 0 else "younger"
    return _tile(
        f"{abs(bias.value):.1f} years {direction}",
        f"is how people are estimated on average, compared with their age{_brackets(bias)}.",
    )


def _gap_tile(row: Any) -> dict[str, Any]:
    value = f"{row.worst_mae:.1f} against {row.best_mae:.1f} years"
    if row.gap_low <= 0:
        return _tile(value, f"is the error by {row.by}: no clear difference between groups.")
    return _tile(
        value, f"is the error by {row.by}: largest for {row.worst}, smallest for {row.best}."
    )


def _tile(value: str, text: str, is_warning: bool = False) -> dict[str, Any]:
    return {"value": value, "text": text, "is_warning": is_warning}


def _brackets(row: Any) -> str:
    bounds = format_bounds(row.low, row.high, row.unit)
    return f" [{bounds[1:-1]}]" if bounds else ""


def _ages_line(ages: pd.Series) -> str:
    quartiles = ages.quantile([0.25, 0.5, 0.75])
    low, middle, high = (f"{value:g}" for value in quartiles)
    return f"{ages.min():g} to {ages.max():g} years; half are from {low} to {high}, median {middle}"


def _failed_line(e: Evaluation) -> str:
    if not e.n_failed:
        return "none"
    return f"{e.n_failed:,} of {e.n_images:,} ({100 * e.n_failed / e.n_images:.1f} %)"


def _overlap_line(e: Evaluation) -> str:
    if e.overlap is None:
        return "not checked: the training images were not given"
    labels = {
        "identical": "identical images",
        "near_identical": "images of nearly the same photograph",
        "person": "images of persons trained on",
    }
    counts = e.overlap.counts()
    parts = [
        f"{label}: {'not known' if counts[name] is None else format(counts[name], ',')}"
        for name, label in labels.items()
    ]
    others = e.images["error"].abs()[~e.overlap.any].dropna()
    if e.overlap.any.any() and len(others):
        parts.append(f"MAE of the others: {others.mean():.2f} years")
    return "; ".join(parts)


def _limit_details(e: Evaluation) -> dict[str, Any]:
    limit = e.limit
    assert limit is not None
    table = limit.pass_rates
    challenges = sorted(table["challenge_age"].unique())
    step = max(1, round(len(challenges) / _SHOWN_CHALLENGES))
    shown = sorted({*challenges[::step], *[c for c in challenges if c == limit.challenge_age]})
    rows = []
    for age, part in table.groupby("age"):
        if limit.limit - age > _YEARS_BELOW:
            continue
        by_challenge = part.set_index("challenge_age")
        rows.append(
            {
                "age": f"{age:g}",
                "n": int(part["n"].iloc[0]),
                "cells": [by_challenge.loc[c] for c in shown],
            }
        )
    n_under = int(limit.challenge_ages["false_pass_n"].iloc[0])
    age_range = None
    if limit.age_range is not None:
        age_range = _age_range_lines(limit.age_range)
    return {
        "shown_challenges": shown,
        "passes": rows,
        "n_under": n_under,
        "age_range": age_range,
    }


_AGE_RANGE = {
    "mae": "MAE of the ages 13, 14, 15 and 16, averaged, in years",
    "true_positive_rate": "Aged 13 to 16 and estimated 13 to 16",
    "false_negative_rate_down": "Aged 13 to 16 and estimated 8 to 12",
    "false_negative_rate_up": "Aged 13 to 16 and estimated 17 to 22",
    "false_positive_rate_below": "Aged 8 to 12 and estimated 13 to 16",
    "false_positive_rate_above": "Aged 17 to 22 and estimated 13 to 16",
}


def _age_range_lines(table: pd.DataFrame) -> list[tuple[str, str]]:
    lines = []
    for name, label in _AGE_RANGE.items():
        row, unit = table.set_index("figure").loc[name], "years" if name == "mae" else "share"
        bounds = format_bounds(row["low"], row["high"], unit)
        lines.append((label, f"{format_value(row['value'], unit)} {bounds} of {row['n']:.0f}"))
    return lines
