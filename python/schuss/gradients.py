"""Gradients changed in place before a step: centred, or with noise."""

from __future__ import annotations

import math
import operator
from typing import Any, Literal

from schuss import _core

__all__ = ["Axes", "add_noise", "centralize"]

Axes = Literal["torch", "jax"]


def check_axes(axes: Any) -> str:
    """The convention, or an error that names both."""
    if axes not in ("torch", "jax"):
        raise ValueError(f"axes is {axes!r}, expected 'torch' (outputs first) or 'jax' (outputs last)")
    return axes


def centralize(grads: Any, *, axes: Axes = "torch") -> None:
    """Take from each gradient of two or more dimensions the mean over all that leads to one output, in place.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        Written in place; None leaves, and arrays of fewer dimensions, are passed over.
    axes : {"torch", "jax"}, default "torch"
        Whether the first dimension counts the outputs, or the last.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written, naming the leaf, and for arrays on a CUDA device.

    References
    ----------
    Yong et al. 2020, arXiv 2004.01461.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> g = np.array([[1.0, 3.0], [0.0, 4.0]])
    >>> schuss.gradients.centralize(g)
    >>> g.tolist()
    [[-1.0, 1.0], [-2.0, 2.0]]
    """
    _core.centralize(grads, check_axes(axes))


def add_noise(grads: Any, *, eta: float, gamma: float = 0.55, seed: int = 0, step: int) -> None:
    """Add normal noise of variance eta / (1 + step)^gamma to every gradient, in place.

    The noise is decided by seed, step, the leaf's name and the place in the leaf alone: it is the same whatever the
    machine, the number of threads, the order of the leaves or how they lie in memory.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        Written in place; None leaves are passed over.
    eta : float
        Variance at step 0, of 0 or more; the paper tries 0.01, 0.3 and 1.
    gamma : float, default 0.55
        How fast it falls, of 0 or more.
    seed : int, default 0
        0 or more, below 2^64.
    step : int
        Real steps done, 0 or more: ``opt.clock``.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written, naming the leaf, for arrays on a CUDA device, and for bad numbers.

    References
    ----------
    Neelakantan et al. 2015, arXiv 1511.06807; Wichura 1988, algorithm AS 241.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> one, other = np.zeros(3), np.zeros(3)
    >>> schuss.gradients.add_noise({"w": one}, eta=0.01, seed=7, step=0)
    >>> schuss.gradients.add_noise({"w": other}, eta=0.01, seed=7, step=0)
    >>> bool((one == other).all() and (one != 0).all())
    True
    """
    eta, gamma = _at_least_zero("eta", eta), _at_least_zero("gamma", gamma)
    seed, step = _whole("seed", seed, 64), _whole("step", step, 63)
    variance = eta * float(_core.elementary.power(1.0 + step, -gamma))
    _core.add_noise(grads, math.sqrt(variance), seed, step)


def _at_least_zero(name: str, value: Any) -> float:
    try:
        if isinstance(value, (bool, str, bytes, complex)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), expected a number of 0 or more") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} is {number!r}, expected a finite number of 0 or more")
    return number


def _whole(name: str, value: Any, bits: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), expected a whole number") from None
    if not 0 <= number < 2**bits:
        raise ValueError(f"{name} is {number}, expected 0 or more, below 2^{bits}")
    return number
