"""A result of a CUDA device as one SVG: a line a row, a mark a contestant on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cases import TITLES
from .picture import TOP, everyone, framed, legend, networks, text
from .report import heading

Row = Mapping[str, Any]
SIDES = ("float32", "bfloat16")


def panels(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each format, as they are drawn side by side."""
    found = [(side, [row for row in rows if row["format"] == side]) for side in SIDES]
    return [(f"{side} parameters and gradients", some) for side, some in found if some]


def draw(result: Mapping[str, Any]) -> str:
    """Return the picture of a result's first rule as SVG text.

    Parameters
    ----------
    result : mapping
        What `cuda.run` returns, or the JSON file's content.
    """
    rows = [row for row in result["rows"] if row["results"]]
    rule = rows[0]["rule"] if rows else ""
    rows = [
        {**row, "results": {**row["results"], **row["ways"]}}
        for row in rows
        if row["rule"] == rule and not row["scaled"]
    ]
    title = f"One {TITLES.get(rule, rule)} step: {heading(result)}" if rows else "Nothing was measured"
    parts = [text(32, 32, title, 'class="title"')]
    parts += legend(everyone(rows), True, "ceiling: a copy of as many bytes") if rows else []
    sides = panels(rows)
    edges = [(60.0, 560.0), (620.0, 1120.0)] if len(sides) == 2 else [(60.0, 1120.0)]
    for (words, some), (left, right) in zip(sides, edges, strict=False):
        parts += networks(some, left, right)
        parts.append(text(left, TOP - 14, words, 'class="axis"'))
    return framed(title, parts, "Numbers: the best peer's time over Schuss's. Medians; lower is faster.")
