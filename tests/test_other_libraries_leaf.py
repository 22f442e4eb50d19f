"""Rules that measure a leaf or carry numbers beside it, against optax and pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import assert_close
from other_libraries import close, inputs, of_optax, of_torch

OPTAX: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("lamb", {"lr": 0.01}, lambda optax: optax.lamb(0.01)),
    (
        "lamb",
        {"lr": 0.01, "beta1": 0.5, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1},
        lambda optax: optax.lamb(0.01, b1=0.5, eps=1e-3, eps_root=1e-4, weight_decay=0.1),
    ),
    (
        "lars",
        {"lr": 0.1, "weight_decay": 0.1, "combined_norm": True, "trust_coefficient": 0.02},
        lambda optax: optax.lars(0.1, weight_decay=0.1, trust_coefficient=0.02),
    ),
    (
        "lars",
        {"lr": 0.1, "weight_decay": 0.1, "combined_norm": True, "nesterov": True},
        lambda optax: optax.lars(0.1, weight_decay=0.1, nesterov=True),
    ),
    (
        "novograd",
        {"lr": 0.01, "beta1": 0.9, "beta2": 0.25, "eps": 1e-6, "weight_decay": 0.1},
        lambda optax: optax.novograd(0.01, b1=0.9, b2=0.25, eps=1e-6, weight_decay=0.1),
    ),
]


@pytest.mark.parametrize(("rule", "hypers", "make"), OPTAX, ids=lambda value: None if callable(value) else str(value))
def test_agrees_with_optax(rule: str, hypers: dict[str, Any], make: Callable[[Any], Any]) -> None:
    close(rule, hypers, of_optax(make))


OTHERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("schedulefreesgd", "ScheduleFreeSGD", {"lr": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "weight_decay": 0.1}),
    ("schedulefreesgd", "ScheduleFreeSGD", {"lr": 0.1, "warmup_steps": 5, "r": 1.0},
     {"lr": 0.1, "warmup_steps": 5, "r": 1.0}),
    ("schedulefreeadamw", "ScheduleFreeAdamW", {"lr": 0.01, "beta2": 0.9, "eps_root": 1e-15, "weight_decay": 0.1},
     {"lr": 0.01, "betas": (0.9, 0.9), "weight_decay": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "hypers", "theirs"), OTHERS, ids=str)
def test_agrees_with_pytorch_optimizer(rule: str, name: str, hypers: dict[str, Any], theirs: dict[str, Any]) -> None:
    others = pytest.importorskip("pytorch_optimizer", reason="the witness of this test is pytorch_optimizer")

    def make(params: list[Any]) -> Any:
        opt = getattr(others, name)(params, **theirs)
        opt.train()
        return opt

    close(rule, hypers, of_torch(make), 1e-12)


@pytest.mark.parametrize("name", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_the_average_is_where_the_model_is_used_and_p_comes_back_exactly(name: str) -> None:
    p, grads = inputs()
    opt = getattr(schuss, name)({"w": p}, lr=0.05)
    x, z, total = p.copy(), p.copy(), 0.0
    for t, g in enumerate(grads, start=1):
        before = p.copy()
        opt.step({"w": g})
        z = np.asarray(opt.state["w"]["z"])
        total += 0.05**2
        c = 0.05**2 / total
        x = (1 - c) * x + c * z
        assert t == opt.clock
        assert not np.array_equal(before, p)
    kept = p.copy()
    with opt.evaluation():
        assert_close(p, x, np.abs(x) + 1, 1e-12)
    assert np.array_equal(kept, p)


@pytest.mark.parametrize("name", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_before_the_first_step_the_average_is_p(name: str) -> None:
    p = np.array([1.0, -2.0])
    opt = getattr(schuss, name)(p)
    with opt.evaluation():
        assert p.tolist() == [1.0, -2.0]


def test_only_schedule_free_rules_have_a_place_of_evaluation() -> None:
    assert not hasattr(schuss.AdamW, "evaluation")
    assert not hasattr(schuss.ScheduleFreeSGD, "lookahead")
    assert not hasattr(schuss.Nesterov, "evaluation")
