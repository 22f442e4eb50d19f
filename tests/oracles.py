"""The rules once more, in float64 NumPy, written from the papers and never from the C++.

An oracle makes one step for one parameter array:

    new_p = ORACLES[name](p, g, slots, t, **hypers)

``p`` and ``g`` are float64 arrays, ``t`` is 1 for the first step, ``slots`` is a dict that the
oracle fills and changes as it likes, hypers are plain numbers. ``@oracle(...)`` takes the settings
under which every test of a rule runs; the bare defaults are always among them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray
Slots = dict[str, Array]
Oracle = Callable[..., Array]

ORACLES: dict[str, Oracle] = {}
SETTINGS: dict[str, list[dict[str, Any]]] = {}


def oracle(*settings: dict[str, Any]) -> Callable[[Oracle], Oracle]:
    """Enter a rule's oracle under its function's name, with the settings to test it under."""

    def enter(function: Oracle) -> Oracle:
        ORACLES[function.__name__] = function
        SETTINGS[function.__name__] = [{}, *settings]
        return function

    return enter


def taken(lr: float, weight_decay: float, max_lr: float) -> float:
    """The share of p that decoupled decay takes: lr times it, or timm's "corrected" lr^2 / max_lr times it."""
    return lr * weight_decay if max_lr == 0 else lr**2 / max_lr * weight_decay


@oracle(
    {"momentum": 0.9},
    {"momentum": 0.8, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    {"lr": 0.1, "weight_decay": 5e-4},
    {"momentum": 0.8, "dampening": 0.3, "damped_start": True},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "decoupled_weight_decay": True},
    {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "max_lr": 0.4},
)
def sgd(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0,
    decoupled_weight_decay=False, max_lr=0.0, damped_start=False, lr_in_momentum=False,
) -> Array:  # fmt: skip
    """Polyak 1964; Sutskever et al. 2013, as PyTorch has it: the first velocity is the gradient.

    Of the velocity that contains lr (Keras) the step takes what it is; the decoupled decay is SGDW's.
    """
    decay = taken(lr, weight_decay, max_lr) * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    if momentum == 0:
        return p - lr * g - decay
    new, step = (lr * g, 1.0) if lr_in_momentum else (g, lr)
    if t == 1 and not damped_start:
        slots["v"] = new
    else:
        slots["v"] = momentum * slots.get("v", np.zeros_like(p)) + (1 - dampening) * new
    return p - step * (new + momentum * slots["v"] if nesterov else slots["v"]) - decay


