"""Streams, events and graphs as ``cupy.cuda`` has them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

from cudasim.simulation import CUDARuntimeError, Operation, Queue
from cudasim.state import now

_local = threading.local()


def _current() -> dict[int, list[Any]]:
    """The stack of current streams of each device, of this thread and simulation."""
    found = getattr(_local, "stacks", None)
    if found is None or found[0] is not now():
        _local.stacks = found = (now(), {})
    return found[1]


def get_current_stream(device_id: int = -1) -> Any:
    device = now().device if device_id == -1 else device_id
    stack = _current().setdefault(device, [])
    return stack[-1] if stack else Stream.null


def queue_of(stream: Any) -> Queue:
    """The queue of a stream, the current one where it is None."""
    return (get_current_stream() if stream is None else stream)._queue


class _BaseStream:
    ptr: int
    device_id: int

    @property
    def _queue(self) -> Queue:
        return now().queue(self.ptr, None if self.device_id == -1 else self.device_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BaseStream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ptr} (device {self.device_id})>"

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.ptr

    def _device_if_current(self) -> int:
        device = now().device
        if self.device_id not in (-1, device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({device})"
            )
        return device

    def __enter__(self) -> Any:
        device = self._device_if_current()
        _current().setdefault(device, []).append(self)
        _current().setdefault(-1, []).append(device)
        return self

    def __exit__(self, *_: object) -> None:
        _current()[_current()[-1].pop()].pop()

    def use(self) -> Any:
        _current()[self._device_if_current()] = [self]
        return self

    @property
    def done(self) -> bool:
        return not self._queue.operations

    def synchronize(self) -> None:
        queue = self._queue
        now().waits(queue)
        now().finish_queue(queue)

    def record(self, event: Any = None) -> Any:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Any) -> None:
        queue, recorded = self._queue, event._operation
        if queue.captured is not None and recorded not in queue.captured:
            raise CUDARuntimeError(905)
        wait = Operation("wait", "", lambda: lambda: None)
        if recorded is not None:
            wait.after.append(recorded)
        now().enqueue(queue, wait)

    def launch_host_func(self, callback: Callable[[Any], None], arg: Any) -> None:
        now().enqueue(self._queue, Operation("host", "", lambda: lambda: callback(arg)))

    def is_capturing(self) -> bool:
        return self._queue.captured is not None

    def begin_capture(self, mode: int | None = None) -> None:
        queue = self._queue
        if queue.pointer == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if queue.captured is not None:
            raise CUDARuntimeError(900)
        queue.captured, queue.spoiled = [], False

    def end_capture(self) -> Graph:
        queue = self._queue
        captured, queue.captured = queue.captured, None
        if captured is None:
            raise CUDARuntimeError(1)
        if queue.spoiled:
            raise CUDARuntimeError(901)
        return Graph(captured, queue.device)


class Stream(_BaseStream):
    null: Any = None

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        assert not ptds, "streams of a thread are not simulated"
        self.ptr, self.device_id = 0, -1
        if not null:
            queue = now().new_queue(blocking=not non_blocking)
            self.ptr, self.device_id = queue.pointer, queue.device

    @classmethod
    def from_external(cls, obj: Any) -> Stream:
        """Another library's: whose device is not known."""
        version, pointer = obj.__cuda_stream__()
        assert version == 0
        assert type(pointer) is int
        stream = cls.__new__(cls)
        stream.ptr, stream.device_id = pointer, -1
        return stream


class ExternalStream(_BaseStream):
    """Another library's, by its pointer: `foreign_stream` makes one."""

    def __init__(self, ptr: int, device_id: int = -1) -> None:
        warnings.warn("ExternalStream is deprecated. Use Stream.from_external() instead", DeprecationWarning, 2)
        self.ptr, self.device_id = ptr, device_id


Stream.null = Stream(null=True)


def foreign_stream(device: int = 0, blocking: bool = True) -> int:
    """The pointer of a stream that somebody else made."""
    return now().new_queue(blocking, device).pointer


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._operation: Operation | None = None

    def record(self, stream: Any = None) -> None:
        self._operation = now().enqueue(queue_of(stream), Operation("event", "", lambda: lambda: None))

    @property
    def done(self) -> bool:
        return self._operation is None or self._operation.done

    def synchronize(self) -> None:
        now().waits()
        if self._operation is not None:
            now().finish(self._operation)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds: nothing here takes a time that means anything."""
    assert start_event.done
    assert end_event.done
    return 1.0


class Graph:
    """What a stream was asked for while it was captured."""

    def __init__(self, operations: list[Operation], device: int) -> None:
        self._operations, self._device = operations, device

    def launch(self, stream: Any = None) -> None:
        nodes = [each.again() for each in self._operations]

        def begin() -> Callable[[], None]:
            runs = [node.begin() for node in nodes]

            def run() -> None:
                for node, each in zip(nodes, runs, strict=True):
                    now().log.append((node.kind, node.name))
                    each()

            return run

        queue = queue_of(stream)
        if queue.captured is not None:
            raise CUDARuntimeError(900)
        now().enqueue(queue, Operation("graph", "", begin))

    def upload(self, stream: Any = None) -> None:
        """To the device ahead of the first launch: there is nothing to do."""
