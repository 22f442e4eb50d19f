"""``cupy.ndarray`` as far as Schuss and its tests go: views, copies, simple arithmetic, in the stream's order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cudasim import dlpack
from cudasim.memory import host_bytes
from cudasim.simulation import Operation, Simulation
from cudasim.state import now
from cudasim.streams import get_current_stream, queue_of


class Device:
    """``cupy.cuda.Device``."""

    def __init__(self, device: Any = None) -> None:
        self.id = now().device if device is None else int(device)
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        self._before.append(now().device)
        now().device = self.id
        return self

    def __exit__(self, *_: object) -> None:
        now().device = self._before.pop()

    def use(self) -> Device:
        now().device = self.id
        return self

    def synchronize(self) -> None:
        now().waits()
        for queue in [each for each in now().queues if each.device == self.id]:
            now().finish_queue(queue)

    @property
    def compute_capability(self) -> str:
        return now().compute_capability

    @property
    def attributes(self) -> dict[str, int]:
        return {"MultiProcessorCount": now().multiprocessors, "WarpSize": 32}


class Memory:
    """An allocation of a device; given back when nobody holds it."""

    def __init__(self, size: int) -> None:
        self.size, self.device_id, self.ptr = size, now().device, 0
        self._simulation: Simulation = now()
        if size > 0:
            queue = queue_of(None)
            self._stream = queue.pointer
            self._block = self._simulation.allocate(size, queue)
            self.ptr = self._block.at

    def __del__(self) -> None:
        if getattr(self, "ptr", 0):
            self._simulation.free(self._block, self.device_id, self._stream)


class UnownedMemory:
    """Memory that somebody else holds."""

    def __init__(self, ptr: int, size: int, owner: Any, device_id: int = -1) -> None:
        arena = now().arena_of(ptr)
        self.ptr, self.size, self._owner = ptr, size, owner
        self.device_id = device_id if device_id >= 0 else arena.device if arena else 0


class MemoryPointer:
    """``cupy.cuda.MemoryPointer``."""

    def __init__(self, mem: Any, offset: int) -> None:
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    def __int__(self) -> int:
        return self.ptr

    @property
    def device(self) -> Device:
        return Device(self.device_id)

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    def __sub__(self, offset: int) -> MemoryPointer:
        return self + -offset


def alloc(size: int) -> MemoryPointer:
    return MemoryPointer(Memory(int(size)), 0)


class PinnedMemory:
    def __init__(self, size: int) -> None:
        self._simulation, self.size = now(), size
        self._block = now().allocate_pinned(size)
        self.ptr = self._block.at

    def __del__(self) -> None:
        if hasattr(self, "_block") and not self._simulation.closed:
            self._simulation.pinned.free(self._block)


def alloc_pinned_memory(size: int) -> Any:
    """An object of the buffer protocol with the attributes of CuPy's ``PinnedMemoryPointer``."""
    memory = PinnedMemory(int(size))
    # The protocol in Python itself is younger than 3.10: ctypes has it.
    kind = type("PinnedMemoryPointer", (ctypes.c_int8 * memory.size,), {})
    pointer = kind.from_address(memory.ptr)
    pointer.mem, pointer.ptr = memory, memory.ptr
    return pointer


class Flags:
    def __init__(self, array: ndarray) -> None:
        shadow = array._shadow()
        self.c_contiguous = bool(shadow.flags.c_contiguous)
        self.f_contiguous = bool(shadow.flags.f_contiguous)
        self.owndata = array.base is None

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, {"C_CONTIGUOUS": "c_contiguous", "F_CONTIGUOUS": "f_contiguous"}[name]))


