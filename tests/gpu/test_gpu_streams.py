"""Streams, graphs, devices, memory: a step is queued on the caller's stream, waits for nothing, allocates nothing."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
import schuss
from gpu_twins import Twins, gradient, normal, plain, replays, same, trees

pytestmark = pytest.mark.gpu


def scaled() -> dict[str, Any]:
    return {"scaler": schuss.LossScaler(scale=64.0, growth_interval=3), "clip": 1.0}


KINDS: dict[str, Any] = {
    "plain": dict,
    "clipped": lambda: {"clip": 1.0},
    "clipped by leaf": lambda: {"clip": schuss.clipping.LeafNorm(0.5)},
    "scaled": scaled,
    "accumulated": lambda: {"accumulate": 3},
    "scheduled": lambda: {"lr": schuss.schedules.cosine(0.1, steps=30)},
    "scheduled in Python": lambda: {"lr": lambda step: 0.1 / (1 + step)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_waits_for_nothing(gpu: Any, arrays: Any, kind: str) -> None:
    params, grads = trees(1, plain())
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, params, KINDS[kind])
        there = [twins.to_device(grads(step)) for step in range(23)]
        for step in range(3):
            twins.step(grads(step), there[step])
        gpu.runtime.deviceSynchronize()
        with gpu.held(stream):
            for step in range(3, 23):
                twins.step(grads(step), there[step])
            assert not stream.done
        twins.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_allocates_nothing(gpu: Any, arrays: Any, kind: str) -> None:
    params, grads = trees(2, plain())
    twins = Twins(arrays, schuss.AdamW, params, KINDS[kind])
    given = grads(0)
    there = [twins.to_device(given), twins.to_device(given)]
    for step in range(6):
        twins.step(given, there[step % 2])
    gpu.runtime.deviceSynchronize()
    with gpu.counting() as asked:
        for step in range(100):
            twins.step(given, there[0])
            if step % 7 == 0 or "Python" in kind:  # the host learns how far the device has come
                gpu.runtime.deviceSynchronize()
    assert asked["alloc"] == asked["alloc_pinned"] == 0
    with gpu.counting() as asked:
        for step in range(20):
            twins.step(given, there[step % 2])
            gpu.runtime.deviceSynchronize()
    assert asked["alloc"] == asked["alloc_pinned"] == 0
    twins.check()


def test_a_step_runs_on_the_current_stream(gpu: Any, arrays: Any) -> None:
    params, grads = trees(3, plain())
    mine, other = gpu.stream(), gpu.stream()
    twins = Twins(arrays, schuss.SGD, params, {"lr": 0.1})
    there = twins.to_device(grads(0))
    twins.step(grads(0), there)
    twins.check()
    before = {name: each.copy() for name, each in twins.on_host.items()}
    with gpu.held(mine):
        with mine:
            twins.step(grads(0), there)
        with other:  # nothing waits for `mine` but what was queued there
            for name, each in twins.on_device.items():
                host = np.empty(each.shape, each.dtype)
                gpu.runtime.memcpyAsync(host.ctypes.data, each.data.ptr, host.nbytes, 2, other.ptr)
                other.synchronize()
                same(host, before[name], name)
    twins.check()


def test_two_optimizers_step_at_once_on_two_streams(gpu: Any, arrays: Any) -> None:
    def train(seed: int, made: list[Any], failed: list[BaseException]) -> None:
        try:
            with gpu.stream():
                params, grads = trees(seed, plain(sizes=(40_000, 37)))
                twins = Twins(arrays, schuss.AdamW, params, scaled)
                for step in range(25):
                    twins.step(grads(step))
                twins.check()
                made.append(twins)
        except BaseException as error:  # a thread's own goes unseen
            failed.append(error)

    if gpu.simulated:  # which has one thread
        streams = [gpu.stream(), gpu.stream()]
        runs = []
        for seed, stream in enumerate(streams):
            with stream:
                params, grads = trees(seed, plain())
                runs.append((Twins(arrays, schuss.AdamW, params, scaled), grads, stream))
        for step in range(10):
            for twins, grads, stream in runs:
                with stream:
                    twins.step(grads(step))
        for twins, _, stream in runs:
            with stream:
                twins.check()
        return
    made: list[Any] = []
    failed: list[BaseException] = []
    threads = [threading.Thread(target=train, args=(seed, made, failed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert len(made) == 2


def test_streams_may_change_between_steps(gpu: Any, arrays: Any) -> None:
    """As with any array, the caller sees to it that one stream waits for the other."""
    params, grads = trees(4, plain())
    streams = [gpu.stream(), gpu.stream()]
    twins = Twins(arrays, schuss.Adam, params, scaled)
    there = [twins.to_device(grads(step)) for step in range(8)]
    gpu.runtime.deviceSynchronize()
    for step, stream in zip(range(8), itertools.cycle(streams)):
        with stream:
            twins.step(grads(step), there[step])
            event = stream.record()
        streams[(step + 1) % 2].wait_event(event)
    twins.check()


# Several devices.


def test_each_optimizer_stays_on_its_device(gpu: Any, arrays: Any) -> None:
    if gpu.devices < 2:
        pytest.skip("there is one device")
    params, grads = trees(5, plain())
    with gpu.cuda.Device(1):
        away = Twins(arrays, schuss.AdamW, params, scaled)
        there = [away.to_device(grads(step)) for step in range(3)]
    here = Twins(arrays, schuss.AdamW, params, scaled)
    for step in range(3):
        away.step(grads(step), there[step])
        here.step(grads(step))
    assert gpu.runtime.getDevice() == 0
    away.check()
    here.check()
    with pytest.raises(ValueError, match=r"on CUDA device 1, expected CUDA device 0"):
        schuss.SGD([here.on_device["float32-37"], away.on_device["float32-37"]])


def test_devices_are_not_mixed(arrays: Any) -> None:
    w = arrays.put(normal(6, 3))
    with pytest.raises(ValueError, match=r"params\['b'\]: on the CPU, expected CUDA device 0"):
        schuss.SGD({"a": w, "b": np.zeros(3, np.float32)})
    opt = schuss.SGD({"w": w})
    with pytest.raises(ValueError, match=r"grads\['w'\]: on the CPU, expected CUDA device 0"):
        opt.step({"w": np.zeros(3, np.float32)})


# Graphs.


def captured(opt: Any, stream: Any, there: Any) -> tuple[Any, Any]:
    stream.begin_capture()
    info = opt.step(there)
    return stream.end_capture(), info


GRAPHS: dict[str, Any] = {
    "plain": dict,
    "clipped": lambda: {"clip": 1.0},
    "clipped by leaf": lambda: {"clip": schuss.clipping.LeafNorm(0.5)},
    "scaled": scaled,
    "scheduled": lambda: {"lr": schuss.schedules.warmup(3, schuss.schedules.cosine(0.1, steps=9))},
    "scheduled in Python": lambda: {"lr": lambda step: 0.1 / (1 + step)},
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_captured_step_is_replayed(gpu: Any, arrays: Any, kind: str) -> None:
    """Gradients change in their places, schedules move on; what overflows is skipped."""
    params, grads = trees(7, plain())
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, params, GRAPHS[kind])
        there = twins.to_device(grads(0))
        twins.step(grads(0), there)
        twins.got.renew()
        graph, info = captured(twins.got, stream, there)
        for step in range(1, 15):
            given = grads(step)
            if kind == "scaled" and step in (4, 5, 9):
                given["float32-37"][3] = np.inf
            for name, each in given.items():
                gpu.write(there[name], each)
            graph.launch(stream)
            want = twins.want.step(given)
            if step % 4 == 0:
                assert (info.step, info.lr, info.grad_norm, info.skipped) == (
                    want.step, want.lr, want.grad_norm, want.skipped
                ) or want.skipped  # fmt: skip
                assert info.step == want.step
        twins.check("after replays")
        for step in range(15, 18):
            twins.step(grads(step))
        twins.check("after ordinary steps")
        gpu.write(there["float32-37"], given["float32-37"])
        for name, each in given.items():
            gpu.write(there[name], each)
        graph.launch(stream)
        twins.want.step(given)
        twins.check("after one more replay")


def test_two_graphs_of_one_optimizer(gpu: Any, arrays: Any) -> None:
    params, grads = trees(8, plain())
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, params, scaled)
        there = [twins.to_device(grads(step)) for step in range(2)]
        graphs = []
        for step in range(2):
            twins.step(grads(step), there[step])
            twins.got.renew()
            graphs.append(captured(twins.got, stream, there[step])[0])
        for step in (0, 1, 1, 0):
            graphs[step].launch(stream)
            twins.want.step(grads(step))
        twins.check()


def test_replays_past_the_table_are_told_and_not_taken(gpu: Any, arrays: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    most, grads = replays(gpu, monkeypatch), {"w": gradient(9, 50)}
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, {"w": normal(10, 50)}, {"lr": schuss.schedules.cosine(0.1, steps=9000)})
        there = twins.to_device(grads)
        twins.step(grads, there)
        twins.got.renew()
        graph, _ = captured(twins.got, stream, there)
        for _ in range(most + 5):
            graph.launch(stream)
        for _ in range(most):
            twins.want.step(grads)
        with pytest.raises(RuntimeError, match="5 replayed steps found no numbers prepared"):
            twins.got.renew()
        twins.got.renew()
        for _ in range(3):
            graph.launch(stream)
            twins.want.step(grads)
        twins.check()


def test_what_cannot_be_captured_says_so(gpu: Any, arrays: Any) -> None:
    grads = {"w": gradient(11, 50)}
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, {"w": normal(12, 50)}, {"nonfinite": "raise"})
        there = twins.to_device(grads)
        twins.step(grads, there)
        with pytest.raises(RuntimeError, match="waits for its norm and cannot be captured"):
            captured(twins.got, stream, there)
        stream.end_capture()
        fresh = Twins(arrays, schuss.AdamW, {"w": normal(12, 50)})
        with pytest.raises(RuntimeError, match="take an ordinary step"):
            captured(fresh.got, stream, there)
        stream.end_capture()
        twins.step(grads, there)
        twins.check()
