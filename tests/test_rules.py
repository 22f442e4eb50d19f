"""Every rule against its float64 oracle, and the facts that the textbook states about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import (
    BFLOAT16,
    CASES,
    CLASSES,
    RULES,
    SIZES,
    assert_close,
    case_id,
    gradients,
    normal,
    same_bits,
    ulp,
)
from oracles import ORACLES, Walk, defaults, walk

RTOL = {"float64": 1e-13, "float32": 1e-6}


# What a hyper needs beside it, or as its own value, to be felt within a few steps.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("sgd", "dampening"): {"momentum": 0.9},
    ("rprop", "step_min"): {"lr": 1e-6},
    ("rprop", "step_max"): {"lr": 50.0},
    ("asgd", "t0"): {"t0": 2.0},
    ("adopt", "eps"): {"eps": 0.5},
    **{(rule, "max_lr"): {"weight_decay": 0.1} for rule in ("adamw", "lion")},
    **{(rule, "max_lr"): {"weight_decay": 0.1, "decoupled_weight_decay": True} for rule in ("sgd", "rmsprop", "nadam")},
    ("lamb", "min_ratio"): {"min_ratio": 3.0},
    ("schedulefreesgd", "warmup_steps"): {"warmup_steps": 6.0},
    ("schedulefreesgd", "weight_lr_power"): {"warmup_steps": 6.0},
    ("schedulefreeadamw", "warmup_steps"): {"warmup_steps": 6.0},
    ("schedulefreeadamw", "weight_lr_power"): {"warmup_steps": 6.0},
}


def numbers(rule: str) -> list[str]:
    """The hypers of a rule that may be schedules: numbers read at every step."""
    structural = {"initial_accumulator", "initial_mean"}
    return [key for key, value in defaults(rule).items() if not isinstance(value, bool) and key not in structural]


def test_every_rule_has_an_oracle() -> None:
    assert set(ORACLES) == set(schuss.rules()) == set(CLASSES)


@pytest.mark.parametrize("rule", RULES)
def test_class_takes_the_oracles_hypers_with_its_defaults(rule: str) -> None:
    signature = inspect.signature(CLASSES[rule]).parameters
    taken = {key: signature[key].default for key in signature if key in defaults(rule)}
    assert taken == defaults(rule)
    common = {"params", "clip", "nonfinite", "accumulate", "scaler", "grad_norm", "slots", "rounding", "seed", "master"}
    common |= {"decay", "lr_scale"}
    assert set(signature) - {"cautious"} == common | set(defaults(rule))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_step_matches_oracle(rule: str, setting: dict[str, Any], dtype: str, n: int) -> None:
    p = normal(1, n, dtype)
    grads = gradients(2, n, 4, dtype)
    want = walk(rule, p, grads, **setting)
    opt = CLASSES[rule](p, **setting)
    for g in grads:
        opt.step(g)
    assert_close(p, want.p, want.largest, RTOL[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_slots_match_oracle(rule: str, setting: dict[str, Any], dtype: str) -> None:
    params = {"w": normal(3, (37, 113), dtype)}
    grads = gradients(4, (37, 113), 5, dtype)
    want = walk(rule, params["w"], grads, **setting)
    opt = CLASSES[rule](params, **setting)
    for g in grads:
        opt.step({"w": g})
    got = opt.state["w"]
    assert set(got) == set(want.slots)
    for name, slot in want.slots.items():
        assert got[name].dtype == (np.dtype(dtype) if slot.shape else np.float64)
        assert_close(got[name], slot, want.largest_slots[name], RTOL[dtype])


@pytest.mark.parametrize("n", [1, 33, 4097, 20_000])
@pytest.mark.parametrize("grad_dtype", [BFLOAT16, np.dtype(np.float32)], ids=str)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_bfloat16_parameters_are_the_exact_step_rounded_to_nearest(
    rule: str, setting: dict[str, Any], grad_dtype: np.dtype, n: int
) -> None:
    p = normal(5, n, BFLOAT16)
    exact = Walk(rule, p, **setting)
    opt = CLASSES[rule](p, **setting)
    for g in gradients(6, n, 6, grad_dtype):
        exact.p = p.astype(np.float64)  # each step starts from what the last one stored
        want = exact.step(g)
        opt.step(g)
        got = p.astype(np.float64)
        half = ulp(want, BFLOAT16) / 2
        # Nearest, save for float32's own error where the exact value lies beside a midpoint.
        assert np.all(np.abs(got - want) <= half + 1e-6 * exact.largest)


@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_bfloat16_slots_are_float32(rule: str, setting: dict[str, Any]) -> None:
    params = {"w": normal(7, 100, BFLOAT16)}
    opt = CLASSES[rule](params, **setting)
    opt.step({"w": normal(8, 100, BFLOAT16)})
    assert all(slot.dtype == np.float32 for slot in opt.state["w"].values() if slot.shape)


@pytest.mark.parametrize(("rule", "hyper"), [(rule, hyper) for rule in RULES for hyper in numbers(rule)])
def test_any_hyper_may_be_a_schedule(rule: str, hyper: str) -> None:
    beside = BESIDE.get((rule, hyper), {})
    standard = defaults(rule)[hyper]
    # What is zero or next to it shows nothing, nor does a warmup that ends before the first step.
    usual = 40.0 if hyper.endswith("_warmup") else standard if standard > 1e-12 else 0.1
    base = beside.get(hyper, usual)
    steps = 8

    def wave(step: int) -> float:
        return base * (0.5 + 0.5 * ((step * 3) % 5) / 5)  # keeps betas below one, nothing at zero

    setting: dict[str, Any] = {**beside, hyper: wave}
    p = normal(9, 257)
    grads = gradients(10, 257, steps, np.float64)
    want = walk(rule, p, grads, **setting)
    opt = CLASSES[rule](p, **setting)
    for g in grads:
        opt.step(g)
    assert_close(p, want.p, want.largest, 1e-13)
    for name, slot in want.slots.items():
        assert_close(opt.state[name], slot, want.largest_slots[name], 1e-12)
    still = walk(rule, normal(9, 257), grads, **{**setting, hyper: base})
    pairs = [(still.p, want.p), *((still.slots[name], slot) for name, slot in want.slots.items())]
    shown = [not np.allclose(a, b, rtol=1e-10, atol=0) for a, b in pairs]
    assert any(shown), "this schedule shows nothing"


@pytest.mark.parametrize("rule", RULES)
def test_a_schedule_of_schuss_and_its_plain_function_give_the_same_step(rule: str) -> None:
    schedule = schuss.schedules.cosine(0.05, steps=7)
    grads = gradients(12, 300, 9, np.float64)
    taken: list[np.ndarray] = []
    lrs: list[list[float]] = []
    for lr in (schedule, lambda step: float(schedule(step))):
        p = normal(11, 300)
        opt = CLASSES[rule](p, lr=lr)
        lrs.append([opt.step(g).lr for g in grads])
        taken.append(p)
    assert same_bits(taken[0], taken[1])
    assert lrs[0] == lrs[1] == [float(schedule(t)) for t in range(9)]


# The plain functions.


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_plain_function_equals_optimizer_bit_for_bit(rule: str, setting: dict[str, Any], dtype: str) -> None:
    from helpers import DTYPES

    params = {"w": normal(13, 5_001, DTYPES[dtype])}
    p = params["w"].copy()
    opt = CLASSES[rule](params, **setting)
    slots = {name: np.array(slot) for name, slot in opt.state["w"].items()}
    function: Callable[..., None] = getattr(schuss.ops, rule)
    for step, g in enumerate(gradients(14, 5_001, 3, DTYPES[dtype]), start=1):
        opt.step({"w": g})
        assert function(p, g, **slots, step=step, **setting) is None
        assert same_bits(p, params["w"])
        for name, slot in slots.items():
            assert same_bits(slot, opt.state["w"][name]), name


@pytest.mark.parametrize("rule", RULES)
def test_plain_function_refuses_wrong_shapes_before_writing(rule: str) -> None:
    p, slots = np.ones(8), {name: np.zeros(8) for name in CLASSES[rule](np.ones(8)).state}
    before = p.copy()
    with pytest.raises(ValueError, match=r"\(7,\).*\(8,\)"):
        getattr(schuss.ops, rule)(p, np.ones(7), **slots, step=1)
    assert same_bits(p, before)


# The textbook's forms and facts.


@pytest.mark.parametrize(
    ("rule", "formula"),
    [
        ("adagrad", lambda total, g: (total + g**2, total + g**2)),
        ("rmsprop", lambda v, g: (0.9 * v + 0.1 * g**2, 0.9 * v + 0.1 * g**2)),
    ],
    ids=["adagrad", "rmsprop"],
)
def test_textbook_form_has_eps_inside_the_root(rule: str, formula: Callable[..., Any]) -> None:
    p, lr = normal(15, 200), 0.01
    setting = {"alpha": 0.9} if rule == "rmsprop" else {}
    opt = CLASSES[rule].textbook(p, lr=lr, **setting)
    want, slot = p.copy(), np.zeros(200)
    for g in gradients(16, 200, 10, np.float64):
        g = g * 1e-4  # small enough that eps 1e-8 inside the root is seen
        opt.step(g)
        slot, under = formula(slot, g)
        want = want - lr * g / np.sqrt(under + 1e-8)
    assert_close(p, want, np.abs(want) + 0.1, 1e-13)


def test_variance_of_the_velocity_is_one_minus_beta_over_one_plus_beta_of_the_gradients() -> None:
    beta, steps = 0.9, 3_000
    params = {"w": np.zeros(200)}
    opt = schuss.Momentum(params, lr=0.0, beta=beta)
    rng = np.random.default_rng(20)
    seen = []
    for _ in range(steps):
        opt.step({"w": rng.standard_normal(200)})
        seen.append(np.array(opt.state["w"]["v"]))
    variance = float(np.var(np.array(seen[200:])))
    # 560,000 values, correlated over about (1+beta)/(1-beta) = 19 steps: 1 % is six deviations.
    assert variance == pytest.approx((1 - beta) / (1 + beta), rel=0.01)


def test_steady_gradient_moves_averaging_by_lr_and_classic_by_lr_over_one_minus_beta() -> None:
    lr, beta, g = 0.01, 0.9, np.full(3, 2.0)
    averaging, classic = np.zeros(3), np.zeros(3)
    one, other = (
        schuss.Momentum(averaging, lr=lr, beta=beta),
        schuss.SGD(classic, lr=lr, momentum=beta),
    )
    for _ in range(400):
        one.step(g)
        other.step(g)
    before = averaging.copy(), classic.copy()
    one.step(g)
    other.step(g)
    np.testing.assert_allclose(before[0] - averaging, lr * g, rtol=1e-12)
    np.testing.assert_allclose(before[1] - classic, lr / (1 - beta) * g, rtol=1e-12)


def test_sgd_takes_its_first_gradient_undampened() -> None:
    p = np.zeros(4)
    opt = schuss.SGD({"w": p}, lr=1.0, momentum=0.9, dampening=0.5)
    opt.step({"w": np.ones(4)})
    np.testing.assert_array_equal(p, -1.0)
    opt.step({"w": np.ones(4)})
    np.testing.assert_allclose(p, -1.0 - (0.9 + 0.5), rtol=1e-15)


@pytest.mark.parametrize("rule", ["adam", "adamw"])
def test_adams_first_step_is_lr_whatever_the_gradients_scale(rule: str) -> None:
    p = np.zeros(5)
    CLASSES[rule](p, lr=0.01, eps=0.0).step(np.array([1e-6, -1e-3, 1.0, -1e3, 1e6]))
    np.testing.assert_allclose(p, -0.01 * np.array([1, -1, 1, -1, 1]), rtol=1e-12)


# What a step costs.


@pytest.mark.parametrize(
    ("rule", "setting", "moved", "kept"),
    [
        ("sgd", {}, 3, 0),
        ("sgd", {"momentum": 0.9}, 5, 1),
        ("momentum", {}, 5, 1),
        ("adagrad", {}, 5, 1),
        ("rmsprop", {"centered": True, "momentum": 0.9}, 9, 3),
        ("adamw", {}, 7, 2),
        ("adamw", {"amsgrad": True}, 9, 3),
    ],
    ids=case_id,
)
def test_cost_counts_the_streams_of_a_step(rule: str, setting: dict[str, Any], moved: int, kept: int) -> None:
    params = {"w": np.zeros((100, 50), np.float32), "b": np.zeros(50, np.float32)}
    cost = CLASSES[rule](params, **setting).cost()
    n = 5_050
    assert cost["elements"] == n
    assert cost["bytes_moved"] == 4 * n * moved  # p and every slot read and written, g read
    assert cost["bytes_kept"] == 4 * n * kept
    assert cost["flops"] >= 2 * n
    assert 0 < cost["seconds"] < 1


@pytest.mark.parametrize("rule", RULES)
def test_cost_grows_with_the_elements_and_their_width(rule: str) -> None:
    def cost(n: int, dtype: Any) -> dict[str, float]:
        return dict(CLASSES[rule](np.zeros(n, dtype)).cost())

    small, wide, large = cost(1_000, np.float32), cost(1_000, np.float64), cost(10_000, np.float32)
    assert wide["bytes_moved"] == 2 * small["bytes_moved"]
    assert large["bytes_moved"] == 10 * small["bytes_moved"]
    assert large["flops"] == 10 * small["flops"]
    assert large["seconds"] > small["seconds"]
