"""Oracles of the rules that grew out of Adam; see oracles.py for what an oracle is."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle, taken


def mean(slots: Slots, name: str, new: Array, beta: float) -> Array:
    """A running mean from zero, kept in its slot."""
    slots[name] = beta * slots.get(name, np.zeros_like(new)) + (1 - beta) * new
    return slots[name]


@oracle(
    {"lr": 0.01, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.9},
    {"eps": 1e-3, "beta1": 0.0},
    {"eps": 1e-2, "eps_outside": True, "weight_decay": 0.1, "decoupled_weight_decay": True, "lr": 0.1},
    {"bias_correction": False},
)
def adamax(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0,
    decoupled_weight_decay=False, bias_correction=True, eps_outside=False,
) -> Array:  # fmt: skip
    """Kingma & Ba 2015, algorithm 2; eps and decay (L2) as PyTorch has them, or as Keras."""
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    rate = lr / (1 - beta1**t) if bias_correction else lr
    m = mean(slots, "m", g, beta1)
    kept, added = (0.0, eps) if eps_outside else (eps, 0.0)
    slots["u"] = np.maximum(beta2 * slots.get("u", np.zeros_like(p)), np.abs(g) + kept)
    return p - rate * m / (slots["u"] + added) - decay


@oracle(
    {"momentum_decay": 1.0, "eps": 1e-7},
    {"anneal": 0.0, "lr": 0.01, "eps": 1e-4, "eps_root": 1e-5},
    {"weight_decay": 0.1, "beta1": 0.8, "beta2": 0.99},
    {"weight_decay": 0.1, "lr": 0.01, "decoupled_weight_decay": True, "anneal": 0.95, "momentum_decay": 0.5},
    {"momentum_decay": 0.0},
    {"anneal": 0.0, "shared_correction": True, "lr": 0.01},
    {"weight_decay": 0.1, "lr": 0.01, "decoupled_weight_decay": True, "max_lr": 0.04},
)
def nadam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0,
    momentum_decay=0.004, anneal=0.5, weight_decay=0.0, decoupled_weight_decay=False,
    max_lr=0.0, shared_correction=False,
) -> Array:  # fmt: skip
    """Dozat 2016, algorithm 2, with the schedule of mu as PyTorch has it.

    Under schedules the product of all mu so far takes the settings as they are now.
    """
    decay = taken(lr, weight_decay, max_lr) * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    mu = [beta1 * (1 - anneal * 0.96 ** (i * momentum_decay)) for i in range(1, t + 2)]
    m_hat = mu[t] * mean(slots, "m", g, beta1) / (1 - np.prod(mu[:t] if shared_correction else mu))
    g_hat = (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    return p - lr * (m_hat + g_hat) / (np.sqrt(v_hat + eps_root) + eps) - decay


@oracle(
    {"beta2": 0.9, "weight_decay": 0.1, "eps": 1e-3},
    {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"beta1": 0.0, "beta2": 0.5},
    {"beta2": 0.9, "eps": 1e-2, "eps_hat": False},
)
def radam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False,
    eps_hat=True,
) -> Array:  # fmt: skip
    """Liu et al. 2020, algorithm 2; eps, decay and the bound of 5 as PyTorch has them."""
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    m_hat = mean(slots, "m", g, beta1) / (1 - beta1**t)
    v, root2 = mean(slots, "v", g * g, beta2), np.sqrt(1 - beta2**t)
    if r := rectified(beta2, t):
        m_hat = m_hat * r * root2 / (np.sqrt(v) + eps) if eps_hat else m_hat * r / (np.sqrt(v) / root2 + eps)
    return p - lr * m_hat - decay


def rectified(beta2: float, t: int) -> float:
    """RAdam's r of step t; 0 where the variance is not tractable."""
    rho_end = 2 / (1 - beta2) - 1
    rho = rho_end - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return 0.0
    return np.sqrt((rho - 4) * (rho - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * rho))


