"""The structs of ``loops/tables.hpp`` as NumPy sees them: what a launch reads, laid out as the compilers do."""

from __future__ import annotations

from typing import Any

import numpy as np

CHUNK = 4096  # elements
SLOTS = 4
DIMENSIONS = 8
NUMBERS = 128  # bytes of a prepared rule
FORMATS = ("float64", "float32", "bfloat16")
SIZES = (8, 4, 2)


def _struct(*fields: Any) -> np.dtype[Any]:
    return np.dtype(list(fields), align=True)


Chunk = _struct(("leaf", "i4"), ("count", "i4"), ("first", "i8"))
View = _struct(
    ("shape", "i8", (DIMENSIONS,)),
    ("strides", "i8", (DIMENSIONS,)),
    ("inverse", "f8", (DIMENSIONS,)),
    ("dimensions", "i8"),
)
SourceRow = _struct(("data", "u8"), ("format", "i4"), ("view", "i4"))
Entry = _struct(("lr", "f8"), ("unused", "f8"), ("numbers", "u1", (NUMBERS,)))
Row = _struct(("entries", "u8"), ("first", "i8"))
Rows = _struct(("valid_until", "i8"), ("unused", "i8"), ("rows", Row, (1,)))
LeafRow = _struct(
    ("p", "u8"),
    ("slots", "u8", (SLOTS,)),
    ("accumulator", "u8"),
    ("behind", "i8"),
    ("row", "i4"),
    ("variant", "i4"),
    ("source", "i4"),
    ("sources", "i4"),
    ("p_view", "i4"),
    ("first_chunk", "i4"),
    ("chunks", "i4"),
    ("add", "i4"),
    ("p_format", "i4"),
    ("arithmetic", "i4"),
)
Record = _struct(
    ("call", "i8"),
    ("steps", "i8"),
    ("lr", "f8"),
    ("norm", "f8"),
    ("clip_coef", "f8"),
    ("skipped", "i4"),
    ("has_norm", "i4"),
)
Mailbox = _struct(("call", "i8"), ("steps", "i8"), ("starved", "i8"))
LossScale = _struct(
    ("scale", "f8"),
    ("growth", "f8"),
    ("backoff", "f8"),
    ("growth_interval", "i8"),
    ("floor", "f8"),
    ("ceiling", "f8"),
    ("hysteresis", "i8"),
    ("dynamic", "?"),
    ("good_steps", "i8"),
    ("hysteresis_left", "i8"),
)
State = _struct(
    ("steps", "i8"),
    ("call", "i8"),
    ("norm", "f8"),
    ("g_scale", "f8"),
    ("smallest_coef", "f8"),  # its bits
    ("not_finite", "u4"),
    ("skipped", "u4"),
    ("finite", "u4"),
    ("arrived", "u4"),
    ("starved", "i8"),
    ("moved", "i8"),
    ("loss_scale", "f4"),
    ("unused", "u4"),
    ("scaler", LossScale),
    ("digits", "i8", (68,)),
)
Launch = _struct(
    ("chunks", "u8"),
    ("leaves", "u8"),
    ("sources", "u8"),
    ("views", "u8"),
    ("rows", "u8"),
    ("behind", "u8"),
    ("state", "u8"),
    ("chunk_sums", "u8"),
    ("leaf_scales", "u8"),
    ("record", "u8"),
    ("mailbox", "u8"),
    ("backup", "u8"),
    ("backup_at", "u8"),
    ("limit", "f8"),
    ("bound", "f8"),
    ("mean", "f8"),
    ("call", "i8"),
    ("moved", "i8"),
    ("chunk_count", "i4"),
    ("leaf_count", "i4"),
    ("pending", "i4"),
    ("lr_row", "i4"),
    ("flags", "u4"),
    ("unused", "i4"),
)

# LaunchFlags
TAKES_NORM = 1
HAS_SCALER = 2
ADDS = 4
ADDS_BY_LEAF = 8
SOME_SIT_OUT = 16
SKIPS_NONFINITE = 32
BY_LEAF = 64
BY_GLOBAL = 128
IN_GRAPH = 256


def view_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Extents and strides with dimensions merged where elements follow each other as they would in one.

    >>> view_of((2, 3, 4), (96, 32, 8))
    ([24], [8])
    """
    merged: list[tuple[int, int]] = []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if merged and merged[-1][1] == extent * stride:
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return [extent for extent, _ in merged], [stride for _, stride in merged]


def fill_view(row: Any, shape: tuple[int, ...], strides: tuple[int, ...], where: str) -> None:
    """Write a View; a ValueError for an array too scattered for one."""
    extents, steps = view_of(shape, strides) if 0 not in shape else ([], [])
    if len(extents) > DIMENSIONS:
        raise ValueError(
            f"{where}: a view of {len(extents)} dimensions that do not merge, expected {DIMENSIONS} at most on CUDA; "
            "pass a copy in C order"
        )
    row["dimensions"] = len(extents)
    row["shape"][: len(extents)] = extents
    row["strides"][: len(extents)] = steps
    row["inverse"][: len(extents)] = [1 / extent for extent in extents]


def chunks_of(counts: list[int], first_leaf: int = 0) -> np.ndarray[Any, Any]:
    """The chunks of leaves of so many elements, in order."""
    per_leaf = [-(-count // CHUNK) for count in counts]
    chunks = np.zeros(sum(per_leaf), Chunk)
    at = 0
    for leaf, (count, many) in enumerate(zip(counts, per_leaf, strict=True), first_leaf):
        rows = chunks[at : at + many]
        rows["leaf"] = leaf
        rows["first"] = np.arange(many, dtype=np.int64) * CHUNK
        rows["count"] = np.minimum(CHUNK, count - rows["first"])
        at += many
    return chunks
