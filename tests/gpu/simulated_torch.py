"""torch for a rehearsal: its CPU tensors say that they are on the simulated device, whose kernels reach them there.

What is queued runs at once, as torch's own work does. A graph notes torch's operations and repeats them into the
tensors that they gave.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cudasim
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Stream:
    """``torch.cuda.Stream``."""

    def __init__(self, pointer: int | None = None) -> None:
        self.cuda_stream = cudasim.foreign_stream(0, blocking=False) if pointer is None else pointer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.cuda_stream == self.cuda_stream

    __hash__ = None  # type: ignore[assignment]

    def wait_stream(self, other: Stream) -> None:
        pass  # everything has run

    def query(self) -> bool:
        from cudasim.state import now

        return not now().queue(self.cuda_stream, 0).operations


class Recorder(TorchDispatchMode):
    """Notes every operation with what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = function(*args, **(kwargs or {}))
        self.done.append((function, args, kwargs or {}, given))
        return given

    def repeat(self) -> None:
        for function, args, kwargs, given in self.done:
            new = function(*args, **kwargs)
            pairs = zip(given, new, strict=True) if isinstance(given, tuple) else [(given, new)]
            for old, now in pairs:
                if isinstance(old, torch.Tensor) and old.data_ptr() != now.data_ptr():
                    old.copy_(now)


class CUDAGraph:
    def replay(self) -> None:
        with torch.no_grad():
            self.recorder.repeat()
        self.graph.launch(torch.cuda.current_stream().cupy())


@contextmanager
def simulated(gpu: Any) -> Iterator[None]:
    """torch has this device inside."""
    simulation = gpu._simulation
    current = [Stream(0)]

    def cupy_stream(stream: Stream) -> Any:
        return gpu.foreign(stream.cuda_stream) if stream.cuda_stream else gpu.cuda.Stream.null

    @contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        current.append(chosen)
        try:
            yield
        finally:
            current.pop()

    @contextmanager
    def graph(its: CUDAGraph, stream: Stream) -> Iterator[None]:
        gc.collect()  # as torch does: what goes while it captures could wait
        its.recorder, captured = Recorder(), cupy_stream(stream)
        current.append(stream)
        captured.begin_capture()
        try:
            with its.recorder:
                yield
        finally:
            its.graph = captured.end_capture()
            current.pop()

    def on_cpu(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, device=None, **kwargs: make(*args, **kwargs)

    Stream.cupy = cupy_stream  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("is_cuda", True), ("is_cpu", False)):
            patch.setattr(torch.Tensor, name, property(lambda _, value=value: value), raising=False)
        patch.setattr(torch.Tensor, "get_device", lambda _: 0)
        patch.setattr(torch.Tensor, "cuda", lambda self: self)
        patch.setattr(torch.Tensor, "cpu", lambda self: self.clone())
        patch.setattr(torch.Tensor, "__dlpack_device__", lambda _: (2, 0))
        dlpack = torch.Tensor.__dlpack__
        patch.setattr(torch.Tensor, "__dlpack__", lambda self, **asked: as_cuda(dlpack(self, max_version=(1, 0))))
        patch.setattr(torch.nn.Module, "cuda", lambda self: self)
        for name in ("empty", "zeros", "ones", "randn"):
            patch.setattr(torch, name, on_cpu(getattr(torch, name)))
        for name, value in {
            "CUDAGraph": CUDAGraph,
            "Stream": Stream,
            "current_stream": lambda _=None: current[-1],
            "graph": graph,
            "memory_allocated": lambda: 0,
            "stream": stream,
            "synchronize": lambda: gpu.runtime.deviceSynchronize(),
        }.items():
            patch.setattr(torch.cuda, name, value)
        simulation.eager = True
        try:
            yield
        finally:
            simulation.eager = False


def as_cuda(capsule: Any) -> Any:
    """A capsule whose memory is said to be the device's."""
    from cudasim import dlpack

    at = dlpack._api.PyCapsule_GetPointer(ctypes.c_void_p(id(capsule)), b"dltensor_versioned")
    dlpack._Versioned.from_address(at).tensor.device_type = dlpack.CUDA
    return capsule
