"""From the parameters a user gives to leaves: names, ties, overlaps. Once an optimizer, never in a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from schuss import _core


class LeafPlan(NamedTuple):
    """One array to step, and where it stands among the parameters."""

    name: str
    keys: tuple[Any, ...]
    array: Any
    sources: list[int]


class Extent(NamedTuple):
    """The bytes a leaf spans."""

    low: int
    high: int
    identity: tuple[Any, ...]
    where: str
    array: Any


def plan_leaves(
    met: list[tuple[tuple[Any, ...], Any, str]], prefix: str, taken: list[Extent]
) -> tuple[list[LeafPlan], list[Extent]]:
    """Leaves of one group, ties merged.

    Parameters
    ----------
    met : list of (keys, array, where)
        What the walk met, in its order.
    prefix : str
        Put before the leaves' names: the group's, or nothing.
    taken : list of Extent
        What earlier groups hold.

    Returns
    -------
    leaves : list of LeafPlan
    extents : list of Extent

    Raises
    ------
    TypeError, ValueError
        For an array that cannot be updated in place, that overlaps another, or a name met twice.
    """
    leaves: list[LeafPlan] = []
    extents: list[Extent] = []
    first_of: dict[tuple[Any, ...], int] = {}
    names: dict[str, str] = {}
    for source, (keys, array, where) in enumerate(met):
        if array is None:
            raise TypeError(f"{where}: None, expected an array")
        facts = _core.describe(array, where)
        identity = (facts["address"], facts["shape"], facts["strides"], facts["dtype"])
        size = int(np.prod(facts["shape"], dtype=np.int64))
        if size and identity in first_of:
            leaves[first_of[identity]].sources.append(source)
            continue
        name = "/".join([prefix, *map(str, keys)] if prefix else map(str, keys)) or "param"
        if name in names:
            raise ValueError(f"{where} and {names[name]} would both be named {name!r}; rename one of them")
        names[name] = where
        if size:
            _refuse_self_overlap(facts, where)
            first_of[identity] = len(leaves)
            extents.append(_extent(facts, identity, where, array))
        leaves.append(LeafPlan(name, keys, array, [source]))
    _refuse_overlap(taken + extents)
    return leaves, extents


def _extent(facts: dict[str, Any], identity: tuple[Any, ...], where: str, array: Any) -> Extent:
    reach = [(extent - 1) * stride for extent, stride in zip(facts["shape"], facts["strides"], strict=True)]
    low = facts["address"] + sum(step for step in reach if step < 0)
    high = facts["address"] + sum(step for step in reach if step > 0) + facts["itemsize"]
    return Extent(low, high, identity, where, array)


def _refuse_self_overlap(facts: dict[str, Any], where: str) -> None:
    covered = facts["itemsize"]
    pairs = [(abs(s), n) for n, s in zip(facts["shape"], facts["strides"], strict=True) if n > 1]
    for stride, extent in sorted(pairs):
        if stride < covered:
            raise ValueError(
                f"{where}: a view whose elements overlap (shape {facts['shape']}, strides {facts['strides']}), "
                "expected one element per memory location; pass a copy"
            )
        covered = stride * (extent - 1) + covered


def _refuse_overlap(extents: list[Extent]) -> None:
    open_ones: list[Extent] = []
    for one in sorted(extents, key=lambda extent: extent.low):
        open_ones = [other for other in open_ones if other.high > one.low]
        for other in open_ones:
            if other.identity == one.identity:
                raise ValueError(f"{one.where} and {other.where} are the same array in two groups, expected one")
            if _share(other.array, one.array):
                raise ValueError(
                    f"{one.where} overlaps {other.where} in memory, expected separate arrays; "
                    "pass one of them, or a copy"
                )
        open_ones.append(one)


def _share(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        try:
            return bool(np.shares_memory(a, b, max_work=10_000))  # pyright: ignore[reportArgumentType]
        except np.exceptions.TooHardError:
            return True
    return True
