"""A CUDA device as these tests use it: the real one, or the simulated one where they are rehearsed without."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

TO_DEVICE, TO_HOST, ON_DEVICE = 1, 2, 3
PATIENCE = 30.0  # seconds until a stream that is held goes on by itself


def is_rehearsal() -> bool:
    return os.environ.get("SCHUSS_GPU") == "simulated"


@contextmanager
def opened(folder: Path) -> Iterator[Gpu]:
    """The device; for a rehearsal one that is simulated, whose kernels are built in `folder`."""
    if not is_rehearsal():
        yield Gpu()
        return
    import cudasim

    with cudasim.simulated(folder) as simulation:
        yield SimulatedGpu(simulation)


class Foreign:
    """What CuPy asks of another library's stream."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._pointer


class Gpu:
    """CuPy, and the few things that CuPy and its stand-in are not asked for in the same words."""

    simulated = False

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.cuda = cupy.cuda
        self.runtime = cupy.cuda.runtime
        self.devices = int(self.runtime.getDeviceCount())

    # No kernel of CuPy's own takes part: elements travel as bytes.

    def array(self, host: Any, offset: int = 0) -> Any:
        """A copy on the current device, so many bytes past where its memory begins."""
        host = np.array(host, order="C")
        memory = self.cuda.alloc(host.nbytes + offset + 16) + offset
        array = self.cupy.ndarray(host.shape, host.dtype, memory)
        self.write(array, host)
        return array

    def write(self, array: Any, host: Any) -> None:
        """Into an array in C order, in the order of the current stream."""
        host = np.array(host, array.dtype, order="C")
        if host.nbytes:
            stream = self.cuda.get_current_stream()
            self.runtime.memcpyAsync(array.data.ptr, host.ctypes.data, host.nbytes, TO_DEVICE, stream.ptr)

    def host(self, array: Any) -> np.ndarray:
        """A copy of an array in C order, once everything on its device is done."""
        host = np.empty(array.shape, array.dtype)
        with self.cuda.Device(array.data.device_id):
            self.runtime.deviceSynchronize()
            if host.nbytes:
                self.runtime.memcpy(host.ctypes.data, array.data.ptr, host.nbytes, TO_HOST)
        return host

    def stream(self) -> Any:
        return self.cuda.Stream(non_blocking=True)

    def foreign(self, pointer: int) -> Any:
        """Another library's stream, as this CuPy takes it."""
        if hasattr(self.cuda.Stream, "from_external"):
            return self.cuda.Stream.from_external(Foreign(pointer))
        return self.cuda.ExternalStream(pointer, 0)

    @contextmanager
    def held(self, stream: Any) -> Iterator[None]:
        """What is queued on the stream inside waits until the block is left; whoever waits for it fails."""
        gate, late = threading.Event(), []

        def hold(_: Any) -> None:
            if not gate.wait(PATIENCE):
                late.append(True)

        stream.launch_host_func(hold, None)
        try:
            yield
        finally:
            gate.set()
        assert not late, f"something waited for the stream, {PATIENCE:g} s long"

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """How often device memory ("alloc") and pinned memory ("alloc_pinned") is asked for inside."""
        counts: Counter[str] = Counter()
        pools = self.cupy.get_default_memory_pool(), self.cupy.get_default_pinned_memory_pool()

        def counted(name: str, pool: Any) -> Any:
            def take(size: int) -> Any:
                counts[name] += 1
                return pool.malloc(size)

            return take

        self.cuda.set_allocator(counted("alloc", pools[0]))
        self.cuda.set_pinned_memory_allocator(counted("alloc_pinned", pools[1]))
        try:
            yield counts
        finally:
            self.cuda.set_allocator(pools[0].malloc)
            self.cuda.set_pinned_memory_allocator(pools[1].malloc)

    def free_memory(self) -> int:
        """Bytes left on the current device."""
        self.cupy.get_default_memory_pool().free_all_blocks()
        return int(self.runtime.memGetInfo()[0])

    def name(self) -> str:
        found = self.runtime.getDeviceProperties(0)["name"]
        return found.decode() if isinstance(found, bytes) else str(found)


class SimulatedGpu(Gpu):
    """The same on `cudasim`, which counts by itself."""

    simulated = True

    def __init__(self, simulation: Any) -> None:
        super().__init__()
        self._simulation = simulation

    @contextmanager
    def held(self, stream: Any) -> Iterator[None]:
        eager, self._simulation.eager = self._simulation.eager, False
        try:
            with super().held(stream):
                yield
        finally:
            self._simulation.eager = eager

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        with self._simulation.counting() as counts:
            yield counts

    def free_memory(self) -> int:
        return 1 << 30

    def name(self) -> str:
        return "a simulation"
