"""Rules by signs and the older ones beside Adam's family, against torch, optax and pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import CLASSES, assert_close, case_id, gradients, normal
from test_torch_agreement import grid, optax_walk

torch = pytest.importorskip("torch", reason="the witness of these tests is torch")

STEPS = 60
SHAPE = (37, 19)


@pytest.fixture(autouse=True)
def torchs_numbers_are_float64() -> Iterator[None]:
    """Torch keeps ASGD's rates as tensors of its default type, which rounds them to float32 otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def walk_of(
    make: Callable[[list[Any]], Any], p: np.ndarray, grads: list[np.ndarray]
) -> tuple[np.ndarray, float, dict[str, Any]]:
    """Parameters after an optimizer of torch's form, the largest value that any took, and its state."""
    w = torch.nn.Parameter(torch.from_numpy(p.astype(np.float64)))
    opt = make([w])
    largest = float(np.abs(p).max())
    for g in grads:
        w.grad = torch.from_numpy(g.astype(np.float64))
        opt.step()
        largest = max(largest, float(w.detach().abs().max()))
    return w.detach().numpy().copy(), largest, opt.state[w]


def ours(rule: str, hypers: dict[str, Any], p: np.ndarray, grads: list[np.ndarray]) -> tuple[np.ndarray, Any]:
    p = p.copy()
    opt = CLASSES[rule](p, **hypers)
    for g in grads:
        opt.step(g)
    return p, opt.state


# torch.optim


def torch_adadelta(params: list[Any], **hypers: Any) -> Any:
    return torch.optim.Adadelta(params, foreach=False, **hypers)


def torch_rprop(params: list[Any], lr: float, eta_minus: float, eta_plus: float, **steps: float) -> Any:
    sizes = (steps.get("step_min", 1e-6), steps.get("step_max", 50.0))
    return torch.optim.Rprop(params, lr=lr, etas=(eta_minus, eta_plus), step_sizes=sizes, foreach=False)


def torch_asgd(params: list[Any], **hypers: Any) -> Any:
    return torch.optim.ASGD(params, foreach=False, **hypers)


TORCH = {"adadelta": torch_adadelta, "rprop": torch_rprop, "asgd": torch_asgd}
SLOTS = {
    "adadelta": {"v": "square_avg", "u": "acc_delta"},
    "rprop": {"prev": "prev", "step_size": "step_size"},
    "asgd": {"ax": "ax"},
}
GRID = [
    ("adadelta", {}),
    *[("adadelta", each) for each in grid(lr=[0.1, 1.0], rho=[0.5, 0.95], eps=[1e-6, 1e-2], weight_decay=[0.0, 0.1])],
    *[("rprop", each) for each in grid(lr=[0.01, 0.5], eta_minus=[0.3, 0.5], eta_plus=[1.2, 2.0])],
    *[
        ("rprop", {"lr": 0.01, "eta_minus": 0.5, "eta_plus": 1.2, **each})
        for each in grid(step_min=[1e-6, 0.02], step_max=[0.03, 50.0])
    ],
    ("asgd", {}),
    *[
        ("asgd", each)
        for each in grid(lr=[0.01, 0.3], lambd=[1e-4, 0.5], alpha=[0.0, 0.6], t0=[0.0, 20.0], weight_decay=[0.0, 0.1])
    ],
]


@pytest.mark.parametrize(("rule", "hypers"), GRID, ids=case_id)
def test_agrees_with_torch_in_float64(rule: str, hypers: dict[str, Any]) -> None:
    p, grads = normal(1, SHAPE), gradients(2, SHAPE, STEPS, np.float64)
    want, largest, state = walk_of(lambda params: TORCH[rule](params, **hypers), p, grads)
    got, slots = ours(rule, hypers, p, grads)
    assert_close(got, want, largest, 1e-13)
    for name, theirs in SLOTS[rule].items():
        slot = state[theirs].numpy()
        assert_close(slots[name], slot, np.abs(slot).max(), 1e-13)


@pytest.mark.parametrize(("rule", "hypers"), GRID, ids=case_id)
def test_agrees_with_torch_in_float32(rule: str, hypers: dict[str, Any]) -> None:
    """Against torch's float64 on the same float32 inputs: the error measured is then ours alone."""
    p, grads = normal(1, SHAPE, np.float32), [normal(100 + t, SHAPE, np.float32) for t in range(STEPS)]
    want, largest, _ = walk_of(lambda params: TORCH[rule](params, **hypers), p, grads)
    assert_close(ours(rule, hypers, p, grads)[0], want, largest, 2e-6)


# optax; its rprop gives each step one step late (0.2.8), and is no witness.


