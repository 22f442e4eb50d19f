"""The command: ``python bench/run.py`` from a checkout, ``schuss bench`` where installed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: then the folder above is where this package lies
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __package__ = "bench"

from . import cases, machine, measure, memory, peers, picture, report

SCHEMA = 1
METHOD = """
All contestants run in one process, on arrays of their own with the same values (where memory is
short, shared_arrays: on the same arrays in turn). A sample is the mean of consecutive calls that
last about {block:g} ms, after a pause of {pause:g} ms, longer than OpenMP's workers spin, and about
{warm:g} ms of untimed calls: arrays are as hot as the caches allow. A round takes one sample of
everybody, in an order drawn anew. Times are medians over rounds, the spread is the interquartile
range (q1 to q3), ratios divide medians, the peer's by Schuss's. The ceiling is a bare loop over as
many streams, written in place, sampled in the same rounds; a row that clips has one pass over one
stream more.
"""
ALL = "it is all, none or of"
DEVICES = ("cpu", "cuda")


def listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_sizes(text: str) -> list[int]:
    """Return sizes as integers, from ``1000,1e6,10^7`` or ``none``."""
    if text == "none":
        return []
    sizes = []
    for word in listed(text):
        try:
            base, _, power = word.partition("^")
            value = float(base) ** int(power) if power else float(word)
        except ValueError:
            value = -1.0
        if not 1 <= value < 1e12 or value != int(value):
            raise ValueError(f"--sizes: {word!r} is not a positive whole number (1000, 1e6, 10^7)")
        sizes.append(int(value))
    return sizes


def chosen(option: str, text: str, known: Sequence[str]) -> list[str]:
    """Return the known names in `text`; ``all`` and ``none`` mean that."""
    if text in ("all", "none"):
        return list(known) if text == "all" else []
    names = listed(text)
    for name in names:
        if name not in known:
            raise ValueError(f"{option}: unknown {name!r}; {ALL} {', '.join(known)}")
    return names


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the command's options."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="Run Schuss and every installed peer on the same arrays; write JSON and SVG.",
    )
    sizes = ",".join(f"1e{len(str(size)) - 1}" for size in cases.SIZES)
    networks, contestants = ", ".join(cases.NETWORKS), ", ".join(peers.PEERS)
    add = result.add_argument
    add("--rules", default="adamw", help="rules, by commas, or all that a peer has (adamw)")
    add("--sizes", default=sizes, help=f"elements of the single arrays, or none ({sizes})")
    add("--shapes", default="all", help=f"networks to clip and step: all, none or of {networks}")
    add("--peers", default="all", help=f"all, none or of {contestants}")
    add("--threads", type=int, help="threads for everybody (all processors)")
    add("--repeats", type=int, help=f"samples of each contestant in a row ({measure.Effort.rounds})")
    add("--quick", action="store_true", help="few and short samples: to see that it works")
    add("--device", choices=DEVICES, default=DEVICES[0], help="cuda has options of its own: --device cuda --help")
    add("--no-memory", action="store_true", help="leave out the memory row")
    add("--out", type=Path, default=Path("bench-results"), help="folder (bench-results)")
    add("--name", help="name of the files (the processor's)")
    return result


def plan(options: argparse.Namespace) -> tuple[list[cases.Case], list[str], int]:
    """Return the rows, the contestants and the threads that the options ask for.

    Raises
    ------
    ValueError
        If an option names what there is not; the message says what there is.
    """
    names = list(cases.KNOWN) if options.rules == "all" else listed(options.rules)
    sizes = parse_sizes(options.sizes)
    networks = chosen("--shapes", options.shapes, tuple(cases.NETWORKS))
    contestants = [peers.OURS, *chosen("--peers", options.peers, peers.PEERS)]
    most = machine.processors()
    threads = most if options.threads is None else options.threads
    if not 1 <= threads <= most:
        raise ValueError(f"--threads: {threads} is not from 1 to {most}, the processors here")
    if options.repeats is not None and options.repeats < 1:
        raise ValueError(f"--repeats: {options.repeats} is not a positive number")
    try:
        rules = [peers.catalog_rule(name) for name in names]
    except ValueError as error:
        raise ValueError(f"--rules: {error}") from None
    rows = [cases.size_case(rule, size) for rule in rules for size in sizes]
    rows += [cases.network_case(rule, name) for rule in rules for name in networks]
    return rows, contestants, threads


def run(
    rows: Sequence[cases.Case],
    contestants: Sequence[str],
    threads: int,
    effort: measure.Effort,
    with_memory: bool = True,
) -> dict[str, Any]:
    """Measure the rows and return the result, ready for JSON."""
    peers.prepare(threads)
    seconds = {"block": effort.block, "pause": measure.PAUSE, "warm": measure.WARM}
    milliseconds = {name: 1e3 * value for name, value in seconds.items()}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": machine.describe(threads),
        "method": {
            "text": " ".join(METHOD.split()).format(**milliseconds),
            "statistic": "median, interquartile range",
            "rounds": effort.rounds,
            "seconds": seconds,
        },
        "rows": [],
        "memory": None,
    }
    if with_memory:  # first, while malloc keeps little for later
        result["memory"] = memory.measure(contestants)
    for row in rows:
        start = time.perf_counter()
        print(f"{row.rule.name} {row.name} …", end=" ", file=sys.stderr, flush=True)
        result["rows"].append(measure.measure(row, contestants, effort))
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return result


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the benchmark.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the process's own by default.
    prog : str, optional
        The command's name in its help.

    Returns
    -------
    int
        0, or 2 for options that make no sense (argparse's own errors and ``--help`` leave by
        SystemExit, as everywhere).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    chooser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chooser.add_argument("--device")
    device, rest = chooser.parse_known_args(words)
    if device.device == "cuda":
        from . import cuda

        return cuda.main(rest, prog)
    options = parser(prog).parse_args(words)
    try:
        rows, contestants, threads = plan(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    effort = measure.QUICK if options.quick else measure.Effort()
    if options.repeats is not None:
        least = min(effort.least, options.repeats)
        effort = replace(effort, rounds=options.repeats, least=least)
    result = run(rows, contestants, threads, effort, with_memory=not options.no_memory)
    report.show(result)
    name = options.name or machine.slug(result["machine"]["processor"])
    options.out.mkdir(parents=True, exist_ok=True)
    data, drawing = options.out / f"{name}.json", options.out / f"{name}.svg"
    data.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    drawing.write_text(picture.draw(result), encoding="utf-8")
    print(f"\n{data}\n{drawing}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
