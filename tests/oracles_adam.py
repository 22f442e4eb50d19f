"""Oracles of the rules that grew out of Adam; see oracles.py for what an oracle is."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle


def mean(slots: Slots, name: str, new: Array, beta: float) -> Array:
    """A running mean from zero, kept in its slot."""
    slots[name] = beta * slots.get(name, np.zeros_like(new)) + (1 - beta) * new
    return slots[name]


@oracle(
    {"lr": 0.01, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.9},
    {"eps": 1e-3, "beta1": 0.0},
)
def adamax(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
) -> Array:  # fmt: skip
    """Kingma & Ba 2015, algorithm 2; eps and decay (L2) as PyTorch has them."""
    g = g + weight_decay * p
    m = mean(slots, "m", g, beta1)
    slots["u"] = np.maximum(beta2 * slots.get("u", np.zeros_like(p)), np.abs(g) + eps)
    return p - lr / (1 - beta1**t) * m / slots["u"]


@oracle(
    {"momentum_decay": 1.0, "eps": 1e-7},
    {"anneal": 0.0, "lr": 0.01, "eps": 1e-4, "eps_root": 1e-5},
    {"weight_decay": 0.1, "beta1": 0.8, "beta2": 0.99},
    {"weight_decay": 0.1, "lr": 0.01, "decoupled_weight_decay": True, "anneal": 0.95, "momentum_decay": 0.5},
    {"momentum_decay": 0.0},
)
def nadam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0,
    momentum_decay=0.004, anneal=0.5, weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Dozat 2016, algorithm 2, with the schedule of mu as PyTorch has it.

    Under schedules the product of all mu so far takes the settings as they are now.
    """
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    mu = [beta1 * (1 - anneal * 0.96 ** (i * momentum_decay)) for i in range(1, t + 2)]
    m_hat = mu[t] * mean(slots, "m", g, beta1) / (1 - np.prod(mu))
    g_hat = (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    return p - lr * (m_hat + g_hat) / (np.sqrt(v_hat + eps_root) + eps) - decay


@oracle(
    {"beta2": 0.9, "weight_decay": 0.1, "eps": 1e-3},
    {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"beta1": 0.0, "beta2": 0.5},
)
def radam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Liu et al. 2020, algorithm 2; eps, decay and the bound of 5 as PyTorch has them."""
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    m_hat = mean(slots, "m", g, beta1) / (1 - beta1**t)
    v = mean(slots, "v", g * g, beta2)
    rho_end = 2 / (1 - beta2) - 1
    rho = rho_end - 2 * t * beta2**t / (1 - beta2**t)
    if rho > 5:
        r = np.sqrt((rho - 4) * (rho - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * rho))
        m_hat = m_hat * r * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
    return p - lr * m_hat - decay