DIALECTS: list[tuple[str, str, dict[str, Any], Callable[[Any], Any]]] = [
    ("lion", "lion", {"lr": 1e-3, "weight_decay": 1e-3}, lambda optax: optax.lion(1e-3)),
    (
        "lion with other betas and a strong decay",
        "lion",
        {"lr": 0.02, "beta1": 0.7, "beta2": 0.95, "weight_decay": 0.3},
        lambda optax: optax.lion(0.02, b1=0.7, b2=0.95, weight_decay=0.3),
    ),
    ("lion without decay", "lion", {"lr": 0.01}, lambda optax: optax.lion(0.01, weight_decay=0.0)),
    ("signSGD is signum without memory", "signum", {"lr": 0.01, "beta": 0.0}, lambda optax: optax.sign_sgd(0.01)),
    (
        "signum is the sign of an undebiased average",
        "signum",
        {"lr": 0.01, "beta": 0.9},
        lambda optax: optax.chain(optax.ema(0.9, debias=False), optax.sign_sgd(0.01)),
    ),
    (
        "tiger is that, with decay beside it",
        "tiger",
        {"lr": 0.01, "beta": 0.965, "weight_decay": 0.2},
        lambda optax: optax.chain(
            optax.ema(0.965, debias=False),
            optax.scale_by_sign(),
            optax.add_decayed_weights(0.2),
            optax.scale_by_learning_rate(0.01),
        ),
    ),
    ("adadelta", "adadelta", {"lr": 0.7, "rho": 0.8}, lambda optax: optax.adadelta(0.7, rho=0.8)),
    ("adopt", "adopt", {"lr": 0.01}, lambda optax: optax.contrib.adopt(0.01)),
    (
        "adopt unclipped, of short memory",
        "adopt",
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 0.05, "clipping": False},
        lambda optax: optax.contrib.adopt(0.01, b1=0.8, b2=0.9, eps=0.05, use_clipping=False),
    ),
    (
        "adopt clipped at another power",
        "adopt",
        {"lr": 0.01, "clip_power": 0.1},
        lambda optax: optax.contrib.adopt(0.01, clip_value_fn=lambda t: t**0.1),
    ),
]


@pytest.mark.parametrize(("rule", "hypers", "make"), [row[1:] for row in DIALECTS], ids=[row[0] for row in DIALECTS])
def test_agrees_with_optax(rule: str, hypers: dict[str, Any], make: Callable[[Any], Any]) -> None:
    p, grads = normal(8, SHAPE), gradients(9, SHAPE, STEPS, np.float64)
    want, largest = optax_walk(make, p, grads)
    assert_close(ours(rule, hypers, p, grads)[0], want, largest, 1e-13)


# pytorch_optimizer


def of_torchs_form(name: str, params: list[Any], **hypers: Any) -> Any:
    library = pytest.importorskip("pytorch_optimizer", reason="the witness of this test is pytorch_optimizer")
    if "beta1" in hypers:
        hypers["betas"] = (hypers.pop("beta1"), hypers.pop("beta2"))
    if name == "ADOPT":  # it counts as 1 the first step, which the paper calls step 0
        hypers["clip_lambda"] = lambda step: (step - 1) ** 0.25
    if name in ("SignSGD", "QHM"):
        hypers["momentum"] = hypers.pop("beta")
    return getattr(library, name)(params, **hypers)


OTHERS = [
    *[("signum", "SignSGD", each) for each in grid(lr=[1e-4, 0.01], beta=[0.0, 0.9], weight_decay=[0.0, 0.1])],
    *[("tiger", "Tiger", each) for each in grid(lr=[1e-3, 0.02], beta=[0.9, 0.965], weight_decay=[0.01, 0.3])],
    *[
        ("qhm", "QHM", each)
        for each in grid(lr=[0.01, 0.3], beta=[0.9, 0.999], nu=[0.0, 0.7, 1.0], weight_decay=[0.0, 0.05])
    ],
    *[
        (rule, name, each)
        for rule, name in (("adopt", "ADOPT"), ("grams", "Grams"))
        for each in grid(
            lr=[1e-3, 0.05], beta1=[0.0, 0.9], beta2=[0.9, 0.9999], eps=[1e-6, 0.1], weight_decay=[0.0, 0.1]
        )
    ],
]


@pytest.mark.parametrize(("rule", "name", "hypers"), OTHERS, ids=case_id)
def test_agrees_with_pytorch_optimizer(rule: str, name: str, hypers: dict[str, Any]) -> None:
    p, grads = normal(3, SHAPE), gradients(4, SHAPE, STEPS, np.float64)
    want, largest, _ = walk_of(lambda params: of_torchs_form(name, params, **hypers), p, grads)
    assert_close(ours(rule, hypers, p, grads)[0], want, largest, 1e-13)


def test_adopts_decoupled_decay_begins_with_its_second_step() -> None:
    """As in the authors' program; pytorch_optimizer's decays in the first step too, and does nothing else in it."""
    hypers = {"lr": 0.1, "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.5}
    p, grads = normal(5, SHAPE), gradients(6, SHAPE, STEPS, np.float64)
    want, largest, _ = walk_of(
        lambda params: of_torchs_form("ADOPT", params, **hypers, weight_decouple=True), p / (1 - 0.1 * 0.5), grads
    )
    first, _ = ours("adopt", {**hypers, "decoupled_weight_decay": True}, p, grads[:1])
    np.testing.assert_array_equal(first, p)
    got, _ = ours("adopt", {**hypers, "decoupled_weight_decay": True}, p, grads)
    assert_close(got, want, largest, 1e-13)
