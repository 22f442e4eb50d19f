"""How a row is timed: blocks of calls, contestants in turn, medians with quartiles.

Two OpenMP runtimes live in this process (torch's and ours), and the workers of either spin for some
milliseconds after a region and would slow whoever comes next. So a sample is a block of consecutive
calls of one contestant, after a pause that outlasts the spinning and untimed calls that wake its
own workers and bring its arrays back into cache. The order is drawn anew every round, so that a
drift of the machine, or a bad predecessor, meets everybody.

``OMP_WAIT_POLICY`` stays as it is found, and the result records it. Active changes little beside the
default, for calls follow each other within the spinning time; passive puts workers to sleep between
calls and adds their waking, about 30 µs on a virtual machine, to every call of torch and of Schuss
that uses them. Threads are not bound to processors: XLA's would all inherit the first one's place.
"""

from __future__ import annotations

import gc
import importlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import peers
from .cases import FLOAT, Case, Target, copy

PAUSE = 0.006  # seconds; libgomp spins for about 4 ms when OMP_WAIT_POLICY is not set
WARM = 0.002  # seconds of untimed calls before a sample, one call at least
MOST_MEMORY = 0.75  # of what is available, before contestants share parameters and gradients


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Parameters
    ----------
    rounds : int
        Samples a contestant gives, fewer only where `row` would be exceeded.
    block : float
        Seconds a sample lasts; one call at least.
    row : float
        Seconds after which a row takes no further round, once it has `least`.
    least : int
        Rounds that a row gets, unless three times `row` seconds have passed.
    """

    rounds: int = 31
    block: float = 0.010
    row: float = 60.0
    least: int = 7


QUICK = Effort(rounds=5, block=0.003, row=5.0, least=3)


class Sampler(Protocol):
    """Gives one sample at a time."""

    calls: int

    def sample(self) -> float:
        """Return seconds a call, the mean of a block."""
        ...


class Timed:
    """Samples of a contestant's ``run(k)``."""

    def __init__(self, run: Callable[[int], None], block: float):
        self.run = run
        run(1)
        calls, elapsed = 1, self._time(1)
        while elapsed < block / 4:
            calls *= 2
            elapsed = self._time(calls)
        self.calls = max(1, round(block * calls / elapsed))
        self.warm = max(1, math.ceil(WARM * calls / elapsed))

    def _time(self, calls: int) -> float:
        start = time.perf_counter()
        self.run(calls)
        return time.perf_counter() - start

    def sample(self) -> float:
        time.sleep(PAUSE)
        self.run(self.warm)
        return self._time(self.calls) / self.calls


