"""Clipping: as an optimizer's ``clip=``, and standalone on any arrays, in place.

The norm is summed in an order of its own, exactly between chunks, so that it does not depend on the order of the
leaves, on threads or on the machine, and the factor is max_norm / norm with nothing added (Pascanu et al. 2013,
arXiv 1211.5063).
"""

from __future__ import annotations

from typing import Any

from schuss import _core
from schuss._engine.clip import ClipLike, GlobalNorm, LeafNorm, Value, number
from schuss.gradients import Axes, check_axes

__all__ = [
    "ClipLike",
    "GlobalNorm",
    "LeafNorm",
    "Value",
    "adaptive",
    "by_global_norm",
    "by_leaf_norm",
    "by_value",
    "global_norm",
]


def global_norm(grads: Any) -> float:
    """The 2-norm of all elements together.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        None leaves are passed over.

    Returns
    -------
    float
        NaN where an element, or in float64 its square, is not finite.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> schuss.clipping.global_norm({"w": np.array([3.0]), "b": np.array([4.0])})
    5.0
    """
    return _core.global_norm(grads)


def by_global_norm(grads: Any, max_norm: float) -> float:
    """Scale the gradients in place by max_norm / norm where their norm together is above `max_norm`.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        Written in place; None leaves are passed over.
    max_norm : float
        Largest norm allowed, above 0.

    Returns
    -------
    float
        The norm before clipping. Where it is not finite nothing is scaled.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written, naming the leaf, and for a `max_norm` that is not above 0.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> grads = {"w": np.array([3.0]), "b": np.array([4.0])}
    >>> schuss.clipping.by_global_norm(grads, 1.0)
    5.0
    >>> schuss.clipping.global_norm(grads)
    1.0
    """
    return _core.clip_global_norm(grads, number(max_norm, "max_norm"))


def by_leaf_norm(grads: Any, max_norm: float) -> dict[str, float]:
    """Scale each leaf in place by max_norm / norm where its own norm is above `max_norm`.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        Written in place.
    max_norm : float
        Largest norm allowed, above 0.

    Returns
    -------
    dict of str to float
        The norm of each leaf before clipping, by its name: ``"encoder/w"``.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written, naming the leaf, and for a `max_norm` that is not above 0.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> schuss.clipping.by_leaf_norm({"w": np.array([3.0, 4.0]), "b": np.array([0.5])}, 1.0)
    {'w': 5.0, 'b': 0.5}
    """
    return dict(_core.clip_leaf_norm(grads, number(max_norm, "max_norm")))


def by_value(grads: Any, limit: float) -> None:
    """Hold every element within ± `limit`, in place; a NaN stays one.

    Parameters
    ----------
    grads : array, or nested dict, list or tuple of arrays
        Written in place.
    limit : float
        Largest magnitude allowed, above 0.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written, naming the leaf, and for a `limit` that is not above 0.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> g = np.array([-3.0, 0.1, 2.0])
    >>> schuss.clipping.by_value(g, 1.0)
    >>> g
    array([-1. ,  0.1,  1. ])
    """
    _core.clip_value(grads, number(limit, "limit"))


def adaptive(params: Any, grads: Any, limit: float = 0.01, *, eps: float = 1e-3, axes: Axes = "torch") -> None:
    """Hold the norm of each unit's gradient within a share of its weights' norm, in place.

    A unit is all that leads to one output of a layer; an array of fewer than two dimensions is one. Its gradient is
    multiplied by min(1, limit max(norm of its weights, eps) / norm of its gradient); a norm that is not finite clips
    nothing.

    Parameters
    ----------
    params : array, or nested dict, list or tuple of arrays
        Read; leaves without a gradient are passed over.
    grads : the same structure
        Written in place; None leaves are passed over.
    limit : float, default 0.01
        Largest share, above 0.
    eps : float, default 1e-3
        The least that a norm of weights counts for, above 0.
    axes : {"torch", "jax"}, default "torch"
        Whether the first dimension counts the outputs, or the last.

    Raises
    ------
    TypeError, ValueError
        For arrays that cannot be written or do not match, naming the leaf, and for arrays on a CUDA device.

    References
    ----------
    Brock et al. 2021, arXiv 2102.06171.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> w, g = np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 10.0], [0.0, 0.05]])
    >>> schuss.clipping.adaptive(w, g, 0.1)
    >>> g.tolist()
    [[0.0, 0.5], [0.0, 0.05]]
    """
    _core.clip_adaptive(params, grads, number(limit, "limit"), number(eps, "eps"), check_axes(axes))
