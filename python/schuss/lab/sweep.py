"""The learning-rate sweep behind `compare`: one grid for all, chosen on the validation digits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import Digits, load
from .entries import Entry
from .machine import versions
from .settings import CLIP, BadSetting, Settings
from .training import Results
from .workers import Run, train_all

RATES_FILE = Path(__file__).with_name("rates.json")
GRID = (*(float(f"{digit}e{power}") for power in range(-4, 1) for digit in (1, 2, 5)), 10.0)
"""0.0001, 0.0002, 0.0005, 0.001, …, 5, 10: the same grid for every optimizer."""
FIRST_SEED = 1000
"""The sweep's seeds are not the comparison's: 1000, 1001, …"""


def sweep(
    entries: Sequence[Entry],
    settings: Settings,
    grid: Sequence[float] = GRID,
    digits: Digits | None = None,
    quiet: bool = False,
) -> Results:
    """Try each rate of the grid with each optimizer and choose by the validation digits.

    The rate with the highest mean validation accuracy after the last epoch wins; of equals, the
    one with the lower mean validation loss. The test digits are withheld from every run.

    Returns
    -------
    dict
        "rates", the chosen rate for each optimizer's name; "how", the settings; "scores", for
        each name and rate the mean validation accuracy and loss; "at_edge", names whose choice
        is the first or last of the grid; "versions".
    """
    visible = (load() if digits is None else digits).without_test()
    seeds = range(FIRST_SEED, FIRST_SEED + settings.seeds)
    runs = [Run(entry, lr, seed) for entry in entries for lr in grid for seed in seeds]
    results = train_all(runs, settings, visible, "Sweep", quiet)
    scores: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        scores[entry.name] = [_score(lr, _of(results, entry.name, lr)) for lr in grid]
    rates = {name: best(rows) for name, rows in scores.items()}
    return {
        "rates": rates,
        "at_edge": [name for name, lr in rates.items() if lr in (min(grid), max(grid))],
        "how": {
            "chosen_by": "mean validation accuracy after the last epoch, then lower loss",
            "epochs": settings.epochs,
            "batch": settings.batch,
            "clip": CLIP,
            "schedule": f"linear warmup over {settings.warmup} steps, cosine to zero",
            "seeds": list(seeds),
            "grid": list(grid),
            "optimizers": {entry.name: entry.call(rates[entry.name]) for entry in entries},
        },
        "scores": scores,
        "versions": versions(),
    }


def best(rows: Sequence[dict[str, Any]]) -> float:
    """The chosen rate of one optimizer's scores.

    Examples
    --------
    >>> best([{"lr": 0.1, "accuracy": 0.9, "loss": 0.4}, {"lr": 0.2, "accuracy": 0.9, "loss": 0.3}])
    0.2
    """
    order = sorted(rows, key=lambda row: (-row["accuracy"], _or_infinite(row["loss"]), row["lr"]))
    return order[0]["lr"]


def _of(results: Sequence[Results], name: str, lr: float) -> list[Results]:
    return [run for run in results if run["optimizer"] == name and run["lr"] == lr]


def _score(lr: float, runs: Sequence[Results]) -> dict[str, Any]:
    loss = float(np.mean([_or_infinite(run["epochs"]["validation_loss"][-1]) for run in runs]))
    accuracy = float(np.mean([run["epochs"]["validation_accuracy"][-1] for run in runs]))
    return {
        "lr": lr,
        "accuracy": round(accuracy, 5),
        "loss": float(f"{loss:.5g}") if math.isfinite(loss) else None,
    }


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def write(results: Results, path: Path = RATES_FILE) -> Path:
    """Write a sweep's results where `compare` looks for them, one score a line."""
    text = json.dumps(results, indent=2, allow_nan=False)
    # A score is one thought: one line.
    for name in results["scores"]:
        for row in results["scores"][name]:
            long = json.dumps(row, indent=2).replace("\n", "\n      ")
            text = text.replace(long, json.dumps(row))
    path.write_text(text + "\n", encoding="utf-8")
    return path


def committed(path: Path = RATES_FILE) -> Results:
    """The committed sweep.

    Raises
    ------
    BadSetting
        If there is none.
    """
    if not path.is_file():
        raise BadSetting(f"rates: {path} is missing, expected what `schuss lab sweep` writes")
    return json.loads(path.read_text(encoding="utf-8"))
