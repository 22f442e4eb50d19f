"""The rules against other libraries: torch.optim over a grid, optax where the dialects differ."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CLASSES, assert_close, case_id, gradients, normal

torch = pytest.importorskip("torch", reason="the witness of these tests is torch")

STEPS = 60
SHAPE = (37, 19)


def grid(**choices: list[Any]) -> list[dict[str, Any]]:
    """Every combination of the choices."""
    return [dict(zip(choices, each, strict=True)) for each in product(*choices.values())]


GRID = [
    *[("sgd", each) for each in grid(lr=[1e-3, 0.3], weight_decay=[0.0, 0.05])],
    *[("sgd", each) for each in grid(lr=[0.02], momentum=[0.5, 0.95], dampening=[0.0, 0.4], weight_decay=[0.0, 0.05])],
    *[("sgd", each) for each in grid(momentum=[0.5, 0.9], nesterov=[True], weight_decay=[0.0, 0.1])],
    *[
        ("adagrad", each)
        for each in grid(
            lr=[0.01, 0.5],
            lr_decay=[0.0, 0.1],
            initial_accumulator=[0.0, 0.1],
            weight_decay=[0.0, 0.1],
            eps=[1e-10, 1e-3],
        )
    ],
    *[
        ("rmsprop", each)
        for each in grid(
            lr=[1e-3, 0.05],
            alpha=[0.9, 0.99],
            momentum=[0.0, 0.9],
            centered=[False, True],
            weight_decay=[0.0, 0.1],
        )
    ],
    *[
        (rule, each)
        for rule in ("adam", "adamw")
        for each in grid(
            lr=[1e-3, 0.05],
            beta1=[0.0, 0.9],
            beta2=[0.9, 0.999],
            eps=[1e-8, 1e-3],
            weight_decay=[0.0, 0.1],
            amsgrad=[False, True],
        )
    ],
]

TORCH = {"sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}


def torch_walk(
    rule: str, hypers: dict[str, Any], p: np.ndarray, grads: list[np.ndarray], dtype: Any
) -> tuple[np.ndarray, float]:
    """Parameters after torch's own steps, and the largest value that any took."""
    theirs = dict(hypers)
    if "beta1" in theirs:
        theirs["betas"] = (theirs.pop("beta1"), theirs.pop("beta2"))
    if "initial_accumulator" in theirs:
        theirs["initial_accumulator_value"] = theirs.pop("initial_accumulator")
    w = torch.nn.Parameter(torch.from_numpy(p.copy()).to(dtype))
    opt = getattr(torch.optim, TORCH[rule])([w], foreach=False, **theirs)
    largest = float(np.abs(p).max())
    for g in grads:
        w.grad = torch.from_numpy(g.copy()).to(dtype)
        opt.step()
        largest = max(largest, float(w.detach().abs().max()))
    return w.detach().numpy().copy(), largest


@pytest.mark.parametrize(("rule", "hypers"), GRID, ids=case_id)
def test_agrees_with_torch_in_float64(rule: str, hypers: dict[str, Any]) -> None:
    p, grads = normal(1, SHAPE), gradients(2, SHAPE, STEPS, np.float64)
    want, largest = torch_walk(rule, hypers, p, grads, torch.float64)
    opt = CLASSES[rule](p, **hypers)
    for g in grads:
        opt.step(g)
    assert_close(p, want, largest, 1e-13)


@pytest.mark.parametrize(("rule", "hypers"), GRID, ids=case_id)
def test_agrees_with_torch_in_float32(rule: str, hypers: dict[str, Any]) -> None:
    """Against torch's float64 on the same float32 inputs: the error measured is then ours alone.

    Gradients of one magnitude: where decay and gradient nearly cancel, an adaptive rule magnifies
    float32's rounding of their sum, in torch as well as here.
    """
    p = normal(1, SHAPE, np.float32)
    grads = [normal(100 + t, SHAPE, np.float32) for t in range(STEPS)]
    want, largest = torch_walk(rule, hypers, p, grads, torch.float64)
    opt = CLASSES[rule](p, **hypers)
    for g in grads:
        opt.step(g)
    assert_close(p, want, largest, 1e-6)


def test_schedule_agrees_with_torchs_scheduler() -> None:
    p, grads = normal(3, SHAPE), gradients(4, SHAPE, STEPS, np.float64)
    w = torch.nn.Parameter(torch.from_numpy(p.copy()))
    theirs = torch.optim.AdamW([w], lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=STEPS, eta_min=1e-4)
    ours = schuss.AdamW(p, lr=schuss.schedules.cosine(0.01, steps=STEPS, min=1e-4))
    for g in grads:
        w.grad = torch.from_numpy(g.copy())
        rate = scheduler.get_last_lr()[0]
        theirs.step()
        scheduler.step()
        # Torch walks the cosine by a recursion, whose rounding grows with its steps.
        assert ours.step(g).lr == pytest.approx(rate, rel=1e-11)
    assert_close(p, w.detach().numpy(), np.abs(w.detach().numpy()) + 0.1, 1e-12)


def test_a_parameter_without_gradient_keeps_torchs_bias_correction() -> None:
    """Torch counts steps by parameter; a leaf that was ``None`` for a while starts late."""
    a, b = normal(5, 20), normal(6, 20)
    wa, wb = (torch.nn.Parameter(torch.from_numpy(each.copy())) for each in (a, b))
    theirs = torch.optim.Adam([wa, wb], lr=0.01)
    ours = schuss.Adam({"a": a, "b": b}, lr=0.01)
    for t, g in enumerate(gradients(7, 20, 12, np.float64)):
        wa.grad = torch.from_numpy(g.copy())
        wb.grad = torch.from_numpy(g.copy()) if t >= 5 else None
        theirs.step()
        ours.step({"a": g, "b": g if t >= 5 else None})
    for mine, other in ((a, wa), (b, wb)):
        assert_close(mine, other.detach().numpy(), np.abs(mine) + 0.1, 1e-13)


