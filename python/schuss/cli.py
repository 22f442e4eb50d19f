"""The command ``schuss``: each subcommand is somebody else's business; this only shows the way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="schuss", description="Optimizer steps on arrays, in place, at the speed of memory."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (help_text, run) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text, add_help=name not in _OWN_PARSER)
        command.set_defaults(run=run)
    known = arguments[:1] and arguments[0] in _OWN_PARSER
    chosen, rest = parser.parse_known_args(arguments[:1] if known else arguments)
    if known:
        rest = arguments[1:]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return chosen.run(rest)


def _info(_: Sequence[str]) -> int:
    from schuss._info import info

    facts = info()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _rules(_: Sequence[str]) -> int:
    from schuss._engine.catalog import TABLE, rules, table_row

    rows = [TABLE, *(table_row(rule) for rule in rules().values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from schuss.bench.run import main as bench

    return bench(list(arguments))


def _lab(arguments: Sequence[str]) -> int:
    try:
        from schuss.lab.commands import app
    except ImportError as error:
        print(f"schuss lab: {error}", file=sys.stderr)
        return 1
    app(list(arguments), prog_name="schuss lab")
    return 0


def _compile(arguments: Sequence[str]) -> int:
    from schuss.compiling import main as compiling

    return compiling(arguments)


_COMMANDS = {
    "info": ("what this installation is, and what it found", _info),
    "rules": ("the catalog of rules, as a table", _rules),
    "compile": ("compile CUDA kernels ahead, for machines without a compiler", _compile),
    "bench": ("measure Schuss and every installed peer on the same arrays", _bench),
    "lab": ("experiments on real data, with pictures", _lab),
}
_OWN_PARSER = ("compile", "bench", "lab")

if __name__ == "__main__":
    sys.exit(main())
