"""Every call to CuPy, and to torch for its streams: nothing else of the engine knows them."""

from __future__ import annotations

import copy
import sys
import threading
from collections import deque
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from schuss import _core
from schuss._engine.cuda import builder, source
from schuss._engine.cuda.source import Variant

_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3
_ALIGNMENT = 256  # bytes, of each array in a block
_REGISTERS = 65536  # of a multiprocessor
_OLDEST_DRIVER = 12000  # CUDA 12.0: what the oldest CuPy that Schuss takes is built for


@cache
def cupy() -> Any:
    """CuPy, once it is there and has a driver to speak to."""
    try:
        import cupy as module  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "arrays on a CUDA device need CuPy, which brings the driver's interface: "
            'pip install "schuss[cuda13]" (or "schuss[cuda12]", as nvidia-smi says)'
        ) from error
    try:
        version = module.cuda.runtime.driverGetVersion()
    except Exception as error:
        raise RuntimeError(f"CUDA's driver does not answer: {error}") from error
    if version == 0:
        raise RuntimeError("no NVIDIA driver answers here, expected one of CUDA 12.0 or newer")
    if version < _OLDEST_DRIVER:
        raise RuntimeError(
            f"CUDA's driver is of version {version // 1000}.{version % 1000 // 10}, expected "
            f"{_OLDEST_DRIVER // 1000}.0 or newer; update the NVIDIA driver"
        )
    return module


def forget() -> None:
    """Drop what was found out: another CuPy takes the place of this one."""
    cupy.cache_clear()
    Device.at.cache_clear()
    kernel.cache_clear()
    _under_way.clear()
    external_stream.cache_clear()
    copy_bandwidth.cache_clear()


class Device:
    """A CUDA device, by its index; entered, it is the current one."""

    def __init__(self, index: int) -> None:
        self.index = index
        own = cupy().cuda.Device(index)
        self.arch = f"sm_{own.compute_capability}"
        self.multiprocessors = int(own.attributes["MultiProcessorCount"])
        self.threads = int(own.attributes.get("MaxThreadsPerMultiProcessor", 2048))  # of a multiprocessor
        self._runtime = cupy().cuda.runtime
        self._entered = threading.local()

    @staticmethod
    @cache
    def at(index: int) -> Device:
        return Device(index)

    def __enter__(self) -> Device:
        before = self._runtime.getDevice()
        stack = getattr(self._entered, "before", None)
        if stack is None:
            stack = self._entered.before = []
        stack.append(before)
        if before != self.index:
            self._runtime.setDevice(self.index)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = self._entered.before.pop()
        if before != self.index:
            self._runtime.setDevice(before)

    def stream(self, of_torch: bool) -> Any:
        """The caller's current stream here: torch's where the parameters are torch tensors."""
        if of_torch:
            torch: Any = sys.modules["torch"]
            return external_stream(torch.cuda.current_stream(self.index).cuda_stream, self.index)
        return cupy().cuda.get_current_stream(self.index)

    def wait(self) -> None:
        """Until everything on this device is done."""
        with self:
            self._runtime.deviceSynchronize()


def torch_is_on_cuda() -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized()


class _Foreign:
    """A stream by its pointer, as CuPy 14 takes it."""

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._pointer


@cache
def external_stream(pointer: int, device: int) -> Any:
    """CuPy's view of somebody else's stream. Kept: there are few, and making one is slow."""
    cuda = cupy().cuda
    if hasattr(cuda.Stream, "from_external"):  # since CuPy 14, which warns of the older way
        return cuda.Stream.from_external(_Foreign(pointer))
    return cuda.ExternalStream(pointer, device)


def is_capturing(stream: Any) -> bool:
    return bool(stream.ptr) and bool(cupy().cuda.runtime.streamIsCapturing(stream.ptr))


class Block:
    """Memory on the current device. ``zeroed``: it is so, whichever stream asks, since this waits for it."""

    def __init__(self, size: int, stream: Any, zeroed: bool = False) -> None:
        self.size = max(1, size)
        with stream:  # a pool may give out what that stream alone is done with
            self.memory = cupy().cuda.alloc(self.size)
        self.ptr = int(self.memory.ptr)
        if zeroed:
            clear(self.ptr, self.size, stream)
            stream.synchronize()

    def array(self, offset: int, shape: tuple[int, ...], dtype: Any) -> Any:
        """A CuPy array over part of it."""
        return cupy().ndarray(shape, np.dtype(dtype), self.memory + offset)


class Pinned:
    """Host memory that the device can read and write; ``bytes`` is NumPy's view of it."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._memory = cupy().cuda.alloc_pinned_memory(self.size)
        self.ptr = int(self._memory.ptr)
        self.bytes = np.frombuffer(self._memory, np.uint8, self.size)
        self.bytes[:] = 0

    def part(self, start: int, size: int) -> Pinned:
        """So many bytes of it; they keep the whole."""
        part = copy.copy(self)
        part.size, part.ptr, part.bytes = size, self.ptr + start, self.bytes[start : start + size]
        return part

    def view(self, dtype: np.dtype[Any], offset: int = 0, count: int = 1) -> Any:
        return self.bytes[offset : offset + count * dtype.itemsize].view(dtype)


def rounded(size: int) -> int:
    """Up to where the next array in a block may begin."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def send(to: int, pinned: int, size: int, stream: Any) -> None:
    """From pinned memory, in the stream's order, without waiting."""
    cupy().cuda.runtime.memcpyAsync(to, pinned, size, _HOST_TO_DEVICE, stream.ptr)


