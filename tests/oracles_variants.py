"""Oracles of Adam's variants that change what is divided, or the direction; see oracles.py."""

from __future__ import annotations

import numpy as np
from oracles import Array, Slots, oracle


@oracle({"weight_decay": 0.1, "lr": 0.01}, {"amsgrad": True, "beta2": 0.9}, {"eps": 0.0, "eps_root": 1e-8})
def grams(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0, amsgrad=False,
) -> Array:  # fmt: skip
    """Cao, Li & Song 2024: sign(g) times the size of Adam's direction."""
    m = slots["m"] = beta1 * slots.get("m", np.zeros_like(p)) + (1 - beta1) * g
    v = slots["v"] = beta2 * slots.get("v", np.zeros_like(p)) + (1 - beta2) * g**2
    if amsgrad:
        v = slots["v_max"] = np.maximum(slots.get("v_max", np.zeros_like(p)), v)
    adam = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t) + eps_root) + eps)
    return p - lr * (np.sign(g) * np.abs(adam) + weight_decay * p)
