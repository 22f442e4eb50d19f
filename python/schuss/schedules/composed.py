"""Schedules in phases, and schedules made of other schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from schuss._core import Schedule, make_schedule

ScheduleLike = Schedule | float | Callable[[int], float]


def warmup(
    steps: int,
    schedule: ScheduleLike,
    start: float | None = None,
    kind: Literal["linear", "constant", "logarithmic"] = "linear",
    *,
    shift: Literal[0, 1] = 0,
    restart: bool = True,
) -> Schedule:
    """A rise from `start` for `steps` steps, then `schedule`.

    The libraries disagree on the first rate; each has its line here, with w = `steps`:

    ========================  ===========  ================  ======================================
    who                       first value  full value        here
    ========================  ===========  ================  ======================================
    optax, Hugging Face, MLX  `start`      step w            ``warmup(w, s)``
    llm.c                     s(0) / w     step w - 1 and w  ``warmup(w, s, shift=1)``
    torch ``LinearLR``        s(0) / 3     step w            ``warmup(w, s, s(0) / 3)``
    torch ``ConstantLR``      s(0) / 3     step w            ``warmup(w, s, s(0) / 3, "constant")``
    DeepSpeed ``WarmupLR``    `start`      step w - 1 and w  ``warmup(w, s, 0, "logarithmic")``
    ========================  ===========  ================  ======================================

    With the default, the first real step has a rate of 0 and moves nothing: `shift=1` avoids that.

    Parameters
    ----------
    steps : int
        w; 0 is no warmup.
    schedule : Schedule, number, or function of the step
        What follows.
    start : float, default 0
        The value at step 0 (with ``shift=1``, the value one step before). 'constant' needs it
        given.
    kind : {'linear', 'constant', 'logarithmic'}
        'linear': step t is ``(t + shift) / w`` of the way from `start` to the full value.
        'constant': `start` at every step of the warmup. 'logarithmic': ``log(t + 1) / log(w)`` of
        the way.
    shift : {0, 1}, default 0
        For 'linear'.
    restart : bool, default True
        True: at step w, `schedule` is at its own step 0, and the rise aims at ``schedule(0)``
        (optax, Hugging Face, llm.c, torch's ``SequentialLR``). False: `schedule` counts from the
        first step on, and the rise aims at where it is by then, ``schedule(t)``.

    Notes
    -----
    A whole run of `total` steps: ``warmup(w, cosine(max, total - w))``. optax, Hugging Face and
    timm ask for the decay's length with the warmup in it, Keras without.

    Examples
    --------
    >>> warmup(4, 1.0)(range(6)).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    >>> warmup(4, 1.0, shift=1)(range(6)).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    >>> warmup(2, lambda t: 1 / (1 + t), start=0.1, kind="constant")(range(4)).tolist()
    [0.1, 0.1, 1.0, 0.5]
    """
    named = {
        "steps": steps,
        "schedule": schedule,
        "start": start,
        "kind": kind,
        "shift": shift,
        "restart": restart,
    }
    return make_schedule("warmup", named)


def join(schedules: Sequence[ScheduleLike], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another, each from its own step 0.

    Parameters
    ----------
    schedules : sequence of schedules, numbers, or functions of the step
        At least one.
    boundaries : sequence of int
        Increasing: ``schedules[i + 1]`` takes over at step ``boundaries[i]``, as in optax's
        ``join_schedules`` and torch's ``SequentialLR``. One fewer than the schedules.

    Examples
    --------
    >>> join([0.1, exponential(1.0, 0.5)], [2])(range(5)).tolist()
    [0.1, 0.1, 1.0, 0.5, 0.25]
    """
    return make_schedule("join", {"schedules": schedules, "boundaries": boundaries})


def one_cycle(
    max: float,
    steps: int,
    pct_start: float = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """One cycle: up to `max`, then down to far below the first value.

    Parameters
    ----------
    max : float
        The peak, at step ``pct_start * steps - 1``.
    steps : int
        The whole length; the last value is reached at step ``steps - 1`` and held.
    pct_start : float, default 0.3
        The part of the steps that rises, 0 to 1.
    anneal : {'cos', 'linear'}
        The shape of each phase.
    div_factor : float, default 25
        The first value is ``max / div_factor``.
    final_div_factor : float, default 1e4
        The last value is ``max / div_factor / final_div_factor``.
    three_phase : bool, default False
        Come down to the first value as fast as it rose (by step ``2 * pct_start * steps - 2``), and
        only then to the last.

    See Also
    --------
    one_cycle_momentum : the momentum or beta1 beside it.

    Notes
    -----
    Smith & Topin 2018, arXiv 1708.07120, with the phases of torch's ``OneCycleLR``. optax's
    ``cosine_onecycle_schedule`` peaks at step ``int(pct_start * steps)`` and ends at `steps`.

    Examples
    --------
    >>> one_cycle(1.0, steps=100)([0, 29, 99, 200]).tolist()
    [0.04, 1.0, 4e-06, 4e-06]
    """
    named = {
        "max": max,
        "steps": steps,
        "pct_start": pct_start,
        "anneal": anneal,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
        "three_phase": three_phase,
    }
    return make_schedule("one_cycle", named)


def one_cycle_momentum(
    steps: int,
    base: float = 0.85,
    max: float = 0.95,
    pct_start: float = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> Schedule:
    """The momentum or beta1 beside `one_cycle`: down while the rate rises, and up again.

    Parameters
    ----------
    steps : int
        As given to `one_cycle`.
    base, max : float, default 0.85 and 0.95
        The value at the peak of the rate, and the value at both ends.
    pct_start, anneal, three_phase
        As given to `one_cycle`.

    Examples
    --------
    >>> momentum = one_cycle_momentum(steps=100)
    >>> momentum([0, 29, 99]).tolist()
    [0.95, 0.85, 0.95]
    """
    named = {
        "steps": steps,
        "base": base,
        "max": max,
        "pct_start": pct_start,
        "anneal": anneal,
        "three_phase": three_phase,
    }
    return make_schedule("one_cycle_momentum", named)


def warmup_stable_decay(
    max: float,
    steps: int,
    warmup: int,
    decay: int,
    min: float = 0.0,
    start: float = 0.0,
    shape: Literal["linear", "cosine", "sqrt"] = "linear",
) -> Schedule:
    """A straight rise, a long plateau, a short decay, then `min`.

    Parameters
    ----------
    max : float
        The plateau, from step `warmup` to step ``steps - decay``.
    steps : int
        The whole length; `min` is reached at this step.
    warmup : int
        Steps of the rise: step t is ``t / warmup`` of the way from `start` to `max`. 0 is none.
    decay : int
        Steps of the decay, at least 1.
    min, start : float, default 0
        The last value and the first.
    shape : {'linear', 'cosine', 'sqrt'}
        What is left of ``max - min`` when the share x of the decay is done: ``1 - x``,
        ``(1 + cos(pi * x)) / 2``, ``1 - sqrt(x)``.

    Notes
    -----
    Hu et al. 2024, arXiv 2404.06395; the shapes are compared in Hägele et al. 2024, arXiv
    2405.18392.

    Examples
    --------
    >>> warmup_stable_decay(1.0, steps=10, warmup=2, decay=4)([0, 1, 2, 6, 8, 10]).tolist()
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    named = {
        "max": max,
        "steps": steps,
        "warmup": warmup,
        "decay": decay,
        "min": min,
        "start": start,
        "shape": shape,
    }
    return make_schedule("warmup_stable_decay", named)


def per_epoch(schedule: ScheduleLike, steps_per_epoch: int) -> Schedule:
    """A schedule that counts epochs: ``schedule(floor(t / steps_per_epoch))``.

    Parameters
    ----------
    schedule : Schedule, number, or function of the epoch
        Its step is the epoch, from 0.
    steps_per_epoch : int
        Real steps in an epoch, at least 1.

    Examples
    --------
    >>> per_epoch(step(0.1, 0.1, every=30), steps_per_epoch=500)([0, 14_999, 15_000]).tolist()
    [0.1, 0.1, 0.010000000000000002]
    """
    named = {"schedule": schedule, "steps_per_epoch": steps_per_epoch}
    return make_schedule("per_epoch", named)
