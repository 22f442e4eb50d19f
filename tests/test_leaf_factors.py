"""What multiplies the hypers of single leaves: which of them decay, and how fast each learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Twins
from helpers import CLASSES, RULES, assert_walks, gradients, normal, same_bits, snapshot, tree_bits
from oracles import Walk

DECAYING = [rule for rule in RULES if "weight_decay" in CLASSES[rule].rule.defaults]
LR = [rule for rule in RULES if "lr" in CLASSES[rule].rule.defaults]
SCALES = {"body/w": 0.25, "head": 2.0}


def params_of(seed: int = 1) -> dict[str, Any]:
    return {"body": {"w": normal(seed, (6, 5)), "b": normal(seed + 1, 6)}, "head": normal(seed + 2, (3, 4))}


def grads_of(t: int) -> dict[str, Any]:
    return params_of(100 + 10 * t)


def matrices(name: str, leaf: Any) -> bool:
    return leaf.ndim > 1


def halving(name: str, leaf: Any) -> float:
    return {"body/w": 0.25, "body/b": 1.0, "head": 2.0}[name]


@pytest.mark.parametrize("decay", [matrices, {"body/w", "head"}, ["body/w", "head"]], ids=["function", "set", "list"])
@pytest.mark.parametrize("rule", DECAYING)
def test_leaves_that_do_not_decay_step_as_without_weight_decay(rule: str, decay: Any) -> None:
    params = params_of()
    hypers = {"lr": 0.05, "weight_decay": 0.3}
    w, b = Walk(rule, params["body"]["w"], **hypers), Walk(rule, params["body"]["b"], lr=0.05, weight_decay=0.0)
    opt = CLASSES[rule](params, decay=decay, **hypers)
    for t in range(4):
        grads = grads_of(t)
        opt.step(grads)
        w.step(grads["body"]["w"])
        b.step(grads["body"]["b"])
    assert_walks({"w": (params["body"]["w"], w), "b": (params["body"]["b"], b)}, 1e-13)


@pytest.mark.parametrize("lr_scale", [halving, SCALES], ids=["function", "dict"])
@pytest.mark.parametrize("rule", LR)
def test_a_leafs_rate_is_the_schedules_times_its_factor(rule: str, lr_scale: Any) -> None:
    params = params_of()
    lr = schuss.schedules.cosine(0.05, steps=8)
    walks = {
        "w": (params["body"]["w"], Walk(rule, params["body"]["w"], lr=lambda t: 0.25 * lr(t))),
        "b": (params["body"]["b"], Walk(rule, params["body"]["b"], lr=lr)),
        "head": (params["head"], Walk(rule, params["head"], lr=lambda t: 2 * lr(t))),
    }
    opt = CLASSES[rule](params, lr=lr, lr_scale=lr_scale)
    for t in range(6):
        grads = grads_of(t)
        assert opt.step(grads).lr == lr(t), "what is told is the schedule's"
        for name, g in {"w": grads["body"]["w"], "b": grads["body"]["b"], "head": grads["head"]}.items():
            walks[name][1].step(g)
    assert_walks(walks, 1e-13)


def test_groups_of_the_same_hypers_give_the_same_bits() -> None:
    one, other = params_of(), params_of()
    lr = schuss.schedules.cosine(0.05, steps=8)
    opt = schuss.AdamW(one, lr=lr, weight_decay=0.3, decay=matrices, lr_scale={"body": 0.25}, clip=1.0)
    split = schuss.AdamW(
        [
            {"params": other["body"]["w"], "lr": lambda t: 0.25 * lr(t)},
            {"params": other["body"]["b"], "lr": lambda t: 0.25 * lr(t), "weight_decay": 0.0},
            {"params": other["head"]},
        ],
        lr=lr,
        weight_decay=0.3,
        clip=1.0,
    )
    for t in range(5):
        grads = grads_of(t)
        opt.step(grads)
        split.step([grads["body"]["w"], grads["body"]["b"], grads["head"]])
    assert tree_bits(one) == tree_bits(other)


def test_a_python_schedule_is_asked_once_a_step() -> None:
    asked: list[int] = []

    def lr(step: int) -> float:
        asked.append(step)
        return 0.1

    params = params_of()
    opt = schuss.SGD(params, lr=lr, lr_scale=SCALES)
    asked.clear()
    opt.step(grads_of(0))
    opt.step(grads_of(1))
    assert asked == [0, 1]


def test_the_longest_name_holds() -> None:
    params = {"a": {"b": np.zeros(1), "c": np.zeros(1)}, "ab": np.zeros(1)}
    opt = schuss.SGD(params, lr=1.0, lr_scale={"a": 2.0, "a/b": 3.0})
    opt.step({"a": {"b": np.ones(1), "c": np.ones(1)}, "ab": np.ones(1)})
    assert (params["a"]["b"][0], params["a"]["c"][0], params["ab"][0]) == (-3.0, -2.0, -1.0)


def test_a_hyper_set_later_is_multiplied_too() -> None:
    params = {"a": np.zeros(1), "b": np.zeros(1)}
    opt = schuss.SGD(params, lr=1.0, lr_scale={"b": 0.5})
    opt.groups[0]["lr"] = 4.0
    opt.step({"a": np.ones(1), "b": np.ones(1)})
    assert (params["a"][0], params["b"][0], opt.groups[0]["lr"]) == (-4.0, -2.0, 4.0)


def test_a_group_may_have_factors_of_its_own_and_later_groups_take_the_optimizers() -> None:
    a, b, c = np.zeros(2), np.zeros(2), np.zeros(2)
    opt = schuss.SGD([{"params": a}, {"params": b, "lr_scale": {"1": 3.0}}], lr=1.0, lr_scale=lambda name, leaf: 0.5)
    opt.add_group({"params": c})
    opt.step([np.ones(2)] * 3)
    assert (a[0], b[0], c[0]) == (-0.5, -3.0, -0.5)


def test_the_look_ahead_point_is_taken_at_the_leafs_own_rate() -> None:
    params = {"a": np.ones(2), "b": np.ones(2)}
    opt = schuss.Nesterov(params, lr=0.1, lr_scale={"b": 0.5})
    for _ in range(3):
        with opt.lookahead():
            grads = {name: 2 * p for name, p in params.items()}
        opt.step(grads)
    for name, lr in (("a", 0.1), ("b", 0.05)):
        p = np.ones(2)
        alone = schuss.Nesterov(p, lr=lr)
        for _ in range(3):
            with alone.lookahead():
                g = 2 * p
            alone.step(g)
        assert same_bits(params[name], p)


def test_a_resumed_run_has_the_factors_it_was_saved_with(tmp_path: Path) -> None:
    params = params_of()
    settings: dict[str, Any] = {"lr": schuss.schedules.cosine(0.05, steps=9), "weight_decay": 0.3}
    straight = schuss.AdamW(params, decay=matrices, lr_scale=SCALES, **settings)
    for t in range(3):
        straight.step(grads_of(t))
    schuss.save(tmp_path / "run.safetensors", straight)
    stopped = {"body": {name: p.copy() for name, p in params["body"].items()}, "head": params["head"].copy()}
    resumed = schuss.AdamW(stopped)
    schuss.load(tmp_path / "run.safetensors", resumed)
    for t in range(3, 6):
        straight.step(grads_of(t))
        resumed.step(grads_of(t))
    assert snapshot(resumed, stopped) == snapshot(straight, params)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([0.5], "factors is .* expected a dict"),
        ({"lr": -1.0}, "body/b: the factor on lr is -1.0 in the state"),
        ({"beta9": 1.0}, "unknown hyper 'beta9'"),
    ],
)
def test_bad_factors_in_a_state_are_refused_with_nothing_written(factors: Any, message: str) -> None:
    params = params_of()
    opt = schuss.AdamW(params)
    saved = opt.state_dict()
    saved["clock"] = 7
    saved["leaves"]["body/b"]["factors"] = factors
    before = snapshot(opt, params)
    with pytest.raises((TypeError, ValueError), match=message):
        opt.load_state_dict(saved)
    assert snapshot(opt, params) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decay": {"bodi"}}, r"decay: no leaf is named 'bodi' or lies under it; there are body/w, body/b, head"),
        ({"decay": "body"}, r"decay is 'body' \(str\), expected a function"),
        ({"decay": lambda name, leaf: 0.5}, r"decay of 'body/w' is 0.5 \(float\), expected True or False"),
        ({"lr_scale": {"hea": 1.0}}, r"lr_scale: no leaf is named 'hea'"),
        ({"lr_scale": 0.5}, r"lr_scale is 0.5 \(float\), expected a function"),
        ({"lr_scale": {"head": "fast"}}, r"lr_scale of 'head' is 'fast' \(str\), expected a number"),
        ({"lr_scale": lambda name, leaf: -1.0}, r"lr_scale of 'body/w' is -1.0, expected a finite number of 0 or more"),
        ({"lr_scale": lambda name, leaf: float("inf")}, r"lr_scale of 'body/w' is inf"),
    ],
)
def test_what_is_no_factor_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        schuss.AdamW(params_of(), **given)


def test_a_rule_without_weight_decay_refuses_a_mask() -> None:
    with pytest.raises(TypeError, match=r"Momentum\(\) got decay=, but has no weight_decay; it takes lr"):
        schuss.Momentum(params_of(), decay=matrices)


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}, {"accumulate": 2}], ids=repr)
def test_a_device_multiplies_hypers_as_the_cpu_does(cuda: Any, common: dict[str, Any]) -> None:
    shapes = {"w": (70, 3), "b": (7,), "c": (5,)}
    lr = schuss.schedules.cosine(0.05, steps=12)

    def make(params: Any) -> Any:
        return schuss.AdamW(params, lr=lr, weight_decay=0.3, decay={"w"}, lr_scale={"b": 0.5, "w": 2.0}, **common)

    twins = Twins(make, {name: normal(7 + i, shape) for i, (name, shape) in enumerate(shapes.items())})
    for t in range(4):
        twins.step({name: normal(20 + 3 * t + i, shape) for i, (name, shape) in enumerate(shapes.items())})
    saved = twins.host.state_dict()
    for own in (twins.host, twins.device):
        own.load_state_dict(schuss.AdamW({name: np.zeros(shape) for name, shape in shapes.items()}).state_dict())
    twins.step({name: normal(50 + i, shape) for i, (name, shape) in enumerate(shapes.items())})
    twins.host.load_state_dict(saved)
    twins.device.load_state_dict(saved)
    twins.step({name: normal(60 + i, shape) for i, (name, shape) in enumerate(shapes.items())})
    twins.check()


@pytest.mark.parametrize("seed", range(3))
def test_many_factors_and_groups_do_not_mix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 40
    scale = {f"0/{i}": float(rng.integers(1, 5)) for i in range(count)}
    left, right = [np.zeros(3) for _ in range(count)], [np.zeros(3) for _ in range(count)]
    opt = schuss.SGD([{"params": left}, {"params": right, "lr": 0.5}], lr=1.0, lr_scale=scale)
    g = gradients(seed, 3, 1, np.float64)[0]
    opt.step([[g] * count, [g] * count])
    for i in range(count):
        assert same_bits(left[i], np.zeros(3) - scale[f"0/{i}"] * g)
        assert same_bits(right[i], np.zeros(3) - 0.5 * g)
