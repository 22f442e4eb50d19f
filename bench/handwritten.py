"""Optimizers as one writes them by hand in NumPy: once with care, once as in the textbook."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .cases import Case, zeros

BLOCK = 16_384  # elements a block: five streams and the scratch stay in the second-level cache


class Blocked:
    """In place, every ufunc with ``out=``, scratch made once, in blocks that stay in cache.

    The step's constants are folded outside the loop, and clipping scales the gradient inside it.
    """

    def __init__(self, case: Case, params: Sequence[np.ndarray], grads: Sequence[np.ndarray]):
        self.leaves, self.clip, self.clock = list(params), case.clip, 0
        self.hypers = {**DEFAULTS[case.rule.name], **case.rule.hypers}
        self.update = getattr(self, case.rule.name)
        self.grads = [g.reshape(-1) for g in grads]
        slots = [[zeros(p.shape) for p in params] for _ in range(case.rule.slots)]
        scratch = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        self.blocks = []
        for arrays in zip(self.leaves, self.grads, *slots, strict=True):
            flat = [array.reshape(-1) for array in arrays]
            for start in range(0, flat[0].size, BLOCK):
                part = [array[start : start + BLOCK] for array in flat]
                self.blocks.append((*part, *(s[: part[0].size] for s in scratch)))

    def run(self, k: int) -> None:
        """Take k steps."""
        for _ in range(k):
            self.clock += 1
            coefficient = None
            if self.clip is not None:
                norm = math.sqrt(sum(float(np.dot(g, g)) for g in self.grads))
                coefficient = self.clip / norm if norm > self.clip else None
            self.update(coefficient)

    def params(self) -> list[np.ndarray]:
        """Return the parameters."""
        return self.leaves

    def clipped(self, g: np.ndarray, coefficient: float | None, scratch: np.ndarray) -> np.ndarray:
        return g if coefficient is None else np.multiply(g, coefficient, out=scratch)

    def adamw(self, coefficient: float | None) -> None:
        h = self.hypers
        shrink = 1 - h["lr"] * h["weight_decay"]
        bias1, bias2 = 1 - h["beta1"] ** self.clock, math.sqrt(1 - h["beta2"] ** self.clock)
        rate, eps = -h["lr"] * bias2 / bias1, h["eps"] * bias2
        beta1, beta2, keep1, keep2 = h["beta1"], h["beta2"], 1 - h["beta1"], 1 - h["beta2"]
        for p, g, m, v, s, t in self.blocks:
            g = self.clipped(g, coefficient, t)
            np.multiply(g, keep1, out=s)
            np.multiply(m, beta1, out=m)
            np.add(m, s, out=m)
            np.multiply(g, g, out=s)
            np.multiply(s, keep2, out=s)
            np.multiply(v, beta2, out=v)
            np.add(v, s, out=v)
            np.sqrt(v, out=s)
            np.add(s, eps, out=s)
            np.divide(m, s, out=s)
            np.multiply(s, rate, out=s)
            if shrink != 1:
                np.multiply(p, shrink, out=p)
            np.add(p, s, out=p)

    adam = adamw  # without weight decay they are one

    def sgd(self, coefficient: float | None) -> None:
        h = self.hypers
        for p, g, v, s, t in self.blocks:
            g = self.clipped(g, coefficient, t)
            np.multiply(v, h["momentum"], out=v)
            np.add(v, g, out=v)
            np.multiply(v, -h["lr"], out=s)
            np.add(p, s, out=p)

    def rmsprop(self, coefficient: float | None) -> None:
        h = self.hypers
        for p, g, v, s, t in self.blocks:
            g = self.clipped(g, coefficient, t)
            np.multiply(g, g, out=s)
            np.multiply(s, 1 - h["alpha"], out=s)
            np.multiply(v, h["alpha"], out=v)
            np.add(v, s, out=v)
            self.scaled(p, g, v, s)

    def adagrad(self, coefficient: float | None) -> None:
        for p, g, total, s, t in self.blocks:
            g = self.clipped(g, coefficient, t)
            np.multiply(g, g, out=s)
            np.add(total, s, out=total)
            self.scaled(p, g, total, s)

    def scaled(self, p: np.ndarray, g: np.ndarray, v: np.ndarray, s: np.ndarray) -> None:
        """Move p by ``-lr g / (sqrt(v) + eps)``."""
        np.sqrt(v, out=s)
        np.add(s, self.hypers["eps"], out=s)
        np.divide(g, s, out=s)
        np.multiply(s, -self.hypers["lr"], out=s)
        np.add(p, s, out=p)


class Naive:
    """Each formula as one reads it, a new array for every operation."""

    def __init__(self, case: Case, params: Sequence[np.ndarray], grads: Sequence[np.ndarray]):
        self.leaves, self.grads, self.clip, self.clock = list(params), list(grads), case.clip, 0
        self.hypers = {**DEFAULTS[case.rule.name], **case.rule.hypers}
        self.update = getattr(self, case.rule.name)
        self.slots = [[np.zeros_like(p) for p in params] for _ in range(case.rule.slots)]

    def run(self, k: int) -> None:
        """Take k steps."""
        for _ in range(k):
            self.clock += 1
            grads = self.grads
            if self.clip is not None:
                norm = math.sqrt(sum(float(np.sum(g * g)) for g in grads))
                if norm > self.clip:
                    grads = [g * (self.clip / norm) for g in grads]
            for i, (p, g) in enumerate(zip(self.leaves, grads, strict=True)):
                self.update(i, p, g)

    def params(self) -> list[np.ndarray]:
        """Return the parameters."""
        return self.leaves

    def adamw(self, i: int, p: np.ndarray, g: np.ndarray) -> None:
        h, (ms, vs) = self.hypers, self.slots
        ms[i] = h["beta1"] * ms[i] + (1 - h["beta1"]) * g
        vs[i] = h["beta2"] * vs[i] + (1 - h["beta2"]) * g * g
        m = ms[i] / (1 - h["beta1"] ** self.clock)
        v = vs[i] / (1 - h["beta2"] ** self.clock)
        p -= h["lr"] * (m / (np.sqrt(v) + h["eps"]) + h["weight_decay"] * p)

    adam = adamw

    def sgd(self, i: int, p: np.ndarray, g: np.ndarray) -> None:
        h, (vs,) = self.hypers, self.slots
        vs[i] = h["momentum"] * vs[i] + g
        p -= h["lr"] * vs[i]

    def rmsprop(self, i: int, p: np.ndarray, g: np.ndarray) -> None:
        h, (vs,) = self.hypers, self.slots
        vs[i] = h["alpha"] * vs[i] + (1 - h["alpha"]) * g * g
        p -= h["lr"] * g / (np.sqrt(vs[i]) + h["eps"])

    def adagrad(self, i: int, p: np.ndarray, g: np.ndarray) -> None:
        h, (sums,) = self.hypers, self.slots
        sums[i] = sums[i] + g * g
        p -= h["lr"] * g / (np.sqrt(sums[i]) + h["eps"])


_ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
DEFAULTS = {
    "adamw": _ADAM,
    "adam": _ADAM,
    "sgd": {"lr": 1e-3, "momentum": 0.9},
    "rmsprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8},
    "adagrad": {"lr": 0.01, "eps": 1e-10},
}
