"""A small drawing kit: scales, and a canvas that writes clean inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

Points = Iterable[tuple[float, float]]


def number(value: float) -> str:
    """A coordinate to a tenth of a pixel, without a trailing zero.

    Examples
    --------
    >>> number(3.0), number(2.25), number(-0.01)
    ('3', '2.2', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _bend_accuracy(percent: float) -> float:
    # Half an error in a thousand is as far as this axis goes.
    return -math.log10(max(100 - percent, 0.05))


BENDS: dict[str, Callable[[float], float]] = {
    "linear": float,
    "log": lambda value: math.log10(max(value, 1e-30)),
    "accuracy": _bend_accuracy,
}


@dataclass(frozen=True)
class Scale:
    """From values low … high to pixels start … end, along a linear, log or accuracy axis.

    Values outside are drawn at the edge; NaN stays NaN, which leaves a gap in a line.

    Examples
    --------
    >>> Scale(1, 100, 0, 200, "log")(10), Scale(0, 1, 0, 200)(float("nan"))
    (100.0, nan)
    """

    low: float
    high: float
    start: float
    end: float
    bend: str = "linear"

    def __call__(self, value: float) -> float:
        bend = BENDS[self.bend]
        low, high = bend(self.low), bend(self.high)
        share = (bend(value) - low) / ((high - low) or 1.0)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values between low and high, `about` so many.

    Examples
    --------
    >>> linear_ticks(0, 20)
    [0.0, 5.0, 10.0, 15.0, 20.0]
    """
    raw = (high - low) / max(about, 1) or 1.0
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between low and high; 2 and 5 times them too where decades are few.

    Examples
    --------
    >>> log_ticks(0.02, 3)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.6 else (1,)
    ticks = [float(f"{m}e{d}") for d in decades for m in steps]
    return [t for t in ticks if low * 0.999 <= t <= high * 1.001]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels as little as needed so that they lie `gap` apart, between low and high.

    Examples
    --------
    >>> spread([10.0, 11.0, 50.0], 10, 0, 100)
    [5.5, 15.5, 50.0]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    # Less its share of gaps, a label need only not fall behind the one before: pool those that do.
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([places[i] - rank * gap, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2:]
            pools[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    flat = [middle for middle, n in pools for _ in range(int(n))]
    roof = max(low, high - (len(places) - 1) * gap)
    moved = [0.0] * len(places)
    for rank, i in enumerate(order):
        moved[i] = min(max(flat[rank], low), roof) + rank * gap
    return moved


class Canvas:
    """An SVG picture under way; `render` gives its text."""

    def __init__(self, width: float, height: float, title: str, description: str, key: str) -> None:
        self.width, self.height = width, height
        self.title, self.description, self.key = title, description, key
        self.parts: list[str] = []

    def raw(self, text: str) -> None:
        self.parts.append(text)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        a, b, c, d = map(number, (x1, y1, x2, y2))
        self.raw(f'<line class="{style}" x1="{a}" y1="{b}" x2="{c}" y2="{d}"/>')

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        a, b, c, d = map(number, (x, y, max(width, 0), max(height, 0)))
        self.raw(f'<rect class="{style}" x="{a}" y="{b}" width="{c}" height="{d}"/>')

    def text(self, x: float, y: float, text: str, style: str, anchor: str = "start") -> None:
        side = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.raw(f'<text class="{style}" x="{number(x)}" y="{number(y)}"{side}>{escape(text)}</text>')

    def path(self, points: Points, style: str, dash: str = "") -> None:
        """A line through the points; one that is not finite leaves a gap."""
        text, pen = [], "M"
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            text.append(f"{pen}{number(x)} {number(y)}")
            pen = "L"
        if text:
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            self.raw(f'<path class="{style}" d="{"".join(text)}"{dashes}/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: str) -> None:
        """The area between two lines."""
        there = [i for i in range(len(xs)) if np.isfinite(lows[i]) and np.isfinite(highs[i])]
        around = [(xs[i], highs[i]) for i in there] + [(xs[i], lows[i]) for i in reversed(there)]
        if len(there) > 1:
            text = "L".join(f"{number(x)} {number(y)}" for x, y in around)
            self.raw(f'<path class="{style}" d="M{text}Z"/>')

    def marker(self, shape: str, x: float, y: float, r: float, style: str = "mk") -> None:
        """A small sign about (x, y): circle, square, up, down, diamond, cross or plus."""
        if shape == "circle":
            self.raw(f'<circle class="{style}" cx="{number(x)}" cy="{number(y)}" r="{number(r)}"/>')
            return
        corners, closed = _SHAPES[shape]
        text = "".join(
            f"{'M' if i == 0 or not (closed or i % 2) else 'L'}{number(x + r * dx)} {number(y + r * dy)}"
            for i, (dx, dy) in enumerate(corners)
        )
        self.raw(f'<path class="{style}" d="{text}{"Z" if closed else ""}"/>')

    def render(self) -> str:
        """The picture as an `<svg>` element that takes its container's width."""
        size = f"{number(self.width)} {number(self.height)}"
        return (
            f'<svg viewBox="0 0 {size}" role="img" aria-labelledby="{self.key}-t {self.key}-d">'
            f'<title id="{self.key}-t">{escape(self.title)}</title>'
            f'<desc id="{self.key}-d">{escape(self.description)}</desc>'
            f"{''.join(self.parts)}</svg>"
        )


_SHAPES: dict[str, tuple[list[tuple[float, float]], bool]] = {
    "square": ([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)], True),
    "up": ([(0, -1.15), (1.05, 0.8), (-1.05, 0.8)], True),
    "down": ([(0, 1.15), (1.05, -0.8), (-1.05, -0.8)], True),
    "diamond": ([(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)], True),
    "cross": ([(-0.9, -0.9), (0.9, 0.9), (-0.9, 0.9), (0.9, -0.9)], False),
    "plus": ([(-1.2, 0), (1.2, 0), (0, -1.2), (0, 1.2)], False),
}
