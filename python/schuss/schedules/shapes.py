"""Schedules with a shape of their own: one formula each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from schuss._core import Schedule, make_schedule


def constant(value: float) -> Schedule:
    """The same value at every step.

    Parameters
    ----------
    value : float
        Any finite number.

    Examples
    --------
    >>> constant(0.1)(1_000_000)
    0.1
    """
    return make_schedule("constant", {"value": value})


def step(
    value: float,
    factor: float,
    every: int | None = None,
    *,
    milestones: Sequence[int] | None = None,
) -> Schedule:
    """Step decay: ``value * factor ** n``, n counting the drops so far.

    With `every`, ``n = floor(t / every)``. With `milestones`, n is how many of them are at most t:
    a milestone is the first step with the new value, as in torch's ``MultiStepLR``.

    Parameters
    ----------
    value : float
        The first value.
    factor : float
        What each drop multiplies by, such as 0.1 or 0.5.
    every : int, optional
        Steps between drops, at least 1.
    milestones : sequence of int, optional
        Increasing steps, each at least 1. Exactly one of `every` and `milestones` is given.

    Examples
    --------
    >>> step(1.0, 0.5, every=30)([0, 29, 30, 60]).tolist()
    [1.0, 1.0, 0.5, 0.25]
    >>> step(1.0, 0.5, milestones=[10, 15])([9, 10, 15]).tolist()
    [1.0, 0.5, 0.25]
    """
    named = {"value": value, "factor": factor, "every": every, "milestones": milestones}
    return make_schedule("step", named)


def exponential(value: float, rate: float, steps: int = 1, staircase: bool = False) -> Schedule:
    """Exponential decay: ``value * rate ** (t / steps)``.

    Parameters
    ----------
    value : float
        The first value.
    rate : float
        What `steps` steps multiply by, above 0.
    steps : int, default 1
        At least 1.
    staircase : bool, default False
        Round ``t / steps`` down, so that the value falls every `steps` steps.

    Examples
    --------
    >>> exponential(0.5, 0.25, steps=10)([0, 5, 10]).tolist()
    [0.5, 0.25, 0.125]
    """
    named = {"value": value, "rate": rate, "steps": steps, "staircase": staircase}
    return make_schedule("exponential", named)


def polynomial(value: float, end: float, steps: int, power: float = 1.0) -> Schedule:
    """From `value` to `end`: ``end + (value - end) * (1 - t / steps) ** power``, then `end`.

    Parameters
    ----------
    value, end : float
        The values at step 0 and from step `steps` on.
    steps : int
        At least 1.
    power : float, default 1
        Above 0; 1 is a straight line.

    Examples
    --------
    >>> polynomial(1.0, 0.0, steps=4, power=2)([0, 1, 2, 4, 9]).tolist()
    [1.0, 0.5625, 0.25, 0.0, 0.0]
    """
    return make_schedule("polynomial", {"value": value, "end": end, "steps": steps, "power": power})


def cosine(max: float, steps: int, min: float = 0.0) -> Schedule:
    """Cosine annealing: ``min + (max - min) * (1 + cos(pi * t / steps)) / 2``, then `min`.

    Parameters
    ----------
    max : float
        The value at step 0.
    steps : int
        T, at least 1: `min` is reached at step T, not at the last of T steps, and held. (torch's
        ``CosineAnnealingLR`` rises again after T.)
    min : float, default 0
        The last value.

    Notes
    -----
    Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts. Within a few units in the last
    place of the exact formula, near its end too, where the sum cancels.

    Examples
    --------
    >>> cosine(0.1, steps=100)([0, 50, 100, 200]).tolist()
    [0.1, 0.05, 0.0, 0.0]
    """
    return make_schedule("cosine", {"max": max, "steps": steps, "min": min})


def inverse_sqrt(value: float, timescale: int = 1) -> Schedule:
    """``value * sqrt(timescale / (timescale + t))``.

    Parameters
    ----------
    value : float
        The first value.
    timescale : int, default 1
        At least 1. At step ``3 * timescale`` the value has halved.

    Notes
    -----
    The Transformer's schedule (Vaswani et al. 2017, arXiv 1706.03762) with its warmup of w steps is
    ``warmup(w, inverse_sqrt(value, w))``: ``value * t / w`` up to step w, ``value * sqrt(w / t)``
    after it.

    Examples
    --------
    >>> inverse_sqrt(1.0, timescale=100)([0, 300, 1500]).tolist()
    [1.0, 0.5, 0.25]
    """
    return make_schedule("inverse_sqrt", {"value": value, "timescale": timescale})


def cyclic(
    base: float,
    max: float,
    steps_up: int,
    steps_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
) -> Schedule:
    """Cyclical rates: straight up from `base` to `max`, straight down, and again.

    Parameters
    ----------
    base, max : float
        The lowest value, at step 0, and the highest.
    steps_up : int
        Steps from `base` to `max`, at least 1.
    steps_down : int, optional
        Steps back; as many as up by default.
    mode : {'triangular', 'triangular2', 'exp_range'}
        The height of the peaks over `base`: the same; halved every cycle; times ``gamma ** t``.
    gamma : float, default 1
        For 'exp_range', above 0.

    Notes
    -----
    Smith 2017, arXiv 1506.01186; torch's ``CyclicLR``.

    Examples
    --------
    >>> cyclic(0.0, 1.0, steps_up=2, mode="triangular2")(range(8)).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """
    named = {
        "base": base,
        "max": max,
        "steps_up": steps_up,
        "steps_down": steps_down,
        "mode": mode,
        "gamma": gamma,
    }
    return make_schedule("cyclic", named)
