"""The dialects of other libraries: the tables of docs/dialects.md, with a witness for every line.

A line runs in float64 under a falling learning rate, which shows where a velocity contains it. Where a library does not
run on a CPU, or not without its own build, the witness is its formula, written out in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from other_libraries import RATES, by_hand, keras_walk, mlx_walk, optax_walk, timm_module, torch_walk

Make = Callable[..., Any]


@dataclass(frozen=True)
class Dialect:
    """One line of a rule's table."""

    rule: str
    library: str
    differs: str
    setting: dict[str, Any]
    witness: Callable[[], np.ndarray]
    remains: str = ""
    code: str = ""  # where the setting is better said than shown

    @property
    def rtol(self) -> float:
        return 1e-6 if self.library == "MLX" else 1e-13  # MLX keeps its rates in float32

    @property
    def line(self) -> str:
        here = self.code or f"{self.rule}({', '.join(f'{key}={shown(value)}' for key, value in self.setting.items())})"
        return f"| {self.library} | {self.differs} | `{here}` | {self.remains} |"


def shown(value: float | bool) -> str:
    return repr(value) if isinstance(value, bool) else f"{value:g}".replace("e-0", "e-")


def by_torch(name: str, **theirs: Any) -> Callable[[], np.ndarray]:
    def make(params: list[Any], lr: float) -> Any:
        import torch

        return getattr(torch.optim, name)(params, lr=lr, **theirs)

    return lambda: torch_walk(make, sparse=name == "SparseAdam")


def by_timm(module: str, name: str, **theirs: Any) -> Callable[[], np.ndarray]:
    return lambda: torch_walk(lambda params, lr: getattr(timm_module(module), name)(params, lr=lr, **theirs))


def by_pytorch_optimizer(name: str, **theirs: Any) -> Callable[[], np.ndarray]:
    def make(params: list[Any], lr: float) -> Any:
        import pytest

        others = pytest.importorskip("pytorch_optimizer", reason="the witness of this line is pytorch_optimizer")
        return getattr(others, name)(params, lr=lr, **theirs)

    return lambda: torch_walk(make)


def by_keras(name: str, **theirs: Any) -> Callable[[], np.ndarray]:
    return lambda: keras_walk(name, theirs)


def by_mlx(name: str, **theirs: Any) -> Callable[[], np.ndarray]:
    return lambda: mlx_walk(name, theirs)


def by_optax(make: Make) -> Callable[[], np.ndarray]:
    return lambda: optax_walk(make)


# Formulas of libraries that need a CUDA device or a build of their own.


def apex_sgd(p: np.ndarray, g: np.ndarray, lr: float, t: int, kept: dict[str, Any]) -> np.ndarray:
    """multi_tensor_sgd_kernel.cu: wd_after_momentum adds wd * p to what momentum has made."""
    kept["v"] = g if t == 1 else 0.9 * kept["v"] + g
    return p - lr * (kept["v"] + 0.1 * p)


def adam_moments(g: np.ndarray, t: int, kept: dict[str, Any]) -> np.ndarray:
    kept["m"] = 0.9 * kept.get("m", 0.0) + 0.1 * g
    kept["v"] = 0.999 * kept.get("v", 0.0) + 0.001 * g * g
    return kept["m"] / (1 - 0.9**t) / (np.sqrt(kept["v"] / (1 - 0.999**t)) + 1e-8)


def bitsandbytes_adam(p: np.ndarray, g: np.ndarray, lr: float, t: int, kept: dict[str, Any]) -> np.ndarray:
    """kOptimizer32bit2State: the update, then p * (1 - lr * weight_decay)."""
    return (p - lr * adam_moments(g, t, kept)) * (1 - lr * 0.1)


def fused_adam(p: np.ndarray, g: np.ndarray, lr: float, t: int, kept: dict[str, Any]) -> np.ndarray:
    """multi_tensor_adam.cu with ADAM_MODE_1, and cpu_adam.cpp: wd * p joins the update."""
    return p - lr * (adam_moments(g, t, kept) + 0.1 * p)


def loshchilov(p: np.ndarray, g: np.ndarray, lr: float, t: int, kept: dict[str, Any]) -> np.ndarray:
    """Algorithm 2: eta_t multiplies alpha and lambda alike; here eta_t is lr / lr_initial."""
    return p - lr * adam_moments(g, t, kept) - lr / RATES[0] * 0.05 * p


