"""The comparison's four pictures, as inline SVG that the page's style colours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .reading import Reading
from .svg import Canvas, Scale, linear_ticks, log_ticks, spread


class Look(NamedTuple):
    """How an optimizer is told apart without colour: a dash pattern and a sign."""

    dash: str
    sign: str


LOOKS = {
    "sgd": Look("", "circle"),
    "momentum": Look("9 3", "square"),
    "nesterov": Look("2 2.5", "up"),
    "adagrad": Look("9 3 2 3", "diamond"),
    "rmsprop": Look("5 3", "cross"),
    "adam": Look("14 3", "down"),
    "adamw": Look("6 2 2 2 2 2", "plus"),
}
_ACCURACY_TICKS = (20, 50, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99, 99.5)


def style() -> str:
    """The pictures' style sheet: colours for light, dark and print."""
    return files("schuss.lab").joinpath("pictures.css").read_text(encoding="utf-8")


def standalone(svg: str) -> str:
    """A picture as a file of its own, its style inside."""
    head, rest = svg.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style()}</style>{rest}'


def curves(results: dict[str, Any]) -> list[str]:
    """Train loss and validation accuracy by epoch, means over seeds, bands from low to high.

    Four drawings: the two wide ones, then the two narrow ones.
    """
    r = Reading(results)
    drawn = (_losses, _rights)
    return [draw(r, *size) for size in ((580, "wide"), (430, "narrow")) for draw in drawn]


def _losses(r: Reading, width: float, key: str) -> str:
    losses = {name: r.curve(name, "epochs", "train_loss") for name in r.names}
    ends = ", ".join(f"{r.label[n]} {losses[n].mean(axis=0)[-1]:.3g}" for n in r.names)
    c = Canvas(width, 380, "Train loss by epoch", f"Last values in nats: {ends}.", f"loss-{key}")
    low, top = _reach(losses.values())
    y = Scale(low, top, 326, 42, "log")
    _curves(c, r, losses, y, _roomy(log_ticks(low, top), y, 18), "Train loss, nats (log scale)")
    return c.render()


def _rights(r: Reading, width: float, key: str) -> str:
    rights = {name: 100 * r.curve(name, "epochs", "validation_accuracy") for name in r.names}
    ends = ", ".join(f"{r.label[n]} {rights[n].mean(axis=0)[-1]:.1f} %" for n in r.names)
    c = Canvas(width, 380, "Validation accuracy by epoch", f"Last values: {ends}.", f"val-{key}")
    # Before the first epoch all guess: showing that would flatten what follows.
    if r.config["epochs"] > 2:
        for values in rights.values():
            values[:, 0] = np.nan
    low = min(float(np.nanmin(values)) for values in rights.values())
    top = max(float(np.nanmax(values)) for values in rights.values())
    y = Scale(low, min(99.9, 0.9 * top + 10), 326, 42, "accuracy")
    ticks = _roomy([tick for tick in _ACCURACY_TICKS if y.low <= tick <= y.high], y, 18)
    _curves(c, r, rights, y, ticks, "Validation accuracy, % (spaced by log error)")
    return c.render()


def _reach(tables: Any) -> tuple[float, float]:
    """Bounds of a log axis: all finite positive values, with a little air."""
    values = np.concatenate([np.ravel(table) for table in tables])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return 0.1, 1.0
    return float(values.min()) / 1.15, float(values.max()) * 1.15


def _roomy(ticks: Sequence[float], scale: Scale, gap: float) -> list[float]:
    """Those ticks, from the last down, that leave `gap` pixels between their labels."""
    kept: list[float] = []
    for tick in reversed(ticks):
        if not kept or abs(scale(kept[-1]) - scale(tick)) >= gap:
            kept.append(tick)
    return kept


