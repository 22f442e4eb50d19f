"""Schuss applies optimizer steps to arrays, in place, at the speed of memory, with the same bits everywhere.

>>> import numpy as np, schuss
>>> params = {"w": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float32)}
>>> opt = schuss.AdamW(params, lr=schuss.schedules.warmup(100, schuss.schedules.cosine(3e-4, steps=10_000)), clip=1.0)
>>> info = opt.step({"w": np.ones((64, 10), np.float32), "b": np.ones(10, np.float32)})
>>> info.step
1
"""

from schuss import _core, clipping, gradients, ops, schedules
from schuss._core import StepInfo, get_num_threads, set_num_threads
from schuss._engine.catalog import rules
from schuss._info import info
from schuss.checkpoint import load, save
from schuss.choosing import choose
from schuss.kernels import KernelSource, kernel_source
from schuss.own_rules import rule
from schuss.scaling import LossScaler
from schuss.slow_weights import Lookahead

from . import optimizers
from .optimizers import *  # noqa: F403  the classes are the catalog's

_core.start()  # a wrong SCHUSS_CPU_LEVEL or SCHUSS_NUM_THREADS stops here

__version__: str = _core.__version__

__all__ = [
    "KernelSource",
    "Lookahead",
    "LossScaler",
    "StepInfo",
    "choose",
    "clipping",
    "get_num_threads",
    "gradients",
    "info",
    "kernel_source",
    "load",
    "ops",
    "rule",
    "rules",
    "save",
    "schedules",
    "set_num_threads",
]
__all__ += optimizers.__all__
