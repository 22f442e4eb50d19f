"""The devices, their streams, and what was asked of them. Work is queued; it runs when somebody waits for it."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cudasim.memory import Arena, Block, Fault, PinnedPool, host_bytes

HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
LEGACY = (0, 1)  # pointers of the null stream

# cudaError_t by number, as CuPy words them.
ERRORS = {
    1: "cudaErrorInvalidValue: invalid argument",
    101: "cudaErrorInvalidDevice: invalid device ordinal",
    400: "cudaErrorInvalidResourceHandle: invalid resource handle",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
    905: "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another stream",
}


class CUDARuntimeError(RuntimeError):
    """As CuPy's, with the number in ``status``."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(ERRORS[status])


class CUDADriverError(RuntimeError):
    """As CuPy's: what loading a module may raise."""


def _nothing() -> None:
    pass


class Operation:
    """A piece of queued work. ``begin`` is called when it is queued, and gives what runs later."""

    def __init__(self, kind: str, name: str, begin: Callable[[], Callable[[], None]]) -> None:
        self.kind, self.name, self.begin = kind, name, begin
        self.run = _nothing
        self.after: list[Operation] = []
        self.queue: Queue | None = None
        self.done = False

    def again(self) -> Operation:
        return Operation(self.kind, self.name, self.begin)


class Queue:
    """A stream's work in order."""

    def __init__(self, pointer: int, device: int, blocking: bool) -> None:
        self.pointer, self.device, self.blocking = pointer, device, blocking
        self.operations: deque[Operation] = deque()
        self.captured: list[Operation] | None = None
        self.spoiled = False