# optax: the same names, other conventions, each reached by hyper-parameters.


def x64_of(jax: Any) -> Any:
    """JAX's context of 64 bits, under its newer or its older name."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue]

    return enable_x64()


def accumulated(optax: Any, inner: Any, k: int) -> Any:
    """MultiSteps in float64: newer releases keep a float32 sum unless told otherwise."""
    named = "accumulator_dtype" in inspect.signature(optax.MultiSteps).parameters
    options = {"accumulator_dtype": "float64"} if named else {}
    return optax.MultiSteps(inner, k, **options).gradient_transformation()


def optax_walk(make: Callable[[Any], Any], p: np.ndarray, grads: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Parameters after optax's steps in float64, and the largest value that any took."""
    jax = pytest.importorskip("jax", reason="the witness of this test is optax")
    optax = pytest.importorskip("optax", reason="the witness of this test is optax")
    with x64_of(jax):
        transform = make(optax)
        params = jax.numpy.asarray(p)
        state = transform.init(params)
        update = jax.jit(transform.update)
        largest = float(np.abs(p).max())
        for g in grads:
            updates, state = update(jax.numpy.asarray(g), state, params)
            params = optax.apply_updates(params, updates)
            largest = max(largest, float(np.abs(np.asarray(params)).max()))
        return np.asarray(params), largest


DIALECTS: list[tuple[str, str, dict[str, Any], Callable[[Any], Any]]] = [
    (
        "adam with eps_root inside the root, after the correction",
        "adam",
        {"lr": 0.01, "eps": 1e-6, "eps_root": 1e-5},
        lambda optax: optax.adam(0.01, eps=1e-6, eps_root=1e-5),
    ),
    (
        "adamw with optax's default decay, decayed inside the update",
        "adamw",
        {"lr": 0.01, "weight_decay": 1e-4},
        lambda optax: optax.adamw(0.01),
    ),
    (
        "rmsprop with eps inside the root and decay 0.9",
        "rmsprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 0.0, "eps_root": 1e-8},
        lambda optax: optax.rmsprop(0.01),
    ),
    (
        "rmsprop, centered, with momentum",
        "rmsprop",
        {"lr": 1e-3, "alpha": 0.9, "eps": 0.0, "eps_root": 1e-5, "centered": True, "momentum": 0.9},
        lambda optax: optax.rmsprop(1e-3, eps=1e-5, centered=True, momentum=0.9),
    ),
    (
        "rmsprop with eps outside the root, as torch has it",
        "rmsprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-6},
        lambda optax: optax.rmsprop(0.01, eps=1e-6, eps_in_sqrt=False),
    ),
    (
        "adagrad started at 0.1 with eps inside the root",
        "adagrad",
        {"lr": 0.1, "initial_accumulator": 0.1, "eps": 0.0, "eps_root": 1e-7},
        lambda optax: optax.adagrad(0.1),
    ),
    (
        "sgd with momentum and nesterov",
        "sgd",
        {"lr": 0.01, "momentum": 0.9, "nesterov": True},
        lambda optax: optax.sgd(0.01, momentum=0.9, nesterov=True),
    ),
    (
        "the averaging form, which optax has as an undebiased average",
        "momentum",
        {"lr": 0.1, "beta": 0.9},
        lambda optax: optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)),
    ),
    (
        "clipping by global norm with nothing added to the norm",
        "adamw",
        {"lr": 0.01, "weight_decay": 1e-4, "clip": 1.0},
        lambda optax: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01)),
    ),
    (
        "accumulation as the mean of k gradients",
        "adamw",
        {"lr": 0.01, "weight_decay": 1e-4, "accumulate": 4},
        lambda optax: accumulated(optax, optax.adamw(0.01), 4),
    ),
]


@pytest.mark.parametrize(("rule", "hypers", "make"), [row[1:] for row in DIALECTS], ids=[row[0] for row in DIALECTS])
def test_optax_dialect_is_reached_by_hypers(rule: str, hypers: dict[str, Any], make: Callable[[Any], Any]) -> None:
    p, grads = normal(8, SHAPE), gradients(9, SHAPE, STEPS, np.float64)
    want, largest = optax_walk(make, p, grads)
    opt = CLASSES[rule](p, **hypers)
    for g in grads:
        opt.step(g)
    assert_close(p, want, largest, 1e-13)


def test_torchs_clip_adds_a_millionth_and_ours_does_not() -> None:
    """The dialect of clipping: torch scales by c / (norm + 1e-6), the textbook by c / norm."""
    g = normal(10, 1000)
    norm = float(np.linalg.norm(g))
    t = torch.nn.Parameter(torch.zeros(1000, dtype=torch.float64))
    t.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_norm_([t], 1.0)
    ours = {"w": g.copy()}
    assert schuss.clipping.by_global_norm(ours, 1.0) == pytest.approx(norm, rel=1e-14)
    np.testing.assert_allclose(np.linalg.norm(ours["w"]), 1.0, rtol=1e-14)
    np.testing.assert_allclose(t.grad.numpy(), g / (norm + 1e-6), rtol=1e-13)
    np.testing.assert_allclose(ours["w"], g / norm, rtol=1e-14)
