"""Ways to clip, as values."""

from __future__ import annotations

from typing import Any, NamedTuple


class GlobalNorm(NamedTuple):
    """Scale all gradients alike so that their norm together is at most `max_norm`: by max_norm / norm, exactly.

    >>> import numpy as np, schuss
    >>> opt = schuss.SGD(np.zeros(2), clip=schuss.clipping.GlobalNorm(1.0))
    >>> opt.step(np.array([3.0, 4.0])).clip_coef
    0.2
    """

    max_norm: float


class LeafNorm(NamedTuple):
    """Scale each leaf's gradient so that its own norm is at most `max_norm`.

    >>> import numpy as np, schuss
    >>> params = {"w": np.zeros(2), "b": np.zeros(1)}
    >>> opt = schuss.SGD(params, lr=1.0, clip=schuss.clipping.LeafNorm(1.0))
    >>> info = opt.step({"w": np.array([0.0, 5.0]), "b": np.array([0.5])})
    >>> params["w"].tolist(), params["b"].tolist()
    ([0.0, -1.0], [-0.5])
    """

    max_norm: float


class Value(NamedTuple):
    """Hold each element within ± `limit`.

    >>> import numpy as np, schuss
    >>> w = np.zeros(2)
    >>> info = schuss.SGD(w, lr=1.0, clip=schuss.clipping.Value(1.0)).step(np.array([-3.0, 0.5]))
    >>> w.tolist()
    [1.0, -0.5]
    """

    limit: float


ClipLike = float | GlobalNorm | LeafNorm | Value | None

_KINDS = {GlobalNorm: "global_norm", LeafNorm: "leaf_norm", Value: "value"}


def number(value: Any, name: str) -> float:
    """A positive finite number, or an error that names it."""
    try:
        if isinstance(value, (bool, str, bytes, complex)):
            raise TypeError
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), expected a number above 0") from None
    except OverflowError:
        result = float("inf")
    if not 0 < result < float("inf"):
        raise ValueError(f"{name} is {result!r}, expected a finite number above 0")
    return result


def read_clip(clip: ClipLike) -> tuple[str, float]:
    """The kind and the limit of a ``clip=`` argument."""
    if clip is None:
        return "none", float("inf")
    if isinstance(clip, (GlobalNorm, LeafNorm, Value)):
        return _KINDS[type(clip)], number(clip[0], f"clip: {type(clip)._fields[0]}")
    return "global_norm", number(clip, "clip")
