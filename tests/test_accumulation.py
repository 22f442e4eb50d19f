"""Accumulation: the mean of k micro-gradients, one real step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CASES, CLASSES, DTYPES, case_id, gradients, normal, same_bits, tree_bits
from oracles import walk


def micro(seed: int, n: int, k: int, dtype: Any) -> list[np.ndarray]:
    """Micro-gradients on a grid of eighths: every sum and mean by a power of two is exact."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(-16, 17, n) / 8).astype(dtype) for _ in range(k)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_k_micro_gradients_step_as_their_mean_bit_for_bit(rule: str, setting: dict[str, Any], dtype: str) -> None:
    k, n = 4, 4_133
    held, at_once = normal(1, n, DTYPES[dtype]), normal(1, n, DTYPES[dtype])
    one = CLASSES[rule](held, accumulate=k, **setting)
    other = CLASSES[rule](at_once, **setting)
    arithmetic = np.float64 if dtype == "float64" else np.float32
    for t in range(3):
        grads = micro(10 + t, n, k, DTYPES[dtype])
        for g in grads:
            one.step(g)
        other.step(np.mean([g.astype(arithmetic) for g in grads], axis=0, dtype=arithmetic))
    assert same_bits(held, at_once)
    for name, slot in one.state.items():
        assert same_bits(slot, other.state[name])


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_mean_of_any_k_matches_oracle(k: int) -> None:
    p = normal(2, 333)
    grads = gradients(3, 333, 4 * k, np.float64)
    means = [np.mean(grads[i : i + k], axis=0) for i in range(0, 4 * k, k)]
    want = walk("adamw", p, means)
    opt = schuss.AdamW(p, accumulate=k)
    for g in grads:
        opt.step(g)
    assert opt.clock == 4
    np.testing.assert_allclose(p, want.p, rtol=1e-13, atol=1e-13)


def test_only_the_kth_call_steps_and_each_says_what_is_pending() -> None:
    params = {"w": normal(4, 10)}
    opt = schuss.Adam(params, accumulate=3)
    seen = []
    for t in range(7):
        before = tree_bits(params), tree_bits(opt.state)
        info = opt.step({"w": normal(5 + t, 10)})
        moved = (tree_bits(params), tree_bits(opt.state)) != before
        seen.append((info.step, info.pending, moved))
    assert seen == [
        (0, 1, False),
        (0, 2, False),
        (1, 0, True),
        (1, 1, False),
        (1, 2, False),
        (2, 0, True),
        (2, 1, False),
    ]
    assert opt.clock == 2


def test_decay_schedule_and_clock_move_once_a_real_step() -> None:
    params = {"w": np.ones(6)}
    opt = schuss.AdamW(params, lr=lambda step: 0.1 / (step + 1), weight_decay=0.5, accumulate=5)
    want = np.ones(6)
    for t in range(3):
        infos = [opt.step({"w": np.zeros(6)}) for _ in range(5)]
        assert infos[-1].lr == 0.1 / (t + 1)
        want = want * (1 - 0.1 / (t + 1) * 0.5)
    np.testing.assert_allclose(params["w"], want, rtol=1e-15)


def test_a_schedule_is_not_asked_between_real_steps() -> None:
    asked: list[int] = []

    def lr(step: int) -> float:
        asked.append(step)
        return 0.1

    opt = schuss.SGD({"w": np.ones(3)}, lr=lr, accumulate=4)
    for _ in range(8):
        opt.step({"w": np.ones(3)})
    assert set(asked) == {0, 1}


def test_flush_steps_with_the_mean_of_what_is_pending() -> None:
    held, at_once = {"w": normal(6, 50)}, {"w": normal(6, 50)}
    one, other = schuss.AdamW(held, accumulate=8), schuss.AdamW(at_once)
    grads = micro(7, 50, 2, np.float64)
    for g in grads:
        one.step({"w": g})
    info = one.flush()
    assert info is not None
    assert (info.step, info.pending, one.clock) == (1, 0, 1)
    other.step({"w": (grads[0] + grads[1]) / 2})
    assert same_bits(held["w"], at_once["w"])


def test_flush_with_nothing_pending_does_nothing() -> None:
    params = {"w": normal(8, 5)}
    opt = schuss.AdamW(params, accumulate=2)
    before = tree_bits(params)
    assert opt.flush() is None
    opt.step({"w": np.ones(5)})
    opt.step({"w": np.ones(5)})
    assert opt.flush() is None
    assert opt.clock == 1
    assert tree_bits(params) != before
    assert schuss.AdamW({"w": np.ones(5)}).flush() is None


def test_the_norm_and_the_clip_are_of_the_mean() -> None:
    params = {"w": np.zeros(2)}
    opt = schuss.SGD(params, lr=1.0, clip=1.0, accumulate=2)
    first = opt.step({"w": np.array([6.0, 0.0])})
    assert first.grad_norm is None
    info = opt.step({"w": np.array([0.0, 8.0])})
    assert (info.grad_norm, info.clip_coef) == (5.0, 0.2)
    np.testing.assert_allclose(params["w"], [-0.6, -0.8], rtol=1e-15)