def _curves(c: Canvas, r: Reading, table: dict[str, np.ndarray], y: Scale, ticks: list[float], title: str) -> None:
    """Axes, a line and a band for each optimizer, and their names where they end."""
    epochs, end = int(r.config["epochs"]), c.width - 156
    x = Scale(0, epochs, 52, end)
    for tick in ticks:
        c.line(52, y(tick), end, y(tick), "grid")
        c.text(46, y(tick) + 4, f"{tick:g}", "tick", "end")
    for tick in linear_ticks(0, epochs, min(epochs, 5)):
        c.line(x(tick), 326, x(tick), 331, "axis")
        c.text(x(tick), 346, f"{tick:g}", "tick", "middle")
    c.line(52, 326, end, 326, "axis")
    c.text((52 + end) / 2, 368, "epoch", "name", "middle")
    c.text(8, 22, title, "head")
    ends = {}
    for place, name in enumerate(r.names):
        points = _curve(c, r, name, table[name], x, y, place)
        if points:
            ends[name] = points[-1]
    places = spread([py for _, py in ends.values()], 19, 44, 330)
    for (name, (px, py)), place in zip(ends.items(), places, strict=True):
        c.raw(f'<g class="s c-{name}">')
        c.path([(px + 2, py), (end + 10, place), (end + 16, place)], "lead")
        c.marker(LOOKS[name].sign, end + 23, place, 4)
        c.text(end + 32, place + 4, r.label[name], "label")
        c.raw("</g>")


