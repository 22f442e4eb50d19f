"""The prepared numbers of the steps to come, on the device ahead of time; the device picks by its own clock.

A run of entries, once sent, never changes: a new schedule, hyper or stretch of steps makes a new run, and the table of
rows that says where the runs lie is sent in the stream's order. What is under way, or captured in a graph, is safe.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.staging import Staging

LONGEST = 4096  # entries of a run
_SHORT = 64  # of one whose hypers have just changed, and may again
_MOST_IDLE = 64  # runs of a size that may be under way before a new one waits
_HEADER = layout.Rows.fields["rows"][1]  # type: ignore[index]  bytes before the first row


class Key(NamedTuple):
    """What decides the numbers of a leaf beside the step."""

    group: int
    arithmetic: int
    mask: int
    visited: bool | None  # whether the gradient was taken at the look-ahead point
    behind: int  # real steps sat out


class _Run:
    """So many entries in pinned memory and on the device."""

    def __init__(self, size: int, stream: Any) -> None:
        self.size = size
        self.pinned = runtime.Pinned(size * layout.Entry.itemsize)
        self.block = runtime.Block(size * layout.Entry.itemsize, stream)
        self.free_from = 0  # the call that must be done before it is written again


class Numbers:
    """The rows of an optimizer."""

    def __init__(self, session: _core.Session, stream: Any) -> None:
        self._session = session
        self._rows: dict[Key, int] = {}
        self._runs: list[_Run] = []  # by row
        self._idle: list[_Run] = []
        self._first = self.until = 0  # the steps that every row has entries for
        self._stale = True
        self._settled = True  # the hypers are those of the run before
        self._idle = [_Run(size, stream) for size in (_SHORT, _SHORT, LONGEST, LONGEST)]
        self._make_table(16, stream)

    def _make_table(self, rows: int, stream: Any) -> None:
        self._room = rows
        size = _HEADER + rows * layout.Row.itemsize
        self._block = runtime.Block(size, stream)
        self._staging = Staging(size, 8)

    @property
    def table(self) -> int:
        return self._block.ptr

    def row(self, key: Key) -> int:
        """The index of a row; a new one has its entries from the next `cover` on."""
        if key not in self._rows:
            self._rows[key] = len(self._rows)
            self._stale = True
        return self._rows[key]

    def keep(self, keys: set[Key]) -> bool:
        """Drop rows that nobody names, once they are many; True where indices have changed."""
        if len(self._rows) <= 2 * len(keys) + 16:
            return False
        self._rows = {key: index for index, key in enumerate(key for key in self._rows if key in keys)}
        self._stale = True
        return True

    def changed(self) -> None:
        """Hypers are others: no entry holds any more."""
        self._stale = True
        self._settled = False

    def covers(self, low: int, high: int) -> bool:
        return not self._stale and self._first <= low and high < self.until

    def cover(self, low: int, high: int, ahead: bool, call: int, done: int, stream: Any, longest: bool = False) -> int:
        """Have entries for the steps from `low` to `high`, and `ahead` for many more, in the stream's order.

        They are there before the launches of `call`.

        Returns the first step without entries: it is `high` or below where a hyper of that step was refused.
        """
        if len(self._rows) > self._room:
            self._make_table(2 * len(self._rows), stream)
        least = high - low + 1
        count = least if not ahead else max(LONGEST if self._settled or longest else _SHORT, least)
        runs: list[_Run] = []
        try:
            runs = [self._take(count, done, stream) for _ in self._rows]
            written = [
                self._session.fill(*key, low, run.pinned.bytes[: count * layout.Entry.itemsize])
                for key, run in zip(self._rows, runs, strict=True)
            ]
        except BaseException:
            self._idle += runs
            raise
        for run, entries in zip(runs, written, strict=True):
            runtime.send(run.block.ptr, run.pinned.ptr, entries * layout.Entry.itemsize, stream)
        for run in self._runs:
            run.free_from = call
        self._idle += self._runs
        self._runs = runs
        self._first, self.until = low, low + min(written, default=count)
        self._send_table(call, done, stream)
        self._stale = False
        self._settled = True
        return self.until

    def _send_table(self, call: int, done: int, stream: Any) -> None:
        pinned = self._staging.next(call, done, stream)
        head = pinned.view(np.dtype("i8"), 0, 2)
        head[0] = self.until
        rows = pinned.view(layout.Row, _HEADER, len(self._runs))
        rows["entries"] = [run.block.ptr for run in self._runs]
        rows["first"] = self._first
        runtime.send(self._block.ptr, pinned.ptr, _HEADER + len(self._runs) * layout.Row.itemsize, stream)

    def _take(self, count: int, done: int, stream: Any) -> _Run:
        size = _SHORT if count <= _SHORT else LONGEST if count <= LONGEST else count
        fitting = [run for run in self._idle if run.size == size]
        free = next((run for run in fitting if run.free_from <= done), None)
        if free is None and len(fitting) >= _MOST_IDLE:
            stream.synchronize()
            free = fitting[0]
        if free is None:
            return _Run(size, stream)
        self._idle.remove(free)
        return free
