"""A simulated device gives the CPU's bits: every rule, setting, format, size and layout, clipped and scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cudasim
import numpy as np
import pytest
import schuss
from cuda_twins import LAYOUTS, Tree, Twins, make
from helpers import CLASSES, DTYPES, RULES, SIZES, gradients, normal
from oracles import SETTINGS

PAIRS = [(p, g) for p in DTYPES for g in DTYPES]
ORDERS = ["forward", "reverse", "random"]


def of_all_formats(sizes: list[int], groups: int) -> dict[str, tuple[tuple[int, ...], str, str]]:
    """Shape, format of p and of g by name: the first group has every size, the others one of each format."""
    found = {}
    for group in range(groups):
        for k, (p, g) in enumerate(PAIRS):
            for n in sizes if group == 0 else [sizes[(group + k) % len(sizes)]]:
                found[f"{group} {p} {g} {n}"] = ((n,), p, g)
    return found


class World:
    """Leaves of many formats in groups, one a setting of the rule: one kernel for all of a rule's tests."""

    def __init__(self, rule: str, sizes: list[int], seed: int = 1, **common: Any) -> None:
        self.settings = SETTINGS[rule]
        self.leaves = of_all_formats(sizes, len(self.settings))
        self.layouts = {name: list(LAYOUTS)[k % 3] for k, name in enumerate(self.leaves) if k % 2}
        self.seed = seed
        scaler = common.pop("scaler", None)

        def build(params: Tree) -> Any:
            groups = [{"params": each, **setting} for each, setting in zip(self.nest(params), self.settings, strict=True)]
            return make(CLASSES[rule], scaler, **common)(groups)

        params = {name: normal(seed + k, shape, DTYPES[p]) for k, (name, (shape, p, _)) in enumerate(self.leaves.items())}
        self.twins = Twins(build, params, self.layouts, self.nest)

    def nest(self, tree: Tree) -> list[Tree]:
        return [
            {name: leaf for name, leaf in tree.items() if name.startswith(f"{group} ")}
            for group in range(len(self.settings))
        ]

    def grads(self, t: int, factor: float = 1.0) -> Tree:
        found = {}
        for k, (name, (shape, _, g)) in enumerate(self.leaves.items()):
            (values,) = gradients(self.seed + 1000 * (t + 1) + k, shape, 1, np.float64)
            found[name] = (values * factor).astype(DTYPES[g])
        return found


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_setting_format_and_size_steps_as_on_the_cpu(cuda: Any, rule: str) -> None:
    world = World(rule, SIZES)
    for t in range(3):
        world.twins.step(world.grads(t), world.layouts if t == 1 else None)
    world.twins.check()


COMMON: dict[str, dict[str, Any]] = {
    "global": {"clip": 1.0},
    "leaf": {"clip": schuss.clipping.LeafNorm(1.0)},
    "value": {"clip": schuss.clipping.Value(0.5)},
    "asked": {"grad_norm": True},
    "scaled": {"scaler": {"scale": 8.0}},
}
@pytest.mark.parametrize("common", COMMON)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule(cuda: Any, rule: str, common: str) -> None:
    world = World(rule, [33, 4097], **COMMON[common])
    for t in range(3):
        world.twins.step(world.grads(t), world.layouts if t == 1 else None)
    world.twins.check()
