"""The loss scaler inside a step, and steps that are skipped: nothing of them may be left behind."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CASES, CLASSES, DTYPES, case_id, gradients, normal, snapshot, tree_bits

BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def params_of(dtype: Any = np.float32) -> dict[str, Any]:
    return {"w": normal(1, (50, 7), dtype), "b": normal(2, 7, dtype), "e": np.zeros((0, 2), dtype)}


def grads_of(seed: int, dtype: Any = np.float32, scale: float = 1.0) -> dict[str, Any]:
    return {
        "w": (normal(seed, (50, 7)) * scale).astype(dtype),
        "b": (normal(seed + 1, 7) * scale).astype(dtype),
        "e": np.zeros((0, 2), dtype),
    }


def spoiled(grads: dict[str, Any], bad: float) -> dict[str, Any]:
    grads["b"][3] = bad
    return grads


# Skips.


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_skipped_step_changes_no_byte(rule: str, setting: dict[str, Any], dtype: str, bad: float) -> None:
    params = params_of(DTYPES[dtype])
    opt = CLASSES[rule](params, clip=1.0, **setting)
    opt.step(grads_of(10, DTYPES[dtype]))
    before = snapshot(opt, params)
    info = opt.step(spoiled(grads_of(20, DTYPES[dtype]), bad))
    assert info.skipped
    assert not math.isfinite(info.grad_norm)
    assert info.step == opt.clock == 1
    assert snapshot(opt, params) == before


@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_run_with_skips_ends_where_the_run_without_them_ends(rule: str, setting: dict[str, Any]) -> None:
    """Clock, schedule and bias correction included: a skipped step has not happened."""
    lr = schuss.schedules.cosine(0.05, steps=6)
    plain, skipping = params_of(), params_of()
    one = CLASSES[rule](plain, clip=1.0, **{**setting, "lr": lr})
    other = CLASSES[rule](skipping, clip=1.0, **{**setting, "lr": lr})
    for t in range(6):
        want = one.step(grads_of(30 + 2 * t))
        if t in (0, 2, 3):
            assert other.step(spoiled(grads_of(90), np.nan)).skipped
        got = other.step(grads_of(30 + 2 * t))
        assert (got.step, got.lr, got.grad_norm) == (want.step, want.lr, want.grad_norm)
    assert snapshot(one, plain) == snapshot(other, skipping)


@pytest.mark.parametrize(
    "common",
    [
        {"clip": 1.0},
        {"clip": schuss.clipping.LeafNorm(1.0)},
        {"grad_norm": True},
        {"scaler": True},
    ],
    ids=["global", "leaf", "asked", "scaler"],
)
def test_every_way_to_a_norm_notices_what_is_not_finite(common: dict[str, Any]) -> None:
    params = params_of()
    if "scaler" in common:
        common = {"scaler": schuss.LossScaler(1.0)}
    opt = schuss.AdamW(params, **common)
    before = tree_bits(params), tree_bits(opt.state), opt.clock
    assert opt.step(spoiled(grads_of(10), np.inf)).skipped
    assert (tree_bits(params), tree_bits(opt.state), opt.clock) == before


def test_raise_raises_and_changes_nothing() -> None:
    params = params_of()
    opt = schuss.AdamW(params, clip=1.0, nonfinite="raise")
    opt.step(grads_of(10))
    before = snapshot(opt, params)
    with pytest.raises(FloatingPointError, match=r"norm|finite"):
        opt.step(spoiled(grads_of(20), np.nan))
    assert snapshot(opt, params) == before
    assert not opt.step(grads_of(30)).skipped
    assert opt.clock == 2


def test_apply_steps_and_counts() -> None:
    params = params_of()
    opt = schuss.SGD(params, grad_norm=True, nonfinite="apply")
    info = opt.step(spoiled(grads_of(10), np.inf))
    assert (info.skipped, info.step, opt.clock) == (False, 1, 1)
    assert params["b"][3] == -np.inf
    assert np.isfinite(np.delete(params["b"], 3)).all()


def test_without_a_norm_nothing_is_looked_at() -> None:
    params = params_of()
    info = schuss.SGD(params).step(spoiled(grads_of(10), np.nan))
    assert (info.skipped, info.grad_norm) == (False, None)
    assert np.isnan(params["b"][3])


# Scaling.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_scaled_gradients_step_as_unscaled_ones_bit_for_bit(rule: str, setting: dict[str, Any], dtype: str) -> None:
    """A power of two scales exactly, and is taken out exactly."""
    plain, scaled = params_of(DTYPES[dtype]), params_of(DTYPES[dtype])
    one = CLASSES[rule](plain, clip=1.0, **setting)
    other = CLASSES[rule](scaled, clip=1.0, scaler=schuss.LossScaler(2.0**12), **setting)
    for t in range(3):
        want = one.step(grads_of(40 + 2 * t, DTYPES[dtype]))
        grads = {k: (g * 2**12).astype(g.dtype) for k, g in grads_of(40 + 2 * t, DTYPES[dtype]).items()}
        got = other.step(grads)
        assert got.grad_norm == want.grad_norm, "the norm is the unscaled gradients'"
        assert got.clip_coef == want.clip_coef
    assert tree_bits(plain) == tree_bits(scaled)
    assert tree_bits(one.state) == tree_bits(other.state)


def test_scale_that_is_no_power_of_two_is_divided_out() -> None:
    plain, scaled = params_of(np.float64), params_of(np.float64)
    schuss.SGD(plain, lr=0.1).step(grads_of(50, np.float64))
    scaler = schuss.LossScaler.static(1000.0)
    info = schuss.SGD(scaled, lr=0.1, scaler=scaler).step(grads_of(50, np.float64, scale=1000.0))
    assert info.grad_norm == pytest.approx(schuss.clipping.global_norm(grads_of(50, np.float64)), rel=1e-14)
    np.testing.assert_allclose(scaled["w"], plain["w"], rtol=1e-14, atol=1e-15)


def test_scale_falls_on_overflow_and_grows_after_enough_good_steps() -> None:
    scaler = schuss.LossScaler(2.0**8, growth_interval=3)
    opt = schuss.AdamW(params_of(), scaler=scaler)
    assert opt.step(spoiled(grads_of(10), np.inf)).skipped
    assert (scaler.scale, scaler.good_steps) == (2.0**7, 0)
    seen = []
    for t in range(7):
        assert not opt.step(grads_of(60 + 2 * t, scale=scaler.scale)).skipped
        seen.append(scaler.scale)
    assert seen == [2.0**7, 2.0**7, 2.0**8, 2.0**8, 2.0**8, 2.0**9, 2.0**9]
    assert opt.clock == 7


def test_growth_moves_no_parameter_off_its_way() -> None:
    """The scale of a step is the one its gradients were made with, not the one after it."""
    plain, scaled = params_of(), params_of()
    one = schuss.AdamW(plain, lr=0.01)
    scaler = schuss.LossScaler(4.0, growth_interval=1)
    other = schuss.AdamW(scaled, lr=0.01, scaler=scaler)
    for t in range(5):
        one.step(grads_of(70 + 2 * t))
        other.step(grads_of(70 + 2 * t, scale=scaler.scale))
    assert scaler.scale == 4.0 * 2**5
    assert tree_bits(plain) == tree_bits(scaled)


def test_hysteresis_waits_for_that_many_overflows() -> None:
    scaler = schuss.LossScaler(2.0**8, hysteresis=2)
    opt = schuss.SGD(params_of(), scaler=scaler)
    scales = []
    for _ in range(3):
        assert opt.step(spoiled(grads_of(10), np.inf)).skipped
        scales.append(scaler.scale)
    assert scales[0] == 2.0**8
    assert scales[1] == 2.0**7
    assert opt.clock == 0


def test_floor_and_ceiling_hold_the_scale() -> None:
    low = schuss.LossScaler(2.0, floor=1.0)
    opt = schuss.SGD(params_of(), scaler=low)
    for _ in range(4):
        opt.step(spoiled(grads_of(10), np.nan))
    assert low.scale == 1.0
    high = schuss.LossScaler(2.0, ceiling=8.0, growth_interval=1)
    opt = schuss.SGD(params_of(), scaler=high)
    for t in range(5):
        opt.step(grads_of(80 + 2 * t, scale=high.scale))
    assert high.scale == 8.0


def test_static_scale_skips_but_never_moves() -> None:
    scaler = schuss.LossScaler.static(2.0**10)
    params = params_of()
    opt = schuss.SGD(params, scaler=scaler)
    before = tree_bits(params)
    assert opt.step(spoiled(grads_of(10), np.inf)).skipped
    assert tree_bits(params) == before
    for t in range(3):
        opt.step(grads_of(80 + 2 * t, scale=2.0**10))
    assert scaler.scale == 2.0**10
    assert opt.clock == 3


def test_unscaling_comes_before_the_clip() -> None:
    g = {"w": np.array([3.0, 4.0], np.float32)}
    params = {"w": np.zeros(2, np.float32)}
    scaler = schuss.LossScaler(2.0**16)
    opt = schuss.SGD(params, lr=1.0, clip=1.0, scaler=scaler)
    info = opt.step({"w": g["w"] * np.float32(2.0**16)})
    assert (info.grad_norm, info.clip_coef) == (5.0, 0.2)
    np.testing.assert_allclose(params["w"], [-0.6, -0.8], rtol=1e-7)


def test_clip_by_value_is_of_the_unscaled_gradient() -> None:
    params = {"w": np.zeros(3)}
    scaler = schuss.LossScaler(256.0)
    opt = schuss.SGD(params, lr=1.0, clip=schuss.clipping.Value(0.5), scaler=scaler)
    opt.step({"w": 256.0 * np.array([0.25, 2.0, -3.0])})
    np.testing.assert_array_equal(params["w"], [-0.25, -0.5, 0.5])


def test_gradients_scaled_up_to_the_edge_of_float32_do_not_overflow_in_the_norm() -> None:
    big = np.full(10_000, 3e38, np.float32)
    scaler = schuss.LossScaler.static(2.0**100)
    info = schuss.SGD({"w": np.zeros(10_000, np.float32)}, scaler=scaler).step({"w": big})
    assert not info.skipped
    assert info.grad_norm == pytest.approx(100 * float(big[0]) / 2.0**100, rel=1e-12)


def test_a_scaler_belongs_to_one_optimizer_while_that_lives() -> None:
    scaler = schuss.LossScaler(2.0**8)
    first = schuss.SGD(params_of(), scaler=scaler)
    with pytest.raises(ValueError, match="scaler is another optimizer's, expected one of its own"):
        schuss.SGD(params_of(), scaler=scaler)
    del first
    gc.collect()
    schuss.SGD(params_of(), scaler=scaler)


@pytest.mark.parametrize("rule", ["adamw"])
def test_scale_clip_decay_and_schedule_together_match_the_steps_by_hand(rule: str) -> None:
    lr = schuss.schedules.exponential(0.05, rate=0.9)
    params = {"w": normal(3, 400)}
    p, m, v = params["w"].copy(), np.zeros(400), np.zeros(400)
    scaler = schuss.LossScaler(64.0, growth_interval=2)
    opt = CLASSES[rule](params, lr=lr, weight_decay=0.1, clip=1.0, scaler=scaler)
    for t, g in enumerate(gradients(4, 400, 8, np.float64), start=1):
        info = opt.step({"w": g * scaler.scale})
        g = g * min(1.0, 1.0 / float(np.linalg.norm(g)))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = p - info.lr * step - info.lr * 0.1 * p
        assert info.lr == pytest.approx(0.05 * 0.9 ** (t - 1), rel=1e-14)
    np.testing.assert_allclose(params["w"], p, rtol=1e-12, atol=1e-13)
