"""A graph as the core takes it: numbers of a step, instructions over blocks, registers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schuss import _core

from .nodes import Node, reachable
from .patterns import CONSTANTS, LOWERED, ROWS, Selection, index_of, select

_LIMITS = _core.program_limits
_COUNTED = {  # as the catalog counts operations
    "add": ("add", "subtract"),
    "multiply": ("multiply",),
    "divide": ("divide",),
    "root": ("root",),
    "compare": ("less", "less_or_equal", "equal", "unequal", "smallest", "largest", "sign"),
}


class Program(NamedTuple):
    """What `_core.OwnRule` takes."""

    steps: list[tuple[int, int, int, int, float]]
    numbers: list[int]
    code: list[list[int]]
    literals: list[float]
    operations: tuple[int, ...]
    number_nodes: list[Node]  # one for each of the numbers


def compiled(name: str, outputs: dict[str, Node], hypers: list[str], slots: list[str]) -> Program:
    """The program of the values that p and the slots take; a ValueError where it is too large."""
    nodes = [node for node in reachable(list(outputs.values())) if not node.number]
    selected = _selected(nodes, list(outputs.values()))
    constants = _Constants(name, selected.values(), hypers)
    code = _Code(name, slots, selected, constants).emitted(outputs)
    if len(code) > _LIMITS["instructions"]:
        raise ValueError(f"rule {name!r}: {len(code)} instructions, expected at most {_LIMITS['instructions']}")
    counts = tuple(sum(node.operation in each for node in nodes) for each in _COUNTED.values())
    return Program(constants.steps, constants.numbers, code, constants.literals, counts, constants.number_nodes)


def _selected(nodes: list[Node], outputs: list[Node]) -> dict[Node, Selection]:
    """How each node that needs an instruction is computed, in the order of the graph."""
    uses: dict[int, int] = {}
    for used in [*outputs, *(arg for node in nodes for arg in node.args)]:
        uses[used.order] = uses.get(used.order, 0) + 1
    needed = {node.order for node in outputs}
    numbers = {node for node in outputs if node.number}
    chosen: dict[Node, Selection] = {}
    for node in reversed(nodes):
        if node.order not in needed or not node.args:
            continue
        chosen[node] = select(node, uses)
        for variable, arg in chosen[node].bound.items():
            if variable in ROWS and arg.number:
                numbers.add(arg)
            elif variable in ROWS:
                needed.add(arg.order)
    spread = index_of("k")
    first = {node: Selection(spread, {"k": node}) for node in sorted(numbers, key=lambda each: each.order)}
    return first | dict(reversed(chosen.items()))


class _Constants:
    """The numbers of a step and the literals that the instructions name."""

    def __init__(self, name: str, selections: Iterable[Selection], hypers: list[str]) -> None:
        used: dict[int, Node] = {}
        for selection in selections:
            for variable in CONSTANTS:
                if variable in selection.bound:
                    used.setdefault(selection.bound[variable].order, selection.bound[variable])
        self.number_nodes = [node for node in used.values() if node.operation != "literal"]
        literals = [node for node in used.values() if node.operation == "literal"]
        most = _LIMITS["numbers"]
        if len(self.number_nodes) > most:
            raise ValueError(
                f"rule {name!r}: {len(self.number_nodes)} numbers are computed from hypers and t for the elements, "
                f"expected at most {most}"
            )
        if len(literals) + most > _LIMITS["constants"]:
            raise ValueError(f"rule {name!r}: {len(literals)} literals, expected at most {_LIMITS['constants'] - most}")
        self.literals = [node.value for node in literals]
        self.index = {node.order: place for place, node in enumerate([*self.number_nodes, *literals])}
        steps = reachable(self.number_nodes)
        if len(steps) > _LIMITS["steps"]:
            raise ValueError(f"rule {name!r}: {len(steps)} operations on numbers, expected at most {_LIMITS['steps']}")
        place = {node.order: index for index, node in enumerate(steps)}
        self.numbers = [place[node.order] for node in self.number_nodes]
        self.steps = [_step(node, place, hypers) for node in steps]


def _step(node: Node, place: dict[int, int], hypers: list[str]) -> tuple[int, int, int, int, float]:
    operation = _core.number_operations.index(LOWERED.get(node.operation, node.operation))
    if node.operation == "hyper":
        return operation, hypers.index(node.value), 0, 0, 0.0
    if node.operation == "literal":
        return operation, 0, 0, 0, node.value
    a, b, c = [*(place[arg.order] for arg in node.args), 0, 0, 0][:3]
    return operation, a, b, c, 0.0


class _Code:
    """Instructions with their rows: registers are given out in the order of the program."""

    def __init__(self, name: str, slots: list[str], selected: dict[Node, Selection], constants: _Constants) -> None:
        self._name = name
        self._own = {"p": _LIMITS["row_p"], "g": _LIMITS["row_g"]}
        self._own |= {slot: _LIMITS["row_slots"] + index for index, slot in enumerate(slots)}
        self._selected, self._constants = selected, constants
        self._free = list(range(_LIMITS["registers"]))
        self._row: dict[int, int] = {}

    def emitted(self, outputs: dict[str, Node]) -> list[list[int]]:
        order = list(self._selected)
        last = self._last_reads(order, outputs)
        direct = self._written_at_once(order, outputs, last)
        code: list[list[int]] = []
        for place, node in enumerate(order):
            selection = self._selected[node]
            rows = {name: self._where(arg) for name, arg in selection.bound.items() if name in ROWS}
            for arg in {arg.order: arg for name, arg in selection.bound.items() if name in ROWS}.values():
                if last[arg.order] == place:
                    self._release(arg)
            self._row[node.order] = self._own["p"] if node is direct else self._take()
            code.append(self._instruction(selection.pattern, self._row[node.order], rows, selection.bound))
        return code + self._stores(outputs, direct)

    def _last_reads(self, order: list[Node], outputs: dict[str, Node]) -> dict[int, int]:
        last: dict[int, int] = {}
        for place, node in enumerate(order):
            for name, arg in self._selected[node].bound.items():
                if name in ROWS:
                    last[arg.order] = place
        return last | {node.order: len(order) for node in outputs.values()}

    def _written_at_once(self, order: list[Node], outputs: dict[str, Node], last: dict[int, int]) -> Node | None:
        """The new p, where nothing reads the old one, or a g that may lie there, once it is computed."""
        new = outputs["p"]
        if new not in self._selected or any(node is new for name, node in outputs.items() if name != "p"):
            return None
        after = order[order.index(new) + 1 :]
        read = [arg for node in after for name, arg in self._selected[node].bound.items() if name in ROWS]
        read += [node for name, node in outputs.items() if name != "p"]
        return None if any(arg.operation in ("p", "g") for arg in read) else new

    def _stores(self, outputs: dict[str, Node], direct: Node | None) -> list[list[int]]:
        """What the step leaves behind; rows that a store overwrites are set aside first."""
        code: list[list[int]] = []
        copy, flush = index_of("x"), index_of("flush(x)")
        held: dict[str, int] = {}
        for name, node in outputs.items():
            held[name] = self._where(node)
            if not node.args and not node.number and held[name] != self._own[name]:
                held[name] = self._take()
                code.append(self._instruction(copy, held[name], {"x": self._where(node)}, {}))
        for name, row in held.items():
            if name == "p" and row != self._own["p"] and direct is None:
                code.append(self._instruction(copy, self._own["p"], {"x": row}, {}))
            elif name != "p":
                code.append(self._instruction(flush, self._own[name], {"x": row}, {}))
        return code

    def _where(self, node: Node) -> int:
        if node.operation in ("p", "g"):
            return self._own[node.operation]
        return self._own[node.value] if node.operation == "slot" else self._row[node.order]

    def _take(self) -> int:
        if not self._free:
            raise ValueError(
                f"rule {self._name!r}: more than {_LIMITS['registers']} values of an element are held at once; "
                "use them sooner after they are computed"
            )
        return self._free.pop(0)

    def _release(self, node: Node) -> None:
        row = self._where(node)
        if row < _LIMITS["registers"]:
            self._free.insert(0, row)

    def _instruction(self, operation: int, to: int, rows: dict[str, int], bound: dict[str, Node]) -> list[int]:
        constants = [self._constants.index[bound[name].order] if name in bound else 0 for name in CONSTANTS]
        return [operation, to, *(rows.get(name, 0) for name in ROWS), *constants]