def test_scaled_micro_gradients_are_unscaled_once() -> None:
    plain, scaled = {"w": normal(9, 300, np.float32)}, {"w": normal(9, 300, np.float32)}
    one = schuss.AdamW(plain, accumulate=4, clip=1.0)
    scaler = schuss.LossScaler(2.0**10, growth_interval=1)
    other = schuss.AdamW(scaled, accumulate=4, clip=1.0, scaler=scaler)
    for t in range(3):
        grads = micro(20 + t, 300, 4, np.float32)
        want = [one.step({"w": g}).grad_norm for g in grads]
        got = [other.step({"w": g * np.float32(2.0 ** (10 + t))}).grad_norm for g in grads]
        assert got == want
        assert want[-1] is not None
        assert scaler.scale == 2.0 ** (11 + t), "the scale grows once a real step"
    assert same_bits(plain["w"], scaled["w"])


def test_one_bad_micro_gradient_skips_its_whole_step_and_no_other() -> None:
    params = {"w": normal(10, 20)}
    opt = schuss.AdamW(params, accumulate=3, clip=1.0)
    before = tree_bits(params), tree_bits(opt.state), opt.clock
    opt.step({"w": np.ones(20)})
    opt.step({"w": np.where(np.arange(20) == 4, np.nan, 1.0)})
    info = opt.step({"w": np.ones(20)})
    assert info.skipped
    assert info.pending == 0
    assert (tree_bits(params), tree_bits(opt.state), opt.clock) == before
    for _ in range(3):
        info = opt.step({"w": np.ones(20)})
    assert not info.skipped
    assert opt.clock == 1
    assert np.isfinite(params["w"]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_low_precision_micro_gradients_are_summed_in_float32(dtype: str) -> None:
    """256 + 1 is 256 in bfloat16: a buffer of the gradient's type would lose every small one."""
    params = {"w": np.zeros(64, DTYPES[dtype])}
    opt = schuss.SGD(params, lr=1.0, accumulate=4, grad_norm=True)
    for value in (256.0, 1.0, 1.0, 2.0):
        info = opt.step({"w": np.full(64, value, DTYPES[dtype])})
    assert info.grad_norm == 65.0 * 8


def test_gradients_may_be_reused_by_the_caller_between_micro_steps() -> None:
    """A micro-gradient is taken in at once; the caller writes the next one into the same array."""
    params, g = {"w": np.zeros(5)}, np.full(5, 2.0)
    opt = schuss.SGD(params, lr=1.0, accumulate=2)
    opt.step({"w": g})
    g[:] = 4.0
    opt.step({"w": g})
    np.testing.assert_array_equal(params["w"], -3.0)


def test_a_leaf_without_gradient_in_all_micro_steps_is_left_alone() -> None:
    params = {"w": np.ones(3), "b": np.ones(2)}
    opt = schuss.AdamW(params, accumulate=2)
    before = params["b"].copy(), tree_bits(opt.state["b"])
    for _ in range(4):
        opt.step({"w": np.ones(3), "b": None})
    assert same_bits(params["b"], before[0])
    assert tree_bits(opt.state["b"]) == before[1]


def test_a_leaf_without_gradient_in_some_micro_steps_has_the_mean_over_all() -> None:
    """As where each loss is divided by k: an absent gradient adds nothing."""
    params = {"w": np.zeros(3), "b": np.zeros(2)}
    opt = schuss.SGD(params, lr=1.0, accumulate=4)
    for given in (None, np.full(2, 8.0), None, np.full(2, 4.0)):
        opt.step({"w": np.ones(3), "b": given})
    np.testing.assert_array_equal(params["w"], -1.0)
    np.testing.assert_array_equal(params["b"], -3.0)


def test_a_refused_micro_gradient_is_not_taken_in_at_all() -> None:
    params = {"a": np.zeros(3), "b": np.zeros(2)}
    opt = schuss.SGD(params, lr=1.0, accumulate=2)
    opt.step({"a": np.ones(3), "b": np.ones(2)})
    with pytest.raises(ValueError, match="b"):
        opt.step({"a": np.full(3, 100.0), "b": np.ones(5)})
    info = opt.step({"a": np.ones(3), "b": np.ones(2)})
    assert info.pending == 0
    np.testing.assert_array_equal(params["a"], -1.0)


def test_strided_and_mixed_gradients_accumulate() -> None:
    params = {"w": np.zeros((6, 4), np.float32)}
    opt = schuss.SGD(params, lr=1.0, accumulate=2)
    g = np.arange(24, dtype=np.float32).reshape(4, 6)
    opt.step({"w": g.T})
    opt.step({"w": np.asfortranarray(g.T).astype(np.float64)})
    np.testing.assert_array_equal(params["w"], -g.T)
