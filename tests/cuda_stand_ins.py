"""What the binding takes for arrays on a CUDA device, over NumPy's memory; and an engine that writes down its calls."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from schuss import _core
from schuss._engine.cuda import runtime


class Memory:
    def __init__(self, array: np.ndarray, device: int, ptr: int | None) -> None:
        self.ptr = array.ctypes.data if ptr is None else ptr
        self.device_id = device


class Array:
    """As CuPy's are."""

    def __init__(self, array: Any, device: int = 0, ptr: int | None = None) -> None:
        self.host = np.asarray(array)
        self.data = Memory(self.host, device, ptr)
        self.dtype, self.shape, self.strides = self.host.dtype, self.host.shape, self.host.strides
        self._c_contiguous = self.host.flags.c_contiguous


class Packed:
    """Known only by DLPack; ``asked`` is what was asked of it."""

    def __init__(self, array: Any, kind: int = 2, device: int = 0) -> None:
        self.host, self.where = np.asarray(array), (kind, device)
        self.asked: list[dict[str, Any]] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.where

    def __dlpack__(self, **asked: Any) -> Any:
        self.asked.append(asked)
        return self.host.__dlpack__(max_version=asked.get("max_version"))


class OldPacked(Packed):
    """Of the protocol's version 0."""

    def __dlpack__(self, stream: Any = None) -> Any:  # type: ignore[override]
        return super().__dlpack__(stream=stream)


class Interface:
    """Known only by the CUDA array interface."""

    def __init__(self, array: Any, **changed: Any) -> None:
        self.host = np.asarray(array)
        own = self.host.__array_interface__
        contiguous = self.host.flags.c_contiguous
        self.__cuda_array_interface__ = {
            "data": (self.host.ctypes.data, False),
            "typestr": own["typestr"],
            "shape": self.host.shape,
            "strides": None if contiguous else self.host.strides,
            "version": 3,
            **changed,
        }


KINDS: dict[str, Any] = {"cupy": Array, "dlpack": Packed, "interface": Interface}


class Engine:
    """Takes the place of the engine that steps a device."""

    def __init__(self, session: Any) -> None:
        self._session = weakref.ref(session)
        self.calls: list[Any] = [("Engine", session.device, session.rule_name)]
        self.steps = self.pending = 0
        self.fails: dict[str, BaseException] = {}
        LATEST.append(weakref.ref(self))

    @property
    def session(self) -> Any:
        session = self._session()
        assert session is not None
        return session

    def heard(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if name in self.fails:
            raise self.fails.pop(name)

    def added(self) -> None:
        self.heard("added", len(self.session.leaf_facts()))

    def hold(self, things: list[Any]) -> None:
        pass

    def changed(self) -> None:
        self.heard("changed")

    def changed_hypers(self) -> None:
        self.heard("changed_hypers")

    def step(self, change: int) -> Any:
        self.heard("step", change)
        self.steps += 1
        return self.info(0)

    def flush(self) -> Any:
        self.heard("flush")
        self.pending = 0
        return self.info(0)

    def info(self, pending: int) -> Any:
        return _core.lazy_step_info(lambda: (self.steps, 0.5, None, 1.0, False), pending)

    def slot(self, leaf: int, index: int) -> Any:
        self.heard("slot", leaf, index)
        return f"slot {index} of {leaf}" if index == 0 else None

    def accumulator(self, leaf: int) -> Any:
        return f"accumulator of {leaf}"

    def accumulated(self, leaf: int) -> bool:
        return leaf == 1

    def clock(self, leaf: int) -> int:
        return 100 + leaf

    def set_clock(self, leaf: int, clock: int) -> None:
        self.heard("set_clock", leaf, clock)

    def set_pending(self, pending: int, held: list[bool]) -> None:
        self.heard("set_pending", pending, held)

    def to_point(self) -> None:
        self.heard("to_point")

    def from_point(self, taken: bool) -> None:
        self.heard("from_point", taken)

    def renew(self) -> None:
        self.heard("renew")


LATEST: list[weakref.ref[Engine]] = []


def engine() -> Engine:
    """That of the optimizer made last."""
    latest = LATEST[-1]()
    assert latest is not None
    return latest


class Cuda:
    """What Python would ask CUDA."""

    def __init__(self) -> None:
        self.stream = 0
        self.device = 0
        self.waited: list[tuple[int, int]] = []
        self.fails: BaseException | None = None

    def current_stream(self, device: int, of_torch: bool) -> int:
        if self.fails:
            raise self.fails
        return self.stream

    def wait(self, device: int, stream: int, of_torch: bool) -> None:
        self.waited.append((device, stream))

    def device_of(self, pointer: int) -> int:
        return self.device


def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """Stand-ins for CuPy, for the engine, and for what is asked of CUDA."""
    cupy, engines = ModuleType("cupy"), ModuleType("schuss._engine.cuda.engine")
    cupy.ndarray, engines.Engine = Array, Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, engines.__name__, engines)
    cuda = Cuda()
    _core.set_stream_hook(cuda.current_stream, cuda.wait, cuda.device_of)
    LATEST.clear()
    yield cuda
    _core.set_stream_hook(runtime.current_stream, runtime.wait_for, runtime.device_of)
