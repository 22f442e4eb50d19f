"""A result as a table, with rich where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cases import FLOAT
from .peers import OURS

Row = Mapping[str, Any]


def duration(seconds: float) -> str:
    """Return a time with three figures and its unit.

    Examples
    --------
    >>> duration(0.00001234), duration(1.5)
    ('12.3 µs', '1.50 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{figures(seconds / scale)} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def figures(value: float) -> str:
    """Return a number with three figures."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def spread(result: Row) -> str:
    """Return half the interquartile range, of the median."""
    seconds = result["seconds"]
    return f"±{50 * (seconds['q3'] - seconds['q1']) / seconds['median']:.0f}%"


def fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{figures(value)}×"


def target_words(row: Row) -> str:
    """Return the row's targets and whether they are met: ``≥ 12×: met``."""
    words = []
    for target in row["targets"]:
        goal = f"{target['at_least']:g}"
        goal += "×" if target["what"] == "ratio" else " of ceiling"
        if target["peer"]:
            goal += f" {target['peer']}"
        verdict = {True: "met", False: f"missed, {fraction(target['got'])}", None: "not measured"}
        words.append(f"≥ {goal}: {verdict[target['met']]}")
    return "; ".join(words)


def heading(result: Row) -> str:
    """Return where a result was measured, in words."""
    device, machine = result.get("device"), result["machine"]
    if device:
        cuda = device["driver_cuda"]
        return f"{device['name']}, driver {device['driver'] or 'unknown'} for CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    level = f", {machine['level']}" if machine["level"] else ""
    return f"{machine['processor']}, {machine['threads']} threads{level}"


def summary_table(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, head and lines: Schuss, a line a row."""
    head = ["rule", "case", "time", "IQR/2", "GB/s", "of ceiling", "best peer", "its time", "ratio"]
    lines = []
    for row in rows:
        ours, best = row["results"].get(OURS), row["results"].get(row["best_peer"])
        mine = ["–"] * 4
        if ours:
            mine = [duration(ours["seconds"]["median"]), spread(ours), figures(ours["gb_per_s"])]
            mine.append(fraction(ours["ceiling_fraction"]))
        peer = duration(best["seconds"]["median"]) if best else "–"
        line = [row["rule"], row["case"], *mine, row["best_peer"] or "–", peer, times(row["ratio"])]
        lines.append([*line, target_words(row)])
    return "Schuss: time a step, against the machine and the best peer", [*head, "to reach"], lines


def peers_table(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, head and lines: everybody's time and its ratio to Schuss's."""
    names = list(dict.fromkeys(name for row in rows for name in (*row["results"], *row["absent"])))
    names = [name for name in names if any(name in row["results"] for row in rows)]
    lines = []
    for row in rows:
        line = [row["rule"], row["case"]]
        line.append(duration(row["ceiling"]["median"]) if row["ceiling"] else "–")
        for name in names:
            result = row["results"].get(name)
            if result is None:
                line.append("absent")
            else:
                ratio = "" if name == OURS else f" ({times(result['ratio'])})"
                line.append(f"{duration(result['seconds']['median'])} {spread(result)}{ratio}")
        lines.append(line)
    head = ["rule", "case", "ceiling", *names]
    return "Everybody: median time a step ± half the IQR (ratio to Schuss)", head, lines


def device_table(rows: Sequence[Row]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, head and lines: what a call takes of the host, and Schuss's other ways."""
    ways = list(dict.fromkeys(name for row in rows for name in row["ways"]))
    lines = []
    for row in rows:
        ours, best = row["results"].get(OURS), row["results"].get(row["best_peer"])
        line = [row["rule"], row["case"]]
        line += [duration(each["host_seconds"]) if each else "–" for each in (ours, best)]
        line += [duration(row["ways"][name]["seconds"]["median"]) if name in row["ways"] else "" for name in ways]
        lines.append(line)
    return "The host's time a call; Schuss's time in other ways", ["rule", "case", OURS, "best peer", *ways], lines


def memory_table(memory: Row) -> tuple[str, list[str], list[list[str]]]:
    """Return title, head and lines: what a step allocates and what is kept."""

    def megabytes(value: float | None) -> str:
        return "–" if value is None else f"{value / 1e6:.1f} MB"

    lines = []
    for name, found in memory["results"].items():
        faults = found["page_faults"]
        entry = [name, megabytes(found["array_bytes"]), f"{found['traced_peak']:,} B"]
        entry += [megabytes(found["resident_peak"]), "–" if faults is None else f"{faults:,.1f}"]
        lines.append([*entry, megabytes(found["kept_bytes"])])
    title = (
        f"Memory: clip and step of {memory['rule']} on {memory['elements']:,} elements (an array "
        f"is {megabytes(memory['elements'] * FLOAT)}, the slots {megabytes(memory['slot_bytes'])})"
    )
    head = ["", "arrays in a step", "traced peak", "resident peak", "page faults a step", "kept"]
    return title, head, lines


def tables(result: Row) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return all tables of a result."""
    rows = result["rows"]
    found = [summary_table(rows), peers_table(rows)] if rows else []
    if rows and result.get("device"):
        found.append(device_table(rows))
    return [*found, memory_table(result["memory"])] if result["memory"] else found


def reasons(result: Row) -> list[str]:
    """Return why contestants are absent, each reason once, with the rows it holds for."""
    rows = list(result["rows"])
    if result["memory"]:
        rows.append({**result["memory"], "case": "memory"})
    where: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row["absent"].items():
            where.setdefault((name, reason), []).append(f"{row['rule']} {row['case']}")
    total = len(rows)
    return [
        f"{name} is absent{'' if len(cases) == total else ' from ' + ', '.join(cases)}: {reason}"
        for (name, reason), cases in where.items()
    ]


def show(result: Row) -> None:
    """Print a result."""
    print(heading(result))
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for title, head, lines in tables(result):
            print(f"\n{title}\n{plain_table(head, lines)}")
    else:
        console = Console()
        # A pipe or a narrow terminal would cut columns away; too wide is better than too little.
        console = Console(width=max(console.width, 150))
        for title, head, lines in tables(result):
            table = Table(title=title, title_justify="left", title_style="bold")
            for column, name in enumerate(head):
                words = column < 2
                table.add_column(name, justify="left" if words else "right", no_wrap=words)
            for line in lines:
                table.add_row(*line)
            console.print(table)
    for reason in [*reasons(result), *beside(result)]:
        print(reason)


def beside(result: Row) -> list[str]:
    """Return what a result of a CUDA device holds beside its rows, in lines."""
    if not result.get("device"):
        return []
    lines = [f"The ceiling: a copy on the device moves {result['copy']['gb_per_s']:,.0f} GB/s, read and written"]
    for name, told in (result["first_steps"] or {}).items():
        words = told if isinstance(told, str) else ", ".join(f"{key} {duration(value)}" for key, value in told.items())
        lines.append(f"First steps, {name}: {words}")
    for check in result["checks"]:
        far = ", ".join(f"{name} {value:.1e}" for name, value in check["deviations"].items())
        lines.append(
            f"{check['rule']}{' clipped' if check['clip'] else ''}: {far or 'nobody'} from Schuss's parameters"
        )
    lines += [f"Left out: {row}" for row in result["left_out"]]
    return [*lines, *verdict(result["rows"])]


def verdict(rows: Sequence[Row]) -> list[str]:
    """Return how many targets are met, and in which rows one is missed."""
    judged = [target["met"] for row in rows for target in row["targets"]]
    missed = [row for row in rows if any(target["met"] is False for target in row["targets"])]
    counts = ", ".join(
        f"{judged.count(met)} {word}" for met, word in ((True, "met"), (False, "missed"), (None, "open"))
    )
    return [*(f"Missed: {row['rule']} {row['case']}: {target_words(row)}" for row in missed), f"Targets: {counts}"]


def plain_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as text.

    Examples
    --------
    >>> print(plain_table(["a", "b"], [["1", "22"]]))
    a  b
    1  22
    """
    columns = zip(head, *lines, strict=True)
    widths = [max(len(entry) for entry in column) for column in columns]
    padded = (
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)) for line in (head, *lines)
    )
    return "\n".join(line.rstrip() for line in padded)
