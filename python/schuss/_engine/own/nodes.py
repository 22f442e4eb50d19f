"""What the text of a rule computes, as a graph in which equal expressions are one node."""

from __future__ import annotations

import math
from typing import Any

LEAVES = ("literal", "hyper", "clock", "p", "g", "slot")
COMPARISONS = ("less", "less_or_equal", "equal", "unequal")
NUMBERS_ONLY = ("exp", "log", "cos", "power", "power_of_clock")
_COMMUTING = ("add", "multiply", "equal", "unequal")


class Node:
    """One value: a leaf, or an operation on others."""

    __slots__ = ("args", "condition", "number", "operation", "order", "value")

    def __init__(self, operation: str, args: tuple[Node, ...], value: Any, order: int) -> None:
        self.operation = operation
        self.args = args
        self.value = value  # of a literal; the name of a hyper or slot
        self.order = order
        self.condition = operation in COMPARISONS or operation in ("and", "or")
        # Numbers are the same for all elements: computed once a step, in double.
        self.number = operation in ("literal", "hyper", "clock") or (bool(args) and all(a.number for a in args))


class Graph:
    """Makes nodes, each once."""

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}

    def node(self, operation: str, *args: Node, value: Any = None) -> Node:
        folded = _folded(operation, args)
        if folded is not None:
            return self.literal(folded)
        names = tuple(arg.order for arg in args)
        if operation in _COMMUTING:
            names = tuple(sorted(names))
        key = (operation, names, _key(value))
        if key not in self._nodes:
            self._nodes[key] = Node(operation, args, value, len(self._nodes))
        return self._nodes[key]

    def literal(self, value: float) -> Node:
        return self.node("literal", value=float(value))


def _key(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else value  # -0.0 is not 0.0


def _folded(operation: str, args: tuple[Node, ...]) -> float | None:
    """The value of an operation on literals that rounds the same everywhere; None where there is none."""
    if not args or any(arg.operation != "literal" for arg in args):
        return None
    a, b = args[0].value, args[-1].value
    if operation == "divide" and b == 0:
        return None
    known = {
        "add": lambda: a + b,
        "subtract": lambda: a - b,
        "multiply": lambda: a * b,
        "divide": lambda: a / b,
        "negate": lambda: -a,
        "size": lambda: abs(a),
        "root": lambda: math.sqrt(a) if a >= 0 else math.nan,
    }
    if operation not in known:
        return None
    value = known[operation]()
    return value if math.isfinite(value) else None


def reachable(roots: list[Node]) -> list[Node]:
    """All that the roots need, each after what it needs itself."""
    seen: set[int] = set()
    found: list[Node] = []
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                found.append(node)
            elif node.order not in seen:
                seen.add(node.order)
                stack.append((node, True))
                stack.extend((arg, False) for arg in reversed(node.args))
    return found


def written(outputs: dict[str, Node]) -> str:
    """The whole computation in one form: texts that compute the same way share it."""
    nodes = reachable(list(outputs.values()))
    place = {node.order: index for index, node in enumerate(nodes)}
    lines = [
        " ".join([node.operation, *(str(place[arg.order]) for arg in node.args), *_shown(node.value)]) for node in nodes
    ]
    return ";".join([*lines, *(f"{name}={place[node.order]}" for name, node in sorted(outputs.items()))])


def _shown(value: Any) -> list[str]:
    return [] if value is None else [str(_key(value))]
