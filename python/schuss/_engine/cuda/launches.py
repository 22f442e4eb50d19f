"""Kernels of one optimizer, and what they are launched with."""

from __future__ import annotations

from typing import Any

import numpy as np

from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.source import Variant

_WARPS = 8  # of a block, each of which sums a chunk
_MOST_LEAF_BLOCKS = 1024


class Launches:
    """Each kernel is loaded once; what all launches have in common is filled in once."""

    def __init__(self, device: int, rule: str) -> None:
        self._device = device
        self._rule = rule
        self._kernels: dict[tuple[str, tuple[Variant, ...]], tuple[Any, int]] = {}
        self.struct = np.zeros((), layout.Launch)
        self._argument = runtime.as_argument(self.struct)

    def kernel(self, kind: str, variants: tuple[Variant, ...] = ()) -> tuple[Any, int]:
        """A kernel and how many of its blocks the device holds; compiled where it is met for the first time."""
        key = (kind, variants)
        if key not in self._kernels:
            its = runtime.kernel(self._device, kind, self._rule if variants else None, variants)
            self._kernels[key] = its, runtime.resident_blocks(its, self._device)
        return self._kernels[key]

    def run(self, kind: str, stream: Any, variants: tuple[Variant, ...] = (), struct: Any = None) -> None:
        argument = self._argument if struct is None else runtime.as_argument(struct)
        struct = self.struct if struct is None else struct
        its, resident = self.kernel(kind, variants)
        blocks = int(struct["chunk_count"])
        if kind == "sum":
            blocks = -(-blocks // _WARPS)
        elif kind == "finish":
            by_leaf = int(struct["flags"]) & layout.BY_LEAF
            blocks = min(int(struct["leaf_count"]), _MOST_LEAF_BLOCKS) if by_leaf else 1
        runtime.launch(its, max(1, min(blocks, resident)), argument, stream)
