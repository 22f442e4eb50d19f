"""A result as one SVG: time over size on the left, networks on the right."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from .cases import TITLES
from .peers import OURS
from .report import duration, figures, heading

# Okabe and Ito's colours, a mark of its own for each in a picture: either alone tells them apart.
LOOKS = {
    OURS: ("#D55E00", "circle"),
    "torch-fused": ("#0072B2", "square"),
    "torch-foreach": ("#56B4E9", "diamond"),
    "torch-loop": ("#000000", "cross"),
    "optax": ("#009E73", "triangle"),
    "numpy": ("#CC79A7", "down"),
    "numpy-naive": ("#8C6D00", "plus"),
    "cupy": ("#CC79A7", "down"),
    "bitsandbytes": ("#009E73", "triangle"),
    "apex": ("#8C6D00", "plus"),
    "schuss-graph": ("#E69F00", "left"),
    "schuss-torch": ("#000000", "cross"),
}
NAMES = {
    OURS: "Schuss",
    "torch-fused": "torch fused",
    "torch-foreach": "torch foreach",
    "torch-loop": "torch for-loop",
    "optax": "optax, jit",
    "numpy": "NumPy in place",
    "numpy-naive": "NumPy naive",
    "cupy": "CuPy by hand",
    "bitsandbytes": "bitsandbytes",
    "apex": "apex",
    "schuss-graph": "Schuss in a graph",
    "schuss-torch": "Schuss on tensors",
}
GREY, LINE, INK = "#8a8a8a", "#dddddd", "#222222"
WIDTH, HEIGHT, TOP, BOTTOM = 1160, 590, 112, 490


def mark(kind: str, x: float, y: float, colour: str, r: float = 5.0) -> str:
    """Return a mark at a place."""
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{colour}"/>'
    if kind in ("cross", "plus"):
        d = r * (0.8 if kind == "cross" else 1.1)
        path = f"M{-d:.1f} {-d:.1f}L{d:.1f} {d:.1f}M{-d:.1f} {d:.1f}L{d:.1f} {-d:.1f}"
        if kind == "plus":
            path = f"M{-d:.1f} 0H{d:.1f}M0 {-d:.1f}V{d:.1f}"
        look = f'stroke="{colour}" stroke-width="2.2" fill="none"'
        return f'<path d="{path}" transform="translate({x:.1f} {y:.1f})" {look}/>'
    corners = {
        "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
        "triangle": ((0, -1.1), (1.1, 0.8), (-1.1, 0.8)),
        "down": ((0, 1.1), (1.1, -0.8), (-1.1, -0.8)),
        "left": ((-1.1, 0), (0.8, 1.1), (0.8, -1.1)),
    }[kind]
    points = " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def text(x: float, y: float, words: str, look: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look}>{escape(words)}</text>'


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def scale(low: int, high: int, start: float, end: float) -> Callable[[float], float]:
    """Return a logarithmic axis: from values to places."""
    return lambda value: start + (math.log10(value) - low) / (high - low) * (end - start)


def tick(power: int) -> str:
    """Return a time that is a power of ten, with its unit: ``10 µs``."""
    units = (("s", 0), ("ms", -3), ("µs", -6), ("ns", -9))
    unit, least = next((unit, least) for unit, least in units if power >= least)
    return f"{10 ** (power - least)} {unit}"


def median(row: Mapping[str, Any], name: str) -> float | None:
    result = row["ceiling"] if name == "ceiling" else row["results"].get(name)
    return None if result is None else result.get("seconds", result)["median"]


def everyone(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return contestants with a time, Schuss last so that it is drawn on top."""
    found = {name for row in rows for name in row["results"]}
    return sorted(found, key=lambda name: -list(LOOKS).index(name))


