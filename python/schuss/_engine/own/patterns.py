"""The core's instructions as patterns in a graph. What they compute is read from the core, never written here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from typing import NamedTuple

from schuss import _core

from .nodes import COMPARISONS, Node

ROWS, CONSTANTS = "xyzw", "klm"
_WORDS = {"sqrt": "root", "abs": "size", "sign": "sign", "min": "smallest", "max": "largest"}
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Lt: "less",
    ast.LtE: "less_or_equal",
    ast.Eq: "equal",
    ast.NotEq: "unequal",
}
LOWERED = {"and": "multiply", "or": "largest"}  # of conditions, which are 0 and 1
_COMMUTING = ("add", "multiply", "equal", "unequal")
Bound = dict[str, Node]


class Template(NamedTuple):
    """An operation, or a variable where it has no arguments."""

    operation: str
    args: tuple[Template, ...] = ()

    @property
    def size(self) -> int:
        return bool(self.args) + sum(arg.size for arg in self.args)


class Pattern(NamedTuple):
    """An instruction of the core."""

    instruction: int
    template: Template


class Selection(NamedTuple):
    """How a node is computed: the instruction, and what its variables stand for."""

    pattern: int
    bound: Bound


@cache
def by_operation() -> dict[str, list[Pattern]]:
    """The patterns under the operation at their top, the largest first."""
    found: dict[str, list[Pattern]] = {}
    for index, text in enumerate(_core.instructions):
        template = _template(ast.parse(text, mode="eval").body)
        if template.args:
            found.setdefault(template.operation, []).append(Pattern(index, template))
    for patterns in found.values():
        patterns.sort(key=lambda pattern: -pattern.template.size)
    return found


def index_of(text: str) -> int:
    """The instruction that computes this: ``"flush(x)"``."""
    return _core.instructions.index(text)


def _template(node: ast.expr) -> Template:
    if isinstance(node, ast.Name):
        return Template(node.id)
    if isinstance(node, ast.BinOp):
        return Template(_OPERATORS[type(node.op)], (_template(node.left), _template(node.right)))
    if isinstance(node, ast.UnaryOp):
        return Template("negate", (_template(node.operand),))
    if isinstance(node, ast.Compare):
        if isinstance(node.comparators[0], ast.Constant):  # x != 0: x is a condition already
            return _template(node.left)
        return Template(_OPERATORS[type(node.ops[0])], (_template(node.left), _template(node.comparators[0])))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    args = tuple(map(_template, node.args))
    if node.func.id == "truth":
        return args[0]
    if node.func.id == "flush":
        return Template("flush", args)
    return Template("choose" if node.func.id == "where" else _WORDS[node.func.id], args)


def select(node: Node, uses: dict[int, int]) -> Selection:
    """The instruction that takes most of the graph at once; a node used elsewhere too stays one of its own."""
    best: tuple[int, Selection] | None = None
    for pattern in by_operation()[LOWERED.get(node.operation, node.operation)]:
        if best and pattern.template.size < best[0]:
            break
        for bound in _matches(pattern.template, node, {}, uses, top=True):
            spread = sum(bound[name].number for name in ROWS if name in bound)
            score = pattern.template.size - spread
            if best is None or score > best[0]:
                best = score, Selection(pattern.instruction, bound)
    assert best
    return best[1]


def _matches(template: Template, node: Node, bound: Bound, uses: dict[int, int], top: bool = False) -> Iterator[Bound]:
    if not template.args:
        name = template.operation
        if name in bound:
            if bound[name] is node:
                yield bound
        elif node.number or name in ROWS:
            yield {**bound, name: node}
        return
    operation = LOWERED.get(node.operation, node.operation)
    if template.operation != operation or len(template.args) != len(node.args) or node.number:
        return
    if not top and uses[node.order] > 1:
        return
    orders = permutations(node.args) if operation in _COMMUTING else [node.args]
    for args in orders:
        found = [bound]
        for one, arg in zip(template.args, args, strict=True):
            found = [more for each in found for more in _matches(one, arg, each, uses)]
        yield from found


assert set(COMPARISONS) <= set(_OPERATORS.values())
