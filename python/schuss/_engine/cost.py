"""What a step moves, keeps and computes, from the catalog; and how long that takes here."""

from __future__ import annotations

from typing import TypedDict

from schuss import _core
from schuss._engine.catalog import Rule

_SIZES = {"float64": 8, "float32": 4, "bfloat16": 2}
_LARGEST_TRIAL = 1 << 24  # elements: beyond this, time grows in proportion
_CALL = 5e-7  # seconds a call costs whatever it does


class Cost(TypedDict):
    """One real step's cost."""

    elements: int
    bytes_moved: int  # by the passes of a real step
    bytes_kept: int  # slots and accumulators, beside the parameters
    flops: int
    seconds: float  # predicted here: a bare stream of as many bytes, timed just now


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
        mask = sum(1 << i for i, slot in enumerate(rule.slots) if session.slot(leaf, slot.name) is not None)
        slots = bin(mask).count("1")
        per_element = size * (3 + norm) + 2 * slots * arithmetic
        held = slots * arithmetic
        if accumulate > 1:  # each micro-gradient read, the buffer written, and but for the first read again
            per_element += accumulate * size + (2 * accumulate - 1) * arithmetic + (1 + norm) * (arithmetic - size)
            held += arithmetic
        elements += count
        moved += count * per_element
        kept += count * held
        flops += count * sum(rule.operations[mask].values())
        streams = max(streams, (2 + slots, 1 + slots))
    trial = max(1, min(elements, _LARGEST_TRIAL))
    seconds = sorted(_core.stream(*streams, trial, 9))[4] / (4 * trial * sum(streams))
    return {
        "elements": elements,
        "bytes_moved": moved,
        "bytes_kept": kept,
        "flops": flops,
        "seconds": _CALL + moved * seconds,
    }
