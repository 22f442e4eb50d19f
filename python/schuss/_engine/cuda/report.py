"""What the device tells of its steps: records and a mailbox in pinned memory, read when somebody asks."""

from __future__ import annotations

import weakref
from typing import Any

from schuss._engine.cuda import layout, runtime

_RECORDS = 1024
_CAPTURED = 64  # steps in graphs until an ordinary one


class Reports:
    """Records in turns, one a call, and how far the device has come."""

    def __init__(self) -> None:
        self._pinned = runtime.Pinned(_RECORDS * layout.Record.itemsize)
        self._records = self._pinned.view(layout.Record, 0, _RECORDS)
        self._mail = runtime.Pinned(layout.Mailbox.itemsize)
        self._numbers = self._mail.bytes.view("i8")  # call, steps, starved
        self._starved_told = 0
        self._waiting: list[weakref.ref[Fetch] | None] = [None] * _RECORDS
        self._captured = 0  # calls whose records are of the last block
        self._blocks = [runtime.Pinned(_CAPTURED * layout.Record.itemsize)]  # those of graphs stay

    @property
    def mailbox(self) -> int:
        return self._mail.ptr

    @property
    def call(self) -> int:
        """The last call that is known to be done."""
        return int(self._numbers[0])

    @property
    def steps(self) -> int:
        """Real steps that are known to be done."""
        return int(self._numbers[1])

    def set_steps(self, steps: int) -> None:
        """Nothing is under way, and the count is this."""
        self._numbers[1] = steps

    def new_starved(self) -> int:
        """Steps not taken for lack of numbers, since it was last asked."""
        starved = int(self._numbers[2])
        new = starved - self._starved_told
        self._starved_told = starved
        return new

    def record(self, call: int) -> int:
        """Where a call reports. Whoever still waits for what stood there gets it first."""
        waiting = self._waiting[call % _RECORDS]
        fetch = waiting() if waiting is not None else None
        if fetch is not None:
            fetch()
            self._waiting[call % _RECORDS] = None
        return self._pinned.ptr + call % _RECORDS * layout.Record.itemsize

    def captured_record(self) -> runtime.Pinned:
        """A record of its own for a call in a graph, of which every replay writes it anew."""
        if self._captured == _CAPTURED:
            raise RuntimeError(
                f"more than {_CAPTURED} steps were captured since the last ordinary one; take an ordinary one between"
            )
        self._captured += 1
        return self._blocks[-1].part((self._captured - 1) * layout.Record.itemsize, layout.Record.itemsize)

    def prepare_capture(self) -> None:
        """Make what captures need, since then nothing can be made."""
        if self._captured:
            self._blocks.append(runtime.Pinned(_CAPTURED * layout.Record.itemsize))
            self._captured = 0

    def expect(self, fetch: Fetch) -> Any:
        """The record that a call will fill."""
        self._waiting[fetch.call % _RECORDS] = weakref.ref(fetch)
        at = fetch.call % _RECORDS
        return self._records[at : at + 1]


class Fetch:
    """Reads what a step was, once. ``live``: the step is in a graph, and every reading is of its latest replay."""

    __slots__ = ("__weakref__", "_device", "_record", "_stream", "_value", "call", "live")

    def __init__(
        self, device: runtime.Device, reports: Reports, stream: Any, call: int, captured: runtime.Pinned | None
    ) -> None:
        self._device = device
        self._stream = stream
        self.call = call
        self.live = captured is not None
        self._record = captured.view(layout.Record) if captured else reports.expect(self)
        self._value: tuple[int, float, float | None, float, bool] | None = None

    def __call__(self) -> tuple[int, float, float | None, float, bool]:
        if self._value is not None:
            return self._value
        record = self._record
        if self.live and not runtime.is_capturing(self._stream):
            self._device.wait()
        elif not self.live and record["call"][0] != self.call:
            with self._device:
                self._stream.synchronize()
        if record["call"][0] != self.call:
            raise RuntimeError(
                "this step was captured in a graph that has not been replayed yet"
                if self.live
                else "the device did not report this step: an earlier error has stopped it"
            )
        norm = float(record["norm"][0]) if record["has_norm"][0] else None
        value = (
            int(record["steps"][0]),
            float(record["lr"][0]),
            norm,
            float(record["clip_coef"][0]),
            bool(record["skipped"][0]),
        )
        if not self.live:
            self._value = value
        return value
