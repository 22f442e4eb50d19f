"""Schedules: pure functions of the step, for the learning rate or any other hyper.

``schedule(0)`` is the value of the first real step. A schedule takes one step or an array of them,
is evaluated in the core with the same bits on every machine, and stands wherever a schedule is
asked for; so do a plain number (which stays) and any Python function ``step -> float``. Where a
schedule comes to its end, it holds its last value.

>>> from schuss import schedules
>>> rate = schedules.warmup(100, schedules.cosine(3e-4, steps=10_000))
>>> rate(0), rate(50), rate(100), rate(10_100)
(0.0, 0.00015, 0.0003, 0.0)
>>> rate([0, 50, 100]).tolist()
[0.0, 0.00015, 0.0003]

The chapter's forms: step decay ``step(0.1, 0.5, every=30)``, exponential decay ``exponential(0.1,
0.95)``, cosine ``cosine(max, steps, min)``, warmup before any of them ``warmup(steps, schedule)``,
cyclical rates ``cyclic(base, max, steps_up)``. A schedule that counts epochs: ``per_epoch(schedule,
steps_per_epoch)``.

Schedules made by equal calls are equal, pickle, and go through JSON by ``to_dict`` and
``Schedule.from_dict``."""

from schuss._core import Schedule
from schuss.schedules.composed import (
    ScheduleLike,
    join,
    one_cycle,
    one_cycle_momentum,
    per_epoch,
    warmup,
    warmup_stable_decay,
)
from schuss.schedules.shapes import constant, cosine, cyclic, exponential, inverse_sqrt, polynomial, step

__all__ = [
    "Schedule",
    "ScheduleLike",
    "constant",
    "cosine",
    "cyclic",
    "exponential",
    "inverse_sqrt",
    "join",
    "one_cycle",
    "one_cycle_momentum",
    "per_epoch",
    "polynomial",
    "step",
    "warmup",
    "warmup_stable_decay",
]
