"""``cautious=True``: what every rule with a momentum takes only where the gradient agrees."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CLASSES, DTYPES, assert_close, gradients, normal, same_bits
from oracles import Walk, defaults

CAUTIOUS = [name for name, rule in schuss.rules().items() if "cautious" in rule.defaults]
MOMENTUM = {"sgd": {"momentum": 0.9}, "rmsprop": {"momentum": 0.9}}


def cautiously(step: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Liang et al. 2024, algorithm 1, with the floor of the authors' program."""
    mask = (step * g > 0).astype(np.float64)
    return step * mask / max(mask.mean(), 1e-3)


def test_every_rule_with_a_first_moment_may_be_cautious() -> None:
    for name, rule in schuss.rules().items():
        if rule.traits["first_moment"] != "none" and not rule.sums and not rule.scalars:
            assert (name in CAUTIOUS) is True, name


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("n", [1, 33, 4_097, 20_001])
@pytest.mark.parametrize("rule", CAUTIOUS)
def test_the_step_is_the_rules_own_where_the_gradient_agrees(rule: str, n: int, dtype: str) -> None:
    """Beside a twin without caution: from the same slots its step, masked and boosted, is the cautious one."""
    hypers: dict[str, Any] = {**MOMENTUM.get(rule, {}), "lr": 0.01}
    if schuss.rules()[rule].defaults.get("weight_decay"):
        hypers["weight_decay"] = 0.0  # caution does not hold back decoupled decay
    p, q = (normal(1, n, DTYPES[dtype]) for _ in range(2))
    opt, twin = CLASSES[rule]({"w": p}, **hypers, cautious=True), Walk(rule, q, **hypers)
    for g in gradients(2, n, 4, DTYPES[dtype]):
        before = p.astype(np.float64)
        twin.p = before
        step = before - twin.step(g)
        opt.step({"w": g})
        want = before - cautiously(step, g.astype(np.float64))
        half = {"float64": 0.0, "float32": 0.0, "bfloat16": 2**-8}[dtype]
        rtol = {"float64": 1e-12, "float32": 3e-5, "bfloat16": 3e-5}[dtype]
        assert_close(p.astype(np.float64), want, half / rtol * np.abs(want) + twin.largest, rtol)


def test_decoupled_decay_is_taken_everywhere() -> None:
    p = np.full(4, 2.0)
    schuss.Lion(p, lr=0.1, weight_decay=0.5, cautious=True).step(np.array([1.0, 0.0, -1.0, 2.0]))
    share = 3 / 4
    np.testing.assert_allclose(p, 2.0 - 0.1 * np.array([1 / share, 0, -1 / share, 1 / share]) - 0.1 * 0.5 * 2.0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_know_the_threads(threads: int) -> None:
    def digest(count: int) -> str:
        before = schuss.get_num_threads()
        schuss.set_num_threads(count)
        try:
            params = {"a": normal(1, 200_003, np.float32), "b": normal(2, 33, np.float32)}
            opt = schuss.AdamW(params, lr=0.01, cautious=True, clip=1.0)
            for a, b in zip(gradients(3, 200_003, 3, np.float32), gradients(4, 33, 3, np.float32), strict=True):
                opt.step({"a": a, "b": b})
        finally:
            schuss.set_num_threads(before)
        return hashlib.sha256(params["a"].tobytes() + params["b"].tobytes()).hexdigest()

    assert digest(threads) == digest(1)


def test_a_strided_leaf_steps_as_one_in_c_order() -> None:
    base = normal(1, (300, 200), np.float32)
    plain, view = base[::3].copy(), base[::3]
    for g in gradients(2, (100, 200), 3, np.float32):
        if "a" not in locals():
            a, b = schuss.AdamW(plain, cautious=True), schuss.AdamW(view, cautious=True)
        a.step(g)
        b.step(g)
    assert same_bits(plain, np.ascontiguousarray(view))


def test_caution_is_a_hyper_of_a_group_and_of_the_state() -> None:
    params = [{"params": np.ones(5), "cautious": True}, {"params": np.ones(5)}]
    opt = schuss.AdamW(params, lr=0.1)
    g = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    opt.step([g, g])
    np.testing.assert_allclose(params[0]["params"][:4], 1 - 0.1 * 5 / 4 - 0.1 * 0.01, rtol=1e-6)
    np.testing.assert_allclose(params[1]["params"][:4], 1 - 0.1 - 0.1 * 0.01, rtol=1e-6)
    assert opt.state_dict()["groups"][0]["hypers"]["cautious"] is True


def test_the_plain_function_takes_the_same_step() -> None:
    p, g, m, v = normal(1, 9_000), normal(2, 9_000), np.zeros(9_000), np.zeros(9_000)
    q = p.copy()
    schuss.AdamW(q, cautious=True).step(g)
    schuss.ops.adamw(p, g, m, v, cautious=True)
    assert same_bits(p, q)


@pytest.mark.parametrize("rule", ["adagrad", "lamb"])
def test_rules_that_cannot_be_cautious_say_so(rule: str) -> None:
    assert "cautious" not in defaults(rule)
    with pytest.raises(TypeError, match="unknown hyper 'cautious'"):
        CLASSES[rule](np.ones(3), cautious=True)


def test_caution_is_refused_on_a_device(cuda: Any, cupy: Any) -> None:
    with pytest.raises(ValueError, match=r"AdamW\(\): cautious measures whole leaves.*cautious=False"):
        schuss.AdamW(cupy.ones(3, dtype=np.float32), cautious=True)
    with pytest.raises(ValueError, match=r"LAMB\(\) measures whole leaves"):
        schuss.LAMB(cupy.ones(3, dtype=np.float32))


def test_a_cautious_rule_looks_ahead_to_the_same_point() -> None:
    p, q = normal(1, 5_000), normal(1, 5_000)
    one, other = schuss.Nesterov(p, lr=0.1, cautious=True), schuss.Nesterov(q, lr=0.1)
    one.step(normal(2, 5_000))
    other.step(normal(2, 5_000))
    p[:] = q
    with one.lookahead(), other.lookahead():
        assert same_bits(p, q)