class ndarray:
    """An array on the device that was current when it was made."""

    __module__ = "cupy"
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: Any = None,
        strides: Any = None,
        order: str = "C",
        base: Any = None,
    ) -> None:
        self.shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(int(each) for each in shape)
        self.dtype = np.dtype(dtype)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.nbytes = self.size * self.dtype.itemsize
        self.data = alloc(self.nbytes) if memptr is None else memptr
        if strides is None:
            steps = np.cumprod([1, *(self.shape[:0:-1] if order == "C" else self.shape[:-1])], dtype=np.int64)
            strides = (steps[::-1] if order == "C" else steps) * self.dtype.itemsize
        self.strides = tuple(int(each) for each in strides)[: len(self.shape)]
        self.base = base
        self._c_contiguous = self.size == 0 or _is_c_order(self.shape, self.strides, self.dtype.itemsize)

    ndim = property(lambda self: len(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    device = property(lambda self: Device(self.data.device_id))
    flags = property(Flags)
    T = property(lambda self: self.transpose())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"cupy.ndarray(shape={self.shape}, dtype={self.dtype}, device={self.data.device_id})"

    # ---- as NumPy sees it: from within the simulation only ----

    def _shadow(self) -> np.ndarray[Any, Any]:
        arena = now().arena_of(self.data.ptr)
        if self.size == 0 or arena is None:
            return np.zeros(self.shape, self.dtype)
        low, high = 0, self.dtype.itemsize
        for extent, stride in zip(self.shape, self.strides, strict=True):
            low, high = low + min(0, stride * (extent - 1)), high + max(0, stride * (extent - 1))
        memory = arena.inside(self.data.ptr + low, high - low)
        return np.ndarray(self.shape, self.dtype, memory, -low, self.strides)

    def _view(self, look: Callable[[np.ndarray[Any, Any]], Any]) -> ndarray:
        shadow = self._shadow()
        seen = np.asarray(look(shadow))
        if self.size and seen.size and not np.may_share_memory(shadow, seen):
            return self._derived(look)
        offset = seen.ctypes.data - shadow.ctypes.data if self.size and seen.size else 0
        view = type(self).__new__(type(self))
        ndarray.__init__(view, seen.shape, seen.dtype, self.data + offset, seen.strides, base=self)
        return view

    def _derived(self, make: Callable[[np.ndarray[Any, Any]], Any]) -> ndarray:
        """A new array, filled when the stream comes there."""
        facts = np.asarray(make(np.zeros(self.shape, self.dtype)))
        with Device(self.data.device_id):
            new = ndarray(facts.shape, facts.dtype)
        new._write(lambda to: np.copyto(to, np.asarray(make(self._shadow())).reshape(facts.shape)))
        return new

    def _write(self, change: Callable[[np.ndarray[Any, Any]], Any]) -> ndarray:
        def run() -> None:
            if self.size:
                now().view(self.data.ptr, 1)  # it is still there
            change(self._shadow())

        with Device(self.data.device_id):
            now().enqueue(queue_of(None), Operation("array", "", lambda: run))
        return self

    # ---- views, copies ----

    def __getitem__(self, key: Any) -> ndarray:
        return self._view(lambda x: x[key])

    def __iter__(self) -> Iterator[ndarray]:
        return (self[index] for index in range(len(self)))

    def transpose(self, *axes: int) -> ndarray:
        return self._view(lambda x: x.transpose(*axes))

    def reshape(self, *shape: Any) -> ndarray:
        return self._view(lambda x: x.reshape(*shape))

    def ravel(self) -> ndarray:
        return self.reshape(-1)

    def view(self, dtype: Any) -> ndarray:
        return self._view(lambda x: x.view(dtype))

    def copy(self, order: Any = "C") -> ndarray:
        return self._derived(lambda x: x.copy(order))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return self if not copy and self.dtype == np.dtype(dtype) else self._derived(lambda x: x.astype(dtype))

    # ---- contents ----

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, ndarray):
            self._write(lambda x: x.__setitem__(key, value._shadow()))
        else:
            kept = np.array(value)
            self._write(lambda x: x.__setitem__(key, kept))

    def fill(self, value: Any) -> None:
        self[...] = value

    def _update(self, function: Any, other: Any) -> ndarray:
        kept = other if isinstance(other, ndarray) else np.array(other)

        def change(x: np.ndarray[Any, Any]) -> None:
            by = kept._shadow() if isinstance(kept, ndarray) else kept
            np.copyto(x, function(x, by), casting="same_kind")

        return self._write(change)

    def __iadd__(self, other: Any) -> ndarray:
        return self._update(np.add, other)

    def __isub__(self, other: Any) -> ndarray:
        return self._update(np.subtract, other)

    def __imul__(self, other: Any) -> ndarray:
        return self._update(np.multiply, other)

    def __mul__(self, other: Any) -> ndarray:
        return self._derived(lambda x: x * (other._shadow() if isinstance(other, ndarray) else other))

    def get(self, stream: Any = None) -> np.ndarray[Any, Any]:
        """A NumPy copy, once the current stream of its device has come there."""
        with Device(self.data.device_id):
            (get_current_stream() if stream is None else stream).synchronize()
        if self.size:
            now().view(self.data.ptr, 1)
        return self._shadow().copy()

    def item(self) -> Any:
        return self.get().item()

    __float__ = __int__ = __bool__ = None  # type: ignore[assignment]

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    # ---- what it shows to other libraries ----

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": get_current_stream(self.data.device_id).ptr or 1,
            "version": 3,
            "strides": None if self._c_contiguous else self.strides,
            "data": (self.data.ptr if self.size else 0, False),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.data.device_id

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("unsupported device requested.")
        asked = 1 if stream is None else stream
        if asked < -1 or asked == 0:
            raise ValueError(f"On CUDA, the valid stream for the DLPack protocol is -1, 1, 2, or larger, not {stream}")
        mine = get_current_stream(self.data.device_id)
        if asked != -1 and asked != (mine.ptr or 1):
            waiting = now().queue(asked, self.data.device_id)
            event = mine.record()
            wait = Operation("wait", "", lambda: lambda: None)
            wait.after.append(event._operation)
            now().enqueue(waiting, wait)
        return dlpack.capsule(self, versioned=max_version is not None and max_version[0] >= 1)


def _is_c_order(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != itemsize:
            return False
        itemsize *= extent
    return True


def _float(self: ndarray) -> float:
    return float(self.item())


def _int(self: ndarray) -> int:
    return int(self.item())


def _bool(self: ndarray) -> bool:
    return bool(self.item())


ndarray.__float__, ndarray.__int__, ndarray.__bool__ = _float, _int, _bool  # type: ignore[assignment, method-assign]


def asarray(a: Any, dtype: Any = None, order: str = "C") -> ndarray:
    """On the current device; a copy from the host is queued, of what the host array held."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == np.dtype(dtype) else a.astype(dtype)
    if hasattr(a, "__cuda_array_interface__"):
        told = a.__cuda_array_interface__
        memory = MemoryPointer(UnownedMemory(told["data"][0], 0, a), 0)
        return ndarray(told["shape"], told["typestr"], memory, told.get("strides"), base=a)
    host = np.array(a, dtype, order=order)  # type: ignore[call-overload]
    new = ndarray(host.shape, host.dtype, order="F" if order == "F" else "C")
    new._write(lambda x: np.copyto(x, host))
    return new


def asnumpy(a: Any, stream: Any = None) -> np.ndarray[Any, Any]:
    return a.get(stream) if isinstance(a, ndarray) else np.asarray(a)


def misaligned(array: Any, by: int = 4) -> ndarray:
    """The array at an address that is ``by`` bytes past a multiple of 16."""
    host = asnumpy(array)
    new = ndarray(host.shape, host.dtype, alloc(host.nbytes + by) + by)
    new._write(lambda x: np.copyto(x, host))
    return new


def host_view(pinned: Any) -> np.ndarray[Any, Any]:
    """Pinned memory as bytes."""
    return host_bytes(pinned.ptr, pinned.mem.size)
