"""The modules that stand in for CuPy: ``cupy``, ``cupy.cuda``, ``cupy.cuda.runtime``, ``cupy.cuda.driver``."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cudasim import arrays, modules, simulation, streams
from cudasim.simulation import DEVICE_TO_HOST, CUDARuntimeError, Operation
from cudasim.state import now
from cudasim.streams import get_current_stream


def get_device() -> int:
    return now().device


def set_device(index: int) -> None:
    now().device = index


def get_device_count() -> int:
    return len(now().arenas)


def driver_version() -> int:
    return now().driver_version


def memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    queue = now().queue(stream)
    copy = now().copy(dst, src, size, kind)
    if kind == DEVICE_TO_HOST and now().pinned.blocks.find(dst) is None:
        # Into memory that may be paged out, the driver copies before it returns.
        now().waits(queue)
        now().finish(now().enqueue(queue, copy))
    else:
        now().enqueue(queue, copy)


def memcpy(dst: int, src: int, size: int, kind: int) -> None:
    _now(now().copy(dst, src, size, kind))


def memset_async(ptr: int, value: int, size: int, stream: int) -> None:
    queue = now().queue(stream)
    if queue.device != now().device:
        raise CUDARuntimeError(400)
    now().enqueue(queue, now().set(ptr, value, size))


def memset(ptr: int, value: int, size: int) -> None:
    _now(now().set(ptr, value, size))


def _now(operation: Operation) -> None:
    """By the null stream, waiting for it: other streams that do not block may still be under way."""
    now().waits()
    now().finish(now().enqueue(now().null[now().device], operation))


def stream_is_capturing(stream: int) -> bool:
    queue = now().queue(stream)
    if queue.captured is not None and queue.spoiled:
        raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
    return queue.captured is not None


def stream_synchronize(stream: int) -> None:
    queue = now().queue(stream)
    now().waits(queue)
    now().finish_queue(queue)


def device_synchronize() -> None:
    arrays.Device().synchronize()


def pointer_attributes(pointer: int) -> Any:
    arena = now().arena_of(pointer)
    return SimpleNamespace(device=-2 if arena is None else arena.device, devicePointer=pointer, hostPointer=0)


def array(a: Any, dtype: Any = None) -> arrays.ndarray:
    return a.copy().astype(dtype or a.dtype, copy=False) if isinstance(a, arrays.ndarray) else arrays.asarray(a, dtype)


def zeros(shape: Any, dtype: Any = float) -> arrays.ndarray:
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> arrays.ndarray:
    return full(shape, 1, dtype)


def full(shape: Any, value: Any, dtype: Any = None) -> arrays.ndarray:
    return arrays.asarray(np.full(shape, value, dtype))


def arange(*arguments: Any, dtype: Any = None) -> arrays.ndarray:
    return arrays.asarray(np.arange(*arguments, dtype=dtype))


def empty(shape: Any, dtype: Any = float, order: str = "C") -> arrays.ndarray:
    return arrays.ndarray(shape, dtype, order=order)


def empty_like(a: arrays.ndarray) -> arrays.ndarray:
    return arrays.ndarray(a.shape, a.dtype)


def zeros_like(a: arrays.ndarray) -> arrays.ndarray:
    return zeros(a.shape, a.dtype)


def ascontiguousarray(a: Any) -> arrays.ndarray:
    found = arrays.asarray(a)
    return found if found._c_contiguous else found.copy()


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # as importlib finds those that are loaded
    vars(module).update(members)
    return module


def _modules() -> dict[str, ModuleType]:
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        deviceSynchronize=device_synchronize,
        driverGetVersion=driver_version,
        getDevice=get_device,
        getDeviceCount=get_device_count,
        is_hip=False,
        memcpy=memcpy,
        memcpyAsync=memcpy_async,
        memcpyDeviceToDevice=simulation.DEVICE_TO_DEVICE,
        memcpyDeviceToHost=DEVICE_TO_HOST,
        memcpyHostToDevice=simulation.HOST_TO_DEVICE,
        memset=memset,
        memsetAsync=memset_async,
        pointerGetAttributes=pointer_attributes,
        runtimeGetVersion=driver_version,
        setDevice=set_device,
        streamIsCapturing=stream_is_capturing,
        streamLegacy=1,
        streamPerThread=2,
        streamSynchronize=stream_synchronize,
    )
    driver = _module("cupy.cuda.driver", CUDADriverError=simulation.CUDADriverError)
    cuda = _module(
        "cupy.cuda",
        Device=arrays.Device,
        Event=streams.Event,
        ExternalStream=streams.ExternalStream,
        Graph=streams.Graph,
        MemoryPointer=arrays.MemoryPointer,
        Stream=streams.Stream,
        UnownedMemory=arrays.UnownedMemory,
        alloc=arrays.alloc,
        alloc_pinned_memory=arrays.alloc_pinned_memory,
        driver=driver,
        get_current_stream=get_current_stream,
        get_elapsed_time=streams.get_elapsed_time,
        is_available=lambda: True,
        runtime=runtime,
    )
    cupy = _module(
        "cupy",
        __version__="14.2.0",
        RawKernel=modules.RawKernel,
        RawModule=modules.RawModule,
        arange=arange,
        asarray=arrays.asarray,
        array=lambda a, dtype=None: (
            arrays.asarray(a, dtype) if not hasattr(a, "copy") else arrays.asarray(a, dtype).copy()
        ),
        ascontiguousarray=ascontiguousarray,
        asnumpy=arrays.asnumpy,
        bool_=np.bool_,
        cuda=cuda,
        empty=empty,
        empty_like=empty_like,
        float16=np.float16,
        float32=np.float32,
        float64=np.float64,
        full=full,
        int32=np.int32,
        int64=np.int64,
        ndarray=arrays.ndarray,
        ones=ones,
        zeros=zeros,
        zeros_like=zeros_like,
    )
    return {each.__name__: each for each in (cupy, cuda, runtime, driver)}


MODULES = _modules()  # the same for every simulation: C++ may keep the class of the arrays
