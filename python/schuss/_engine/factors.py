"""What multiplies the hypers of single leaves: which of them decay, and how fast each learns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from schuss._engine.catalog import Rule
from schuss._engine.plan import LeafPlan

Decay = Callable[[str, Any], bool] | Collection[str] | None
LrScale = Callable[[str, Any], float] | Mapping[str, float] | None


def factors_of(rule: Rule, leaves: list[LeafPlan], decay: Decay, lr_scale: LrScale) -> list[list[float]]:
    """For each leaf its factors on the hypers, in their order; nothing for a leaf that has none.

    Parameters
    ----------
    rule : Rule
    leaves : list of LeafPlan
    decay, lr_scale : as an optimizer takes them

    Raises
    ------
    TypeError, ValueError
        For a hyper that the rule lacks, for names of no leaf, and for what is no factor.
    """
    scales = _by_leaf(rule, "lr", "lr_scale", leaves, lr_scale, _read_scale)
    decays = _by_leaf(rule, "weight_decay", "decay", leaves, decay, _read_decay)
    if scales is None and decays is None:
        return [[]] * len(leaves)
    factors = []
    for i in range(len(leaves)):
        own = dict.fromkeys(rule.defaults, 1.0)
        own |= {"lr": scales[i]} if scales else {}
        own |= {"weight_decay": decays[i]} if decays else {}
        factors.append(list(own.values()))
    return factors


def _by_leaf(
    rule: Rule,
    hyper: str,
    keyword: str,
    leaves: list[LeafPlan],
    given: Any,
    read: Callable[[list[LeafPlan], Any], list[float]],
) -> list[float] | None:
    if given is None:
        return None
    if hyper not in rule.defaults:
        raise TypeError(f"{rule.name}() got {keyword}=, but has no {hyper}; it takes {rule.hyper_names}")
    return read(leaves, given)


def _read_decay(leaves: list[LeafPlan], decay: Any) -> list[float]:
    if callable(decay):
        return [_flag(leaf, decay(leaf.name, leaf.array)) for leaf in leaves]
    if isinstance(decay, (str, Mapping)) or not isinstance(decay, Collection):
        raise TypeError(
            f"decay is {decay!r} ({type(decay).__name__}), expected a function of a leaf's name and array, "
            "or a collection of names"
        )
    names = dict.fromkeys(decay, 1.0)
    return _longest(leaves, names, otherwise=0.0)


def _flag(leaf: LeafPlan, value: Any) -> float:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"decay of {leaf.name!r} is {value!r} ({type(value).__name__}), expected True or False")
    return float(value)


def _read_scale(leaves: list[LeafPlan], lr_scale: Any) -> list[float]:
    if callable(lr_scale):
        return [_factor(leaf.name, lr_scale(leaf.name, leaf.array)) for leaf in leaves]
    if not isinstance(lr_scale, Mapping):
        raise TypeError(
            f"lr_scale is {lr_scale!r} ({type(lr_scale).__name__}), expected a function of a leaf's name and array, "
            "or a dict of factors by name"
        )
    names = {name: _factor(name, value) for name, value in lr_scale.items()}
    return _longest(leaves, names, otherwise=1.0)


def _factor(name: str, value: Any) -> float:
    try:
        if isinstance(value, (bool, str, bytes, complex)):
            raise TypeError
        factor = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"lr_scale of {name!r} is {value!r} ({type(value).__name__}), expected a number") from None
    if not 0 <= factor < float("inf"):
        raise ValueError(f"lr_scale of {name!r} is {factor!r}, expected a finite number of 0 or more")
    return factor


def _longest(leaves: list[LeafPlan], names: dict[str, float], otherwise: float) -> list[float]:
    """The value of the longest name that a leaf's is, or lies under."""
    values = []
    for leaf in leaves:
        over = [name for name in names if leaf.name == name or leaf.name.startswith(f"{name}/")]
        values.append(names[max(over, key=len)] if over else otherwise)
    return values


def check_names(names: list[str], **given: Any) -> None:
    """Every name that `decay` or `lr_scale` has is one of these, or a prefix of one."""
    for keyword, its in given.items():
        for name in () if its is None or callable(its) else its:
            if not any(own == name or own.startswith(f"{name}/") for own in names):
                raise ValueError(f"{keyword}: no leaf is named {name!r} or lies under it; there are {', '.join(names)}")
