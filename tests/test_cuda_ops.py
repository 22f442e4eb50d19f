"""The plain functions of ops and clipping on a simulated device: the CPU's bits, and nothing that stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import LAYOUTS, laid_out
from helpers import CASES, CLASSES, DTYPES, ON_DEVICE, SIZES, case_id, normal, raw
from oracles import defaults


def twins_of(cupy: Any, values: np.ndarray, layout: str = "dense") -> tuple[Any, Any, Any, Any]:
    """On the CPU and on the device: what an array is a part of, and it."""
    home, part = laid_out(values, layout)
    there = cupy.asarray(home)
    return home, part(home), there, part(there)


def slots_of(rule: str, setting: dict[str, Any], p: np.ndarray) -> dict[str, np.ndarray]:
    """Those that a rule keeps, none of them zero."""
    opt = CLASSES[rule](p.copy(), **setting)
    return {name: np.abs(normal(5, p.shape, slot.dtype)) for name, slot in opt.state.items()}


STEPPED = [case for case in reversed(CASES) if case[0] in ON_DEVICE]

# Of each rule's settings those that keep other slots: a kernel is compiled for each.
KEPT = {
    (rule, tuple(slots_of(rule, its, np.ones(1)))): (rule, its) for rule, its in reversed(CASES) if rule in ON_DEVICE
}


@pytest.mark.parametrize(("rule", "setting"), list(KEPT.values()), ids=case_id)
def test_a_plain_rule_gives_the_cpus_bits(cuda: Any, cupy: Any, rule: str, setting: dict[str, Any]) -> None:
    function = getattr(schuss.ops, rule)
    hypers = {**defaults(rule), **setting}
    lying = {
        1: ("misaligned", "dense", "dense"),
        2: ("every second", "backwards", "dense"),
        7: ("dense", "dense", "misaligned"),
    }
    for n in (5001, 1, 0):
        for step, (of_p, of_g, of_slots) in lying.items():
            p = twins_of(cupy, normal(1, n, np.float32), of_p)
            g = twins_of(cupy, normal(2, n, np.float32), of_g)
            slots = {name: twins_of(cupy, each, of_slots) for name, each in slots_of(rule, setting, p[1]).items()}
            for side in (1, 3):
                function(p[side], g[side], **{name: its[side] for name, its in slots.items()}, step=step, **hypers)
            for host, _, device, _ in (p, g, *slots.values()):
                assert raw(device.get()) == raw(host)


@pytest.mark.parametrize("g_dtype", DTYPES)
@pytest.mark.parametrize("p_dtype", DTYPES)
def test_a_plain_rule_takes_every_format(cuda: Any, cupy: Any, p_dtype: str, g_dtype: str) -> None:
    p, g = (twins_of(cupy, normal(k, 300, DTYPES[d])) for k, d in enumerate((p_dtype, g_dtype)))
    v = twins_of(cupy, normal(3, 300, np.float64 if p_dtype == "float64" else np.float32))
    schuss.ops.momentum(p[1], g[1], v[1], step=1, lr=0.1)
    schuss.ops.momentum(p[3], g[3], v[3], step=1, lr=0.1)
    for host, _, device, _ in (p, g, v):
        assert raw(device.get()) == raw(host)


class Tree:
    """Arrays of all formats, sizes and layouts, one of them in two places."""

    def __init__(self, cupy: Any, factor: float = 1.0) -> None:
        self.host: dict[str, Any] = {}
        self.device: dict[str, Any] = {}
        self.homes: list[tuple[Any, Any]] = []
        leaves = [((n,), "dense") for n in SIZES] + [((6, 5, 4), layout) for layout in LAYOUTS]
        for k, (shape, layout) in enumerate(leaves):
            dtype = list(DTYPES.values())[k % 3]
            home, host, there, device = twins_of(cupy, (factor * normal(k, shape)).astype(dtype), layout)
            self.homes.append((home, there))
            self.host[str(k)], self.device[str(k)] = host, device
        self.host["again"], self.device["again"] = self.host["10"], self.device["10"]

    def same(self) -> bool:
        return all(raw(device.get()) == raw(host) for host, device in self.homes)


def test_a_norm_is_the_cpus_to_the_bit(cuda: Any, cupy: Any) -> None:
    for factor in (1.0, 1e-20, 1e18):
        tree = Tree(cupy, factor)
        assert schuss.clipping.global_norm(tree.device) == schuss.clipping.global_norm(tree.host)
        assert tree.same()


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e9])
@pytest.mark.parametrize("function", ["by_global_norm", "by_leaf_norm", "by_value"])
def test_clipping_in_place_gives_the_cpus_bits(cuda: Any, cupy: Any, function: str, limit: float) -> None:
    tree = Tree(cupy)
    clip = getattr(schuss.clipping, function)
    assert clip(tree.device, limit) == clip(tree.host, limit)
    assert tree.same()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("function", ["by_global_norm", "by_leaf_norm", "by_value"])
def test_what_is_not_finite_is_treated_as_on_the_cpu(cuda: Any, cupy: Any, function: str, bad: float) -> None:
    tree = Tree(cupy)
    tree.host["5"][4000], tree.device["5"][4000] = bad, bad
    clip = getattr(schuss.clipping, function)
    assert repr(clip(tree.device, 0.5)) == repr(clip(tree.host, 0.5))
    assert tree.same()


def test_plain_functions_run_on_the_arrays_device_and_the_current_stream_and_keep_nothing(cuda: Any, cupy: Any) -> None:
    with cupy.cuda.Device(1):
        p, g = cupy.asarray(normal(1, 100)), cupy.asarray(normal(2, 100))
        stream = cupy.cuda.Stream(non_blocking=True).use()
    cuda.drain()
    before = [block for arena in cuda.arenas for block in arena.blocks if not block.freed]
    schuss.ops.sgd(p, g, None, step=1, lr=0.1)
    assert cuda.waiting(device=0) == []
    assert [name for kind, name in cuda.waiting(device=1) if kind == "launch"] == ["map sgd"]
    stream.synchronize()
    want = normal(1, 100)
    schuss.ops.sgd(want, normal(2, 100), None, step=1, lr=0.1)
    assert raw(p.get()) == raw(want)
    assert schuss.clipping.by_global_norm({"g": g}, 1.0) == schuss.clipping.global_norm({"g": normal(2, 100)})
    cuda.drain()
    assert [block for arena in cuda.arenas for block in arena.blocks if not block.freed] == before
    assert cupy.cuda.runtime.getDevice() == 0


def test_plain_functions_refuse_arrays_of_several_places_by_name(cuda: Any, cupy: Any) -> None:
    here = cupy.ones(3)
    with cupy.cuda.Device(1):
        there = cupy.ones(3)
    for other, place in ((np.ones(3), "the CPU"), (there, "CUDA device 1")):
        with pytest.raises(ValueError, match=rf"g.*on {place}, expected CUDA device 0"):
            schuss.ops.sgd(here, other, None, step=1)
        with pytest.raises(ValueError, match=rf"b.*on {place}, expected CUDA device 0"):
            schuss.clipping.by_value({"a": here, "b": other}, 0.5)
    assert here.get().tolist() == there.get().tolist() == [1.0] * 3


def test_elements_beyond_two_to_the_thirty_first_are_found(
    cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaf of which only the last chunk is really there: its addresses are what 32 bits cannot count to."""
    from schuss._engine.cuda import arrays, layout

    count, first = 2**33 + 100, 2**33
    p, g = cupy.asarray(normal(0, 100, np.float32)), cupy.asarray(normal(1, 100, np.float32))
    wanted = p.get() - np.float32(0.5) * g.get()
    chunk = layout.chunks_of([100])
    chunk["first"] = first
    monkeypatch.setattr(layout, "chunks_of", lambda counts: chunk)
    leaves = [(a.data.ptr - 4 * first, 1, (count,), None, 0, name, True, False) for a, name in ((p, "p"), (g, "g"))]
    values = [float(value) for value in (schuss.rules()["sgd"].defaults | {"lr": 0.5}).values()]
    arrays.apply("sgd", [*leaves, None], 1, values)
    assert raw(p.get()) == raw(wanted)
