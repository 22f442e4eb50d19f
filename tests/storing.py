"""Ways to store slots and parameters, and walks over them whose bits are compared."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import schuss
from helpers import BFLOAT16, CLASSES, digest, gradients, normal

FLOAT16 = np.dtype(np.float16)
FORMATS = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bfloat16": BFLOAT16,
    "float16": FLOAT16,
}
SHAPES = {"w": (70, 131), "long": (3, 4097), "b": (33,), "one": (), "none": (0, 3)}

# (dtype of the parameters, dtype of their gradients, keywords)
STORED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "float16": ("float16", "float16", {}),
    "float16 by float32": ("float16", "float32", {}),
    "float32 by float16": ("float32", "float16", {}),
    "float64 by float16": ("float64", "float16", {}),
    "bfloat16 slots": ("float32", "float32", {"slots": "bfloat16"}),
    "8bit": ("float32", "float32", {"slots": "8bit"}),
    "8bit of bfloat16": ("bfloat16", "float32", {"slots": "8bit"}),
    "stochastic": ("bfloat16", "bfloat16", {"rounding": "stochastic", "seed": 7}),
    "stochastic float16": ("float16", "float16", {"rounding": "stochastic", "seed": 7}),
    "master": ("bfloat16", "bfloat16", {"master": True}),
    "master float16": ("float16", "float32", {"master": True}),
    "all": ("bfloat16", "float16", {"slots": "8bit", "rounding": "stochastic", "seed": 2**40, "master": True}),
}
RULES_WALKED = ("adamw", "sgd", "adagrad")


def make(kind: str, rule: str, order: int = 1, **more: Any) -> tuple[dict[str, Any], Any, list[dict[str, Any]]]:
    """Parameters, their optimizer and some gradients; `order` -1 turns the leaves around."""
    dtype, grad_dtype, keywords = STORED[kind]
    names = list(SHAPES)[::order]
    seeds = {name: seed for seed, name in enumerate(SHAPES)}
    params = {name: normal(seeds[name], SHAPES[name], FORMATS[dtype]) for name in names}
    params = {name: np.asarray(array) for name, array in params.items()}
    walks = {name: gradients(50 + seeds[name], SHAPES[name], 5, FORMATS[grad_dtype]) for name in names}
    grads = [{name: np.asarray(walks[name][t]) for name in names} for t in range(5)]
    momentum = {"momentum": 0.9} if rule == "sgd" else {}
    return params, CLASSES[rule](params, lr=0.01, **momentum, **keywords, **more), grads


def walked(kind: str, rule: str, order: int = 1) -> str:
    params, opt, grads = make(kind, rule, order)
    for g in grads:
        opt.step(g)
    saved = opt.state_dict()["leaves"]
    return digest(params, {name: leaf["slots"] for name, leaf in saved.items()})


def all_walked() -> dict[str, str]:
    return {f"{kind} {rule}": walked(kind, rule) for kind in STORED for rule in RULES_WALKED}


if __name__ == "__main__":
    print(json.dumps({"level": schuss.info()["level"], "bits": all_walked()}))