def _curve(
    c: Canvas, r: Reading, name: str, values: np.ndarray, x: Scale, y: Scale, place: int
) -> list[tuple[float, float]]:
    """One optimizer's line, signs and band; the line's points that are finite."""
    xs = [x(epoch) for epoch in range(values.shape[1])]
    c.raw(f'<g class="s c-{name}"><title>{r.label[name]}</title>')
    if r.seeds > 1:
        lows, highs = values.min(axis=0), values.max(axis=0)
        c.band(xs, [y(v) for v in lows], [y(v) for v in highs], "band")
    points = [(px, y(v)) for px, v in zip(xs, values.mean(axis=0), strict=True)]
    c.path(points, "line", LOOKS[name].dash)
    # Each line's signs start a little later than the last one's, so that they seldom meet.
    every = max(1, round(len(xs) / 4))
    for px, py in points[1 + place * every // len(r.names) :: every]:
        if np.isfinite(py):
            c.marker(LOOKS[name].sign, px, py, 3.6)
    c.raw("</g>")
    return [point for point in points if np.isfinite(point[1])]


def accuracy(results: dict[str, Any]) -> list[str]:
    """Final test accuracy of each optimizer, best first: a wide and a narrow drawing."""
    r = Reading(results)
    return [_accuracy(r, 860, 150, 180, "wide"), _accuracy(r, 390, 142, 54, "narrow")]


def _accuracy(r: Reading, width: float, left: float, right: float, key: str) -> str:
    spans = {name: r.interval(name) for name in r.names}
    said = "; ".join(
        f"{r.label[name]} {span.mean:.2f} %, {span.low:.2f} to {span.high:.2f}"
        for name, span in ((name, spans[name]) for name in r.ranked)
    )
    row, top = 42, 10
    bottom = top + row * len(r.names)
    c = Canvas(width, bottom + 48, "Final test accuracy", f"95 % intervals: {said}.", f"acc-{key}")
    values = [v for n in r.names for v in (*r.accuracies(n), spans[n].low, spans[n].high)]
    room = 0.06 * (max(values) - min(values)) or 0.5
    low, high = max(0.0, min(values) - room), min(100.0, max(values) + room)
    x = Scale(low, high, left, width - right)
    best = spans[r.ranked[0]]
    if len(r.names) > 1:
        c.rect(x(best.low), top, x(best.high) - x(best.low), bottom - top, "best")
    for tick in linear_ticks(low, high, 6 if key == "wide" else 3):
        c.line(x(tick), top, x(tick), bottom, "grid")
        c.text(x(tick), bottom + 18, f"{tick:g}", "tick", "middle")
    c.line(left, bottom, width - right, bottom, "axis")
    c.text((left + width - right) / 2, bottom + 40, "test accuracy, %", "name", "middle")
    for i, name in enumerate(r.ranked):
        y, first = top + row * i + 17, i == 0 and len(r.names) > 1
        c.raw(f'<g class="s c-{name}"><title>{r.label[name]}</title>')
        c.text(left - 14, y + 4, r.label[name], "label strong" if first else "label", "end")
        _seeds_and_interval(c, r, name, x, y)
        place, style = width - right + 16, "label strong" if first else "label"
        if key == "wide":
            span = spans[name]
            c.text(place, y + 4, f"{span.mean:.2f} %", style)
            c.text(place + 66, y + 4, f"{span.low:.2f} to {span.high:.2f}", "tick")
        else:
            c.text(width - 2, y + 4, f"{spans[name].mean:.2f}", style, "end")
        c.raw("</g>")
    return c.render()


def _seeds_and_interval(c: Canvas, r: Reading, name: str, x: Scale, y: float) -> None:
    """The bar of the 95 % interval with its mean, and below it a dot for each seed."""
    seen: dict[float, int] = {}
    for value in r.accuracies(name) if r.seeds > 1 else []:
        # One under the other where seeds got equally many right.
        k = seen[value] = min(seen.get(value, 0) + 1, 5)
        c.marker("circle", x(value), y + 6 + 4 * k, 2.1, "seed")
    span = r.interval(name)
    c.line(x(span.low), y, x(span.high), y, "bar")
    for end in (span.low, span.high):
        c.line(x(end), y - 5, x(end), y + 5, "bar")
    c.marker(LOOKS[name].sign, x(span.mean), y, 5.4, "mk bold")


def clipping(results: dict[str, Any]) -> list[str]:
    """Gradient norm by step, before and after clipping: one small picture an optimizer."""
    r = Reading(results)
    norms = {name: r.curve(name, "steps", "grad_norm") for name in r.names}
    low, high = _reach(norms.values())
    # A handful of the smallest norms would stretch the axis: the rest is what clipping meets.
    every = np.concatenate([np.ravel(table) for table in norms.values()])
    every = every[np.isfinite(every) & (every > 0)]
    if every.size:
        low = max(low, min(float(np.quantile(every, 0.02)), r.clip / 2))
    low, high = min(low, r.clip / 2), max(high, 2 * r.clip)
    return [_clipping(r, name, norms[name], low, high) for name in r.names]


def _clipping(r: Reading, name: str, norms: np.ndarray, low: float, high: float) -> str:
    share = 100 * r.clipped_share(name)
    c = Canvas(
        300, 234, f"Gradient norm under {r.label[name]}",
        f"{share:.1f} % of the steps were clipped at {r.clip:g}.", f"norm-{name}",
    )  # fmt: skip
    steps = int(r.config["steps"])
    # A log axis, since clipping acts early.
    x, y = Scale(1, steps, 44, 292, "log"), Scale(low, high, 194, 36, "log")
    for tick in _roomy(log_ticks(low, high), y, 15):
        c.line(44, y(tick), 292, y(tick), "grid")
        c.text(38, y(tick) + 4, f"{tick:g}", "tick", "end")
    for tick in log_ticks(1, steps):
        c.line(x(tick), 194, x(tick), 198, "axis")
        c.text(x(tick), 211, f"{tick:g}", "tick", "middle")
    c.line(44, 194, 292, 194, "axis")
    c.text(168, 229, "step (log scale)", "name", "middle")
    places, middle, bottom, top = _bins(norms, 124)
    xs = [x(place) for place in places]
    after = np.minimum(middle, r.clip)
    c.raw(f'<g class="s c-{name}">')
    c.band(xs, [y(v) for v in bottom], [y(v) for v in top], "band")
    c.band(xs, [y(v) for v in after], [y(v) for v in middle], "cut")
    c.path([(px, y(v)) for px, v in zip(xs, middle, strict=True)], "line thin")
    c.raw("</g>")
    c.path([(px, y(v)) for px, v in zip(xs, after, strict=True)], "after")
    c.line(44, y(r.clip), 292, y(r.clip), "limit")
    c.raw(f'<g class="s c-{name}">')
    c.marker(LOOKS[name].sign, 14, 16, 4)
    c.text(24, 20, r.label[name], "label strong")
    c.raw("</g>")
    c.text(292, 20, f"{share:.1f} % clipped", "tick", "end")
    return c.render()


def _bins(table: np.ndarray, most: int) -> np.ndarray:
    """Step, then median, 10 % and 90 % points over seeds and the steps near it.

    Bins are equally wide on a log axis, `most` at most: early ones hold a single step.
    """
    edges = np.unique(np.geomspace(1, table.shape[1] + 1, most + 1).round().astype(int))
    out = np.full((4, len(edges) - 1), np.nan)
    for i, (first, after) in enumerate(pairwise(edges)):
        values = table[:, first - 1 : after - 1]
        values = values[np.isfinite(values)]
        out[0, i] = np.sqrt(first * (after - 1))
        if values.size:
            out[1:, i] = np.quantile(values, [0.5, 0.1, 0.9])
    return out


def clipping_key(results: dict[str, Any]) -> str:
    """What the lines of the small pictures mean."""
    r = Reading(results)
    c = Canvas(300, 234, "Key", "How to read the small pictures.", "norm-key")
    c.raw('<g class="s c-sgd">')
    c.rect(20, 52, 34, 14, "band")
    c.path([(20, 59), (54, 59)], "line thin")
    c.rect(20, 92, 34, 14, "cut")
    c.raw("</g>")
    c.path([(20, 139), (54, 139)], "after")
    c.line(20, 179, 54, 179, "limit")
    c.text(20, 20, "Gradient norm (log scale)", "label strong")
    for y, text in (
        (63, "before: median, 10 to 90 % band"),
        (103, "what clipping took away"),
        (143, "after clipping (median)"),
        (183, f"the limit, {r.clip:g}"),
    ):
        c.text(66, y, text, "tick")
    return c.render()


def times(results: dict[str, Any]) -> list[str]:
    """Time per step, the optimizer's part apart: a wide and a narrow drawing."""
    r = Reading(results)
    return [_times(r, 860, 150, 226, "wide"), _times(r, 390, 140, 96, "narrow")]


def _times(r: Reading, width: float, left: float, right: float, key: str) -> str:
    total = {name: r.time(name, "total") for name in r.names}
    own = {name: r.time(name, "optimizer") for name in r.names}
    said = "; ".join(f"{r.label[n]} {total[n]['median']:.0f} µs, of it the optimizer "
                     f"{own[n]['median']:.0f} µs" for n in r.names)  # fmt: skip
    row, top = 34, 34
    bottom = top + row * len(r.names)
    c = Canvas(width, bottom + 48, "Time per step", f"Medians: {said}.", f"time-{key}")
    x = Scale(0, r.time_reach(), left, width - right)
    c.rect(left, 6, 12, 12, "gradient")
    c.text(left + 18, 16, "gradient (autograd)", "tick")
    c.raw('<g class="s c-sgd">')
    c.rect(left + (150 if key == "wide" else 146), 6, 12, 12, "fill")
    c.raw("</g>")
    c.text(left + (168 if key == "wide" else 164), 16, "optimizer", "tick")
    for tick in linear_ticks(0, x.high, 6 if key == "wide" else 3):
        c.line(x(tick), top, x(tick), bottom, "grid")
        c.text(x(tick), bottom + 18, f"{tick:,.10g}", "tick", "middle")
    c.line(left, bottom, width - right, bottom, "axis")
    c.text((left + width - right) / 2, bottom + 40, "time per step, µs", "name", "middle")
    for i, name in enumerate(r.names):
        y, t = top + row * (i + 0.5), total[name]
        start, end = x(t["median"] - own[name]["median"]), x(t["median"])
        c.raw(f'<g class="s c-{name}"><title>{r.label[name]}</title>')
        c.text(left - 12, y + 4, r.label[name], "label", "end")
        c.rect(left, y - 9, start - left, 18, "gradient")
        c.rect(start, y - 9, max(end - start, 1.5), 18, "fill")
        c.line(x(t["lower"]), y, x(t["upper"]), y, "whisker")
        for edge in (t["lower"], t["upper"]):
            if edge <= x.high:
                c.line(x(edge), y - 4, x(edge), y + 4, "whisker")
        mine, share = own[name]["median"], r.share(name)
        if key == "wide":
            c.text(width - right + 70, y + 4, f"{mine:.0f} µs", "label", "end")
            text = f"{share:.1f} % of {t['median']:,.0f} µs"
            c.text(width - right + 82, y + 4, text, "tick")
        else:
            c.text(width - 2, y + 4, f"{mine:.0f} µs, {share:.1f} %", "tick", "end")
        c.raw("</g>")
    return c.render()


def digits_strip(pixels: np.ndarray, labels: np.ndarray) -> str:
    """A digit of each kind, as one small SVG in the text's colour: pixels in four shades."""
    order = np.argsort(labels, kind="stable")
    picked = [order[labels[order] == digit][0] for digit in range(10)]
    paths: dict[int, list[str]] = {shade: [] for shade in (1, 2, 3, 4)}
    for place, row in enumerate(picked):
        image = (pixels[row].reshape(28, 28).astype(int) + 32) // 64
        for (line, column), shade in np.ndenumerate(image):
            if shade:
                paths[int(shade)].append(f"M{column + 28 * place} {line}h1v1h-1z")
    inks = "".join(f'<path opacity="{s / 4:g}" d="{"".join(p)}"/>' for s, p in paths.items())
    return f'<svg class="digits" viewBox="0 0 280 28" aria-hidden="true">{inks}</svg>'
