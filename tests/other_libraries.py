"""Steps of other libraries on the same numbers: what a rule's own steps are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import CLASSES, assert_close, gradients, normal

SHAPE, STEPS = (37, 19), 12


def inputs() -> tuple[np.ndarray, list[np.ndarray]]:
    return normal(1, SHAPE), gradients(2, SHAPE, STEPS, np.float64)


def ours(rule: str, hypers: dict[str, Any]) -> np.ndarray:
    p, grads = inputs()
    opt = CLASSES[rule](p, **hypers)
    for g in grads:
        opt.step(g)
    return p


def of_torch(make: Callable[[list[Any]], Any]) -> np.ndarray:
    """Parameters after the steps of an optimizer of torch's interface."""
    torch = pytest.importorskip("torch", reason="the witness of this test is torch")
    p, grads = inputs()
    w = torch.nn.Parameter(torch.from_numpy(p))
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # torch keeps NAdam's product of mu in the default type
    try:
        opt = make([w])
        for g in grads:
            w.grad = torch.from_numpy(g.copy())
            opt.step()
    finally:
        torch.set_default_dtype(usual)
    return w.detach().numpy().copy()


def x64_of(jax: Any) -> Any:
    """JAX's context of 64 bits, under its newer or its older name."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue]

    return enable_x64()


def of_optax(make: Callable[[Any], Any]) -> np.ndarray:
    """Parameters after optax's steps in float64."""
    jax = pytest.importorskip("jax", reason="the witness of this test is optax")
    optax = pytest.importorskip("optax", reason="the witness of this test is optax")
    with x64_of(jax):
        p, grads = inputs()
        params, transform = jax.numpy.asarray(p), make(optax)
        state, update = transform.init(params), jax.jit(transform.update)
        for g in grads:
            updates, state = update(jax.numpy.asarray(g), state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params)


def close(rule: str, hypers: dict[str, Any], want: np.ndarray, rtol: float = 1e-13) -> None:
    p, _ = inputs()
    assert_close(ours(rule, hypers), want, np.abs(p) + 1, rtol)
