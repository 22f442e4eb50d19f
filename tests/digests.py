"""Run as a script: a few steps of every rule, setting and format; prints a digest of their bits.

The tests run it in fresh interpreters, one a level, since a level is chosen once a process.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import schuss
from helpers import CASES, CLASSES, DTYPES, case_id, digest, gradients, normal

SHAPES: dict[str, tuple[int, ...]] = {"a": (170_001,), "b": (3, 5), "c": (4_097,), "d": (0,), "e": (64, 65), "f": (1,)}
FORMATS = [*((name, name) for name in DTYPES), ("float32", "bfloat16"), ("bfloat16", "float32")]
STEPS = 3


@cache
def start(name: str, dtype: str) -> np.ndarray:
    return normal(list(SHAPES).index(name), SHAPES[name], DTYPES[dtype])


@cache
def grads_of(name: str, dtype: str) -> list[np.ndarray]:
    return gradients(50 + list(SHAPES).index(name), SHAPES[name], STEPS, DTYPES[dtype])


def walk_digest(
    rule: str,
    setting: dict[str, Any],
    formats: tuple[str, str] = ("float32", "float32"),
    order: tuple[str, ...] = tuple(SHAPES),
    **common: Any,
) -> str:
    """The digest of parameters, slots and norms after a few steps."""
    params = {name: start(name, formats[0]).copy() for name in order}
    opt = CLASSES[rule](params, **{"clip": 1.0, **common}, **setting)
    infos = [opt.step({name: grads_of(name, formats[1])[t] for name in order}) for t in range(STEPS)]
    norms = np.array([-1.0 if info.grad_norm is None else info.grad_norm for info in infos])
    return digest(params, opt.state, {"norms": norms})  # by name: it does not see the order


def all_digests() -> dict[str, str]:
    """Digests of every rule, setting and format, and of scaled and accumulated walks."""
    found = {}
    for formats in FORMATS:
        kind = "/".join(formats)
        for rule, setting in CASES:
            found[f"{rule} {case_id(setting)} {kind}"] = walk_digest(rule, setting, formats)
        others: dict[str, dict[str, Any]] = {
            "unclipped": {"clip": None, "grad_norm": True},
            "scaled": {"scaler": schuss.LossScaler(2.0**10, growth_interval=2)},
            "accumulated": {"accumulate": 3},
            "by leaf": {"clip": schuss.clipping.LeafNorm(0.5), "grad_norm": True},
            "by value": {"clip": schuss.clipping.Value(0.1), "grad_norm": True},
        }
        for name, common in others.items():
            found[f"adamw {name} {kind}"] = walk_digest("adamw", {}, formats, **common)
    return found


def schedule_bits() -> dict[str, str]:
    """The control's own numbers: schedules go through cos, exp and powers, which libm changes."""
    steps = np.arange(5_000)
    made = {
        "cosine": schuss.schedules.cosine(0.3, steps=4_999),
        "exponential": schuss.schedules.exponential(0.3, rate=0.9993),
        "inverse_sqrt": schuss.schedules.inverse_sqrt(0.3),
        "polynomial": schuss.schedules.polynomial(0.3, end=0.01, steps=4_000, power=1.7),
    }
    return {name: digest({"v": np.asarray(each(steps))}) for name, each in made.items()}


if __name__ == "__main__":
    level = schuss.info()["level"]
    print(json.dumps({"level": level, "steps": all_digests(), "schedules": schedule_bits()}))
