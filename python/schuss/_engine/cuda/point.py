"""To the point where a rule wants its gradient taken, and exactly back, on the device."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.numbers import Key

if TYPE_CHECKING:
    from .engine import Engine


class Point:
    """The parameters as they were, kept while they are elsewhere; made when first asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.proxy(engine)  # which holds this
        self._backup: runtime.Block | None = None
        self._rows: runtime.Copy | None = None
        self._views: runtime.Copy | None = None
        self._starts: runtime.Copy | None = None
        self._sent: bytes = b""  # the rows that are on the device
        self.keys: list[Key] = []

    def forget(self) -> None:
        """Leaves were added."""
        self._backup = self._rows = None

    def choose_keys(self) -> list[Key]:
        """Of the numbers of all leaves that move: those that are frozen are kept where they are."""
        leaves = self._engine.leaves
        self._moves = ~leaves.frozen_now()
        self.keys, self._kind = leaves.keys_of(self._moves, None)
        return self.keys

    def plan(self, indices: list[int]) -> np.ndarray[Any, Any]:
        """The rows of all leaves, with the numbers at these indices for the keys chosen."""
        leaves = self._engine.leaves
        rows = leaves.host.leaves.copy()
        codes = leaves.memory.masks * 3 + leaves.formats
        known = np.unique(codes)
        self.variants = tuple((int(c) // 3, layout.FORMATS[c % 3], layout.FORMATS[c % 3]) for c in known)
        rows["variant"] = np.where(self._moves, np.searchsorted(known, codes), -1)
        rows["row"] = 0
        rows["row"][self._moves] = np.array(indices, np.int32)[self._kind.reshape(-1)]
        return rows

    def is_ready(self, rows: np.ndarray[Any, Any]) -> bool:
        """Whether the device has them."""
        return self._rows is not None and self._sent == rows.tobytes()

    @property
    def held(self) -> list[Any]:
        """What the kernels read."""
        blocks = (self._backup, self._rows, self._views, self._starts)
        return [block for block in blocks if block is not None]

    def send(self, rows: np.ndarray[Any, Any], stream: Any) -> bool:
        """Rows to the device where they are others, in memory of their own: a graph may hold those before."""
        leaves = self._engine.leaves
        if self.is_ready(rows):
            return False
        host_views = np.concatenate(leaves.host.views[: leaves.host.fixed_views] or [np.zeros(1, layout.View)])
        backup, starts = self._backup, self._starts
        if backup is None or starts is None:
            backup, starts = self._make_backup(stream)
        copies = runtime.Copy(rows, stream), runtime.Copy(host_views, stream)
        # There is room for all of it.
        self._backup, self._starts, (self._rows, self._views) = backup, starts, copies
        for copy in (starts, *copies):
            copy.send(stream)
        self._sent = rows.tobytes()
        return True

    def _make_backup(self, stream: Any) -> tuple[runtime.Block, runtime.Copy]:
        leaves = self._engine.leaves
        sizes = leaves.counts * np.array(layout.SIZES)[leaves.formats]
        ends = np.cumsum([runtime.rounded(int(size)) for size in sizes])
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        return runtime.Block(int(ends[-1]), stream), runtime.Copy(starts, stream)

    def fill_launch(self, launch: Any) -> None:
        backup, leaves, views, starts = self.held
        launch["leaves"], launch["views"] = leaves.ptr, views.ptr
        launch["backup"], launch["backup_at"] = backup.ptr, starts.ptr
