"""Oracles of Adam's variants that change what is divided, or the direction; see oracles.py."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle


@oracle(
    {"weight_decay": 0.1, "lr": 0.01},
    {"amsgrad": True, "beta2": 0.9},
    {"eps": 0.0, "eps_root": 1e-8},
    {"eps_hat": True, "eps": 1e-3},
    {"bias_correction": False},
    {"amsgrad": True, "amsgrad_corrected": True},
)
def grams(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0, amsgrad=False,
    bias_correction=True, eps_hat=False, amsgrad_corrected=False,
) -> Array:  # fmt: skip
    """Cao, Li & Song 2024: sign(g) times the size of Adam's direction."""
    m = slots["m"] = beta1 * slots.get("m", np.zeros_like(p)) + (1 - beta1) * g
    v = slots["v"] = beta2 * slots.get("v", np.zeros_like(p)) + (1 - beta2) * g**2
    bias1, bias2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
    if amsgrad and amsgrad_corrected:
        v, bias2 = v / bias2, 1.0
    if amsgrad:
        v = slots["v_max"] = np.maximum(slots.get("v_max", np.zeros_like(p)), v)
    later = eps / np.sqrt(bias2) if eps_hat else eps
    adam = (m / bias1) / (np.sqrt(v / bias2 + eps_root) + later)
    return p - lr * (np.sign(g) * np.abs(adam) + weight_decay * p)
