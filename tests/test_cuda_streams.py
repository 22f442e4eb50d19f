"""The caller's device and stream, and arrays of other libraries with streams of their own."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cudasim
import numpy as np
import pytest
import schuss
from cuda_twins import Tree, facts, make
from helpers import DTYPES, flat, normal, raw

SHAPES: dict[str, tuple[int, ...]] = {"w": (70, 61), "b": (61,)}


def drawn(seed: int, dtype: Any = np.float32) -> Tree:
    return {name: normal(10 * seed + k, shape, dtype) for k, (name, shape) in enumerate(SHAPES.items())}


def on_device(cupy: Any, tree: Tree, device: int = 0) -> Tree:
    with cupy.cuda.Device(device):
        return {name: cupy.asarray(each) for name, each in tree.items()}


def same(opt: Any, params: Tree, host: Any, host_params: Tree) -> None:
    for name, want in host_params.items():
        assert raw(params[name].get()) == raw(want), f"parameter {name}"
    slots = dict(flat(opt.state))
    for name, want in flat(host.state):
        assert raw(slots[name].get()) == raw(want), f"slot {name}"
    assert opt.clock == host.clock


# Devices.


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}, {"accumulate": 2}], ids=["plain", "clipped", "accumulated"])
def test_each_device_has_its_optimizers_whichever_is_current(cuda: Any, cupy: Any, common: dict[str, Any]) -> None:
    hosts = [drawn(k) for k in range(2)]
    params = [on_device(cupy, hosts[k], k) for k in range(2)]
    host_opts = [schuss.AdamW(each, **common) for each in hosts]
    opts = [schuss.AdamW(each, **common) for each in params]
    for t in range(6):
        with cupy.cuda.Device(t % 2):
            for k in (1, 0):
                grads = drawn(20 + 2 * t + k)
                info = opts[k].step(on_device(cupy, grads, k))
                assert facts(info) == facts(host_opts[k].step(grads))
            assert cupy.cuda.runtime.getDevice() == t % 2
    for k in range(2):
        same(opts[k], params[k], host_opts[k], hosts[k])
        assert opts[k].state["w"]["m"].device.id == k
    assert cupy.cuda.runtime.getDevice() == 0


def test_all_else_that_is_asked_of_an_optimizer_goes_to_its_device(cuda: Any, cupy: Any) -> None:
    host_params = drawn(1)
    params = on_device(cupy, host_params, 1)

    def walk(opt: Any, give: Callable[[Tree], Tree]) -> Any:
        opt.step(give(drawn(2)))
        opt.groups[0]["lr"] = 0.5
        with opt.lookahead():
            pass
        opt.step(give(drawn(3)))
        opt.freeze("b")
        opt.load_state_dict(opt.state_dict())
        opt.step(give(drawn(4)))
        opt.unfreeze("b")
        opt.step(give(drawn(5)))
        opt.renew()
        return opt

    host = walk(make(schuss.Nesterov, {"scale": 8.0}, clip=1.0)(host_params), lambda tree: tree)
    opt = walk(make(schuss.Nesterov, {"scale": 8.0}, clip=1.0)(params), lambda tree: on_device(cupy, tree, 1))
    same(opt, params, host, host_params)
    assert opt.scaler.on_device().device.id == 1
    assert cupy.cuda.runtime.getDevice() == 0
    assert not [block for block in cuda.arenas[0].blocks if not block.freed], "device 0 has nothing of it"


# Streams.


def queued(cuda: Any, stream: Any) -> list[str]:
    return [operation.kind for operation in cuda.queue(stream.ptr, 0).operations if operation.kind != "free"]


def test_a_step_goes_to_the_callers_current_stream(cuda: Any, cupy: Any) -> None:
    params, grads = on_device(cupy, drawn(1)), on_device(cupy, drawn(2))
    opt = schuss.AdamW(params, clip=1.0)
    opt.step(grads)
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        opt.step(grads)
    assert queued(cuda, stream) == ["launch"] * 3
    assert queued(cuda, cupy.cuda.Stream.null) == []
    opt.step(grads)
    assert queued(cuda, cupy.cuda.Stream.null) == ["launch"] * 3
    cuda.finish_queue(cuda.queue(stream.ptr, 0))


def test_the_current_stream_of_the_optimizers_device_is_taken_though_another_device_is_current(
    cuda: Any, cupy: Any
) -> None:
    params, grads = on_device(cupy, drawn(1), 1), on_device(cupy, drawn(2), 1)
    with cupy.cuda.Device(1):
        opt = schuss.AdamW(params)
        opt.step(grads)
        cupy.cuda.Device().synchronize()
        stream = cupy.cuda.Stream(non_blocking=True).use()
    opt.step(grads)
    assert queued(cuda, stream) == ["launch"]


@pytest.mark.parametrize("common", [{}, {"clip": 1.0, "lr": lambda step: 0.1 / (step + 1)}], ids=["plain", "clipped"])
def test_streams_may_change_where_the_caller_orders_them(cuda: Any, cupy: Any, common: dict[str, Any]) -> None:
    host_params = drawn(1)
    params = on_device(cupy, host_params)
    host, opt = schuss.AdamW(host_params, **common), schuss.AdamW(params, **common)
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    event = cupy.cuda.get_current_stream().record()
    for t in range(12):
        stream = streams[t % 3]
        stream.wait_event(event)
        with stream:
            opt.step(on_device(cupy, drawn(20 + t)))
        event = stream.record()
        host.step(drawn(20 + t))
    event.synchronize()
    same(opt, params, host, host_params)


READ: dict[str, Callable[[Any], Any]] = {
    "clock": lambda opt: opt.clock,
    "clocks": lambda opt: [leaf["clock"] for leaf in opt.state_dict()["leaves"].values()],
    "scale": lambda opt: opt.scaler.scale,
    "slots": lambda opt: raw(opt.state_dict()["leaves"]["w"]["slots"]["m"]),
    "accumulators": lambda opt: raw(opt.state_dict()["leaves"]["w"]["accumulator"]),
}


@pytest.mark.parametrize("what", READ)
def test_state_is_read_from_any_stream_as_it_is_after_the_steps(cuda: Any, cupy: Any, what: str) -> None:
    host_params = drawn(1)
    params = on_device(cupy, host_params)
    make_one = make(schuss.AdamW, {"scale": 8.0, "growth_interval": 1}, clip=1.0, accumulate=2)
    host, opt = make_one(host_params), make_one(params)
    grads = on_device(cupy, drawn(2))
    cupy.cuda.Device().synchronize()
    with cupy.cuda.Stream(non_blocking=True):
        for _ in range(5):
            host.step(drawn(2))
            info = opt.step(grads)
    assert READ[what](opt) == READ[what](host)
    assert info.step == 2


def test_what_is_set_between_steps_on_other_streams_holds(cuda: Any, cupy: Any) -> None:
    """As the caller sees it, each call is done when it returns."""
    host_params = drawn(1)
    params = on_device(cupy, host_params)
    make_one = make(schuss.AdamW, {"scale": 8.0, "growth_interval": 1}, clip=1.0)
    host, opt = make_one(host_params), make_one(params)
    grads = on_device(cupy, drawn(2))
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    for t in range(4):
        for one in (host, opt):
            one.scaler.update(overflow=t == 2)
            one.groups[0]["lr"] = 0.1 / (t + 1)
            if t == 3:
                one.load_state_dict(one.state_dict())
        host.step(drawn(2))
        with stream:
            opt.step(grads)
    assert opt.scaler.state_dict() == host.scaler.state_dict()
    stream.synchronize()
    same(opt, params, host, host_params)


def test_another_thread_may_step(cuda: Any, cupy: Any) -> None:
    host_params = drawn(1)
    params = on_device(cupy, host_params, 1)
    host, opt = schuss.AdamW(host_params, clip=1.0), schuss.AdamW(params, clip=1.0)
    for t in range(3):
        grads = on_device(cupy, drawn(t), 1)
        thread = threading.Thread(target=opt.step, args=(grads,))
        thread.start()
        thread.join()
        host.step(drawn(t))
    same(opt, params, host, host_params)


# Arrays of other libraries.


class Packed:
    """An array that speaks DLPack alone, and works on a stream of its own."""

    def __init__(self, array: Any, stream: Any) -> None:
        self.array, self.stream = array, stream

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **asked: Any) -> Any:
        with self.stream:
            return self.array.__dlpack__(**asked)


class Interface:
    """An array that speaks the CUDA array interface alone, and works on a stream of its own."""

    def __init__(self, array: Any, stream: Any) -> None:
        self.array, self.stream = array, stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        with self.stream:
            return self.array.__cuda_array_interface__


FOREIGN: dict[str, Any] = {"DLPack": Packed, "interface": Interface}


# The interface has no name for bfloat16.
SPOKEN = [(kind, dtype) for kind in FOREIGN for dtype in DTYPES if (kind, dtype) != ("interface", "bfloat16")]


@pytest.mark.parametrize("ours", ["null", "own"])
@pytest.mark.parametrize(("kind", "dtype"), SPOKEN)
def test_gradients_of_another_library_are_waited_for(cuda: Any, cupy: Any, kind: str, dtype: str, ours: str) -> None:
    host_params = drawn(1)
    params = on_device(cupy, host_params)
    host, opt = schuss.AdamW(host_params, clip=1.0), schuss.AdamW(params, clip=1.0)
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream.null if ours == "null" else cupy.cuda.Stream(non_blocking=True)
    theirs = cupy.cuda.Stream(non_blocking=True)
    for t in range(4):
        grads = drawn(20 + t, DTYPES[dtype])
        with theirs:  # made there, and queued only
            made = {name: cupy.asarray(g[::-1].copy())[::-1] for name, g in grads.items()}
        with stream:
            info = opt.step({name: FOREIGN[kind](g, theirs) for name, g in made.items()})
            assert facts(info) == facts(host.step(grads))
        stream.synchronize()
    same(opt, params, host, host_params)


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("kind", FOREIGN)
def test_parameters_of_another_library_are_stepped_where_they_lie(cuda: Any, cupy: Any, kind: str, device: int) -> None:
    host_params = drawn(1)
    home = on_device(cupy, host_params, device)
    with cupy.cuda.Device(device):
        theirs = cupy.cuda.Stream(non_blocking=True)
        params = {name: FOREIGN[kind](p, theirs) for name, p in home.items()}
        cupy.cuda.Device().synchronize()
        host, opt = schuss.AdamW(host_params, clip=1.0), schuss.AdamW(params, clip=1.0)
        for t in range(3):
            host.step(drawn(20 + t))
            opt.step(on_device(cupy, drawn(20 + t), device))
    same(opt, home, host, host_params)
    assert isinstance(opt.state["w"]["m"], cupy.ndarray)
    assert opt.state["w"]["m"].device.id == device


def test_an_interface_without_a_stream_is_not_waited_for(cuda: Any, cupy: Any) -> None:
    p, g = cupy.zeros(4), cupy.ones(4)
    told = {**g.__cuda_array_interface__, "stream": None}
    opt = schuss.SGD(p, lr=1.0)
    with cuda.counting() as asked:
        opt.step(type("Other", (), {"__cuda_array_interface__": told})())
    assert asked["wait"] == 0
    assert p.get().tolist() == [-1.0] * 4


@pytest.fixture
def torch_stream(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """torch's current stream, which this machine's torch may be too plain to have."""
    pointer = cudasim.foreign_stream(0, blocking=False)
    asked = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=pointer))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=asked))
    return pointer


def test_torch_tensors_are_stepped_on_torchs_stream(cuda: Any, cupy: Any, torch_stream: int) -> None:
    p, g = cupy.zeros(4), cupy.ones(4)
    opt = schuss.SGD(p, lr=1.0, clip=10.0)
    (engine,) = [each for each in gc.get_referents(opt._session) if type(each).__name__ == "Engine"]
    # As if a parameter were a tensor.
    engine._session = SimpleNamespace(
        **{name: getattr(engine._session, name) for name in dir(engine._session) if name[0] != "_"}
        | {"has_torch": True}
    )
    opt.step(g)
    assert queued(cuda, cupy.cuda.Stream.null) == []
    cupy.cuda.Device().synchronize()
    opt.step(g)
    assert queued(cuda, SimpleNamespace(ptr=torch_stream)) == ["launch"] * 3
    assert opt.clock == 2
    assert p.get().tolist() == [-2.0] * 4
