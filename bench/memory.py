"""What a step allocates, and what an optimizer keeps."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import tracemalloc
from collections.abc import Sequence
from typing import Any

from . import peers
from .cases import CLIP, FLOAT, KNOWN, Case

SIZE = 10_000_000  # 40 MB a stream: beyond malloc's own heap, so a new array is a new mapping
STEPS = 10
# More than a step's Python objects take (a StepInfo, a few numbers), less than any array here.
SMALL = 64 * 1024
# The kernel counts resident pages in batches, a processor at a time.
ROUGH = 1024 * 1024


class Mallinfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = (
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    )


def malloced() -> int | None:
    """Return bytes that malloc has handed out in this process, or None without glibc 2.33."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return None
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    return info.uordblks + info.hblkhd


def status(field: str) -> int | None:
    """Return a field of ``/proc/self/status`` in bytes, or None where there is none."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def reset_peak() -> bool:
    """Set the process's peak of resident memory back to the present; False where it cannot be."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def page_faults() -> int | None:
    """Return how many pages this process has touched first, or None where nobody counts."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def tidy() -> None:
    """Give freed memory back to the system, so that what comes next shows as growth."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def of_step(contestant: peers.Contestant) -> dict[str, Any]:
    """Return what some steps allocate, from four witnesses.

    Returns
    -------
    dict
        ``traced_peak``: bytes of Python objects and NumPy arrays above the start, at the highest;
        ``resident_peak``: bytes of resident memory above the start, at the highest;
        ``page_faults``: pages first touched, a step; ``malloc_growth``: bytes that malloc had
        handed out more at the end; ``array_bytes``: the larger of the two peaks, 0 if both are
        small change and counting noise.
    """
    contestant.run(3)
    gc.collect()
    tracemalloc.start()
    try:
        contestant.run(1)
        base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        contestant.run(STEPS)
        traced = tracemalloc.get_traced_memory()[1] - base
    finally:
        tracemalloc.stop()
    heap, touched = malloced(), page_faults()
    resettable, before = reset_peak(), status("VmRSS")
    contestant.run(STEPS)
    resident = difference(status("VmHWM"), before) if resettable else None
    faults = difference(page_faults(), touched)
    arrays = traced > SMALL or (resident or 0) > ROUGH
    return {
        "traced_peak": traced,
        "resident_peak": resident,
        "page_faults": None if faults is None else faults / STEPS,
        "malloc_growth": difference(malloced(), heap),
        "array_bytes": max(traced, resident or 0) if arrays else 0,
    }


def measure(names: Sequence[str], size: int = SIZE) -> dict[str, Any]:
    """Return the memory row: clip and step of AdamW on one array, contestant by contestant.

    Parameters
    ----------
    names : sequence of str
        Contestants.
    size : int, default 10,000,000
        Elements.

    Returns
    -------
    dict
        ``results`` by contestant: of_step's, and ``kept_bytes``, resident memory that making the
        optimizer and its first steps left behind (the slots, and whatever else).
    """
    rule = KNOWN["adamw"]
    row: dict[str, Any] = {
        "rule": rule.name,
        "elements": size,
        "clip": CLIP,
        "slot_bytes": rule.slots * size * FLOAT,
        "steps": STEPS,
        "small_change": SMALL,
        "results": {},
        "absent": {},
    }
    small, case = (Case("memory", rule, ((n,),), CLIP, single=True) for n in (10, size))
    for name in names:
        try:
            peers.build(name, small, *small.arrays()).run(1)  # libraries set themselves up
            arrays = case.arrays()
            tidy()
            before = status("VmRSS")
            contestant = peers.build(name, case, *arrays)
            contestant.run(1)
            gc.collect()
            kept = difference(status("VmRSS"), before)
            row["results"][name] = {**of_step(contestant), "kept_bytes": kept}
        except peers.Absent as reason:
            row["absent"][name] = str(reason)
        contestant = arrays = None
        tidy()
    return row