def clear(to: int, size: int, stream: Any) -> None:
    """Zeros, in the stream's order, without waiting."""
    cupy().cuda.runtime.memsetAsync(to, 0, size, stream.ptr)


class Copy:
    """Room for a host array on the device, and the pinned memory that `send` sends it from."""

    def __init__(self, host: np.ndarray[Any, Any], stream: Any) -> None:
        self._pinned, self._block = Pinned(host.nbytes), Block(max(1, host.nbytes), stream)
        self._pinned.bytes[: host.nbytes] = host.reshape(-1).view(np.uint8)
        self.ptr = self._block.ptr

    def send(self, stream: Any) -> None:
        """In the stream's order, without waiting."""
        send(self.ptr, self._pinned.ptr, self._pinned.size, stream)


_counting = threading.Lock()
_under_way: deque[tuple[Any, Pinned]] = deque()  # copies that may not have run yet, in any stream's order


def send_now(to: int, host: np.ndarray[Any, Any], stream: Any) -> None:
    """From ordinary memory, in the stream's order, without waiting."""
    with _counting:
        while _under_way and _under_way[0][0].done:
            _under_way.popleft()
    if host.nbytes:
        pinned = Pinned(host.nbytes)
        pinned.bytes[:] = host.reshape(-1).view(np.uint8)
        send(to, pinned.ptr, host.nbytes, stream)
        _under_way.append((stream.record(), pinned))


def copy_on_device(to: int, from_: int, size: int, stream: Any) -> None:
    """In the stream's order, without waiting."""
    cupy().cuda.runtime.memcpyAsync(to, from_, size, _DEVICE_TO_DEVICE, stream.ptr)


def fetch(host: np.ndarray[Any, Any], from_: int) -> np.ndarray[Any, Any]:
    """Into a C-contiguous host array what is there now: whoever writes it was waited for."""
    if host.nbytes:
        cupy().cuda.runtime.memcpy(host.ctypes.data, from_, host.nbytes, _DEVICE_TO_HOST)
    return host


def put(to: int, host: np.ndarray[Any, Any]) -> None:
    """From any host array, waiting until it is there; whoever reads or writes the place was waited for."""
    host = np.ascontiguousarray(host)
    if host.nbytes:
        cupy().cuda.runtime.memcpy(to, host.ctypes.data, host.nbytes, _HOST_TO_DEVICE)
        # From pageable memory it returns before the last of it has landed, and other streams would not wait for it.
        cupy().cuda.runtime.streamSynchronize(0)


def fill(to: int, count: int, dtype: Any, value: float) -> None:
    """So many elements of one value, waiting until they are there."""
    piece = np.full(min(count, 1 << 20), value, dtype)
    for first in range(0, count, len(piece) or 1):
        put(to + first * piece.itemsize, piece[: count - first])


def wait_for(device: int, stream: int, of_torch: bool) -> None:
    """What comes on the current stream waits for what is on that one now."""
    own = Device.at(device)
    with own:
        own.stream(of_torch).wait_event(external_stream(stream, device).record())


def current_stream(device: int, of_torch: bool) -> int:
    return int(Device.at(device).stream(of_torch).ptr)


def device_of(pointer: int) -> int:
    """Where memory lies; an empty array's has no address, and lies on the current device."""
    if pointer == 0:
        return int(cupy().cuda.runtime.getDevice())
    return int(cupy().cuda.runtime.pointerGetAttributes(pointer).device)


_core.set_stream_hook(current_stream, wait_for, device_of)


@cache
def kernel(device: int, kind: str, rule: str | None, variants: tuple[Variant, ...]) -> Any:
    """A kernel, loaded; compiled where the cache has none."""
    path: Path = builder.cubin(kind, rule, variants, Device.at(device).arch)
    with Device.at(device):
        return cupy().RawModule(path=str(path)).get_function(source.ENTRY)


def as_argument(struct: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same memory without its fields: of those CuPy would have NumPy make a list at every launch."""
    return struct.view(f"V{struct.dtype.itemsize}")


def launch(its_kernel: Any, blocks: int, argument: np.ndarray[Any, Any], stream: Any) -> None:
    its_kernel((blocks,), (source.BLOCK,), (argument,), stream=stream)


def resident_blocks(its_kernel: Any, device: int) -> int:
    """Blocks that the device can hold at once, by their registers."""
    registers = -(-int(getattr(its_kernel, "num_regs", 64)) // 8) * 8
    own = Device.at(device)
    return own.multiprocessors * max(1, min(own.threads // source.BLOCK, _REGISTERS // (source.BLOCK * registers)))


@cache
def copy_bandwidth(device: int) -> float:
    """Bytes a second, read and written, that a plain copy reaches: the median of nine."""
    size = 1 << 28
    with Device.at(device):
        stream = cupy().cuda.get_current_stream(device)
        start, end = cupy().cuda.Event(), cupy().cuda.Event()
        one, other = Block(size, stream), Block(size, stream)
        seconds = []
        for _ in range(9):
            start.record(stream)
            copy_on_device(one.ptr, other.ptr, size, stream)
            end.record(stream)
            end.synchronize()
            seconds.append(cupy().cuda.get_elapsed_time(start, end) / 1e3)
    return 2 * size / sorted(seconds)[4]


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """A NumPy copy of a CuPy array."""
    return np.asarray(cupy().asnumpy(array))


def to_device(array: Any, host: np.ndarray[Any, Any]) -> None:
    """Into a CuPy array in C order, waiting until it is there."""
    device = Device.at(int(array.device.id))
    with device:
        put(int(array.data.ptr), host)