@oracle(
    {"eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.1},
    {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4},
    {"lr": 0.01, "eps": 1e-4, "weight_decay": 0.1, "decoupled_weight_decay": False},
    {"lr": 0.01, "beta2": 0.8, "eps": 1e-4, "rectify": True},
)
def adabelief(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16, eps_root=1e-16, weight_decay=0.0,
    decoupled_weight_decay=True, rectify=False,
) -> Array:  # fmt: skip
    """Zhuang et al. 2020, algorithm 2, its two eps told apart: the inner one stays in s.

    Rectified as in the authors' own code: RAdam's r, and eps beside the uncorrected root.
    """
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    m = mean(slots, "m", g, beta1)
    s = slots["s"] = mean(slots, "s", (g - m) ** 2, beta2) + eps_root
    m_hat, root2 = m / (1 - beta1**t), np.sqrt(1 - beta2**t)
    step = m_hat / (np.sqrt(s) / root2 + eps)
    if rectify:
        r = rectified(beta2, t)
        step = m_hat * r * root2 / (np.sqrt(s) + eps) if r else m_hat
    return p - lr * step - decay


@oracle(
    {"bias_correction": False, "weight_decay": 0.1},
    {"lr": 1e-3, "beta1": 0.8, "beta2": 0.9, "initial_accumulator": 0.1, "initial_mean": 0.1},
    {"eps": 1e-8, "eps_root": 1e-4, "initial_mean": 1e-6},
)
def yogi(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, beta1=0.9, beta2=0.999, eps=1e-3, eps_root=0.0,
    initial_accumulator=1e-6, initial_mean=0.0, bias_correction=True, weight_decay=0.0,
) -> Array:  # fmt: skip
    """Zaheer et al. 2018, algorithm 2, with Adam's correction of the moments or without."""
    g = g + weight_decay * p
    slots.setdefault("m", np.full_like(p, initial_mean))
    m = mean(slots, "m", g, beta1)
    v = slots.get("v", np.full_like(p, initial_accumulator))
    v = slots["v"] = v - (1 - beta2) * np.sign(v - g * g) * g * g
    if bias_correction:
        m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m / (np.sqrt(v + eps_root) + eps)


@oracle(
    {"alpha": 8.0, "alpha_warmup": 5, "beta3_warmup": 5, "weight_decay": 0.1},
    {"alpha_warmup": 2, "beta3_warmup": 100, "beta1": 0.8, "beta2": 0.9, "beta3": 0.999, "lr": 1e-4},
    {"beta1": 0.9, "beta3": 0.5, "beta3_warmup": 10, "eps": 1e-4, "eps_root": 1e-4},
)
def ademamix(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0,
    alpha_warmup=0.0, beta3_warmup=0.0, eps=1e-8, eps_root=0.0, weight_decay=0.0,
) -> Array:  # fmt: skip
    """Pagliardini et al. 2024, algorithm 1, with the schedules of alpha and beta3 of section 3."""
    if alpha_warmup:
        alpha = min(t * alpha / alpha_warmup, alpha)
    if beta3_warmup and t < beta3_warmup:
        log1, log3, part = np.log(beta1), np.log(beta3), t / beta3_warmup
        beta3 = min(np.exp(log1 * log3 / ((1 - part) * log3 + part * log1)), beta3)
    fast = mean(slots, "m", g, beta1) / (1 - beta1**t)
    slow = mean(slots, "m_slow", g, beta3)
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    step = (fast + alpha * slow) / (np.sqrt(v_hat + eps_root) + eps)
    return p - lr * (step + weight_decay * p)


@oracle(
    {"weight_decay": 0.1, "lr": 0.01},
    {"weight_decay": 0.1, "lr": 0.01, "proximal": False, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95},
    {"complement": True, "eps": 1e-4, "eps_root": 1e-6},
)
def adan(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, eps_root=0.0,
    weight_decay=0.0, proximal=True, complement=False,
) -> Array:  # fmt: skip
    """Xie et al. 2022, algorithm 1; its betas are one minus these, and its code corrects the means."""
    ahead = 1 - beta2 if complement else beta2
    change = g - slots["g_prev"] if t > 1 else np.zeros_like(g)
    slots["g_prev"] = g
    m = mean(slots, "m", g, beta1) / (1 - beta1**t)
    v = mean(slots, "v", change, beta2) / (1 - beta2**t)
    n = mean(slots, "n", (g + ahead * change) ** 2, beta3) / (1 - beta3**t)
    step = lr * (m + ahead * v) / (np.sqrt(n + eps_root) + eps)
    return (p - step) / (1 + lr * weight_decay) if proximal else p - step - lr * weight_decay * p


@oracle(
    {"nu1": 1.0, "nu2": 0.8, "weight_decay": 0.1},
    {"nu1": 0.8, "beta1": 0.8, "beta2": 0.9, "lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"eps": 1e-4, "eps_root": 1e-4, "nu2": 0.0},
)
def qhadam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.995, beta2=0.999, nu1=0.7, nu2=1.0, eps=1e-8, eps_root=0.0,
    weight_decay=0.0, decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Ma & Yarats 2019, section 4.1."""
    decay = lr * weight_decay * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    m_hat = mean(slots, "m", g, beta1) / (1 - beta1**t)
    v_hat = mean(slots, "v", g * g, beta2) / (1 - beta2**t)
    square = (1 - nu2) * g * g + nu2 * v_hat
    return p - lr * ((1 - nu1) * g + nu1 * m_hat) / (np.sqrt(square + eps_root) + eps) - decay
