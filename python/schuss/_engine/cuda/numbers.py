"""The prepared numbers of the steps to come, on the device ahead of time; the device picks by its own clock.

A run of entries, once sent, never changes: a new schedule, hyper or stretch of steps makes a new run, and the table of
rows that says where the runs lie is sent in the stream's order. What is under way, or captured in a graph, is safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.staging import Staging

LONGEST = 4096  # entries of a run
_SHORT = 64  # of one whose hypers have just changed, and may again
_UNDER_WAY = 32  # steps with new numbers, each, that may be before another one waits
_RESERVED = 8  # rows whose runs are made with them
_HEADER = layout.Rows.fields["rows"][1]  # type: ignore[index]  bytes before the first row


class Key(NamedTuple):
    """What decides the numbers of a leaf beside the step."""

    group: int
    arithmetic: int
    mask: int
    visited: bool | None  # whether the gradient was taken at the look-ahead point
    behind: int  # real steps sat out
    factors: int  # which set of factors on the hypers


class _Run:
    """So many entries in pinned memory and on the device."""

    def __init__(self, size: int, pinned: runtime.Pinned, block: runtime.Block, ptr: int) -> None:
        self.size = size
        self.pinned = pinned
        self.ptr = ptr
        self.free_from = 0  # the call that must be done before it is written again
        self._block = block

    @staticmethod
    def make(count: int, size: int, stream: Any) -> list[_Run]:
        each = size * layout.Entry.itemsize
        pinned, block = runtime.Pinned(count * each), runtime.Block(count * each, stream)
        return [_Run(size, pinned.part(k * each, each), block, block.ptr + k * each) for k in range(count)]


class _Row:
    """The numbers of one key: where they are on the device, and for which steps."""

    def __init__(self, index: int, settled: bool) -> None:
        self.index = index
        self.run: _Run | None = None
        self.first = self.until = 0
        self.settled = settled  # the hypers are not expected to change at once


class Numbers:
    """The rows of an optimizer."""

    def __init__(self, session: _core.Session, stream: Any) -> None:
        self._session = session
        self._rows: dict[Key, _Row] = {}
        self._idle: dict[int, list[_Run]] = {_SHORT: [], LONGEST: []}
        self._first = self.until = 0  # the steps that every row has entries for
        self._pinned: set[Key] = set()  # those that leaves of graphs name
        self._free: list[int] = []  # indices of rows dropped
        self._tables: list[tuple[runtime.Block, int]] = []  # and room for rows; the last is the one in use
        self._grow(64, stream)

    def _grow(self, room: int, stream: Any) -> list[Any]:
        """A larger table; gives those that it replaces. A graph goes on with the one it was captured with."""
        old = [] if self._pinned else self._tables
        self._tables = self._tables if self._pinned else []
        block = runtime.Block(_HEADER + room * layout.Row.itemsize, stream)
        self._tables.append((block, room))
        self._staging = Staging(block.size, _UNDER_WAY)
        self._staging.make_all()
        return old

    @property
    def table(self) -> int:
        return self._tables[-1][0].ptr

    def row(self, key: Key, stream: Any) -> int:
        """The index of a row; a new one has its entries from the next `cover` on."""
        if key not in self._rows:
            few = len(self._rows) < _RESERVED  # many: leaves come and go, and so do their rows
            index = self._free.pop() if self._free else len(self._rows)
            self._rows[key] = _Row(index, settled=few)
            self.until = 0
            if few:  # so that no step has to make them
                self._idle[_SHORT] += _Run.make(_UNDER_WAY, _SHORT, stream)
                self._idle[LONGEST] += _Run.make(2, LONGEST, stream)
            else:
                self._idle[_SHORT] += _Run.make(2, _SHORT, stream)
        return self._rows[key].index

    def fit(self, stream: Any) -> list[Any]:
        """Have room in the table for every row; gives what it replaces, which calls under way may read."""
        rows = len(self._rows) + len(self._free)
        if rows <= self._tables[-1][1]:
            return []
        self.until = 0
        staging = self._staging
        return [*self._grow(2 * rows, stream), staging]

    def pin(self, keys: Iterable[Key]) -> None:
        """A graph is captured: its leaves name these rows for as long as it is replayed."""
        self._pinned |= set(keys)

    def keep(self, keys: Iterable[Key], call: int) -> None:
        """Drop rows that nobody names, once they are many."""
        wanted = self._pinned | set(keys)
        if len(self._rows) <= 2 * len(wanted) + 16:
            return
        for key in self._rows.keys() - wanted:
            row = self._rows.pop(key)
            self._free.append(row.index)
            self._let_go(row, call)

    def has(self, keys: list[Key]) -> bool:
        return all(key in self._rows for key in keys)

    def changed(self) -> None:
        """Hypers are others: no entry holds any more."""
        self.until = 0
        for row in self._rows.values():
            row.until = 0
            row.settled = False

    def covers(self, low: int, high: int) -> bool:
        return self._first <= low and high < self.until

    def cover(self, low: int, high: int, ahead: bool, call: int, done: int, stream: Any, renew: bool = False) -> int:
        """Have entries for the steps from `low` to `high`, and `ahead` for many more, in the stream's order.

        They are there before the launches of `call`. ``renew``: every row has them for as long as can be.

        Returns the first step without entries: it is `high` or below where a hyper of that step was refused.
        """
        least = high - low + 1
        few = len(self._rows) <= _RESERVED
        made: list[tuple[_Row, _Run, int]] = []
        try:
            for key, row in self._rows.items():
                if row.first <= low and high < row.until and not renew:
                    continue
                count = max(least, LONGEST if renew or (few and row.settled) else _SHORT) if ahead else least
                run = self._take(count, done, stream)
                made.append((row, run, 0))
                entries = self._session.fill(
                    *key[:-1], low, run.pinned.bytes[: count * layout.Entry.itemsize], key.factors
                )
                made[-1] = row, run, entries
        except BaseException:
            for _, run, _ in made:
                self._idle.setdefault(run.size, []).append(run)
            raise
        for row, run, entries in made:
            runtime.send(run.ptr, run.pinned.ptr, entries * layout.Entry.itemsize, stream)
            self._let_go(row, call)
            row.run, row.first, row.until, row.settled = run, low, low + entries, True
        self._first = max((row.first for row in self._rows.values()), default=low)
        self.until = min((row.until for row in self._rows.values()), default=low + LONGEST)
        self._send_table(call, done, stream)
        return self.until

    def _let_go(self, row: _Row, call: int) -> None:
        if row.run is not None:
            row.run.free_from = call
            self._idle.setdefault(row.run.size, []).append(row.run)

    def _send_table(self, call: int, done: int, stream: Any) -> None:
        pinned = self._staging.next(call, done, stream)
        pinned.view(np.dtype("i8"))[0] = self.until
        count = len(self._rows) + len(self._free)
        rows = pinned.view(layout.Row, _HEADER, count)
        for row in self._rows.values():
            assert row.run
            rows[row.index] = row.run.ptr, row.first
        for block, room in self._tables:
            runtime.send(block.ptr, pinned.ptr, _HEADER + min(count, room) * layout.Row.itemsize, stream)

    def _take(self, count: int, done: int, stream: Any) -> _Run:
        size = _SHORT if count <= _SHORT else LONGEST if count <= LONGEST else count
        fitting = self._idle.get(size, [])
        free = next((run for run in fitting if run.free_from <= done), None)
        if free is None and len(fitting) >= _UNDER_WAY:
            stream.synchronize()
            for run in fitting:
                run.free_from = 0
            free = fitting[0]
        if free is None:
            return _Run.make(1, size, stream)[0]
        fitting.remove(free)
        return free
