"""Adam's descendants against torch, optax and pytorch_optimizer, each in the other's own dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CASES, CLASSES, assert_close, case_id, gradients, normal
from oracles import ORACLES, walk
from other_libraries import close, inputs, of_optax, of_torch

BOTH = {"weight_decay": 0.1, "decoupled_weight_decay": True}


TORCH = [
    *[("adamax", each) for each in ({}, {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1})],
    *[("adamax", {"beta1": 0.0, "beta2": beta2}) for beta2 in (0.0, 0.9, 0.9999)],
    *[("nadam", each) for each in ({}, {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1}, {"momentum_decay": 1.0})],
    *[("nadam", {**BOTH, "beta1": beta1, "lr": 0.05}) for beta1 in (0.0, 0.5, 0.99)],
    *[("radam", each) for each in ({}, {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1}, {"beta2": 0.5})],
    *[("radam", {**BOTH, "beta2": beta2, "lr": 0.05}) for beta2 in (0.8, 0.9, 0.99)],
]
NAMES = {"adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam"}


@pytest.mark.parametrize(("rule", "hypers"), TORCH, ids=str)
def test_agrees_with_torch(rule: str, hypers: dict[str, Any]) -> None:
    def make(params: list[Any]) -> Any:
        import torch

        theirs = {key: value for key, value in hypers.items() if not key.startswith("beta")}
        betas = (hypers.get("beta1", 0.9), hypers.get("beta2", 0.999))
        return getattr(torch.optim, NAMES[rule])(params, betas=betas, foreach=False, **theirs)

    close(rule, hypers, of_torch(make))


DIALECTS: list[tuple[str, str, dict[str, Any], Callable[[Any], Any]]] = [
    ("adamax", "adamax", {"lr": 0.01}, lambda optax: optax.adamax(0.01)),
    (
        "nadam, whose mu is beta1 from the first step on",
        "nadam",
        {"lr": 0.01, "anneal": 0.0, "eps_root": 1e-5},
        lambda optax: optax.nadam(0.01, eps_root=1e-5),
    ),
    (
        "nadamw",
        "nadam",
        {"lr": 0.01, "anneal": 0.0, **BOTH},
        lambda optax: optax.nadamw(0.01, weight_decay=0.1),
    ),
    (
        "radam, without its eps, which optax adds after the correction",
        "radam",
        {"lr": 0.01, "beta2": 0.95, "eps": 0.0},
        lambda optax: optax.radam(0.01, b2=0.95, eps=1e-300),
    ),
    (
        "adabelief, whose inner eps stays in the moment",
        "adabelief",
        {"lr": 0.01},
        lambda optax: optax.adabelief(0.01),
    ),
    (
        "adabelief with the paper's eps",
        "adabelief",
        {"lr": 0.01, "eps": 1e-8, "eps_root": 0.0, "beta2": 0.9},
        lambda optax: optax.adabelief(0.01, b2=0.9, eps=1e-8, eps_root=0.0),
    ),
    (
        "yogi, both of whose moments start at a millionth",
        "yogi",
        {"lr": 0.01, "initial_mean": 1e-6},
        lambda optax: optax.yogi(0.01),
    ),
    (
        "ademamix",
        "ademamix",
        {"lr": 0.01, "beta3": 0.99, "eps_root": 1e-6, "weight_decay": 0.1},
        lambda optax: optax.contrib.ademamix(0.01, b3=0.99, eps_root=1e-6, weight_decay=0.1),
    ),
    (
        "adan, which weighs differences by 1 - beta2",
        "adan",
        {"lr": 0.01, "eps_root": 1e-8, "weight_decay": 0.1, "proximal": False, "complement": True},
        lambda optax: optax.adan(0.01, weight_decay=0.1),
    ),
]


@pytest.mark.parametrize(("rule", "hypers", "make"), [row[1:] for row in DIALECTS], ids=[row[0] for row in DIALECTS])
def test_optax_dialect_is_reached_by_hypers(rule: str, hypers: dict[str, Any], make: Callable[[Any], Any]) -> None:
    close(rule, hypers, of_optax(make))


# The names of pytorch_optimizer, how it is to be made, and the setting here that is the same.
OTHERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("adabelief", "AdaBelief", {"eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.1},
     {"eps": 1e-8, "weight_decay": 0.1, "rectify": False}),
    ("yogi", "Yogi", {"initial_mean": 1e-6}, {}),
    ("yogi", "Yogi", {"initial_mean": 0.1, "initial_accumulator": 0.1, "weight_decay": 0.1, "lr": 0.1},
     {"initial_accumulator": 0.1, "weight_decay": 0.1, "weight_decouple": False, "lr": 0.1}),
    ("ademamix", "AdEMAMix", {}, {}),
    ("ademamix", "AdEMAMix", {"alpha_warmup": 8, "beta3_warmup": 8, "weight_decay": 0.1},
     {"t_alpha_beta3": 8, "weight_decay": 0.1, "weight_decouple": True}),
    ("adan", "Adan", {"lr": 0.01, "weight_decay": 0.1}, {"lr": 0.01, "weight_decay": 0.1}),
    ("adan", "Adan", {"weight_decay": 0.1, "proximal": False}, {"weight_decay": 0.1, "weight_decouple": True}),
    ("qhadam", "QHAdam", {"nu1": 0.7, "nu2": 0.5, "beta1": 0.9, "weight_decay": 0.1},
     {"nus": (0.7, 0.5), "weight_decay": 0.1}),
    ("qhadam", "QHAdam", {"nu1": 1.0, "beta1": 0.9}, {}),
    ("qhadam", "QHAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True},
     {"nus": (0.7, 1.0), "betas": (0.995, 0.999), "weight_decay": 0.1, "weight_decouple": True}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "hypers", "theirs"), OTHERS, ids=str)
def test_agrees_with_pytorch_optimizer(rule: str, name: str, hypers: dict[str, Any], theirs: dict[str, Any]) -> None:
    others = pytest.importorskip("pytorch_optimizer", reason="the witness of this test is pytorch_optimizer")
    # QHAdam's weights of the means are float32 there.
    rtol = 1e-6 if name == "QHAdam" else 1e-13
    close(rule, hypers, of_torch(lambda params: getattr(others, name)(params, foreach=False, **theirs)), rtol)


@pytest.mark.parametrize("steps", [100, 10_000])
@pytest.mark.parametrize("setting", [{}, {"momentum_decay": 1.0}, {"momentum_decay": 1e-6}, {"anneal": 0.95}], ids=str)
def test_nadams_product_of_a_late_clock_is_that_of_all_steps(steps: int, setting: dict[str, float]) -> None:
    """The core sums a series in place of the steps: at beta1 near one the product still shows."""
    hypers = {"lr": 0.1, "beta1": 1 - 1e-4, **setting}
    p, g = inputs()[0], inputs()[1][0]
    slots = {"m": g * 0.5, "v": g * g * 0.3 + 1e-3}
    q = p.copy()
    schuss.ops.nadam(q, g, slots["m"].copy(), slots["v"].copy(), step=steps, **hypers)
    assert_close(q, ORACLES["nadam"](p, g, slots, steps, **hypers), np.abs(p) + 1, 1e-12)


DESCENDANTS = {"adamax", "nadam", "radam", "adabelief", "yogi", "ademamix", "adan", "qhadam"}


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 2e-6)])
@pytest.mark.parametrize(("rule", "setting"), [case for case in CASES if case[0] in DESCENDANTS], ids=case_id)
def test_longer_walks_match_the_oracle(rule: str, setting: dict[str, Any], dtype: str, rtol: float) -> None:
    """Past the end of what changes with the clock: RAdam divides from its sixth step on, warmups end."""
    p, grads = normal(3, 1_001, dtype), gradients(4, 1_001, 25, dtype)
    want = walk(rule, p, grads, **setting)
    opt = CLASSES[rule](p, **setting)
    for g in grads:
        opt.step(g)
    assert_close(p, want.p, want.largest, rtol)
