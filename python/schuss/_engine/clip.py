"""Ways to clip, as values."""

from __future__ import annotations

from typing import Any, NamedTuple, Union


class GlobalNorm(NamedTuple):
    """Scale all gradients alike so that their norm together is at most `max_norm`: by max_norm / norm, exactly."""

    max_norm: float


class LeafNorm(NamedTuple):
    """Scale each leaf's gradient so that its own norm is at most `max_norm`."""

    max_norm: float


class Value(NamedTuple):
    """Hold each element within ± `limit`."""

    limit: float


ClipLike = Union[None, float, GlobalNorm, LeafNorm, Value]

_KINDS = {GlobalNorm: "global_norm", LeafNorm: "leaf_norm", Value: "value"}


def number(value: Any, name: str) -> float:
    """A positive finite number, or an error that names it."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__") or isinstance(value, complex):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), expected a number above 0")
    result = float(value)
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
