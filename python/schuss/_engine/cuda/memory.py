"""What a device's optimizer keeps there: slots, accumulators, chunks, clocks."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, runtime

if TYPE_CHECKING:
    from .leaves import Leaves

Place = tuple[runtime.Block, int]  # a block and where in it


class Memory:
    """Made when leaves are added, so that a step makes nothing."""

    def __init__(self, leaves: Leaves, session: _core.Session, rule_slots: int) -> None:
        self._leaves = weakref.proxy(leaves)  # which holds this
        self._clocks = 0  # that there is room for
        self._session = session
        self._rule_slots = rule_slots
        self._slots: list[list[Place | None]] = []
        self._accumulators: list[Place | None] = []
        self.masks = np.zeros(0, np.int64)

    def copy(self, leaves: Leaves) -> Memory:
        """One that may be changed while this stays as it is."""
        other = copy.copy(self)
        other._leaves = weakref.proxy(leaves)
        other._slots = [list(of) for of in self._slots]
        other._accumulators = list(self._accumulators)
        return other

    def extend(self, stream: Any, old: int, accumulates: np.ndarray[Any, Any]) -> None:
        """Memory for the leaves from `old` on; tables of all leaves anew."""
        leaves = self._leaves
        self._masks_now()
        new = range(old, leaves.count)
        for _ in new:
            self._slots.append([None] * self._rule_slots)
            self._accumulators.append(None)
        self._make_slots([(leaf, k) for leaf in new for k in range(self._rule_slots) if self._keeps(leaf, k)], stream)
        wanted = [leaf for leaf in new if accumulates[leaf]]
        for leaf, place in zip(wanted, self._places([self._bytes(leaf) for leaf in wanted], stream), strict=True):
            self._accumulators[leaf] = place
        self._chunks = layout.chunks_of(leaves.counts.tolist())
        self.chunk_count = len(self._chunks)
        self._chunk_block = runtime.Block(self._chunks.nbytes, stream)
        stream.synchronize()  # whoever had that memory before is done, and whatever stream steps first finds the table
        runtime.put(self._chunk_block.ptr, self._chunks)
        self._make_room_for_clocks(stream)
        if leaves.by_leaf:
            self._chunk_sums = runtime.Block(self.chunk_count * 8, stream)
            self._leaf_scales = runtime.Block(leaves.count * 8, stream)
        self._write_rows()

    def _make_room_for_clocks(self, stream: Any) -> None:
        """In one place for as long as can be: graphs let leaves fall behind there."""
        count = self._leaves.count
        if count > self._clocks:
            self._clocks = max(2 * count, 4096)
            self._behind = runtime.Block(self._clocks * 8, stream, zeroed=True)

    def _masks_now(self) -> None:
        of_group = [self._session.mask(int(group)) for group in range(int(self._leaves.groups.max()) + 1)]
        self.masks = np.array(of_group, np.int64)[self._leaves.groups]

    def remake(self, stream: Any) -> bool:
        """After hypers changed: make slots now kept, drop those kept no longer; False where nothing changed."""
        before = self.masks
        self._masks_now()
        changed = np.flatnonzero(before != self.masks).tolist()
        if not changed:
            return False
        for leaf in changed:
            for k in range(self._rule_slots):
                if not self._keeps(leaf, k):
                    self._slots[leaf][k] = None
        missing = [
            (leaf, k)
            for leaf in changed
            for k in range(self._rule_slots)
            if self._keeps(leaf, k) and self._slots[leaf][k] is None
        ]
        self._make_slots(missing, stream)
        self._write_rows()
        return True

    def _keeps(self, leaf: int, slot: int) -> bool:
        return bool(int(self.masks[leaf]) >> slot & 1)

    def _bytes(self, leaf: int) -> int:
        return int(self._leaves.counts[leaf]) * layout.SIZES[int(self._leaves.arithmetic[leaf])]

    def _dtype(self, leaf: int) -> Any:
        return np.dtype(layout.FORMATS[int(self._leaves.arithmetic[leaf])])

    def _places(self, sizes: list[int], stream: Any) -> list[Place]:
        """Places for so many arrays in one block."""
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + runtime.rounded(size))
        block = runtime.Block(starts[-1], stream, zeroed=True)
        return [(block, start) for start in starts[:-1]]

    def _make_slots(self, wanted: list[tuple[int, int]], stream: Any) -> None:
        initials: dict[int, list[float]] = {}
        for (leaf, k), place in zip(
            wanted, self._places([self._bytes(leaf) for leaf, _ in wanted], stream), strict=True
        ):
            self._slots[leaf][k] = place
            group = int(self._leaves.groups[leaf])
            if group not in initials:
                initials[group] = self._session.slot_initials(group)
            if initials[group][k] != 0:  # a block comes zeroed
                block, start = place
                count = int(self._leaves.counts[leaf])
                runtime.fill(block.ptr + start, count, self._dtype(leaf), initials[group][k])

    def _write_rows(self) -> None:
        rows = self._leaves.host.leaves
        for k in range(self._rule_slots):
            rows["slots"][:, k] = [0 if (place := of[k]) is None else place[0].ptr + place[1] for of in self._slots]
        rows["accumulator"] = [0 if place is None else place[0].ptr + place[1] for place in self._accumulators]

    @property
    def behind_at(self) -> int:
        return self._behind.ptr

    def fill_launch(self, launch: Any) -> None:
        """What of a launch is the same in every step."""
        launch["chunks"], launch["chunk_count"] = self._chunk_block.ptr, self.chunk_count
        launch["leaf_count"] = self._leaves.count
        launch["behind"] = self._behind.ptr
        if self._leaves.by_leaf:
            launch["chunk_sums"], launch["leaf_scales"] = self._chunk_sums.ptr, self._leaf_scales.ptr

    @property
    def chunks_at(self) -> int:
        return self._chunk_block.ptr

    def _array(self, leaf: int, place: Place | None) -> Any:
        if place is None:
            return None
        block, start = place
        return block.array(start, tuple(self._leaves.shapes[leaf]), self._dtype(leaf))

    def slot(self, leaf: int, slot: int) -> Any:
        """A CuPy array over a slot; None where it is not kept."""
        return self._array(leaf, self._slots[leaf][slot])

    def accumulator(self, leaf: int) -> Any:
        """A CuPy array over what micro-gradients are summed in; None where there is none."""
        return self._array(leaf, self._accumulators[leaf])
