"""How a row is timed on a CUDA device: events around blocks of steps, contestants in turn, medians with quartiles."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import cuda_peers, measure
from .cases import CLIP, KNOWN, Shape
from .cuda_cases import Arrays, Case
from .peers import OURS, Absent, catalog_rule

EFFORT = measure.Effort(rounds=7, block=0.012, row=1.5, least=3)
QUICK = measure.Effort(rounds=3, block=0.004, row=0.5, least=2)
MOST_CALLS = 100  # in a sample, so that what is queued stays within what the driver takes without waiting
COPY = 4 << 30  # bytes, if a quarter of the free memory is not less
SMALL: tuple[Shape, ...] = ((300, 70), (5,), (), (2, 3, 4))
HOST_CALLS = 8  # of which the host's own time is taken while nothing is under way


class Timed:
    """Samples of a contestant: device time between two events on its stream, a mean over calls."""

    def __init__(self, cupy: Any, contestant: cuda_peers.Contestant, block: float) -> None:
        self.cuda, self.contestant = cupy.cuda, contestant
        self.stream = getattr(contestant, "stream", None) or cupy.cuda.Stream.null
        self.start, self.end = cupy.cuda.Event(), cupy.cuda.Event()
        self.calls = 1
        self.host: list[float] = []
        estimate = min(self.sample() for _ in range(2))
        self.calls = max(1, min(MOST_CALLS, round(block / estimate)))
        self.host.clear()

    def sample(self) -> float:
        contestant = self.contestant
        if isinstance(contestant, cuda_peers.Graph):
            contestant.refresh(self.calls + 1 + HOST_CALLS)
        self.cuda.runtime.deviceSynchronize()
        begun = time.perf_counter()
        contestant.run(HOST_CALLS if self.calls >= HOST_CALLS else 1)
        self.host.append((time.perf_counter() - begun) / (HOST_CALLS if self.calls >= HOST_CALLS else 1))
        self.start.record(self.stream)
        contestant.run(self.calls)
        self.end.record(self.stream)
        self.end.synchronize()
        return float(self.cuda.get_elapsed_time(self.start, self.end)) / 1e3 / self.calls


def copy_bandwidth(cupy: Any, times: int) -> dict[str, Any]:
    """Measure a copy on the device, the ceiling; its bytes count where they are read and where they are written.

    Returns
    -------
    dict
        ``bytes`` of a copy, ``seconds`` (quartiles) and ``gb_per_s``, of the median.
    """
    cuda = cupy.cuda
    free, _ = cuda.runtime.memGetInfo() if hasattr(cuda.runtime, "memGetInfo") else (4 << 20, 0)
    size = min(COPY, int(free) // 4 // 512 * 512)
    one, other = cuda.alloc(size), cuda.alloc(size)
    stream, start, end = cuda.Stream.null, cuda.Event(), cuda.Event()
    cuda.runtime.memsetAsync(one.ptr, 0x3A, size, stream.ptr)
    cuda.runtime.memsetAsync(other.ptr, 0x5C, size, stream.ptr)
    seconds = []
    for _ in range(times + 2):
        start.record(stream)
        cuda.runtime.memcpyAsync(other.ptr, one.ptr, size, cuda.runtime.memcpyDeviceToDevice, stream.ptr)
        end.record(stream)
        end.synchronize()
        seconds.append(float(cuda.get_elapsed_time(start, end)) / 1e3)
    told = measure.summary(seconds[2:], 1)
    del one, other
    tidy(cupy)
    return {"bytes": size, "seconds": told, "gb_per_s": 2 * size / told["median"] / 1e9}


def tidy(cupy: Any) -> None:
    """Give freed memory back, so that the next one finds it."""
    gc.collect()
    if hasattr(cupy, "get_default_memory_pool"):
        cupy.get_default_memory_pool().free_all_blocks()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def ways(case: Case, names: Sequence[str]) -> list[str]:
    """Return the other ways of Schuss that a row shows."""
    if OURS not in names or case.rule.name != "adamw" or case.scaled:
        return []
    if case.network == "10000-leaves":
        return ["schuss-graph", "schuss-torch"]
    return ["schuss-graph"] if case.network == "gpt2-small" else []


def assemble(case: Case, names: Sequence[str], arrays: Arrays) -> tuple[dict[str, Any], dict[str, str]]:
    """Build the contestants of a row; return also why others are absent."""
    built = {name: attempt(name, case, arrays) for name in names}
    absent = {name: str(each) for name, each in built.items() if isinstance(each, Absent)}
    return {name: each for name, each in built.items() if name not in absent}, absent


def attempt(name: str, case: Case, arrays: Arrays) -> cuda_peers.Contestant | Absent:
    try:
        return cuda_peers.build(name, case, arrays)
    except Absent as reason:
        return reason


def row_of(
    case: Case, names: Sequence[str], arrays: Arrays, bandwidth: float, effort: measure.Effort
) -> dict[str, Any]:
    """Return the row of a case, as it stands in the result file.

    Parameters
    ----------
    case : Case
        What to step.
    names : sequence of str
        Contestants.
    arrays : Arrays
        Parameters and gradients, which all of them step.
    bandwidth : float
        Bytes a second of a copy.
    effort : Effort
        How long.
    """
    row: dict[str, Any] = {
        "rule": case.rule.name,
        "case": case.name,
        "network": case.network,
        "format": case.format,
        "hypers": dict(case.rule.hypers),
        "elements": case.elements,
        "leaves": len(case.shapes),
        "clip": case.clip,
        "scaled": case.scaled,
        "bytes_moved": case.bytes_moved,
        "shared_arrays": True,
        "ceiling": None,
        "results": {},
        "ways": {},
        "absent": {},
        "best_peer": None,
        "ratio": None,
        "targets": [],
    }
    contestants, row["absent"] = assemble(case, [*names, *ways(case, names)], arrays)
    if not contestants:
        return row
    cupy = arrays.cupy
    samplers = {name: Timed(cupy, each, effort.block) for name, each in contestants.items()}
    samples = measure.interleave(samplers, effort)
    summaries = {name: measure.summary(samples[name], samplers[name].calls) for name in samples}
    seconds = case.bytes_moved / bandwidth
    row["ceiling"] = dict.fromkeys(("min", "q1", "median", "q3", "max"), seconds) | {"samples": 1, "calls": 1}
    moved = {name: each.bytes_moved for name, each in contestants.items()}
    others = {name: summaries.pop(name) for name in cuda_peers.WAYS if name in summaries}
    measure.judge(row, summaries, case, moved)
    apart: dict[str, Any] = {**row, "results": row["ways"], "targets": []}
    measure.judge(apart, {**others, **{name: s for name, s in summaries.items() if name == OURS}}, case, moved)
    row["ways"].pop(OURS, None)
    for name, result in [*row["results"].items(), *row["ways"].items()]:
        result["bytes_moved"] = moved[name]
        result["host_seconds"] = float(np.median(samplers[name].host))
    return row


def deviations(cupy: Any, rule: str, names: Sequence[str], clip: float | None, steps: int = 5) -> dict[str, float]:
    """Return how far each contestant ends from Schuss on small float32 arrays of its own, of the largest parameter."""
    case = Case(catalog_rule(rule), "small", SMALL, "float32", clip)
    found: dict[str, list[np.ndarray]] = {}
    for name in names:
        arrays = Arrays(cupy, SMALL, "float32")
        try:
            contestant = cuda_peers.build(name, case, arrays)  # which takes the first step
        except Absent:
            continue
        contestant.run(steps - 1)
        cupy.cuda.runtime.deviceSynchronize()
        found[name] = arrays.values()
    ours = found.pop(OURS, None)
    if ours is None:
        return {}
    scale = max(float(np.max(np.abs(p))) for p in ours)
    return {
        name: max(float(np.max(np.abs(a - b))) for a, b in zip(ours, theirs, strict=True)) / scale
        for name, theirs in found.items()
    }


def checks(cupy: Any, rules: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each rule that peers have, how far they end from Schuss."""
    return [
        {"rule": rule, "clip": clip, "deviations": deviations(cupy, rule, names, clip)}
        for rule in rules
        if rule in KNOWN
        for clip in (None, CLIP)
    ]
