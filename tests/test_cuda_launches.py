"""What a step asks of the device: one launch or three, and once it is warm no memory and no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import facts
from helpers import DTYPES


class Run:
    """An optimizer of a few leaves, with gradients in four sets of buffers."""

    def __init__(self, cupy: Any, common: dict[str, Any], rule: Any = schuss.AdamW, leaves: int = 3) -> None:
        kinds = [(np.float32, np.float32), (np.float64, np.float32), (DTYPES["bfloat16"], DTYPES["bfloat16"])]
        self.cupy = cupy
        self.params = {str(k): cupy.full((9 + k,), 1.0, kinds[k % 3][0]) for k in range(leaves)}
        common = {key: schuss.LossScaler(8.0) if key == "scaler" else value for key, value in common.items()}
        self.opt = rule(self.params, **common)
        self.buffers = [
            {
                name: cupy.full(p.shape, 0.1 * (t + 1), kinds[k % 3][1])
                for k, (name, p) in enumerate(self.params.items())
            }
            for t in range(4)
        ]

    def step(self, t: int = 0, *without: str) -> Any:
        return self.opt.step({name: None if name in without else g for name, g in self.buffers[t % 4].items()})


@contextmanager
def launches(cuda: Any) -> Iterator[list[str]]:
    """The kernels that are run inside, in order."""
    cuda.drain()
    before, names = len(cuda.log), []
    yield names
    cuda.drain()
    names += [name for kind, name in cuda.log[before:] if kind == "launch"]


COMMON: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plain": ({}, ["map adamw"]),
    "values clipped": ({"clip": schuss.clipping.Value(1.0)}, ["map adamw"]),
    "clipped": ({"clip": 1.0}, ["sum", "finish", "map adamw"]),
    "each leaf clipped": ({"clip": schuss.clipping.LeafNorm(1.0)}, ["sum", "finish", "map adamw"]),
    "norm asked for": ({"grad_norm": True}, ["sum", "finish", "map adamw"]),
    "scaled": ({"scaler": True}, ["sum", "finish", "map adamw"]),
    "scaled and clipped": ({"scaler": True, "clip": 1.0}, ["sum", "finish", "map adamw"]),
}


@pytest.mark.parametrize("leaves", [1, 3, 200])
@pytest.mark.parametrize("common", COMMON)
def test_a_step_is_one_launch_or_three_for_all_leaves(cuda: Any, cupy: Any, common: str, leaves: int) -> None:
    settings, want = COMMON[common]
    run = Run(cupy, settings, leaves=leaves)
    for t in range(3):
        with launches(cuda) as got:
            run.step(t)
        assert got == want


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_micro_step_is_one_launch(cuda: Any, cupy: Any, clip: float | None) -> None:
    run = Run(cupy, {"accumulate": 3, "clip": clip})
    real = ["map adamw"] if clip is None else ["sum", "finish", "map adamw"]
    for t in range(6):
        with launches(cuda) as got:
            run.step(t)
        assert got == (["take"] if t % 3 < 2 else ["take", *real])
    run.step()
    with launches(cuda) as got:
        run.opt.flush()
    assert got == real


def test_gradients_are_not_uploaded_again_where_they_lie_as_before(cuda: Any, cupy: Any) -> None:
    run = Run(cupy, {"clip": 1.0})
    run.step()
    with cuda.counting() as asked:
        for _ in range(5):
            run.step()
    assert asked == {"launch": 15}
    with cuda.counting() as asked:
        for t in range(1, 4):
            run.step(t)
    assert asked["copy"] == 3


# Once warm.


def fixed(run: Run, t: int) -> None:
    run.step()


def moving(run: Run, t: int) -> None:
    run.step(t)


def hypers_set(run: Run, t: int) -> None:
    run.opt.groups[0]["lr"] = 0.1 / (t % 7 + 1)
    run.step(t)


def held_infos(run: Run, t: int) -> None:
    run.infos = [*getattr(run, "infos", [])[-10:], run.step(t)]  # type: ignore[attr-defined]


def some_sit_out(run: Run, t: int) -> None:
    """Always the same."""
    run.step(t, "1")


def asked_after(run: Run, t: int) -> None:
    """Of what is known to be done, nothing waits."""
    before = getattr(run, "info", None)
    run.info = run.step(t)  # type: ignore[attr-defined]
    assert before is None or before.step <= t


WAYS: dict[str, Callable[[Run, int], None]] = {
    each.__name__: each for each in (fixed, moving, hypers_set, held_infos, some_sit_out, asked_after)
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip": 1.0},
    "scaled": {"scaler": True, "clip": schuss.clipping.LeafNorm(1.0)},
    "accumulated": {"accumulate": 3, "clip": 1.0},
    "scheduled": {"lr": schuss.schedules.cosine(0.1, steps=500), "clip": 1.0},
    "scheduled in Python": {"lr": lambda step: 0.1 / (step + 1), "clip": 1.0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_warm_step_takes_no_memory_and_waits_for_nothing(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch, way: str, kind: str
) -> None:
    """Over the ends of several windows of numbers, made short for it; the device keeps some steps behind."""
    from schuss._engine.cuda import numbers

    monkeypatch.setattr(numbers, "LONGEST", 48)
    monkeypatch.setattr(numbers, "_SHORT", 16)
    run = Run(cupy, KINDS[kind])

    def some(steps: range) -> None:
        for t in steps:
            WAYS[way](run, t)
            if t % 4 == 3 or way == "asked_after":
                cuda.drain()

    some(range(110))
    with cuda.counting() as asked:
        some(range(110, 260))
    assert set(asked) <= {"launch", "copy"}, asked
    assert run.opt.clock == 260 // (3 if kind == "accumulated" else 1)


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}], ids=["plain", "skips"])
def test_the_window_is_renewed_without_waiting(cuda: Any, cupy: Any, common: dict[str, Any]) -> None:
    """The real one, of 4,096 steps; every step's rate is the schedule's."""
    lr = schuss.schedules.cosine(0.1, steps=5000)
    p, g = cupy.ones(1), cupy.full((1,), 0.5)
    opt = schuss.SGD(p, lr=lr, **common)
    host_p = np.ones(1)
    host = schuss.SGD(host_p, lr=lr, **common)
    cuda.eager = True
    for t in range(4200):
        if t == 10:
            before = cuda.counts.copy()
        info, want = opt.step(g), host.step(np.full(1, 0.5))
        if t % 100 == 0 or 4090 < t < 4100:
            assert facts(info) == facts(want)
    asked = cuda.counts - before
    assert (asked["alloc"], asked["alloc_pinned"], asked["synchronize"]) == (0, 0, 0)
    assert asked["copy"] < 10
    assert p.get()[0] == host_p[0]


@pytest.mark.parametrize("groups", [1, 12])
def test_a_device_far_behind_is_waited_for_before_memory_grows_without_end(cuda: Any, cupy: Any, groups: int) -> None:
    """Gradients move and hypers change in each of so many steps, of which the device has run none."""
    params = [{"params": cupy.ones(5)} for _ in range(groups)]
    opt = schuss.SGD(params, lr=1.0, clip=10.0)
    gradients = [[cupy.full(5, (t + 1) / 1024) for _ in params] for t in range(4)]

    def some(steps: range) -> None:
        for t in steps:
            for k, group in enumerate(opt.groups):
                group["lr"] = (t % 8 + k + 1) / 64
            opt.step(gradients[t % 4])

    some(range(300))
    with cuda.counting() as asked:
        some(range(300, 700))
    assert 0 < asked["synchronize"] < 200
    assert asked["alloc"] + asked["alloc_pinned"] < 20
    assert opt.clock == 700
    for k, group in enumerate(params):
        moved = sum((t % 8 + k + 1) / 64 * (t % 4 + 1) / 1024 for t in range(700))
        assert group["params"].get().tolist() == [1 - moved] * 5  # exact


def test_an_optimizer_of_hundreds_of_groups_is_as_quiet_and_keeps_within_bounds(cuda: Any, cupy: Any) -> None:
    """As where each layer has a rate of its own."""
    params = [cupy.ones(3) for _ in range(300)]
    opt = schuss.AdamW([{"params": p, "lr": 0.001 * (k + 1)} for k, p in enumerate(params)])
    grads = [cupy.full(3, 0.5) for _ in params]
    for _ in range(20):
        opt.step(grads)
    cuda.drain()
    with cuda.counting() as asked:
        for _ in range(200):
            opt.step(grads)
            cuda.drain()
    assert set(asked) <= {"launch", "copy"}, asked
    for blocks in (cuda.arenas[0].blocks, cuda.pinned.blocks):
        assert sum(block.size for block in blocks if not block.freed) < 32 << 20


# The exceptions.


def test_an_error_asked_for_is_waited_for(cuda: Any, cupy: Any) -> None:
    run = Run(cupy, {"clip": 1.0, "nonfinite": "raise"})
    run.step()
    with cuda.counting() as asked:
        for t in range(5):
            run.step(t)
    assert asked["synchronize"] == 5


@pytest.mark.parametrize(("common", "waits"), [({}, 0), ({"clip": 1.0}, 1)], ids=["no skips", "skips"])
def test_a_leaf_that_comes_back_waits_once_where_steps_may_have_been_skipped(
    cuda: Any, cupy: Any, common: dict[str, Any], waits: int
) -> None:
    run = Run(cupy, common)
    for t in range(6):
        run.step(t, *(("1",) if t in (2, 3, 4) else ()))
    for t in range(6):
        cuda.drain()
        with cuda.counting() as asked:
            run.step(t, *(("1",) if t in (1, 2, 3) else ()))
        # The stream, and the copy of the state and of the clocks.
        assert (asked["synchronize"] > 0) == (waits > 0 and t == 4), t


# What a step was.


def test_an_unread_step_info_costs_nothing_and_a_read_one_waits_once(cuda: Any, cupy: Any) -> None:
    run = Run(cupy, {"clip": 1.0})
    run.step()
    with cuda.counting() as asked:
        info = run.step()
        pending = info.pending
    assert pending == 0
    assert "synchronize" not in asked
    with cuda.counting() as asked:
        assert info.step == 2
        assert info.grad_norm > 0
        assert info.lr == 1e-3
        assert not info.skipped
        repr(info)
    assert asked == {"synchronize": 1}
    info = run.step()
    cuda.drain()
    with cuda.counting() as asked:
        assert info.step == 3
    assert asked == {}


@pytest.mark.parametrize("drains", [True, False])
def test_a_step_info_read_long_after_is_right(cuda: Any, cupy: Any, drains: bool) -> None:
    """There are 1,024 records: who holds an info of an older step gets it before its record is written again."""
    rates = [0.1 / (1 + t % 10) for t in range(1100)]
    opt = schuss.SGD(cupy.zeros(2), lr=lambda step: rates[step], grad_norm=True)
    g = cupy.ones(2)
    infos = []
    for t in range(1100):
        g.fill(t + 1)
        infos.append(opt.step(g))
        if drains and t % 50 == 0:
            cuda.drain()
    for t in (0, 1, 75, 76, 77, 500, 1023, 1024, 1099):
        assert (infos[t].step, infos[t].lr) == (t + 1, rates[t])
        assert infos[t].grad_norm == pytest.approx((t + 1) * 2**0.5)


def test_a_step_info_outlives_its_optimizer(cuda: Any, cupy: Any) -> None:
    run = Run(cupy, {"clip": 1.0})
    infos = [run.step(t) for t in range(3)]
    del run
    assert [info.step for info in infos] == [1, 2, 3]