@oracle({"beta": 0.0}, {"lr": 0.1, "beta": 0.99})
def momentum(p: Array, g: Array, slots: Slots, t: int, *, lr=0.01, beta=0.9) -> Array:
    """Polyak 1964, averaging form: v = beta v + (1 - beta) g from zero, p = p - lr v."""
    slots["v"] = beta * slots.get("v", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * slots["v"]


@oracle({"lookahead": True}, {"lr": 0.1, "beta": 0.95})
def nesterov(p: Array, g: Array, slots: Slots, t: int, *, lr=0.01, beta=0.9, lookahead=False) -> Array:
    """Nesterov 1983; Sutskever et al. 2013. The library form steps along beta v + g, v moved first.

    In the look-ahead form the caller takes ``g`` at p - lr beta v, and the step is along v alone.
    """
    v = slots["v"] = beta * slots.get("v", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * v if lookahead else p - lr * (beta * v + g)


@oracle(
    {"lr_decay": 0.1, "weight_decay": 0.01},
    {"eps": 0.0, "eps_root": 1e-8},
    {"lr": 0.5, "initial_accumulator": 0.1, "eps": 1e-7},
    {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
)
def adagrad(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, lr_decay=0.0, eps=1e-10, eps_root=0.0, initial_accumulator=0.0, weight_decay=0.0,
    decoupled_weight_decay=False,
) -> Array:  # fmt: skip
    """Duchi, Hazan & Singer 2011: a rate that falls with the root of the summed squares."""
    l2, apart = (0.0, weight_decay) if decoupled_weight_decay else (weight_decay, 0.0)
    g = g + l2 * p
    slots["sum"] = slots.get("sum", np.full_like(p, initial_accumulator)) + g * g
    rate = lr / (1 + (t - 1) * lr_decay)
    return p - rate * (g / (np.sqrt(slots["sum"] + eps_root) + eps) + apart * p)


@oracle(
    {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-8},
    {"lr": 1e-3, "momentum": 0.9},
    {"weight_decay": 1e-3},
    {"centered": True},
    {"lr": 1e-3, "alpha": 0.95, "centered": True, "momentum": 0.9, "eps": 1e-4, "eps_root": 1e-4},
    {"momentum": 0.9, "lr_in_momentum": True, "initial_accumulator": 1.0},
    {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum": 0.5},
    {"weight_decay": 0.1, "decoupled_weight_decay": True, "max_lr": 0.04},
)
def rmsprop(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=0.01, alpha=0.99, eps=1e-8, eps_root=0.0, momentum=0.0, centered=False, weight_decay=0.0,
    decoupled_weight_decay=False, max_lr=0.0, initial_accumulator=0.0, lr_in_momentum=False,
) -> Array:  # fmt: skip
    """Tieleman & Hinton 2012; Graves 2013 for the centered form and the momentum; TensorFlow's for the rest."""
    zeros = np.zeros_like(p)
    decay = taken(lr, weight_decay, max_lr) * p if decoupled_weight_decay else 0.0
    if not decoupled_weight_decay:
        g = g + weight_decay * p
    slots["v"] = alpha * slots.get("v", zeros + initial_accumulator) + (1 - alpha) * g * g
    spread = slots["v"]
    if centered:
        slots["g_avg"] = alpha * slots.get("g_avg", zeros) + (1 - alpha) * g
        spread = spread - slots["g_avg"] ** 2
    step = g / (np.sqrt(spread + eps_root) + eps)
    if momentum == 0:
        return p - lr * step - decay
    if lr_in_momentum:
        slots["m"] = momentum * slots.get("m", zeros) + lr * step
        return p - slots["m"] - decay
    slots["m"] = momentum * slots.get("m", zeros) + step
    return p - lr * slots["m"] - decay


def adam_direction(
    g: Array, slots: Slots, t: int,
    beta1: float, beta2: float, eps: float, eps_root: float, amsgrad: bool,
    bias_correction: bool, eps_hat: bool, amsgrad_corrected: bool,
) -> Array:  # fmt: skip
    """Kingma & Ba 2015, algorithm 1; amsgrad: Reddi et al. 2018, the largest v so far.

    eps_hat is the order at the end of their section 2: the root first, then eps, then the correction.
    """
    zeros = np.zeros_like(g)
    slots["m"] = beta1 * slots.get("m", zeros) + (1 - beta1) * g
    slots["v"] = beta2 * slots.get("v", zeros) + (1 - beta2) * g * g
    v = slots["v"]
    bias1, bias2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
    if amsgrad and amsgrad_corrected:
        v, bias2 = v / bias2, 1.0
    if amsgrad:
        v = slots["v_max"] = np.maximum(slots.get("v_max", zeros), v)
    if eps_hat:
        return slots["m"] * np.sqrt(bias2) / bias1 / (np.sqrt(v + eps_root * bias2) + eps)
    return slots["m"] / bias1 / (np.sqrt(v / bias2 + eps_root) + eps)


@oracle(
    {"amsgrad": True, "beta2": 0.9},
    {"lr": 0.01, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.99},
    {"eps": 0.0, "eps_root": 1e-8},
    {"beta1": 0.0, "eps": 1e-3},
    {"eps_hat": True, "eps": 1e-3},
    {"bias_correction": False, "weight_decay": 0.1},
    {"amsgrad": True, "amsgrad_corrected": True, "beta2": 0.9, "eps": 1e-3, "eps_root": 1e-4},
)
def adam(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0, amsgrad=False,
    bias_correction=True, eps_hat=False, amsgrad_corrected=False,
) -> Array:  # fmt: skip
    """Kingma & Ba 2015; decay of weights, if any, as L2 in the gradient."""
    g = g + weight_decay * p
    dialect = bias_correction, eps_hat, amsgrad_corrected
    return p - lr * adam_direction(g, slots, t, beta1, beta2, eps, eps_root, amsgrad, *dialect)


@oracle(
    {"amsgrad": True, "beta2": 0.9},
    {"lr": 0.01, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.99},
    {"weight_decay": 0.0},
    {"eps": 0.0, "eps_root": 1e-8},
    {"eps_hat": True, "eps": 1e-3, "lr": 0.1, "weight_decay": 0.5, "decay_after": True},
    {"bias_correction": False, "lr": 0.01, "weight_decay": 0.1, "max_lr": 0.02},
    {"amsgrad": True, "amsgrad_corrected": True, "beta2": 0.9},
)
def adamw(
    p: Array, g: Array, slots: Slots, t: int, *,
    lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.01, amsgrad=False,
    bias_correction=True, eps_hat=False, amsgrad_corrected=False, max_lr=0.0, decay_after=False,
) -> Array:  # fmt: skip
    """Loshchilov & Hutter 2019, algorithm 2: the decay stands beside the step, or comes after it."""
    dialect = bias_correction, eps_hat, amsgrad_corrected
    step = lr * adam_direction(g, slots, t, beta1, beta2, eps, eps_root, amsgrad, *dialect)
    decay = taken(lr, weight_decay, max_lr)
    return (p - step) * (1 - decay) if decay_after else p - step - decay * p


def defaults(name: str) -> dict[str, Any]:
    """A rule's hypers with their default values, from its oracle's signature."""
    if name not in ORACLES:  # a test of its own names the rule that lacks one
        return {}
    parameters = inspect.signature(ORACLES[name]).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


class Walk:
    """An oracle on its way: parameters, slots and clock in float64. Hypers may be schedules."""

    def __init__(self, name: str, p: Any, **hypers: Any) -> None:
        self.oracle = ORACLES[name]
        self.p = np.asarray(p).astype(np.float64)
        self.largest = np.abs(self.p)  # per element: what tolerances are relative to
        self.slots: Slots = {}
        self.largest_slots: Slots = {}
        self.hypers = hypers
        self.clock = 0

    def step(self, g: Any, *, schedule_step: int | None = None) -> np.ndarray:
        """One step; schedules read at ``schedule_step``: the clock, unless a leaf starts late."""
        at = self.clock if schedule_step is None else schedule_step
        hypers = {key: value(at) if callable(value) else value for key, value in self.hypers.items()}
        self.clock += 1
        self.p = self.oracle(self.p, np.asarray(g).astype(np.float64), self.slots, self.clock, **hypers)
        self.largest = np.maximum(self.largest, np.abs(self.p))
        for name, slot in self.slots.items():
            before = self.largest_slots.get(name, np.zeros_like(slot))
            self.largest_slots[name] = np.maximum(before, np.abs(slot))
        return self.p


def walk(name: str, p: Any, grads: Iterable[Any], **hypers: Any) -> Walk:
    """The oracle after all of ``grads``."""
    there = Walk(name, p, **hypers)
    for g in grads:
        there.step(g)
    return there


# The rest of the catalog, by kinds.
import oracles_adam  # noqa: E402, F401
import oracles_leaf  # noqa: E402, F401
import oracles_sign  # noqa: E402, F401
import oracles_variants  # noqa: E402, F401
