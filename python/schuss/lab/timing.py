"""Time per step, measured apart from the training runs: one process, nothing beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import network
from .data import Part
from .entries import Entry
from .settings import CLIP, Settings
from .training import Results, schedule

ROUNDS = 12
STEPS_A_ROUND = 25
ENOUGH = 15.0
"""Seconds after which no further round starts, once three are counted: batches can be large."""


def time_steps(entries: Sequence[Entry], rates: dict[str, float], settings: Settings, part: Part) -> Results:
    """Time the gradient and the optimizer of real training steps.

    The optimizers take turns, `STEPS_A_ROUND` steps each for `ROUNDS` rounds, so that a slow
    moment of the machine falls on all of them; the first round warms up and is not counted.
    The optimizer's time is the whole of `opt.step(grads)`: schedule, norm, clipping, update.

    Returns
    -------
    dict
        "unit", "threads", "steps" (counted, an optimizer) and "optimizers": for each name
        "gradient", "optimizer" and "total", each with {"median", "lower", "upper"} in seconds,
        the latter two the quartiles.
    """
    gradient = network.value_and_grad()
    images, targets = part.images(), part.targets()
    rng = np.random.default_rng(0)
    under_way = []
    for entry in entries:
        params = network.init(0)
        opt = entry.make(params, lr=schedule(rates[entry.name], settings), clip=CLIP)
        under_way.append((entry.name, params, opt))
    spent: dict[str, list[tuple[float, float, float]]] = {entry.name: [] for entry in entries}
    clock = time.perf_counter
    began = clock()
    with np.errstate(all="ignore"):
        for turn in range(ROUNDS + 1):
            if turn > 3 and clock() - began > ENOUGH:
                break
            for name, params, opt in under_way:
                for _ in range(STEPS_A_ROUND):
                    rows = rng.integers(len(images), size=settings.batch)
                    x, y = images[rows], targets[rows]
                    start = clock()
                    _, grads = gradient(params, x, y)
                    middle = clock()
                    opt.step(grads)
                    end = clock()
                    if turn:
                        spent[name].append((middle - start, end - middle, end - start))
    return {
        "unit": "s",
        "threads": 1,
        "steps": len(spent[entries[0].name]),
        "optimizers": {name: _summary(np.array(times)) for name, times in spent.items()},
    }


def _summary(times: np.ndarray) -> dict[str, Any]:
    lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    return {
        what: {
            "median": float(f"{median[i]:.4g}"),
            "lower": float(f"{lower[i]:.4g}"),
            "upper": float(f"{upper[i]:.4g}"),
        }
        for i, what in enumerate(("gradient", "optimizer", "total"))
    }
