"""What the pictures show, in words made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .reading import Reading
from .stats import wilson


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and".

    Examples
    --------
    >>> listed(["Adam", "SGD", "Adagrad"])
    'Adam, SGD and Adagrad'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def count(n: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> count(1, "step"), count(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def summary(results: dict[str, Any]) -> str:
    """The outcome in a breath: who ended highest, and whether that means anything."""
    r = Reading(results)
    best = r.ranked[0]
    head = f"{r.label[best]} ends highest, with {r.interval(best).mean:.2f} % of the test digits"
    if len(r.names) == 1:
        return f"{r.label[best]} ends with {r.interval(best).mean:.2f} % of the test digits right."
    if r.seeds < 2:
        return f"{head} right; one seed is too few to say whether that is more than luck."
    near, far = _apart(r)
    if not far:
        return f"{head} right, but the seeds' spread does not tell it from any other."
    if not near:
        return f"{head} right, ahead of every other by more than the seeds' spread."
    return f"{head} right; the seeds' spread does not tell it from {listed(_labels(r, near))}."


def curves(results: dict[str, Any]) -> str:
    """Under the learning curves."""
    r = Reading(results)
    loss = {name: r.mean(name, "train_loss") for name in r.names}
    right = {name: 100 * r.mean(name, "validation_accuracy") for name in r.names}
    sane = [name for name in r.names if math.isfinite(loss[name][-1])]
    said = []
    if sane:
        low = min(sane, key=lambda name: loss[name][-1])
        ends = r.curve(low, "epochs", "train_loss")[:, -1]
        seeds = f" (seeds from {ends.min():.3g} to {ends.max():.3g})" if r.seeds > 1 else ""
        high = max(r.names, key=lambda name: right[name][-1])
        verb = "has" if high != low else "also has"
        said.append(
            f"After {count(r.config['epochs'], 'epoch')} {r.label[low]} has the lowest train "
            f"loss, {loss[low][-1]:.3g} nats{seeds}, and {'it' if high == low else r.label[high]} "
            f"{verb} the highest validation accuracy, {right[high][-1]:.1f} %."
        )
    lost = [name for name in r.names if name not in sane]
    if lost:
        said.append(f"{listed(_labels(r, lost))} left the finite numbers.")
    said.append(_race(r, right))
    said.append(
        "Lines are means over seeds, bands reach from the lowest seed to the highest."
        if r.seeds > 1
        else "One seed each."
    )
    return " ".join(filter(None, said))


def _race(r: Reading, right: dict[str, np.ndarray]) -> str:
    """Who reached first the highest whole percentage that all reached."""
    goal = math.floor(min(values[-1] for values in right.values()))
    if goal < 50 or len(r.names) < 2:
        return ""
    when = {name: int(np.argmax(values >= goal)) for name, values in right.items()}
    first, last = min(when.values()), max(when.values())
    if first == last:
        return f"All reach {goal} % in the same epoch, the {_nth(first)}."
    quick = [name for name in r.names if when[name] == first]
    slow = [name for name in r.names if when[name] == last]
    return (
        f"{listed(_labels(r, quick))} {'is' if len(quick) == 1 else 'are'} the first to "
        f"{goal} %, in epoch {first}; {listed(_labels(r, slow))} "
        f"{'takes' if len(slow) == 1 else 'take'} {last}."
    )


def accuracy(results: dict[str, Any]) -> str:
    """Under the final accuracies."""
    r = Reading(results)
    best = r.ranked[0]
    top = r.interval(best)
    chance = 100 * wilson(top.mean / 100, r.tests).half
    if r.seeds < 2:
        return (
            f"{r.label[best]} is highest at {top.mean:.1f} %. Bars are 95 % Wilson score intervals "
            f"over the {r.tests:,} test digits; with one seed there is no spread to judge by."
        )
    said = [f"{r.label[best]} is highest at {top.mean:.2f} % (95 % interval {top.low:.2f} to {top.high:.2f})"]
    if len(r.names) > 1:
        second = r.ranked[1]
        lead = r.lead(best, second)
        verdict = (
            "that exceeds the seeds' spread"
            if lead.low > 0
            else "within the seeds' spread, so these runs do not tell the two apart"
        )
        said[0] += f", then {r.label[second]} at {r.interval(second).mean:.2f} %."
        said.append(f"Paired by seed the lead is {lead.mean:.2f} ± {lead.half:.2f} points (95 %): {verdict}.")
        near, far = _apart(r)
        rest = [name for name in near if name != second]
        if rest:
            told = "Nor is it" if second in near else f"{r.label[best]} is not"
            said.append(f"{told} told from {listed(_labels(r, rest))}.")
        if far and far[0] != second:
            verb = "lies" if len(far) == 1 else "lie"
            said.append(f"{listed(_labels(r, far))} {verb} below it by more than that spread.")
    else:
        said[0] += "."
    said.append(
        f"Bars are 95 % t intervals for the mean over {r.seeds} seeds, small dots single seeds; "
        f"another {r.tests:,} test digits could move all of them by about ±{chance:.1f} points."
    )
    return " ".join(said)


def _apart(r: Reading) -> tuple[list[str], list[str]]:
    """Names the best is not told from, and names clearly below it, by their paired 95 %."""
    best, others = r.ranked[0], r.ranked[1:]
    far = [name for name in others if r.lead(best, name).low > 0]
    return [name for name in others if name not in far], far


def clipping(results: dict[str, Any]) -> str:
    """Under the gradient norms."""
    r = Reading(results)
    share = {name: 100 * r.clipped_share(name) for name in r.names}
    most, least = max(r.names, key=share.__getitem__), min(r.names, key=share.__getitem__)
    size = max(1, r.config["steps_per_epoch"])
    norms = {name: r.curve(name, "steps", "grad_norm") for name in r.names}
    early = [_median(norms[name][:, :size]) for name in r.names]
    late = [_median(norms[name][:, -size:]) for name in r.names]
    tops = {name: float(np.nanmax(norms[name], initial=0.0)) for name in r.names}
    peak = max(r.names, key=tops.__getitem__)
    if share[most] == 0:
        said = f"No step's gradient norm was above {r.clip:g}: clipping changed nothing."
    elif share[most] == share[least]:
        said = f"Clipping at {r.clip:g} cut {share[most]:.1f} % of every optimizer's steps."
        if len(r.names) == 1:
            said = f"Clipping at {r.clip:g} cut {share[most]:.1f} % of {r.label[most]}'s steps."
    else:
        said = (
            f"Clipping at {r.clip:g} cut most often under {r.label[most]}, {share[most]:.1f} % of "
            f"its steps, least under {r.label[least]}, {share[least]:.1f} %."
        )
    skipped = sum(run["skipped"] for run in results["runs"])
    refused = f" {count(skipped, 'step')} had no finite gradient and changed nothing."
    return (
        f"{said} The norm's median is {_span(early)} in the first epoch and {_span(late)} in the last; "
        f"the largest is {tops[peak]:.3g}, under {r.label[peak]}."
        f"{refused if skipped else ''}"
    )


def times(results: dict[str, Any]) -> str:
    """Under the times per step."""
    r = Reading(results)
    total = {name: r.time(name, "total")["median"] for name in r.names}
    own = {name: r.time(name, "optimizer")["median"] for name in r.names}
    small, large = min(r.names, key=r.share), max(r.names, key=r.share)
    said = f"A step takes {_span(list(total.values()), 'µs', 0)}, nearly all of it the gradient: "
    if r.share(large) > 15:
        said = f"A step takes {_span(list(total.values()), 'µs', 0)}. "
    mine = f"{r.label[large]} takes {own[large]:.0f} µs, {r.share(large):.1f} %"
    if small != large:
        mine = (
            f"the optimizer's share goes from {r.share(small):.1f} % ({r.label[small]}, "
            f"{own[small]:.0f} µs) to {r.share(large):.1f} % ({r.label[large]}, "
            f"{own[large]:.0f} µs)"
        )
    how = results["step_time"]
    beyond = max(r.time(name, "total")["upper"] for name in r.names) > r.time_reach()
    busy = " Whiskers without an end run on: the machine was busy." if beyond else ""
    mine = mine if said.endswith(": ") else mine[0].upper() + mine[1:]
    return (
        f"{said}{mine}. Medians of {how['steps']} steps in turns, whiskers from quartile to "
        f"quartile, measured after the training runs, in one process with {how['threads']} thread, "
        f"on {results['machine']['processor']}. "
        f"The optimizer's time holds its schedule and clipping too.{busy}"
    )


def _labels(r: Reading, names: Sequence[str]) -> list[str]:
    return [r.label[name] for name in names]


def _span(values: Sequence[float], unit: str = "", digits: int | None = None) -> str:
    low, high = (f"{v:.3g}" if digits is None else f"{v:,.{digits}f}"
                 for v in (min(values), max(values)))  # fmt: skip
    unit = f" {unit}" if unit else ""
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else math.nan


def _nth(n: int) -> str:
    tail = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"