def tensorflow1_rmsprop(p: np.ndarray, g: np.ndarray, lr: float, t: int, kept: dict[str, Any]) -> np.ndarray:
    """ApplyRMSProp: ms begins at one, epsilon is inside the root, lr inside the momentum."""
    ms = kept["ms"] = kept.get("ms", 1.0) + (g * g - kept.get("ms", 1.0)) * 0.1
    kept["mom"] = 0.9 * kept.get("mom", 0.0) + lr * g / np.sqrt(ms + 1e-10)
    return p - kept["mom"]


DECOUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": True}
CORRECTED = {**DECOUPLED, "max_lr": 0.1}

DIALECTS = [
    Dialect("SGD", "PyTorch", "the first velocity is g, not dampened", {"momentum": 0.9, "dampening": 0.1},
            by_torch("SGD", momentum=0.9, dampening=0.1)),
    Dialect("SGD", "optax", "nothing", {"momentum": 0.9, "nesterov": True},
            by_optax(lambda optax, lr: optax.sgd(lr, momentum=0.9, nesterov=True))),
    Dialect("SGD", "MLX", "the first gradient is dampened too",
            {"momentum": 0.9, "dampening": 0.25, "damped_start": True},
            by_mlx("SGD", momentum=0.9, dampening=0.25)),
    Dialect("SGD", "Keras", "the velocity contains lr; decay is decoupled",
            {"momentum": 0.9, "lr_in_momentum": True, **DECOUPLED},
            by_keras("SGD", momentum=0.9, weight_decay=0.1)),
    Dialect("SGD", "Keras, `nesterov`", "the same",
            {"momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
            by_keras("SGD", momentum=0.9, nesterov=True)),
    Dialect("SGD", "apex, `wd_after_momentum`", "decay joins the step after momentum",
            {"momentum": 0.9, **DECOUPLED}, lambda: by_hand(apex_sgd)),
    Dialect("SGD", "timm `SGDW`", "decay is decoupled", {"momentum": 0.9, **DECOUPLED},
            by_timm("sgdw", "SGDW", momentum=0.9, weight_decay=0.1)),
    Dialect("SGD", "timm `SGDW`, corrected", "decay goes by lr² / max_lr", {"momentum": 0.9, **CORRECTED},
            by_timm("sgdw", "SGDW", momentum=0.9, weight_decay=0.1, corrected_weight_decay=True)),
    Dialect("Momentum", "optax `ema`", "nothing", {"beta": 0.9},
            by_optax(lambda optax, lr: optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(lr)))),
    Dialect("Adagrad", "PyTorch", "nothing", {"lr_decay": 0.1, "weight_decay": 0.1},
            by_torch("Adagrad", lr_decay=0.1, weight_decay=0.1)),
    Dialect("Adagrad", "optax", "the sum starts at 0.1; eps is inside the root",
            {"initial_accumulator": 0.1, "eps": 0.0, "eps_root": 1e-7},
            by_optax(lambda optax, lr: optax.adagrad(lr))),
    Dialect("Adagrad", "Keras", "the same; decay is decoupled",
            {"initial_accumulator": 0.1, "eps": 0.0, "eps_root": 1e-7, **DECOUPLED},
            by_keras("Adagrad", weight_decay=0.1)),
    Dialect("Adagrad", "MLX", "eps is 1e-8", {"eps": 1e-8}, by_mlx("Adagrad")),
    Dialect("Adadelta", "PyTorch", "nothing", {"weight_decay": 0.1}, by_torch("Adadelta", weight_decay=0.1)),
    Dialect("Adadelta", "optax", "nothing", {"rho": 0.9, "eps": 1e-6},
            by_optax(lambda optax, lr: optax.adadelta(lr, rho=0.9, eps=1e-6))),
    Dialect("Adadelta", "MLX", "nothing", {"rho": 0.9, "eps": 1e-6}, by_mlx("AdaDelta")),
    Dialect("Adadelta", "Keras", "other defaults; decay is decoupled", {"rho": 0.95, "eps": 1e-7, **DECOUPLED},
            by_keras("Adadelta", weight_decay=0.1)),
    Dialect("RMSprop", "PyTorch", "lr is outside the momentum", {"momentum": 0.9, "centered": True},
            by_torch("RMSprop", momentum=0.9, centered=True)),
    Dialect("RMSprop", "optax", "share 0.9; eps is inside the root, lr in the momentum",
            {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-8, "momentum": 0.9, "lr_in_momentum": True},
            by_optax(lambda optax, lr: optax.rmsprop(lr, momentum=0.9))),
    Dialect("RMSprop", "optax, `initial_scale`", "v starts there",
            {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-8, "initial_accumulator": 1.0},
            by_optax(lambda optax, lr: optax.rmsprop(lr, initial_scale=1.0))),
    Dialect("RMSprop", "Keras", "as optax, with eps 1e-7; decay is decoupled",
            {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-7, "momentum": 0.9, "lr_in_momentum": True, **DECOUPLED},
            by_keras("RMSprop", momentum=0.9, weight_decay=0.1)),
    Dialect("RMSprop", "MLX", "nothing", {"alpha": 0.99, "eps": 1e-8}, by_mlx("RMSprop")),
    Dialect("RMSprop", "TensorFlow 1", "v starts at 1; eps is inside the root, lr in the momentum",
            {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-10, "momentum": 0.9, "lr_in_momentum": True,
             "initial_accumulator": 1.0},
            lambda: by_hand(tensorflow1_rmsprop)),
    Dialect("RMSprop", "timm `RMSpropTF`", "the same; L2 or decoupled, corrected too",
            {"alpha": 0.9, "eps": 0.0, "eps_root": 1e-10, "momentum": 0.9, "lr_in_momentum": True,
             "initial_accumulator": 1.0, **CORRECTED},
            by_timm("rmsprop_tf", "RMSpropTF", momentum=0.9, weight_decay=0.1, decoupled_decay=True,
                    corrected_weight_decay=True)),
    Dialect("Adam", "PyTorch", "decay is L2", {"weight_decay": 0.1, "amsgrad": True},
            by_torch("Adam", weight_decay=0.1, amsgrad=True)),
    Dialect("Adam", "PyTorch `SparseAdam`", "eps joins the uncorrected root", {"eps": 1e-3, "eps_hat": True},
            by_torch("SparseAdam", eps=1e-3), remains="rows without a gradient keep their moments there"),
    Dialect("Adam", "Keras", "eps joins the uncorrected root", {"eps": 1e-7, "eps_hat": True, "amsgrad": True},
            by_keras("Adam", amsgrad=True)),
    Dialect("Adam", "optax, `eps_root`", "inside the root, after the correction", {"eps_root": 1e-5},
            by_optax(lambda optax, lr: optax.adam(lr, eps_root=1e-5))),
    Dialect("Adam", "optax `amsgrad`", "the largest of the corrected v",
            {"beta2": 0.9, "amsgrad": True, "amsgrad_corrected": True},
            by_optax(lambda optax, lr: optax.amsgrad(lr, b2=0.9))),
    Dialect("Adam", "MLX", "no bias correction", {"bias_correction": False}, by_mlx("Adam")),
    Dialect("AdamW", "PyTorch", "decay is multiplied by lr", {"weight_decay": 0.1},
            by_torch("AdamW", weight_decay=0.1)),
    Dialect("AdamW", "optax", "the same, decay 1e-4", {"weight_decay": 1e-4},
            by_optax(lambda optax, lr: optax.adamw(lr))),
    Dialect("AdamW", "Keras, `Adam` with decay too", "eps joins the uncorrected root; decay 4e-3",
            {"eps": 1e-7, "eps_hat": True, "weight_decay": 0.004}, by_keras("AdamW")),
    Dialect("AdamW", "MLX", "no bias correction", {"bias_correction": False}, by_mlx("AdamW")),
    Dialect("AdamW", "apex, DeepSpeed, TE `Adam`", "decay is decoupled under this name too",
            {"weight_decay": 0.1}, lambda: by_hand(fused_adam)),
    Dialect("AdamW", "bitsandbytes `Adam`, `AdamW`, on CUDA", "decays what the step has made",
            {"weight_decay": 0.1, "decay_after": True}, lambda: by_hand(bitsandbytes_adam),
            remains="on a CPU it decays before the step, as PyTorch"),
    Dialect("AdamW", "timm, corrected", "decay goes by lr² / max_lr", {"weight_decay": 0.1, "max_lr": 0.1},
            by_timm("adamw", "AdamWLegacy", weight_decay=0.1, corrected_weight_decay=True)),
    Dialect("AdamW", "Loshchilov & Hutter", "decay goes by lr / lr₀", {"weight_decay": 0.05 / RATES[0]},
            lambda: by_hand(loshchilov), code="AdamW(weight_decay=λ / lr₀)"),
    Dialect("Adamax", "PyTorch", "eps is kept in u", {"eps": 1e-3}, by_torch("Adamax", eps=1e-3)),
    Dialect("Adamax", "optax", "eps is kept in u", {"eps": 1e-3},
            by_optax(lambda optax, lr: optax.adamax(lr, eps=1e-3))),
    Dialect("Adamax", "Keras", "eps joins the divisor; decay is decoupled",
            {"eps": 1e-7, "eps_outside": True, **DECOUPLED}, by_keras("Adamax", weight_decay=0.1)),
    Dialect("Adamax", "MLX", "the same; no bias correction",
            {"eps": 1e-8, "eps_outside": True, "bias_correction": False}, by_mlx("Adamax")),
    Dialect("NAdam", "PyTorch", "mu rises over hundreds of steps", {**DECOUPLED},
            by_torch("NAdam", weight_decay=0.1, decoupled_weight_decay=True)),
    Dialect("NAdam", "Keras", "mu rises over a hundred steps", {"momentum_decay": 1.0, "eps": 1e-7},
            by_keras("Nadam")),
    Dialect("NAdam", "optax", "mu is beta1 throughout", {"anneal": 0.0},
            by_optax(lambda optax, lr: optax.nadam(lr))),
    Dialect("NAdam", "timm `NAdamW`", "the same; m is corrected as g is",
            {"anneal": 0.0, "shared_correction": True, **DECOUPLED},
            by_timm("nadamw", "NAdamW", weight_decay=0.1)),
    Dialect("NAdam", "timm `NAdamW`, corrected", "decay goes by lr² / max_lr",
            {"anneal": 0.0, "shared_correction": True, **CORRECTED},
            by_timm("nadamw", "NAdamW", weight_decay=0.1, corrected_weight_decay=True)),
    Dialect("RAdam", "PyTorch", "eps joins the uncorrected root", {"beta2": 0.9, "eps": 1e-3},
            by_torch("RAdam", betas=(0.9, 0.9), eps=1e-3)),
    Dialect("RAdam", "optax", "eps joins the corrected root", {"beta2": 0.9, "eps": 1e-3, "eps_hat": False},
            by_optax(lambda optax, lr: optax.radam(lr, b2=0.9, eps=1e-3))),
    Dialect("AdaBelief", "optax", "nothing", {"eps": 1e-8, "eps_root": 1e-8},
            by_optax(lambda optax, lr: optax.adabelief(lr, eps=1e-8, eps_root=1e-8))),
    Dialect("AdaBelief", "timm", "rectified as RAdam",
            {"beta2": 0.9, "eps": 1e-16, "eps_root": 1e-16, "weight_decay": 0.1, "rectify": True},
            by_timm("adabelief", "AdaBelief", betas=(0.9, 0.9), weight_decay=0.1)),
    Dialect("AdaBelief", "pytorch_optimizer, `rectify`", "rectified as RAdam",
            {"beta2": 0.9, "eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.1, "rectify": True},
            by_pytorch_optimizer("AdaBelief", betas=(0.9, 0.9), eps=1e-8, weight_decay=0.1, rectify=True)),
    Dialect("AdaBelief", "timm, `decoupled_decay=False`", "decay is L2",
            {"eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.1, "decoupled_weight_decay": False},
            by_timm("adabelief", "AdaBelief", eps=1e-8, weight_decay=0.1, decoupled_decay=False, rectify=False)),
    Dialect("Yogi", "optax", "both moments start at 1e-6", {"initial_mean": 1e-6},
            by_optax(lambda optax, lr: optax.yogi(lr))),
    Dialect("Adan", "optax", "differences weigh 1 - beta2; decay is beside the step",
            {"eps_root": 1e-8, "weight_decay": 0.1, "proximal": False, "complement": True},
            by_optax(lambda optax, lr: optax.adan(lr, weight_decay=0.1))),
    Dialect("AdEMAMix", "optax", "nothing", {"weight_decay": 0.1},
            by_optax(lambda optax, lr: optax.contrib.ademamix(lr, weight_decay=0.1))),
    Dialect("ADOPT", "optax, `use_clipping=False`", "does not clip, as the paper at first", {"clipping": False},
            by_optax(lambda optax, lr: optax.contrib.adopt(lr, use_clipping=False))),
    Dialect("Signum", "optax `sign_sgd`", "no mean", {"beta": 0.0},
            by_optax(lambda optax, lr: optax.sign_sgd(lr))),
    Dialect("Lion", "optax", "nothing", {"weight_decay": 0.1},
            by_optax(lambda optax, lr: optax.lion(lr, weight_decay=0.1))),
    Dialect("Lion", "Keras", "nothing", {"weight_decay": 0.1}, by_keras("Lion", weight_decay=0.1)),
    Dialect("Lion", "MLX", "nothing", {"weight_decay": 0.1}, by_mlx("Lion", weight_decay=0.1)),
    Dialect("Lion", "timm, corrected", "decay goes by lr² / max_lr", {"weight_decay": 0.1, "max_lr": 0.1},
            by_timm("lion", "Lion", weight_decay=0.1, corrected_weight_decay=True)),
]  # fmt: skip
