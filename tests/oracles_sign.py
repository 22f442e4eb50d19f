"""Oracles of the rules that step by signs, and of the older ones beside Adam's family; see oracles.py."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle, taken


@oracle(
    {"lr": 0.01, "weight_decay": 0.1},
    {"beta1": 0.95, "beta2": 0.98, "weight_decay": 1.0},
    {"beta1": 0.0, "beta2": 0.9},
    {"weight_decay": 0.5, "lr": 0.01, "max_lr": 0.04},
)
def lion(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0, max_lr=0.0,
) -> Array:  # fmt: skip
    """Chen et al. 2023, program 1: the direction from the old mean, which then moves by beta2."""
    m = slots.get("m", np.zeros_like(p))
    direction = np.sign(beta1 * m + (1 - beta1) * g)
    slots["m"] = beta2 * m + (1 - beta2) * g
    return p - lr * direction - taken(lr, weight_decay, max_lr) * p


@oracle({"lr": 0.01, "weight_decay": 0.1}, {"beta": 0.0}, {"beta": 0.99, "lr": 1e-3})
def signum(p: Array, g: Array, slots: Slots, t: int, *, lr=1e-4, beta=0.9, weight_decay=0.0) -> Array:
    """Bernstein et al. 2018, algorithm 2; decay beside the sign as in their 2019 paper."""
    slots["m"] = beta * slots.get("m", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * (np.sign(slots["m"]) + weight_decay * p)


@oracle({"lr": 0.01, "weight_decay": 0.1}, {"beta": 0.9, "weight_decay": 0.0})
def tiger(p: Array, g: Array, slots: Slots, t: int, *, lr=1e-3, beta=0.965, weight_decay=0.01) -> Array:
    """Su 2023: u = sign(m), theta -= lr (u + lambda theta)."""
    m = slots["m"] = beta * slots.get("m", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * (np.sign(m) + weight_decay * p)


@oracle({"lr": 0.1, "nu": 0.0}, {"nu": 1.0, "beta": 0.9}, {"beta": 0.95, "nu": 0.5, "weight_decay": 0.05})
def qhm(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, beta=0.999, nu=0.7, weight_decay=0.0,
) -> Array:  # fmt: skip
    """Ma & Yarats 2019, equations 3 and 4, without bias correction."""
    g = g + weight_decay * p
    slots["v"] = beta * slots.get("v", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * ((1 - nu) * g + nu * slots["v"])


@oracle(
    {"lr": 0.5, "rho": 0.95, "eps": 1e-3},
    {"rho": 0.5},
    {"weight_decay": 0.1},
    {"lr": 0.3, "weight_decay": 0.1, "decoupled_weight_decay": True},
)
def adadelta(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Zeiler 2012, algorithm 1: RMS of the steps before this one over RMS of the gradients."""
    zeros = np.zeros_like(p)
    l2, apart = (0.0, weight_decay) if decoupled_weight_decay else (weight_decay, 0.0)
    g = g + l2 * p
    slots["v"] = rho * slots.get("v", zeros) + (1 - rho) * g**2
    u = slots.get("u", zeros)
    step = np.sqrt(u + eps) / np.sqrt(slots["v"] + eps) * g
    slots["u"] = rho * u + (1 - rho) * step**2
    return p - lr * (step + apart * p)


@oracle(
    {"lr": 0.3, "eta_minus": 0.3, "eta_plus": 1.5},
    {"step_min": 5e-3, "step_max": 0.012},
    {"lr": 1e-5, "step_min": 1e-3},
)
def rprop(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0,
) -> Array:  # fmt: skip
    """Riedmiller & Braun 1993 in the form iRprop-: after a change of sign no step, and the gradient forgotten."""
    if t == 1:
        slots["prev"], slots["step_size"] = np.zeros_like(p), np.full_like(p, lr)
    turned, kept = g * slots["prev"] < 0, g * slots["prev"] > 0
    size = slots["step_size"].copy()
    size[kept] *= eta_plus
    size[turned] *= eta_minus
    size = np.clip(size, step_min, step_max)
    slots["step_size"] = size
    slots["prev"] = np.where(turned, 0.0, g)
    return p - np.sign(slots["prev"]) * size


@oracle(
    {"lr": 0.1, "lambd": 0.5, "alpha": 0.6},
    {"t0": 1.0, "lr": 0.05},
    {"t0": 0.0, "weight_decay": 0.1, "lambd": 0.01},
)
def asgd(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0,
) -> Array:  # fmt: skip
    """Polyak & Juditsky 1992 with Bottou's rate, counted as torch.optim.ASGD does."""
    eta = lr / (1 + lambd * lr * (t - 1)) ** alpha
    mu = 1 / max(1.0, t - 1 - t0)
    new = (1 - lambd * eta) * p - eta * (g + weight_decay * p)
    slots["ax"] = new if mu == 1 else slots["ax"] + mu * (new - slots["ax"])
    return new


@oracle(
    {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.1},
    {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"eps": 0.1, "clipping": False, "beta2": 0.9},
    {"clip_power": 0.0},
)
def adopt(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6, clipping=True, clip_power=0.25,
    weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Taniguchi et al. 2024, algorithm 2, whose step 0 is our first: v is the square of its gradient."""
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    if t == 1:
        slots["m"], slots["v"] = np.zeros_like(p), g**2
        return p
    divided = g / np.maximum(np.sqrt(slots["v"]), eps)
    if clipping:
        bound = (t - 1) ** clip_power
        divided = np.clip(divided, -bound, bound)
    slots["m"] = beta1 * slots["m"] + (1 - beta1) * divided
    slots["v"] = beta2 * slots["v"] + (1 - beta2) * g**2
    step = slots["m"] + weight_decay * p if decoupled_weight_decay else slots["m"]
    return p - lr * step
