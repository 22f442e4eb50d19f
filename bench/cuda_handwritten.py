"""Optimizers as one writes them by hand in CuPy: one fused elementwise kernel a rule, launched leaf by leaf."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from .cases import CLIP
from .cuda_cases import Arrays, Case
from .peers import Absent

MOST_LAUNCHES = 10_000  # a step; more take longer than the row

# The body sees x, the gradient times its scale, and what the signature names; p is stored behind it.
BODIES = {
    "adamw": (
        "float32 decay, float32 beta1, float32 beta2, float32 rate, float32 bias, float32 eps",
        ("m", "v"),
        "m += (1 - beta1) * (x - m); v += (1 - beta2) * (x * x - v);"
        "q -= decay * q; q -= rate * m / (sqrtf(v) * bias + eps);",
    ),
    "sgd": ("float32 lr, float32 momentum", ("v",), "v = momentum * v + x; q -= lr * v;"),
    "rmsprop": (
        "float32 lr, float32 alpha, float32 eps",
        ("v",),
        "v += (1 - alpha) * (x * x - v); q -= lr * x / (sqrtf(v) + eps);",
    ),
    "adagrad": ("float32 lr, float32 eps", ("sum",), "sum += x * x; q -= lr * x / (sqrtf(sum) + eps);"),
}
BODIES["adam"] = BODIES["adamw"]
BFLOAT16 = """
__device__ inline float wide(short bits) { return __int_as_float(int(bits) << 16); }
__device__ inline short narrow(float x) {
  const unsigned bits = __float_as_uint(x);
  return short((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
"""
FLOAT32 = """
__device__ inline float wide(int bits) { return __int_as_float(bits); }
__device__ inline int narrow(float x) { return __float_as_int(x); }
"""


@cache
def kernel(cupy: Any, rule: str, bits: str) -> Any:
    """A rule's update; p and g come as bits."""
    given, slots, body = BODIES[rule]
    outs = ", ".join([f"{bits} p", *(f"float32 {slot}" for slot in slots)])
    return cupy.ElementwiseKernel(
        f"{bits} g, raw float32 scale, {given}",
        outs,
        f"const float x = wide(g) * scale[0]; float q = wide(p); {body} p = narrow(q);",
        f"by_hand_{rule}_{bits}",
        preamble=BFLOAT16 if bits == "int16" else FLOAT32,
    )


@cache
def square_sum(cupy: Any, bits: str) -> Any:
    return cupy.ReductionKernel(
        f"{bits} g",
        "float32 total",
        "wide(g) * wide(g)",
        "a + b",
        "total = a",
        "0",
        f"square_sum_{bits}",
        preamble=BFLOAT16 if bits == "int16" else FLOAT32,
    )


class ByHand:
    """A launch a leaf; where the row clips, another for its norm, and the coefficient stays on the device."""

    def __init__(self, case: Case, arrays: Arrays) -> None:
        cupy = arrays.cupy
        if not hasattr(cupy, "ElementwiseKernel"):
            raise Absent("this CuPy compiles nothing")
        if case.rule.name not in BODIES:
            raise Absent(f"no {case.rule.name} by hand in this benchmark")
        if case.scaled:
            raise Absent("no loss scale by hand in this benchmark")
        launches = len(case.shapes) * (1 + (case.clip is not None))
        if launches > MOST_LAUNCHES:
            raise Absent(f"a step takes {launches:,} launches")
        self.cupy, self.case, self.arrays, self.clock = cupy, case, arrays, 0
        self.hypers = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "alpha": 0.99, "weight_decay": 0.0}
        self.hypers |= {"eps": 1e-10} if case.rule.name == "adagrad" else {}
        self.hypers |= case.rule.hypers
        bits = arrays.params[0].dtype.name
        _, slots, _ = BODIES[case.rule.name]
        self.kernel, self.square_sum = kernel(cupy, case.rule.name, bits), square_sum(cupy, bits)
        self.slots = [[cupy.zeros(shape, cupy.float32) for _ in slots] for shape in case.shapes]
        self.scale = cupy.ones(1, cupy.float32)
        self.norms = cupy.zeros(len(case.shapes), cupy.float32)
        self.norm_of = [self.norms[index] for index in range(len(case.shapes))]
        # Parameter and gradient read, parameter written, slots both ways, in float32.
        self.bytes_moved = case.bytes_moved

    def numbers(self) -> tuple[float, ...]:
        """What the kernel takes beside the arrays, by its signature."""
        h = self.hypers
        lr = h.get("lr", 1e-3)
        if self.case.rule.name in ("adam", "adamw"):
            beta1, beta2 = h["beta1"], h["beta2"]
            rate = lr / (1 - beta1**self.clock)
            bias = 1 / math.sqrt(1 - beta2**self.clock)
            return lr * h["weight_decay"], beta1, beta2, rate, bias, h["eps"]
        if self.case.rule.name == "sgd":
            return lr, h["momentum"]
        return (lr, h["alpha"], h["eps"]) if self.case.rule.name == "rmsprop" else (lr, h["eps"])

    def run(self, k: int) -> None:
        """Queue k steps."""
        cupy, grads = self.cupy, self.arrays.grads
        for _ in range(k):
            self.clock += 1
            if self.case.clip is not None:
                for g, norm in zip(grads, self.norm_of, strict=True):
                    self.square_sum(g, norm)
                norm = cupy.sqrt(self.norms.sum())
                self.scale[...] = cupy.minimum(1.0, CLIP / norm)
            numbers = self.numbers()
            for p, g, slots in zip(self.arrays.params, grads, self.slots, strict=True):
                self.kernel(g, self.scale, *numbers, p, *slots)
