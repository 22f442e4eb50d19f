"""Rules of the user's own on a simulated device: the CPU's bits, by kernels made of the rule's text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Twins
from helpers import DTYPES, gradients, normal
from schuss._engine.cuda import source
from test_own_rules import TWINS

EVERYTHING = """
    rate = lr * exp(-t / 9)
    pull = where(t == 1, g, mu * m + g)
    near = where(abs(pull) < 0.5 and not p > 1 or g == 0, min(pull, p), max(pull, -0.25))
    m = where(near != 0, pull - near / 3, -pull)
    old = w
    w = v
    v = where(lr > 0.5, 2.5, old + near**3 * sqrt(abs(p)) + sign(g) * 1e-3)
    p -= rate * (m / (sqrt(v * v) + 1)) + where(w <= old, 0.125, 1) * p
"""


def leaves() -> dict[str, tuple[int, str, str]]:
    kinds = ("float64", "float32", "bfloat16")
    pairs = [(p, g) for p in kinds for g in kinds]
    return {f"{p} {g}": (300 + 7 * index, p, g) for index, (p, g) in enumerate(pairs)}


def walk(make: Any, hypers: dict[str, Any], steps: int = 3) -> None:
    shapes = leaves()
    params = {name: normal(k, n, DTYPES[p]) for k, (name, (n, p, _)) in enumerate(shapes.items())}
    twins = Twins(lambda tree: make(tree, **hypers), params)
    for t in range(steps):
        twins.step(
            {name: gradients(10 * t + k, n, 1, DTYPES[g])[0] for k, (name, (n, _, g)) in enumerate(shapes.items())}
        )
    twins.check()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_text_gives_the_bits_of_the_cpu(cuda: Any, name: str) -> None:
    walk(TWINS[name][0], {"clip": 2.0, "lr": schuss.schedules.warmup(3, 0.01)})


def test_every_operation_gives_the_bits_of_the_cpu(cuda: Any) -> None:
    slots = {"m": 0.5, "v": 1, "w": 2}
    make = schuss.rule("Everything", EVERYTHING, hypers={"lr": 0.125, "mu": 0.75}, slots=slots)
    walk(make, {})


def test_a_rule_without_slots_and_numbers_gives_the_bits_of_the_cpu(cuda: Any) -> None:
    walk(schuss.rule("Bare", "p = p - 0.5 * g"), {})


def test_rules_of_one_name_keep_their_own_kernels(cuda: Any) -> None:
    import cupy

    found = []
    for text in ("p = p - g", "p = p + g"):
        p = cupy.zeros(3)
        schuss.rule("Same", text)(p).step(cupy.asarray(np.ones(3)))
        found.append(cupy.asnumpy(p).tolist())
    assert found == [[-1, -1, -1], [1, 1, 1]]


def test_the_text_of_the_kernel_is_the_rule_in_one_piece() -> None:
    rule = schuss.rule("Bare", "p = p - 0.5 * g").rule
    text = source.text("map", f"Bare@{rule.digest}", [(0, "float32", "float32")])
    assert "= old_p - v" in text
    assert '#include "' not in text
    with pytest.raises(ValueError, match="unknown rule 'Bare@0'; there are adabelief"):
        source.text("map", "Bare@0", [(0, "float32", "float32")])
