"""Oracles of rules that measure a whole leaf, or carry numbers beside it; see oracles.py for what an oracle is.

Numbers of a leaf lie in ``slots`` as arrays without dimensions.
"""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle
from oracles_adam import mean


def length(x: Array) -> float:
    return float(np.sqrt(np.sum(x * x)))


@oracle(
    {"weight_decay": 0.1, "lr": 0.01},
    {"weight_decay": 0.1, "decay_outside": True, "lr": 0.01},
    {"always_adapt": False, "beta1": 0.5, "beta2": 0.9},
    {"min_ratio": 0.5, "max_ratio": 0.7, "eps": 1e-3, "eps_root": 1e-4},
)
def lamb(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, eps_root=0.0, weight_decay=0.0,
    always_adapt=True, decay_outside=False, min_ratio=0.0, max_ratio=0.0,
) -> Array:  # fmt: skip
    """You et al. 2020, algorithm 2, with phi the identity, or held between two bounds."""
    m_hat = mean(slots, "m", g, beta1) / (1 - beta1**t)
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    r = m_hat / (np.sqrt(v_hat + eps_root) + eps) + (0 if decay_outside else weight_decay) * p
    ratio = 1.0
    if (always_adapt or weight_decay != 0) and length(p) > 0 and length(r) > 0:
        ratio = min(max(length(p) / length(r), min_ratio), max_ratio or np.inf)
    slots["ratio"] = np.asarray(ratio)
    return p - lr * ratio * r - (lr * weight_decay * p if decay_outside else 0)


@oracle(
    {"weight_decay": 0.1, "nesterov": True},
    {"weight_decay": 0.1, "combined_norm": True, "lr_outside": True, "trust_coefficient": 0.02},
    {"lr": 0.01, "momentum": 0.0, "trust_coefficient": 0.1},
)
def lars(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.1, momentum=0.9, trust_coefficient=1e-3, weight_decay=0.0,
    nesterov=False, combined_norm=False, lr_outside=False,
) -> Array:  # fmt: skip
    """You, Gitman & Ginsburg 2017, algorithm 1; optax takes the norm of the sum, timm has lr outside the velocity."""
    whole = g + weight_decay * p
    ratio = 1.0
    measured = length(whole) if combined_norm else length(g)
    if length(p) > 0 and measured > 0:
        below = measured if combined_norm else measured + weight_decay * length(p)
        ratio = trust_coefficient * length(p) / below
    slots["ratio"] = np.asarray(ratio)
    new = (1 if lr_outside else lr) * ratio * whole
    v = slots["v"] = momentum * slots.get("v", np.zeros_like(p)) + new
    return p - (lr if lr_outside else 1) * (new + momentum * v if nesterov else v)


@oracle({"weight_decay": 0.1, "beta1": 0.5}, {"grad_averaging": True, "beta2": 0.5, "eps": 0.1})
def novograd(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, beta1=0.95, beta2=0.98, eps=1e-8, weight_decay=0.0, grad_averaging=False,
) -> Array:  # fmt: skip
    """Ginsburg et al. 2019, algorithm 1: v and m begin as what they first meet."""
    square = length(g) ** 2
    v = square if t == 1 else beta2 * float(slots["v"]) + (1 - beta2) * square
    slots["v"] = np.asarray(v)
    below = np.sqrt(v) + eps
    new = (g / below if below > 0 else 0 * g) + weight_decay * p
    share = 1 - beta1 if grad_averaging else 1
    slots["m"] = new if t == 1 else beta1 * slots["m"] + share * new
    return p - lr * slots["m"]


def schedule_free(
    p: Array, direction: Array, slots: Slots, t: int, beta: float,
    lr: float, warmup_steps: float, r: float, weight_lr_power: float,
) -> Array:  # fmt: skip
    """Defazio et al. 2024, algorithm 1, by its own three sequences; p is y = (1 - beta) z + beta x."""
    if t == 1:
        slots["z"] = p
    z = slots["z"]
    x = (p - (1 - beta) * z) / beta
    gamma = lr * min(1.0, t / warmup_steps) if warmup_steps else lr
    largest = max(float(slots.get("lr_max", np.asarray(0.0))), gamma)
    weight = t**r * largest**weight_lr_power
    total = float(slots.get("weight_sum", np.asarray(0.0))) + weight
    c = weight / total if total else 0.0
    slots["lr_max"], slots["weight_sum"], slots["share"] = np.asarray(largest), np.asarray(total), np.asarray(c)
    z = slots["z"] = z - gamma * direction
    x = (1 - c) * x + c * z
    return (1 - beta) * z + beta * x


@oracle({"weight_decay": 0.1, "lr": 0.1, "momentum": 0.7}, {"warmup_steps": 3.0, "r": 1.0, "weight_lr_power": 1.0})
def schedulefreesgd(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1.0, momentum=0.9, weight_decay=0.0, warmup_steps=0.0, r=0.0, weight_lr_power=2.0,
) -> Array:  # fmt: skip
    """Defazio et al. 2024, algorithm 1; decay (L2) at the point of the gradient."""
    return schedule_free(p, g + weight_decay * p, slots, t, momentum, lr, warmup_steps, r, weight_lr_power)


@oracle(
    {"weight_decay": 0.1, "lr": 0.1, "beta1": 0.7, "beta2": 0.9, "eps": 1e-3, "eps_root": 1e-4},
    {"warmup_steps": 3.0, "r": 1.0, "weight_lr_power": 1.0},
)
def schedulefreeadamw(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.0025, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0,
    warmup_steps=0.0, r=0.0, weight_lr_power=2.0,
) -> Array:  # fmt: skip
    """Defazio et al. 2024, algorithm 1, on the gradient over the root of the corrected second moment."""
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    direction = g / (np.sqrt(v_hat + eps_root) + eps) + weight_decay * p
    return schedule_free(p, direction, slots, t, beta1, lr, warmup_steps, r, weight_lr_power)
