"""Rules by signs, mixed means and falling rates against torch, optax and pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import assert_close
from other_libraries import close, inputs, of_optax, of_torch

TORCH: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("adadelta", "Adadelta", {}, {}),
    ("adadelta", "Adadelta", {"lr": 0.3, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1},
     {"lr": 0.3, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    ("rprop", "Rprop", {}, {}),
    ("rprop", "Rprop", {"lr": 0.1, "eta_minus": 0.3, "eta_plus": 2.0, "step_min": 0.05, "step_max": 0.3},
     {"lr": 0.1, "etas": (0.3, 2.0), "step_sizes": (0.05, 0.3)}),
    ("asgd", "ASGD", {}, {}),
    ("asgd", "ASGD", {"lr": 0.1, "lambd": 0.3, "alpha": 0.5, "t0": 3.0, "weight_decay": 0.1},
     {"lr": 0.1, "lambd": 0.3, "alpha": 0.5, "t0": 3.0, "weight_decay": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "hypers", "theirs"), TORCH, ids=str)
def test_agrees_with_torch(rule: str, name: str, hypers: dict[str, Any], theirs: dict[str, Any]) -> None:
    def make(params: list[Any]) -> Any:
        import torch

        return getattr(torch.optim, name)(params, foreach=False, **theirs)

    close(rule, hypers, of_torch(make))


def test_the_average_of_asgd_is_torchs() -> None:
    averages = []

    def make(params: list[Any]) -> Any:
        import torch

        averages.append(torch.optim.ASGD(params, lr=0.1, t0=2.0, foreach=False))
        return averages[0]

    close("asgd", {"lr": 0.1, "t0": 2.0}, of_torch(make))
    (theirs,) = averages[0].state.values()
    p, grads = inputs()
    params = {"w": p}
    opt = schuss.ASGD(params, lr=0.1, t0=2.0)
    for g in grads:
        opt.step({"w": g})
    assert_close(opt.state["w"]["ax"], theirs["ax"].numpy(), np.abs(p) + 1, 1e-13)


# optax's rprop takes each step one step late, so it is no witness.
OPTAX: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("lion", {"lr": 0.01}, lambda optax: optax.lion(0.01, weight_decay=0.0)),
    (
        "lion",
        {"lr": 0.01, "beta1": 0.5, "beta2": 0.8, "weight_decay": 0.1},
        lambda optax: optax.lion(0.01, b1=0.5, b2=0.8, weight_decay=0.1),
    ),
    ("signum", {"lr": 0.01, "beta": 0.0}, lambda optax: optax.sign_sgd(0.01)),
    (
        "signum",
        {"lr": 0.01},
        lambda optax: optax.chain(optax.ema(0.9, debias=False), optax.scale_by_sign(), optax.scale(-0.01)),
    ),
    ("adadelta", {"lr": 0.5}, lambda optax: optax.adadelta(0.5)),
]


@pytest.mark.parametrize(("rule", "hypers", "make"), OPTAX, ids=str)
def test_agrees_with_optax(rule: str, hypers: dict[str, Any], make: Callable[[Any], Any]) -> None:
    close(rule, hypers, of_optax(make))


OTHERS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("lion", "Lion", {"weight_decay": 0.1}, {"weight_decay": 0.1, "weight_decouple": True}),
    ("tiger", "Tiger", {"weight_decay": 0.1}, {"weight_decay": 0.1, "weight_decouple": True}),
    ("qhm", "QHM", {"lr": 0.1, "beta": 0.9, "nu": 0.7}, {"lr": 0.1, "momentum": 0.9, "nu": 0.7}),
]


@pytest.mark.parametrize(("rule", "name", "hypers", "theirs"), OTHERS, ids=str)
def test_agrees_with_pytorch_optimizer(rule: str, name: str, hypers: dict[str, Any], theirs: dict[str, Any]) -> None:
    others = pytest.importorskip("pytorch_optimizer", reason="the witness of this test is pytorch_optimizer")
    if not hasattr(others, name):
        pytest.skip(f"this pytorch_optimizer has no {name}")
    close(rule, hypers, of_torch(lambda params: getattr(others, name)(params, **theirs)))
