"""On the device, a step leaves the very bits that it leaves on the CPU: every rule, setting and format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from gpu_twins import CASES, CLASSES, FORMATS, PAIRS, Twins, case_id, gradient, normal, plain, same, trees
from schuss import _core

pytestmark = pytest.mark.gpu


def every_pair(gpu: Any) -> dict[str, tuple[Any, str, str]]:
    """A leaf for each format of p with each of g, and more sizes where they are the same."""
    shapes: dict[str, tuple[Any, str, str]] = {f"{p}-{g}": ((4130,), p, g) for p, g in PAIRS}
    for name in FORMATS:
        for size in (0, 1, 31, 4096) if gpu.simulated else (0, 1, 31, 33, 4095, 4096, 4097, 70_001):
            shapes[f"{name}:{size}"] = ((size,), name, name)
    return shapes


def walk(twins: Twins, grads: Callable[[int], Any], steps: int = 4) -> None:
    for step in range(steps):
        twins.step(grads(step))
    twins.check()


@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_every_rule_setting_and_format(gpu: Any, arrays: Any, rule: str, setting: dict[str, Any]) -> None:
    params, grads = trees(1, every_pair(gpu))
    walk(Twins(arrays, CLASSES[rule], params, setting), grads)


@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_every_rule_and_setting_clipped_and_scheduled(
    gpu: Any, arrays: Any, rule: str, setting: dict[str, Any]
) -> None:
    params, grads = trees(2, every_pair(gpu))
    rate = schuss.schedules.warmup(2, schuss.schedules.cosine(setting.get("lr", 0.01), steps=5))
    walk(Twins(arrays, CLASSES[rule], params, {**setting, "lr": rate, "clip": 1.0}), grads)


CLIPS = {
    "global norm": lambda: 1.0,
    "a norm within": lambda: 1e9,
    "leaf norm": lambda: schuss.clipping.LeafNorm(0.5),
    "value": lambda: schuss.clipping.Value(0.01),
    "none": lambda: None,
}


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("format_", FORMATS)
def test_every_way_of_clipping(arrays: Any, clip: str, format_: str) -> None:
    params, grads = trees(3, plain(format_, sizes=(9000, 4096, 37, 1, 0)))
    walk(Twins(arrays, schuss.AdamW, params, {"clip": CLIPS[clip](), "grad_norm": True}), grads)


def test_the_norm_of_many_leaves_is_exact(gpu: Any, arrays: Any) -> None:
    params, grads = trees(4, plain("float32", sizes=range(1, 60 if gpu.simulated else 700)))
    walk(Twins(arrays, schuss.SGD, params, {"clip": 1.0}), grads)


@pytest.mark.parametrize("format_", FORMATS)
def test_extremes(arrays: Any, format_: str) -> None:
    """Infinities, zeros of both signs, what is smallest and largest; a NaN's payload alone is free."""
    dtype = FORMATS[format_]
    if format_ == "bfloat16":
        import ml_dtypes

        limits: Any = ml_dtypes.finfo(dtype)
    else:
        limits = np.finfo(dtype)
    tiny = float(limits.smallest_subnormal)
    marks = [0.0, -0.0, tiny, -tiny, 100 * tiny, float(limits.tiny), 1.0, -1.5, float(limits.max), np.inf, -np.inf]
    p, g = (np.array(each, np.float64).ravel().astype(dtype) for each in np.meshgrid(marks, marks))
    for rule in ("adamw", "sgd", "rmsprop"):
        settings = {"momentum": 0.9} if rule == "sgd" else {}
        with np.errstate(all="ignore"):
            twins = Twins(arrays, CLASSES[rule], {"w": p}, {**settings, "nonfinite": "apply"})
            for scale in (1.0, 0.5, 1e-3):
                twins.step({"w": (g.astype(np.float64) * scale).astype(dtype)})
        twins.check_params_but_for_nan()


