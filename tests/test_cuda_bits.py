"""A simulated device gives the CPU's bits: every rule, setting, format, size and layout, clipped and scaled."""

from __future__ import annotations

from typing import Any

import cudasim
import numpy as np
import pytest
import schuss
from cuda_twins import LAYOUTS, Tree, Twins, make
from helpers import CLASSES, DTYPES, ON_DEVICE, SIZES, gradients, normal
from oracles import SETTINGS

PAIRS = [(p, g) for p in DTYPES for g in DTYPES]
ORDERS = ["forward", "reverse", "random"]


class World:
    """Leaves of all pairs of formats, in one group for each of the rule's settings: one kernel for all its tests."""

    def __init__(self, rule: str, sizes: list[int], **common: Any) -> None:
        self.settings = SETTINGS[rule]
        self.leaves: dict[str, tuple[int, str, str]] = {}
        works = [n for n in sizes if n > 0]
        for group in range(len(self.settings)):
            for k, (p, g) in enumerate(PAIRS):
                for n in sizes if group == 0 else [works[(group + k) % len(works)]]:
                    self.leaves[f"{group} {p} {g} {n}"] = (n, p, g)
        flat_layouts = ["misaligned", "every second", "backwards"]
        self.layouts = {name: flat_layouts[k // 2 % 3] for k, name in enumerate(self.leaves) if k % 2}
        scaler = common.pop("scaler", None)

        def build(params: Tree) -> Any:
            groups = [{"params": each, **its} for each, its in zip(self.nest(params), self.settings, strict=True)]
            return make(CLASSES[rule], scaler, **common)(groups)

        params = {name: normal(k, n, DTYPES[p]) for k, (name, (n, p, _)) in enumerate(self.leaves.items())}
        for values in params.values():
            values[::17] = -0.0  # which only a bit tells from zero
        self.twins = Twins(build, params, self.layouts, self.nest)

    def nest(self, tree: Tree) -> list[Tree]:
        return [
            {name: leaf for name, leaf in tree.items() if name.startswith(f"{group} ")}
            for group in range(len(self.settings))
        ]

    def grads(self, t: int) -> Tree:
        found = {}
        for k, (name, (n, _, g)) in enumerate(self.leaves.items()):
            found[name] = gradients(1000 * (t + 1) + k, n, 1, DTYPES[g])[0]
        return found

    def step(self, t: int, grads: Tree) -> None:
        """In the second step, gradients lie as the parameters do."""
        self.twins.step(grads, self.layouts if t == 1 else None)


@pytest.mark.parametrize("rule", ON_DEVICE)
def test_every_rule_setting_format_and_size_steps_as_on_the_cpu(cuda: Any, rule: str) -> None:
    world = World(rule, SIZES)
    for t in range(3):
        world.step(t, world.grads(t))
    world.twins.check()


COMMON: dict[str, dict[str, Any]] = {
    "clipped": {"clip": 1.0},
    "hardly clipped": {"clip": 1e6},
    "each leaf clipped": {"clip": schuss.clipping.LeafNorm(1.0)},
    "values clipped": {"clip": schuss.clipping.Value(0.5)},
    "norm asked for": {"grad_norm": True},
    "scaled": {"scaler": {"scale": 8.0, "growth_interval": 1}},
    "scaled by no power of two, clipped": {"scaler": {"scale": 3.0, "dynamic": False}, "clip": 0.1},
    "scaled, values clipped": {"scaler": {"scale": 8.0}, "clip": schuss.clipping.Value(0.5)},
    "applied": {"nonfinite": "apply", "grad_norm": True},
    "applied, each leaf clipped": {"nonfinite": "apply", "clip": schuss.clipping.LeafNorm(1.0)},
    "applied, clipped": {"nonfinite": "apply", "clip": 1.0},
    "accumulated": {"accumulate": 2, "clip": 1.0},
}


@pytest.mark.parametrize("common", COMMON)
@pytest.mark.parametrize("rule", ON_DEVICE)
def test_clipped_scaled_and_overflowing_steps_are_the_cpu_s(cuda: Any, rule: str, common: str) -> None:
    world = World(rule, [33, 4097], **COMMON[common])
    for t in range(5):
        grads = world.grads(t)
        if t == 2:
            grads["0 float32 float32 4097"][4096] = np.inf
            grads["1 bfloat16 float64 33" if "1 bfloat16 float64 33" in grads else "0 bfloat16 float64 33"][0] = np.nan
        world.step(t, grads)
    world.twins.check()


# Layouts. One rule stands for all: the loops know none.


@pytest.mark.parametrize("clip", [None, 1.0], ids=["plain", "clipped"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (61, 49), (1, 4), (4, 1, 2, 3)], ids=str)
def test_leaves_of_every_layout_step_as_on_the_cpu(cuda: Any, shape: tuple[int, ...], clip: float | None) -> None:
    pairs = [(p, g) for p in LAYOUTS for g in LAYOUTS]
    formats = {f"{p} {g}": PAIRS[k % len(PAIRS)] for k, (p, g) in enumerate(pairs)}
    params = {name: normal(k, shape, DTYPES[p]) for k, (name, (p, _)) in enumerate(formats.items())}
    layouts = dict(zip(params, (p for p, _ in pairs), strict=True))
    grad_layouts = dict(zip(params, (g for _, g in pairs), strict=True))
    twins = Twins(make(schuss.AdamW, clip=clip), params, layouts)
    for t in range(3):
        grads = {name: normal(100 * t + k, shape, DTYPES[g]) for k, (name, (_, g)) in enumerate(formats.items())}
        twins.step(grads, grad_layouts)
    twins.check()


@pytest.mark.parametrize("by", [2, 4, 6, 8, 10, 14])
def test_a_leaf_may_begin_at_any_multiple_of_its_elements(cuda: Any, cupy: Any, by: int) -> None:
    for dtype in ("float32", "bfloat16"):
        if by % DTYPES[dtype].itemsize:
            continue
        p, g = normal(1, 5000, DTYPES[dtype]), normal(2, 5000, DTYPES[dtype])
        there = cudasim.misaligned(cupy.asarray(p), by)
        assert there.data.ptr % 16 == by
        opt = schuss.AdamW(there)
        opt.step(cupy.asarray(g))
        opt.step(cudasim.misaligned(cupy.asarray(g), by))
        host = schuss.AdamW(p)
        host.step(g)
        host.step(g)
        assert there.get().tobytes() == p.tobytes()


def test_scalars_and_leaves_of_many_dimensions_step_as_on_the_cpu(cuda: Any) -> None:
    shapes: dict[str, tuple[int, ...]] = {"none": (), "ones": (1,) * 12, "many": (2,) * 10, "empty": (3, 0, 2)}
    params = {name: normal(k, shape, np.float32) for k, (name, shape) in enumerate(shapes.items())}
    twins = Twins(make(schuss.AdamW), params)
    for _ in range(2):
        twins.step({name: normal(10 + k, shape, np.float32) for k, (name, shape) in enumerate(shapes.items())})
    twins.check()


# The device is free to run threads and blocks in any order, and however many at a time.


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("multiprocessors", [1, 5])
@pytest.mark.parametrize(
    "common",
    [{}, {"clip": 1.0}, {"clip": schuss.clipping.LeafNorm(1.0)}, {"scaler": {"scale": 8.0}, "accumulate": 2}],
    ids=["plain", "clipped", "each leaf clipped", "scaled and accumulated"],
)
def test_the_order_of_threads_and_blocks_does_not_matter(
    cuda: Any, order: str, multiprocessors: int, common: dict[str, Any]
) -> None:
    cuda.multiprocessors = multiprocessors
    schuss._engine.cuda.runtime.forget()  # type: ignore[attr-defined]
    cudasim.set_order(order, seed=11)
    params = {str(n): normal(n, n, np.float32) for n in (70_001, 5, 4096, 40_000, 1)}
    twins = Twins(make(schuss.AdamW, **common), params)
    for t in range(4):
        grads = {name: normal(7 * t + p.size, p.shape, np.float32) for name, p in params.items()}
        if t < 3:
            grads["5"] = None
        twins.step(grads)
    twins.check()


# What is not finite, and what is all but nothing.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_slots_are_stored_as_zero_and_subnormal_parameters_kept(cuda: Any, dtype: str) -> None:
    tiny = np.finfo(dtype).tiny
    params = {"zero": np.zeros(100, dtype), "small": np.full(100, tiny / 4, dtype)}
    twins = Twins(make(schuss.Momentum, beta=0.5), params)
    for factor in (4, 0, 0, 0, -2, 0):
        twins.step({name: np.full(100, factor * tiny, dtype) for name in params})
        twins.check()


def test_norms_at_both_ends_of_the_range_are_the_cpu_s(cuda: Any) -> None:
    """The exact sum holds squares that float64 itself could not add without loss."""
    rng = np.random.default_rng(5)
    params = {name: np.zeros(5000, dtype) for name, dtype in DTYPES.items()}
    twins = Twins(make(schuss.SGD, clip=1.0), params)
    for low, high in ((-30, -20), (20, 30), (-37, 37), (-160, -150)):
        powers = rng.uniform(low, high, 5000)
        twins.step({name: (rng.standard_normal(5000) * 10.0**powers).astype(DTYPES[name]) for name in params})
    twins.check()
