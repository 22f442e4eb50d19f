"""From the parameters a user gives to leaves: names and ties. Once an optimizer, never in a step."""

from __future__ import annotations

from typing import Any, NamedTuple

from schuss import _core


class LeafPlan(NamedTuple):
    """One array to step, and the places among the parameters where it stands."""

    name: str
    where: str
    array: Any
    sources: list[int]


def plan_leaves(met: list[tuple[tuple[Any, ...], Any, str]], prefix: str, taken: list[LeafPlan]) -> list[LeafPlan]:
    """Leaves of one group, ties merged.

    Parameters
    ----------
    met : list of (keys, array, where)
        What the walk met, in its order.
    prefix : str
        Put before the leaves' names: the group's, or nothing.
    taken : list of LeafPlan
        The leaves of earlier groups.

    Returns
    -------
    list of LeafPlan

    Raises
    ------
    TypeError, ValueError
        For an array that cannot be updated in place, that overlaps another or stands in two groups, or a name met
        twice.
    """
    for _, array, where in met:
        if array is None:
            raise TypeError(f"{where}: None, expected an array")
    ties = _core.ties([(leaf.array, leaf.where) for leaf in taken] + [(array, where) for _, array, where in met])
    names = {leaf.name: leaf.where for leaf in taken}
    leaves: dict[int, LeafPlan] = {}
    for source, (keys, array, where) in enumerate(met):
        first = ties[len(taken) + source]
        if first < len(taken):
            raise ValueError(f"{where} and {taken[first].where} are the same array in two groups, expected one")
        if first - len(taken) in leaves:
            leaves[first - len(taken)].sources.append(source)
            continue
        name = "/".join([prefix, *map(str, keys)] if prefix else map(str, keys)) or "param"
        if name in names:
            raise ValueError(f"{where} and {names[name]} would both be named {name!r}; rename one of them")
        names[name] = where
        leaves[source] = LeafPlan(name, where, array, [source])
    return list(leaves.values())
