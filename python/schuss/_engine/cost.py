"""What a step moves, keeps and computes, from the catalog; and how long that takes here."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import Any, TypedDict

import numpy as np

from schuss import _core
from schuss._engine.catalog import Rule
from schuss._engine.stored import slot_bytes

_SIZES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_LARGEST_TRIAL = 1 << 24  # elements: beyond this, time grows in proportion
_IN_CACHE = (4096, 16384)  # elements
_LAUNCH = 5e-6  # seconds from one kernel on a CUDA device to the next
_CALL = 5e-7  # seconds a call costs whatever it does


class Cost(TypedDict):
    """One real step's cost."""

    elements: int
    bytes_moved: int  # by the passes of a real step
    bytes_kept: int  # slots and accumulators, beside the parameters
    flops: int
    seconds: float  # predicted here: the slower of a bare stream of the bytes and the arithmetic in cache, as timed now


@cache
def _seconds_an_element(core: Any, slots: int, scalars: int, defaults: tuple[tuple[str, float | bool], ...]) -> float:
    """What a rule's arithmetic takes on float32 in cache: of two sizes, so that the call itself drops out."""
    arrays = {
        size: (*(np.ones(size, np.float32) for _ in range(2 + slots)), *(np.zeros(()) for _ in range(scalars)))
        for size in _IN_CACHE
    }
    best = dict.fromkeys(_IN_CACHE, float("inf"))
    for size in _IN_CACHE * 15:
        start = perf_counter()
        _core.apply(core, arrays[size], 1, dict(defaults))
        best[size] = min(best[size], perf_counter() - start)
    small, large = _IN_CACHE
    return max(0.0, best[large] - best[small]) / (large - small)


def cost(rule: Rule, session: _core.Session, accumulate: int, norm: bool) -> Cost:
    """The cost of a real step of this rule on these leaves."""
    elements = moved = kept = flops = 0
    streams = (1, 0)
    for leaf in range(session.leaves):
        count = 1
        for extent in session.shape(leaf):
            count *= extent
        size = _SIZES[session.dtype(leaf)]
        arithmetic = max(size, 4)
        stored = session.stored(leaf)
        mask = sum(1 << i for i, slot in enumerate(rule.slots) if slot.name in stored)
        slots = bin(mask).count("1")
        held = sum(slot_bytes(session, leaf, slot.name, count) for slot in rule.slots if slot.name in stored)
        held += arithmetic * count if "master" in stored else 0
        moved += 2 * held
        per_element = size * ((2 if "master" in stored else 3) + norm)
        if rule.sums:  # p, g and the slots are read once more, to be measured
            per_element += 2 * size
            moved += held
        if accumulate > 1:  # each micro-gradient read, the buffer written, and but for the first read again
            per_element += accumulate * size + (2 * accumulate - 1) * arithmetic + (1 + norm) * (arithmetic - size)
            held += arithmetic * count
        elements += count
        moved += count * per_element
        kept += held
        flops += count * sum(rule.operations[mask].values())
        streams = max(streams, (2 + slots, 1 + slots))
    if session.device is not None:
        from schuss._engine.cuda import runtime

        seconds = _LAUNCH * (3 if norm else 1) + moved / runtime.copy_bandwidth(session.device)
        return {"elements": elements, "bytes_moved": moved, "bytes_kept": kept, "flops": flops, "seconds": seconds}
    trial = max(1, min(elements, _LARGEST_TRIAL))
    stream = moved * sorted(_core.stream(*streams, trial, 9))[4] / (4 * trial * sum(streams))
    busy = min(_core.get_num_threads(), max(1, elements // _core.elements_per_thread))
    arithmetic_time = (
        elements
        * _seconds_an_element(rule.core, len(rule.slots), len(rule.scalars), tuple(rule.defaults.items()))
        / busy
    )
    return {
        "elements": elements,
        "bytes_moved": moved,
        "bytes_kept": kept,
        "flops": flops,
        "seconds": _CALL + max(stream, arithmetic_time),
    }