class Simulation:
    """All that a process has of CUDA. ``counts`` and ``log`` tell what was asked."""

    def __init__(self, devices: int = 2) -> None:
        self.arenas = [Arena(device) for device in range(devices)]
        self.pinned = PinnedPool()
        self.counts: Counter[str] = Counter()
        self.log: list[tuple[str, str]] = []  # (kind, name) in the order in which work ran
        self.faults: list[Fault] = []
        self.eager = False  # work runs as soon as it is queued
        self.restless: random.Random | None = None  # some of it runs whenever something is queued
        self.multiprocessors = 2
        self.compute_capability = "90"
        self.driver_version = 13000
        self.closed = False
        self._local = threading.local()
        self._lock = threading.RLock()
        self._dead: deque[tuple[Block, int, int]] = deque()
        self._next_pointer = 0x5C0000
        self.null = [Queue(0, device, True) for device in range(devices)]
        self.queues: list[Queue] = list(self.null)

    def check(self) -> None:
        """Run what is left, and look whether anything wrote where nothing is."""
        self.drain()
        with self._noting():
            for arena in self.arenas:
                arena.check()

    def close(self) -> None:
        self.closed = True
        for arena in self.arenas:
            arena.close()

    # ---- devices and streams ----

    @property
    def device(self) -> int:
        return getattr(self._local, "device", 0)

    @device.setter
    def device(self, index: int) -> None:
        if not 0 <= index < len(self.arenas):
            raise CUDARuntimeError(101)
        self._local.device = index

    def new_queue(self, blocking: bool, device: int | None = None) -> Queue:
        self._next_pointer += 0x40
        queue = Queue(self._next_pointer, self.device if device is None else device, blocking)
        self.queues.append(queue)
        return queue

    def queue(self, pointer: int, device: int | None = None) -> Queue:
        if pointer in LEGACY:
            return self.null[self.device if device is None else device]
        for queue in self.queues:
            if queue.pointer == pointer:
                return queue
        raise CUDARuntimeError(400)

    @property
    def capturing(self) -> Queue | None:
        return next((queue for queue in self.queues if queue.captured is not None), None)

    # ---- queued work ----

    def enqueue(self, queue: Queue, operation: Operation) -> Operation:
        """Queue work; while the stream is captured, only note it."""
        with self._lock:
            self.bury()
            if queue.captured is not None:
                queue.captured.append(operation)
                return operation
            self.counts[operation.kind] += 1
            return self._put(queue, operation)

    def _put(self, queue: Queue, operation: Operation) -> Operation:
        operation.queue = queue
        with self._noting():
            operation.run = operation.begin()
        if queue.blocking:  # the null stream and the others that wait for it are in order with one another
            others = self.queues if queue.pointer == 0 else [self.null[queue.device]]
            operation.after += [
                each.operations[-1]
                for each in others
                if each is not queue and each.blocking and each.device == queue.device and each.operations
            ]
        queue.operations.append(operation)
        if self.eager:
            self.finish(operation)
        elif self.restless is not None:
            self.advance(self.restless.choice((0, 0, 1, 2, 5)), self.restless.choice(self.queues))
        return operation

    def finish(self, operation: Operation) -> None:
        """Run a stream up to and with this piece of work, after whatever it waits for."""
        with self._lock:
            while not operation.done:
                assert operation.queue is not None
                first = operation.queue.operations[0]
                for earlier in first.after:
                    self.finish(earlier)
                if first.done:  # by what it waited for
                    continue
                operation.queue.operations.popleft()
                first.done = True
                self.log.append((first.kind, first.name))
                try:
                    with self._noting():
                        first.run()
                finally:  # it lets go of what it held
                    first.run, first.after = _nothing, []

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Fault as fault:
            self.faults.append(fault)
            raise

    def finish_queue(self, queue: Queue) -> None:
        with self._lock:
            self.bury()
            if queue.pointer == 0:
                self._put(queue, Operation("nothing", "", lambda: _nothing))
            while queue.operations:
                self.finish(queue.operations[-1])

    def advance(self, count: int = 1, queue: Queue | None = None) -> None:
        """Run so many pieces of a stream's work, the null stream's unless another is given."""
        queue = queue or self.null[self.device]
        while count > 0 and queue.operations:
            counts = queue.operations[0].kind not in ("free", "nothing")
            self.finish(queue.operations[0])
            count -= counts

    def drain(self) -> None:
        """Run everything. The youngest stream comes first: what only happens to be in order is not."""
        for queue in reversed(self.queues):
            self.finish_queue(queue)

    def waits(self, queue: Queue | None = None) -> None:
        """A call that waits: counted, and refused while a stream is captured."""
        self.counts["synchronize"] += 1
        capturing = self.capturing
        if capturing is not None and (queue is None or queue is capturing):
            capturing.spoiled = True
            raise CUDARuntimeError(900)

    def waiting(self, device: int | None = None) -> list[tuple[str, str]]:
        """(kind, name) of the work that is queued and has not run."""
        queues = [each for each in self.queues if device in (None, each.device)]
        return [(op.kind, op.name) for queue in queues for op in queue.operations if op.kind not in ("free", "nothing")]

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """What is asked for inside: allocations, waits, launches, copies."""
        found: Counter[str] = Counter()
        before = self.counts.copy()
        try:
            yield found
        finally:
            found.update({key: n - before[key] for key, n in self.counts.items() if n != before[key]})

    # ---- memory ----

    def allocate(self, size: int, queue: Queue) -> Block:
        with self._lock:
            self.bury()
            self.counts["alloc"] += 1
            if self.capturing is not None:
                self.capturing.spoiled = True
                raise CUDARuntimeError(900)
            return self.arenas[queue.device].allocate(size)

    def free(self, block: Block, device: int, pointer: int) -> None:
        """Called by a finaliser, at any moment: the block is buried when the next call comes."""
        if not self.closed:
            self._dead.append((block, device, pointer))

    def bury(self) -> None:
        """Freed memory goes back in the order of the stream that it was taken on, as in CuPy's pool."""
        with self._lock:
            while self._dead:
                block, device, pointer = self._dead.popleft()
                arena = self.arenas[device]
                self._put(
                    self.queue(pointer, device), Operation("free", "", lambda a=arena, b=block: lambda: a.free(b))
                )

    def _burial(self, block: Block, device: int) -> Operation:
        return Operation("free", "", lambda: lambda: self.arenas[device].free(block))

    def allocate_pinned(self, size: int) -> Block:
        self.counts["alloc_pinned"] += 1
        if self.capturing is not None:
            self.capturing.spoiled = True
            raise CUDARuntimeError(900)
        return self.pinned.allocate(size)

    def arena_of(self, at: int) -> Arena | None:
        return next((arena for arena in self.arenas if at in arena), None)

    def view(self, at: int, size: int) -> np.ndarray[Any, Any]:
        """Bytes wherever they lie, which must all be there."""
        arena = self.arena_of(at)
        block = arena.blocks.find(at) if arena else self.pinned.blocks.find(at)
        if block is not None and (block.freed or at + size > block.at + block.size):
            what = "after it was freed" if block.freed else f"past its end: {block.size} bytes from {block.at:#x} on"
            raise Fault(f"{size} bytes at {at:#x} were used, memory {what}")
        if arena is None:
            return host_bytes(at, size)
        if block is None:
            raise Fault(f"{size} bytes at {at:#x} were used, where device {arena.device} has no memory")
        return arena.inside(at, size)

    def copy(self, to: int, source: int, size: int, kind: int) -> Operation:
        """A copy as it is queued: pinned memory is read when it runs, and must not have changed until then."""

        def begin() -> Callable[[], None]:
            on_host = self.arena_of(source) is None
            pinned = on_host and self.pinned.blocks.find(source) is not None
            if (kind == HOST_TO_DEVICE) != on_host or (kind == DEVICE_TO_HOST) != (self.arena_of(to) is None):
                raise CUDARuntimeError(1)
            kept = self.view(source, size).tobytes() if on_host else b""

            def run() -> None:
                if pinned and self.view(source, size).tobytes() != kept:
                    raise Fault(f"{size} bytes of pinned memory at {source:#x} were overwritten before their copy ran")
                data = np.frombuffer(kept, np.uint8) if on_host else self.view(source, size)
                self.view(to, size)[:] = data

            return run

        return Operation("copy", {1: "to device", 2: "to host", 3: "on device"}[kind], begin)

    def set(self, at: int, value: int, size: int) -> Operation:
        def run() -> None:
            self.view(at, size)[:] = value

        return Operation("memset", "", lambda: run)

    def check_arguments(self, arguments: bytes, device: int) -> None:
        """Pointers among a kernel's arguments: to memory of its device that is still there."""
        words = np.frombuffer(arguments[: len(arguments) // 8 * 8], np.uint64)
        for index, word in enumerate(words.tolist()):
            arena = self.arena_of(word)
            block = arena.blocks.find(word) if arena else self.pinned.blocks.find(word)
            where = f"the kernel's argument at byte {8 * index} points to {word:#x}"
            if arena is not None and arena.device != device:
                raise Fault(f"{where}, memory of device {arena.device}; it runs on device {device}")
            if arena is not None and block is None:
                raise Fault(f"{where}, where device {device} has no memory")
            if block is not None and block.freed:
                raise Fault(f"{where}, memory that was freed")