class Ceiling:
    """Samples of a bare loop that reads and writes the same streams, in Schuss's own threads."""

    def __init__(self, stream: Callable[..., Sequence[float]], case: Case, block: float):
        self.stream = stream
        self.passes = [(case.rule.reads, case.rule.writes)]
        if case.clip is not None:
            self.passes.append((1, 0))  # the norm reads the gradients before
        self.elements, self.calls = case.elements, 8
        self.calls = min(10_000, max(3, round(block / self.sample())))

    def sample(self) -> float:
        time.sleep(PAUSE)
        total = 0.0
        for reads, writes in self.passes:
            seconds = self.stream(reads, writes, self.elements, self.calls)
            total += float(np.median(seconds[len(seconds) // 4 :]))  # the first ones fill the cache
        return total


def core_stream() -> Callable[..., Sequence[float]] | None:
    """Return the core's bare loop ``stream(reads, writes, elements, repeats)``, or None."""
    try:
        return importlib.import_module("schuss._core").stream
    except (ImportError, AttributeError):
        return None


def interleave(samplers: Mapping[str, Sampler], effort: Effort) -> dict[str, list[float]]:
    """Return every sampler's samples, a round of all of them at a time, in random order."""
    samples: dict[str, list[float]] = {name: [] for name in samplers}
    order, shuffle = list(samplers), random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(effort.rounds):
            late = (time.perf_counter() - start) / effort.row
            if late > 3 or (late > 1 and done >= effort.least):
                break
            shuffle(order)
            for name in order:
                samples[name].append(samplers[name].sample())
    finally:
        if collecting:
            gc.enable()
    return samples


def summary(samples: Sequence[float], calls: int) -> dict[str, Any]:
    """Return minimum, quartiles, maximum and number of samples.

    Examples
    --------
    >>> summary([3.0, 1.0, 2.0], calls=10)["median"]
    2.0
    """
    names = ("min", "q1", "median", "q3", "max")
    values = np.percentile(samples, (0, 25, 50, 75, 100)).tolist()
    quartiles = dict(zip(names, values, strict=True))
    return {**quartiles, "samples": len(samples), "calls": calls}


def available_memory() -> float:
    """Return bytes that may be taken without swapping; infinity where nobody tells."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return float(line.split()[1]) * 1024
    except OSError:
        pass
    return math.inf


def assemble(case: Case, names: Sequence[str]) -> tuple[dict[str, peers.Contestant], dict[str, str], bool]:
    """Build the contestants of a row.

    Returns
    -------
    contestants : dict of Contestant
    absent : dict of str
        Why a contestant does not take part.
    shared : bool
        Memory is short, so all that work on NumPy's memory use the same parameters and gradients
        in turn (their own slots still), which changes no time: none depends on the values.
    """
    array = case.elements * FLOAT
    spare = (case.rule.reads + 3) * array  # the bare loop's streams, a peer's temporaries
    room = MOST_MEMORY * available_memory() - spare
    reasons = {name: peers.missing(name) for name in names}
    present = [name for name in names if reasons[name] is None]
    own = len(present) * case.rule.reads * array
    together = own - 2 * array * (len([n for n in present if n != "optax"]) - 1)
    if together > room:
        raise MemoryError(f"{together / 1e9:.0f} GB are needed")
    shared = own > room
    params, grads = case.arrays()
    contestants: dict[str, peers.Contestant] = {}
    absent = {name: reason for name, reason in reasons.items() if reason}
    for name in present:
        mine = (params, grads)
        if not shared and name != present[-1]:  # the last one takes the originals
            mine = [copy(p) for p in params], [copy(g) for g in grads]
        try:
            contestants[name] = peers.build(name, case, *mine)
        except peers.Absent as reason:
            absent[name] = str(reason)
    return contestants, absent, shared


def deviations(contestants: Mapping[str, peers.Contestant], steps: int = 3) -> dict[str, float]:
    """Step everybody and return how far each is from Schuss, of Schuss's largest parameter."""
    for contestant in contestants.values():
        contestant.run(steps)
    if peers.OURS not in contestants:
        return {}
    ours = contestants[peers.OURS].params()
    scale = max((float(np.max(np.abs(p))) for p in ours if p.size), default=1.0)
    result = {}
    for name, contestant in contestants.items():
        pairs = zip(ours, contestant.params(), strict=True)
        worst = max((float(np.max(np.abs(a - b))) for a, b in pairs if a.size), default=0.0)
        result[name] = worst / scale
    return result


def measure(case: Case, names: Sequence[str], effort: Effort) -> dict[str, Any]:
    """Return the row of a case, as it stands in the result file.

    Parameters
    ----------
    case : Case
        What to step.
    names : sequence of str
        Contestants, Schuss among them or not.
    effort : Effort
        How long.
    """
    row: dict[str, Any] = {
        "rule": case.rule.name,
        "case": case.name,
        "hypers": dict(case.rule.hypers),
        "elements": case.elements,
        "leaves": len(case.shapes),
        "clip": case.clip,
        "bytes_moved": case.bytes_moved,
        "ceiling": None,
        "results": {},
        "absent": {},
        "best_peer": None,
        "ratio": None,
        "targets": [],
    }
    try:
        contestants, row["absent"], row["shared_arrays"] = assemble(case, names)
    except MemoryError as error:
        row["absent"] = dict.fromkeys(names, f"not enough memory: {error}")
        return row
    off = {} if row["shared_arrays"] else deviations(contestants)
    samplers: dict[str, Sampler] = {n: Timed(c.run, effort.block) for n, c in contestants.items()}
    stream = core_stream()
    if stream is not None:
        samplers["ceiling"] = Ceiling(stream, case, effort.block)
    samples = interleave(samplers, effort)
    summaries = {name: summary(samples[name], samplers[name].calls) for name in samples}
    row["ceiling"] = summaries.pop("ceiling", None)
    ours = contestants.get(peers.OURS)
    if isinstance(ours, peers.Schuss):
        row["cost"] = {k: float(v) for k, v in dict(ours.optimizer.cost()).items()}
    judge(row, summaries, case)
    for name, result in row["results"].items():
        result["deviation"] = off.get(name)
    return row


class Judged(Protocol):
    """What a verdict asks of a case."""

    @property
    def bytes_moved(self) -> int: ...

    @property
    def targets(self) -> tuple[Target, ...]: ...


def judge(
    row: dict[str, Any],
    summaries: Mapping[str, dict[str, Any]],
    case: Judged,
    moved: Mapping[str, int] | None = None,
) -> None:
    """Fill in rates, ratios (peer over ours) and targets; `moved` where not all move the same bytes."""
    ours = summaries.get(peers.OURS)
    ceiling = row["ceiling"]
    for name, seconds in summaries.items():
        median = seconds["median"]
        row["results"][name] = {
            "seconds": seconds,
            "gb_per_s": (moved or {}).get(name, case.bytes_moved) / median / 1e9,
            "ceiling_fraction": ceiling["median"] / median if ceiling else None,
            "ratio": median / ours["median"] if ours else None,
        }
    others = {name: s["median"] for name, s in summaries.items() if name != peers.OURS}
    if others:
        row["best_peer"] = min(others, key=lambda name: others[name])
        row["ratio"] = row["results"][row["best_peer"]]["ratio"]
    for target in case.targets:
        if target.what == "ceiling":
            mine = row["results"].get(peers.OURS, {})
            got = mine.get("ceiling_fraction")
        else:
            peer = target.peer or row["best_peer"]
            got = row["results"].get(peer, {}).get("ratio")
        met = None if got is None or ours is None else bool(got >= target.at_least)
        entry = {"what": target.what, "peer": target.peer, "at_least": target.at_least}
        row["targets"].append({**entry, "got": got, "met": met})
