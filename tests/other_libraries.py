"""Steps of other libraries on the same numbers: what a rule's own steps are compared with."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
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


# Walks under a rate that changes: what a velocity contains, and what multiplies a decay, shows only there.

RATES = [0.1 * (1 - t / 16) for t in range(STEPS)]


def torch_walk(make: Callable[[list[Any], float], Any], sparse: bool = False) -> np.ndarray:
    """Parameters after the steps of an optimizer of torch's interface, its rate set before each."""
    torch = pytest.importorskip("torch", reason="the witness of this line has torch's interface")
    rates = iter(RATES)

    def with_rates(params: list[Any]) -> Any:
        opt = make(params, RATES[0])
        step = opt.step

        def at_next_rate() -> None:
            opt.param_groups[0]["lr"] = next(rates)
            if sparse:
                params[0].grad = params[0].grad.to_sparse(1)
            step()

        opt.step = at_next_rate
        return opt

    assert torch
    return of_torch(with_rates)


def optax_walk(make: Callable[[Any, Any], Any]) -> np.ndarray:
    """Parameters after optax's steps, its rate a schedule."""

    def at_rates(optax: Any) -> Any:
        import jax

        rates = jax.numpy.asarray(RATES)
        return make(optax, lambda count: rates[count])

    return of_optax(at_rates)


def keras_walk(name: str, theirs: dict[str, Any]) -> np.ndarray:
    """Parameters after Keras's steps in float64, on JAX."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    jax = pytest.importorskip("jax", reason="the witness of this line is Keras on JAX")
    keras = pytest.importorskip("keras", reason="the witness of this line is Keras")
    usual = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        with x64_of(jax):
            p, grads = inputs()
            w = keras.Variable(p, dtype="float64")
            opt = getattr(keras.optimizers, name)(learning_rate=RATES[0], **theirs)
            opt.build([w])
            for rate, g in zip(RATES, grads, strict=True):
                opt.learning_rate = rate
                opt.apply([keras.ops.convert_to_tensor(g, dtype="float64")])
            return np.asarray(w)
    finally:
        keras.config.set_floatx(usual)


def mlx_walk(name: str, theirs: dict[str, Any]) -> np.ndarray:
    """Parameters after MLX's steps in float64 on the CPU; its rates are float32, so these are too."""
    mx = pytest.importorskip("mlx.core", reason="the witness of this line is MLX")
    optimizers = pytest.importorskip("mlx.optimizers", reason="the witness of this line is MLX")
    with mx.stream(mx.cpu):
        p, grads = inputs()
        params = {"w": mx.array(p, dtype=mx.float64)}
        opt = getattr(optimizers, name)(RATES[0], **theirs)
        for rate, g in zip(RATES, grads, strict=True):
            opt.learning_rate = rate
            params = opt.apply_gradients({"w": mx.array(g, dtype=mx.float64)}, params)
            mx.eval(params)
        return np.array(params["w"])


def timm_module(name: str) -> Any:
    """One module of timm.optim alone: the packages around it want torchvision."""
    spec = None if "timm" in sys.modules else importlib.util.find_spec("timm")
    if "timm" not in sys.modules and spec is None:
        pytest.skip("the witness of this line is timm")
    for package, inner in (("timm", ""), ("timm.optim", "optim")):
        if spec and package not in sys.modules:
            bare = types.ModuleType(package)
            bare.__path__ = [os.path.join(folder, inner) for folder in spec.submodule_search_locations or ()]
            sys.modules[package] = bare
    return importlib.import_module(f"timm.optim.{name}")


def by_hand(step: Callable[[np.ndarray, np.ndarray, float, int, dict[str, Any]], np.ndarray]) -> np.ndarray:
    """Parameters after the steps of a formula that is written out."""
    p, grads = inputs()
    kept: dict[str, Any] = {}
    for t, (rate, g) in enumerate(zip(RATES, grads, strict=True), start=1):
        p = step(p, g, rate, t, kept)
    return p
