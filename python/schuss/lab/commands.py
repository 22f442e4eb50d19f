"""The commands `schuss lab …`: they read options, and leave the work to the experiments."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from .needs import MissingPackages, require
from .settings import BadSetting

require("typer")

import typer  # noqa: E402  (asked for above, so that its absence is one clear line)

app = typer.Typer(
    name="lab",
    help="Experiments on real data, with pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def lab() -> None:
    """Experiments on real data, with pictures."""


Optimizers = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Only these, as in sgd,adamw.", show_default="all"),
]


@app.command()
def compare(
    epochs: Annotated[int, typer.Option(help="Passes over the training digits.")] = 20,
    seeds: Annotated[int, typer.Option(help="Runs of each optimizer.")] = 8,
    batch: Annotated[int, typer.Option(help="Digits a step.")] = 64,
    lr: Annotated[
        float | None,
        typer.Option(help="One peak rate for all.", show_default="what the sweep found for each"),
    ] = None,
    optimizers: Optimizers = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("schuss-report"),
    open_: Annotated[bool, typer.Option("--open", help="Show the report in a browser.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train one network on handwritten digits under each optimizer, and draw what happened."""

    def work() -> None:
        from . import compare as experiment
        from .entries import pick
        from .settings import Settings, writable

        entries = pick(_names(optimizers))
        settings = Settings(epochs, seeds, batch, lr)
        folder = writable(out)
        results = experiment.compare(entries, settings, quiet=quiet)
        page = experiment.write(results, folder)
        from .sentences import summary

        typer.echo(f"{summary(results)}\nReport: {page}  ({results['seconds']:.0f} s)")
        if open_:
            webbrowser.open(page.resolve().as_uri())

    _run("compare", work)


@app.command()
def sweep(
    epochs: Annotated[int, typer.Option(help="Passes over the training digits.")] = 20,
    seeds: Annotated[int, typer.Option(help="Runs at each rate.")] = 3,
    batch: Annotated[int, typer.Option(help="Digits a step.")] = 64,
    optimizers: Optimizers = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the rates.", show_default="the one that compare reads"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Find each optimizer's learning rate on the validation digits; the test digits stay unseen."""

    def work() -> None:
        from . import sweep as experiment
        from .entries import pick
        from .settings import Settings, writable

        if optimizers is not None and out is None:
            raise BadSetting("out: not given, expected a file when only some optimizers are swept")
        entries = pick(_names(optimizers))
        settings = Settings(epochs, seeds, batch)
        path = experiment.RATES_FILE if out is None else out
        if path.is_dir():
            raise BadSetting(f"out: {str(path)!r} is a folder, expected a file")
        writable(path.parent)
        results = experiment.sweep(entries, settings, quiet=quiet)
        experiment.write(results, path)
        for entry in entries:
            edge = "  (at the grid's edge)" if entry.name in results["at_edge"] else ""
            typer.echo(f"{entry.label:16}{results['rates'][entry.name]:g}{edge}")
        typer.echo(f"Rates: {path}")

    _run("sweep", work)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [name.strip().lower() for name in text.split(",") if name.strip()]


def _run(command: str, work: Callable[[], None]) -> None:
    """Do the work; turn what a user can mend into one line and a non-zero exit."""
    try:
        require()
        work()
    except (BadSetting, MissingPackages) as error:
        typer.echo(f"schuss lab {command}: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(f"schuss lab {command}: stopped", err=True)
        sys.exit(130)