def test_slots_that_become_subnormal_are_zero(arrays: Any) -> None:
    twins = Twins(arrays, schuss.Momentum, {"w": np.ones(5000, np.float32)}, {"beta": 0.5})
    twins.step({"w": np.full(5000, 1e-37, np.float32)})
    for _ in range(6):
        twins.step({"w": np.zeros(5000, np.float32)})
    twins.check()
    assert not arrays.get(twins.got.state["w"]["v"]).any()


def scaled() -> dict[str, Any]:
    return {"scaler": schuss.LossScaler(scale=1024.0, growth_interval=2, hysteresis=2), "clip": 1.0}


@pytest.mark.parametrize("format_", FORMATS)
def test_loss_scaling_and_skipped_steps(arrays: Any, format_: str) -> None:
    params, grads = trees(5, plain(format_))
    twins = Twins(arrays, schuss.AdamW, params, scaled)
    for step in range(10):
        given = grads(step)
        if step in (2, 3, 7):
            given[f"{format_}-37"][5] = (np.inf, np.nan, -np.inf)[step % 3]
        twins.step(given)
    twins.check()
    assert [info.skipped for info, _ in twins.infos].count(True) == 3
    assert twins.got.scaler.scale == twins.want.scaler.scale
    assert twins.got.scaler.good_steps == twins.want.scaler.good_steps


def test_the_loss_scale_lies_on_the_device_too(gpu: Any, arrays: Any) -> None:
    params, grads = trees(6, plain())
    twins = Twins(arrays, schuss.SGD, params, lambda: {"scaler": schuss.LossScaler(scale=256.0)})
    twins.step(grads(0))
    there = twins.got.scaler.on_device()
    given = grads(1)
    given["float32-37"][0] = np.nan
    twins.step(given)
    assert float(gpu.host(there).reshape(())) == 128.0
    twins.check()


def test_a_norm_that_is_not_finite_raises_where_it_is_asked_to(arrays: Any) -> None:
    params, grads = trees(7, plain())
    twins = Twins(arrays, schuss.AdamW, params, {"nonfinite": "raise"})
    twins.step(grads(0))
    bad = grads(1)
    bad["float32-5000"][4999] = np.nan
    for opt, given in ((twins.want, bad), (twins.got, twins.to_device(bad))):
        with pytest.raises(FloatingPointError, match="no parameter, slot or clock was changed"):
            opt.step(given)
    twins.step(grads(2))
    twins.check()


# Functions without an optimizer.


@pytest.mark.parametrize("name", ["by_global_norm", "by_leaf_norm", "by_value"])
@pytest.mark.parametrize("format_", FORMATS)
def test_clipping_in_place(arrays: Any, name: str, format_: str) -> None:
    tree, _ = trees(8, plain(format_, sizes=(9000, 37, 1)))
    there = {key: arrays.put(each) for key, each in tree.items()}
    want, got = getattr(schuss.clipping, name)(tree, 0.5), getattr(schuss.clipping, name)(there, 0.5)
    assert got == want
    for key, each in tree.items():
        same(arrays.get(there[key]), each, key)
    assert schuss.clipping.global_norm(there) == schuss.clipping.global_norm(tree)


@pytest.mark.parametrize("rule", sorted(CLASSES))
def test_plain_functions(arrays: Any, rule: str) -> None:
    settings = {"momentum": 0.9} if rule == "sgd" else {}
    kept = _core.slots_kept(rule, schuss.rules()[rule].defaults | settings, 1)
    p, slots = normal(9, 5000), [np.zeros(5000, np.float32) for _ in kept]
    there = [arrays.put(each) for each in (p, *slots)]
    step = getattr(schuss.ops, rule)
    for count in (1, 2, 3):
        g = gradient(10 + count, 5000)
        step(p, g, *slots, step=count, **settings)
        step(there[0], arrays.put(g), *there[1:], step=count, **settings)
    for got, want in zip(there, (p, *slots), strict=True):
        same(arrays.get(got), want, rule)
