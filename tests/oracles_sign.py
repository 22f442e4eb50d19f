"""Oracles of rules by signs, mixed means and falling rates; see oracles.py for what an oracle is."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle
from oracles_adam import mean


@oracle({"weight_decay": 0.5, "lr": 0.01}, {"beta1": 0.5, "beta2": 0.8})
def lion(p: Array, g: Array, slots: Slots, t: int, *, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0) -> Array:
    """Chen et al. 2023, algorithm 2: the direction mixes in the old mean, which moves afterwards."""
    direction = np.sign(beta1 * slots.get("m", np.zeros_like(p)) + (1 - beta1) * g)
    mean(slots, "m", g, beta2)
    return p - lr * (direction + weight_decay * p)


@oracle({"beta": 0.0}, {"beta": 0.5, "lr": 0.01, "weight_decay": 0.1})
def signum(p: Array, g: Array, slots: Slots, t: int, *, lr=1e-4, beta=0.9, weight_decay=0.0) -> Array:
    """Bernstein et al. 2018, algorithm 2."""
    return p - lr * (np.sign(mean(slots, "m", g, beta)) + weight_decay * p)


@oracle({"beta": 0.5, "lr": 0.01, "weight_decay": 0.1}, {"weight_decay": 0.0})
def tiger(p: Array, g: Array, slots: Slots, t: int, *, lr=1e-3, beta=0.965, weight_decay=0.01) -> Array:
    """Su 2023: theta_t = theta_{t-1} - eta (sign(m_t) + lambda theta_{t-1})."""
    return p - lr * (np.sign(mean(slots, "m", g, beta)) + weight_decay * p)


@oracle(
    {"nu": 0.0},
    {"nu": 1.0, "beta": 0.9},
    {"beta": 0.5, "nu": 0.3, "weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled_weight_decay": True},
)
def qhm(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.1, beta=0.999, nu=0.7, weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Ma & Yarats 2019, equation 3: theta - alpha [(1 - nu) g + nu m]."""
    shrunk = p * (1 - lr * weight_decay) if decoupled_weight_decay else p
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    return shrunk - lr * ((1 - nu) * g + nu * mean(slots, "m", g, beta))


@oracle({"rho": 0.5, "lr": 0.3, "weight_decay": 0.1}, {"eps": 1e-2})
def adadelta(p: Array, g: Array, slots: Slots, t: int, *, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0) -> Array:
    """Zeiler 2012, algorithm 1: RMS of the steps before this one over RMS of the gradients."""
    g = g + weight_decay * p
    rms_step = np.sqrt(slots.get("u", np.zeros_like(p)) + eps)
    step = rms_step / np.sqrt(mean(slots, "v", g**2, rho) + eps) * g
    mean(slots, "u", step**2, rho)
    return p - lr * step


@oracle({"lr": 0.1, "step_min": 0.05, "step_max": 0.12}, {"eta_minus": 0.3, "eta_plus": 2.0})
def rprop(
    p: Array, g: Array, slots: Slots, t: int, *, lr=0.01, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0
) -> Array:
    """Riedmiller & Braun 1993, without the step back: where the sign turned the gradient is forgotten."""
    held = g * slots.get("prev", np.zeros_like(p))
    size = np.full_like(p, lr) if t == 1 else slots["step_size"]
    size = np.where(held > 0, size * eta_plus, np.where(held < 0, size * eta_minus, size))
    slots["step_size"] = np.clip(size, step_min, step_max)
    slots["prev"] = np.where(held < 0, 0.0, g)
    return p - np.sign(slots["prev"]) * slots["step_size"]


@oracle({"lr": 0.1, "lambd": 0.3, "alpha": 0.5, "weight_decay": 0.1}, {"t0": 0.0}, {"t0": 1.0, "lr": 0.1})
def asgd(
    p: Array, g: Array, slots: Slots, t: int, *, lr=0.01, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0
) -> Array:
    """Polyak & Juditsky 1992 with Bottou's rates: eta_t = lr / (1 + lambda lr t)^alpha, mu_t = 1 / max(1, t - t0)."""
    before = t - 1
    rate, share = lr / (1 + lambd * lr * before) ** alpha, 1 / max(1, before - t0)
    p = p * (1 - lambd * rate) - rate * (g + weight_decay * p)
    slots["ax"] = p if share == 1 else slots["ax"] + share * (p - slots["ax"])
    return p
