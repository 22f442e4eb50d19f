"""A device that runs out of memory: whatever asked for it is as it was, and goes on once there is some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Tree, Twins, make
from test_cuda_bad_input import moved
from test_cuda_step import grads_of, grouped, params_of


@contextmanager
def memory_for(cupy: Any, monkeypatch: pytest.MonkeyPatch, many: int) -> Iterator[list[int]]:
    """So many allocations inside, of either kind, and then none; how many were asked for."""
    asked = [0]

    def limited(real: Callable[[int], Any]) -> Callable[[int], Any]:
        def alloc(size: int) -> Any:
            asked[0] += 1
            if asked[0] > many:
                raise MemoryError(f"Out of memory allocating {size} bytes")
            return real(size)

        return alloc

    with monkeypatch.context() as patched:
        for name in ("alloc", "alloc_pinned_memory"):
            patched.setattr(cupy.cuda, name, limited(getattr(cupy.cuda, name)))
        yield asked


def exhausted(cupy: Any, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any], check: Callable[[], None]) -> Any:
    """Call with room for no allocation, one, two, … until it succeeds, which it does in the end."""
    for many in range(200):
        with memory_for(cupy, monkeypatch, many) as asked:
            try:
                result = call()
            except MemoryError:
                pass
            else:
                assert asked[0] <= many
                return result
        check()
    raise AssertionError("it never ends")


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"scaler": {"scale": 8.0}, "clip": schuss.clipping.LeafNorm(1.0)},
    "accumulated": {"accumulate": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_that_finds_no_memory_is_not_made(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    params = moved(params_of())
    make_one = make(schuss.AdamW, **KINDS[kind])
    opt = exhausted(cupy, monkeypatch, lambda: make_one(params), cuda.drain)
    twins = Twins(make_one, params_of())
    twins.device, twins.device_homes = opt, params
    for t in range(3):
        twins.step(grads_of(t))
    twins.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_that_finds_no_memory_is_not_added(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def build(params: Tree) -> Any:
        return make(schuss.AdamW, **KINDS[kind])([{"params": each} for each in grouped(params)])

    twins = Twins(build, params_of(), nest=grouped)
    for t in range(3):
        twins.step(grads_of(t))
    late = np.ones(4100, np.float32)
    there = cupy.asarray(late)

    def check() -> None:
        assert len(twins.device.groups) == 2
        twins.check()

    exhausted(cupy, monkeypatch, lambda: twins.device.add_group({"params": {"late": there}}, name="late"), check)
    twins.host.add_group({"params": {"late": late}}, name="late")
    twins.host_homes["late"], twins.device_homes["late"] = late, there
    for t in range(3):
        twins.step({**grads_of(t), "late": np.full(4100, 0.5, np.float32)})
    twins.check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["first", "later"])
def test_a_step_that_finds_no_memory_has_not_happened(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch, kind: str, when: str
) -> None:
    """Later: with gradients that lie strided, of which there were none, and a leaf that comes back."""
    twins = Twins(make(schuss.AdamW, **KINDS[kind]), params_of())
    if when == "later":
        for t in range(4):
            twins.step(grads_of(t, "b"))
    grads = grads_of(7)
    given = {name: cupy.asarray(np.repeat(g[..., None], 2, -1))[..., 0] for name, g in grads.items()}
    twins.check()
    info = exhausted(cupy, monkeypatch, lambda: twins.device.step(given), twins.check)
    twins.infos.append((twins.host.step(grads), info))
    for t in range(4):
        twins.step(grads_of(t))
    twins.check()


def test_a_hyper_whose_slot_finds_no_memory_is_as_it_was(cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = Twins(make(schuss.Adam), params_of())
    twins.step(grads_of(0))

    def check() -> None:
        assert twins.device.groups[0]["amsgrad"] is False
        twins.check()

    exhausted(cupy, monkeypatch, lambda: twins.device.groups[0].__setitem__("amsgrad", True), check)
    twins.host.groups[0]["amsgrad"] = True
    for t in range(3):
        twins.step(grads_of(t))
    twins.check()


def test_looking_ahead_that_finds_no_memory_moves_nothing(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = Twins(make(schuss.Nesterov), params_of())
    twins.step(grads_of(0))

    def look() -> None:
        with twins.device.lookahead():
            pass

    exhausted(cupy, monkeypatch, look, twins.check)
    with twins.host.lookahead():
        pass
    twins.step(grads_of(1))
    twins.check()