def over_sizes(rows: Sequence[Mapping[str, Any]], left: float, right: float) -> list[str]:
    """Draw time over elements, a line a contestant, the ceiling dashed."""
    names = everyone(rows)
    timed = [t for row in rows for name in (*names, "ceiling") if (t := median(row, name))]
    low, high = decades(timed)
    first, last = decades([row["elements"] for row in rows])
    x, y = scale(first, last, left, right), scale(low, high, BOTTOM, TOP)
    parts = [text(left - 58, TOP - 14, "time of a step", 'class="axis"')]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="{LINE}"/>')
        parts.append(text(left - 8, at + 4, tick(power), anchor="end"))
    for power in range(first, last + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {TOP}V{BOTTOM}" stroke="{LINE}"/>')
        label = f'<text x="{at:.1f}" y="{BOTTOM + 20}" text-anchor="middle">10'
        parts.append(f'{label}<tspan dy="-5" font-size="10">{power}</tspan></text>')
    middle = (left + right) / 2
    words = "elements of one float32 array"
    parts.append(text(middle, BOTTOM + 44, words, 'class="axis"', "middle"))
    for name in ("ceiling", *names):
        places = [(x(row["elements"]), y(t)) for row in rows if (t := median(row, name))]
        if not places:
            continue
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        if name == "ceiling":
            parts.append(f'<path d="{path}" fill="none" stroke="{GREY}" stroke-dasharray="6 4"/>')
            continue
        colour, kind = LOOKS[name]
        wide = 3.5 if name == OURS else 1.5
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{wide}"/>')
        parts += [mark(kind, px, py, colour, 5.5 if name == OURS else 4.5) for px, py in places]
    for row in rows:
        ours = median(row, OURS)
        if ours and row["ratio"]:
            label, at = f"{figures(row['ratio'])}×", x(row["elements"])
            anchor = "start" if at < left + 1 else "end" if at > right - 1 else "middle"
            parts.append(text(at, y(ours) + 20, label, 'class="ratio"', anchor))
    return parts


def networks(rows: Sequence[Mapping[str, Any]], left: float, right: float) -> list[str]:
    """Draw a line a network, a mark a contestant on it."""
    names = everyone(rows)
    timed = [t for row in rows for name in (*names, "ceiling") if (t := median(row, name))]
    low, high = decades(timed)
    x = scale(low, high, left, right)
    parts = []
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {TOP}V{BOTTOM}" stroke="{LINE}"/>')
        parts.append(text(at, BOTTOM + 20, tick(power), anchor="middle"))
    middle = (left + right) / 2
    parts.append(text(middle, BOTTOM + 44, "time of a step", 'class="axis"', "middle"))
    height = (BOTTOM - TOP) / len(rows)
    for index, row in enumerate(rows):
        at = TOP + (index + 0.62) * height
        size = f"{row['case']}: {row['leaves']:,} leaves, {row['elements']:,} elements"
        parts.append(text(left, at - 24, size, 'class="axis"'))
        parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="{GREY}" stroke-width="0.8"/>')
        ceiling = median(row, "ceiling")
        if ceiling:
            parts.append(
                f'<path d="M{x(ceiling):.1f} {at - 13:.1f}v26" stroke="{GREY}" '
                'stroke-width="2" stroke-dasharray="4 3"/>'
            )
        for name in names:
            if t := median(row, name):
                colour, kind = LOOKS[name]
                parts.append(mark(kind, x(t), at, colour, 7 if name == OURS else 5.5))
        ours = median(row, OURS)
        if ours and row["ratio"]:
            label = f"{duration(ours)}, {figures(row['ratio'])}×"
            parts.append(text(x(ours), at + 24, label, 'class="ratio"', "middle"))
    return parts


def legend(names: Sequence[str], ceiling: bool, what: str = "ceiling: a bare loop") -> list[str]:
    """Draw a line of names with their marks."""
    parts, at = [], 40.0
    for name in reversed(names):
        colour, kind = LOOKS[name]
        parts += [mark(kind, at, 62, colour, 5.5), text(at + 12, 66, NAMES[name])]
        at += 40 + 7.0 * len(NAMES[name])
    if ceiling:
        look = f'stroke="{GREY}" stroke-width="2" stroke-dasharray="6 4"'
        parts.append(f'<path d="M{at - 8:.0f} 62h26" {look}/>')
        parts.append(text(at + 26, 66, what))
    return parts


def draw(result: Mapping[str, Any]) -> str:
    """Return the picture of a result's first rule as SVG text.

    Parameters
    ----------
    result : mapping
        What `run.run` returns, or the JSON file's content.
    """
    rows = [row for row in result["rows"] if row["results"]]
    rule = rows[0]["rule"] if rows else ""
    rows = [row for row in rows if row["rule"] == rule]
    sizes = [row for row in rows if row["clip"] is None]
    nets = [row for row in rows if row["clip"] is not None]
    title = f"One {TITLES.get(rule, rule)} step in float32: {heading(result)}"
    parts = [text(32, 32, title if rows else "Nothing was measured", 'class="title"')]
    parts += legend(everyone(rows), any(row["ceiling"] for row in rows))
    panels: list[tuple[str, Callable[..., list[str]], list[Mapping[str, Any]]]] = []
    if sizes:
        panels.append(("", over_sizes, sizes))
    if nets:
        panels.append(("Clip to global norm 1, then step", networks, nets))
    edges = [(90.0, 560.0), (660.0, 1120.0)] if len(panels) == 2 else [(90.0, 1120.0)]
    for (words, panel, its_rows), (left, right) in zip(panels, edges, strict=False):
        parts += panel(its_rows, left, right)
        parts.append(text(left, TOP - 14, words, 'class="axis"'))
    return framed(title, parts, "Numbers: the best peer's time over Schuss's. Medians; lower is faster.")


def framed(title: str, parts: Sequence[str], note: str) -> str:
    """Return a whole picture of its parts."""
    style = (
        f"text{{font:13px system-ui,sans-serif;fill:{INK}}}.title{{font-size:18px;font-weight:600}}"
        f".axis{{font-weight:600}}.ratio{{font-weight:700;fill:{LOOKS[OURS][0]};"
        "paint-order:stroke;stroke:#fff;stroke-width:4px}"
    )
    body = "\n".join([*parts, text(32, HEIGHT - 16, note, f'fill="{GREY}"')])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">\n<title>{escape(title)}</title>\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )
