"""The text of a rule, read: Python's grammar, of which assignments and scalar maths are taken."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import NamedTuple

from .nodes import COMPARISONS, NUMBERS_ONLY, Graph, Node
from .refusal import Text, near

LARGEST_POWER = 8
_BINARY: dict[type[ast.AST], str] = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
_COMPARING: dict[type[ast.AST], tuple[str, bool]] = {  # the operation, and whether its sides change places
    ast.Lt: ("less", False),
    ast.LtE: ("less_or_equal", False),
    ast.Gt: ("less", True),
    ast.GtE: ("less_or_equal", True),
    ast.Eq: ("equal", False),
    ast.NotEq: ("unequal", False),
}
FUNCTIONS = {  # the operation, and how many arguments
    "sqrt": ("root", 1),
    "abs": ("size", 1),
    "sign": ("sign", 1),
    "min": ("smallest", 2),
    "max": ("largest", 2),
    "where": ("choose", 3),
    "exp": ("exp", 1),
    "log": ("log", 1),
    "cos": ("cos", 1),
}
RESERVED = ("p", "g", "t", *FUNCTIONS)


class Read(NamedTuple):
    """What a text computes."""

    graph: Graph
    outputs: dict[str, Node]  # p and the slots, after the step


def read(text: Text, hypers: Iterable[str], slots: Iterable[str]) -> Read:
    """The graph of a text, or a ValueError that shows where it goes wrong."""
    reader = _Reader(text, list(hypers), list(slots))
    try:
        return reader.read()
    except RecursionError:
        text.refuse_at(1, 0, 1, "an expression nests too deeply; give its parts names of their own")


class _Reader:
    def __init__(self, text: Text, hypers: list[str], slots: list[str]) -> None:
        self.text = text
        self.graph = Graph()
        self.hypers, self.slots = hypers, slots
        self.values: dict[str, Node] = {name: self.graph.node("hyper", value=name) for name in hypers}
        self.values |= {name: self.graph.node("slot", value=name) for name in slots}
        self.values |= {"p": self.graph.node("p"), "g": self.graph.node("g"), "t": self.graph.node("clock")}
        self.assigned: dict[str, ast.AST] = {}
        self.unread: dict[str, ast.AST] = {}  # local names whose last value nothing has read
        self.used: set[str] = set()
        self.later: set[str] = set()  # names that the text assigns somewhere

    def read(self) -> Read:
        statements = self._parsed()
        if not statements:
            self.text.refuse_at(1, 0, 1, "the text is empty, expected assignments such as p = p - lr * g")
        self.later = {
            target.id
            for statement in statements
            for target in getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(target, ast.Name)
        }
        for statement in statements:
            self._statement(statement)
        self._check_whole(statements[-1])
        return Read(self.graph, {name: self.values[name] for name in ("p", *self.slots)})

    def _parsed(self) -> list[ast.stmt]:
        try:
            return ast.parse(self.text.source).body
        except SyntaxError as error:
            line, start = error.lineno or 1, max(0, (error.offset or 1) - 1)
            end = (error.end_offset or 0) - 1 if error.end_lineno == line else start + 1
            self.text.refuse_at(line, start, end, f"{error.msg}, expected assignments such as p = p - lr * g")
        except (ValueError, MemoryError) as error:  # a null byte; nesting beyond what the parser takes
            self.text.refuse_at(1, 0, 1, f"cannot be read: {error or 'it nests too deeply'}")

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            self._check_target(target)
            node = self._value(value)
        elif isinstance(statement, ast.AugAssign) and type(statement.op) in _BINARY:
            target = statement.target
            self._check_target(target)
            before = self._name(ast.copy_location(ast.Name(getattr(target, "id", ""), ast.Load()), target))
            node = self.graph.node(_BINARY[type(statement.op)], before, self._value(statement.value))
        else:
            self.text.refuse(statement, f"{_kind(statement)}, expected an assignment such as p = p - lr * g")
        assert isinstance(target, ast.Name)
        if target.id not in (*self.slots, "p"):
            if target.id in self.unread:
                self.text.refuse(self.unread[target.id], f"{target.id!r} is assigned and never read")
            self.unread[target.id] = target
        elif node.condition:
            self.text.refuse(statement, f"{target.id!r} would be a condition, expected a number: where(…, 1, 0)")
        self.values[target.id] = node
        self.assigned[target.id] = target

    def _check_target(self, target: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            self.text.refuse(target, f"{_kind(target)} is assigned to, expected p, a slot or a name of your own")
        name = target.id
        if name in self.hypers:
            self.text.refuse(target, f"{name!r} is a hyper, which a step cannot change; keep a slot, or another name")
        if name == "g":
            self.text.refuse(target, "'g' is the gradient, which a step does not change; take another name")
        if name == "t":
            self.text.refuse(target, "'t' is the count of steps, which the engine keeps; take another name")
        if name in FUNCTIONS:
            self.text.refuse(target, f"{name!r} is a function; take another name")

    def _check_whole(self, last: ast.stmt) -> None:
        if "p" not in self.assigned:
            self.text.refuse(last, "p is never assigned, expected its new value: p = p - …")
        for name, place in self.unread.items():
            known = (*self.slots, "p", *self.values)
            near_name = near(name, (each for each in known if each != name))
            self.text.refuse(place, f"{name!r} is assigned and never read; a slot is named in slots={near_name}")
        for name in self.slots:
            if name not in self.assigned:
                self.text.refuse(last, f"slot {name!r} is never assigned, expected its new value: {name} = …")
        for name in self.hypers:
            if name not in self.used:
                self.text.refuse(last, f"hyper {name!r} is never read; use it, or take it out of hypers=")

    def _name(self, node: ast.Name) -> Node:
        name = node.id
        if name in self.values:
            self.unread.pop(name, None)
            self.used.add(name)
            return self.values[name]
        if name in FUNCTIONS:
            self.text.refuse(node, f"{name!r} is a function, expected {name}(…)")
        if name in self.later:
            self.text.refuse(node, f"{name!r} is read before it is assigned; what lasts from step to step is a slot")
        known = [*self.hypers, *self.slots, "p", "g", "t", *(each for each in self.values if each in self.assigned)]
        names = ", ".join(dict.fromkeys(known))
        self.text.refuse(node, f"unknown name {name!r}{near(name, known) or ';'} there are {names}")

    def _value(self, node: ast.expr) -> Node:
        """Any expression."""
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.graph.node("negate", self._number(node.operand))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
            return self._number(node.operand)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.graph.node("equal", self._condition(node.operand), self.graph.literal(0))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.BoolOp):
            parts = [self._condition(each) for each in node.values]
            result = parts[0]
            for part in parts[1:]:
                result = self.graph.node("and" if isinstance(node.op, ast.And) else "or", result, part)
            return result
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.IfExp):
            self.text.refuse(node, "an if in an expression, expected where(condition, a, b)")
        self.text.refuse(node, f"{_kind(node)}, expected numbers, names, + - * / ** and {', '.join(FUNCTIONS)}")

    def _number(self, node: ast.expr) -> Node:
        """An expression that is no condition."""
        value = self._value(node)
        if value.condition:
            self.text.refuse(node, "a condition among numbers, expected where(condition, a, b)")
        return value

    def _condition(self, node: ast.expr) -> Node:
        value = self._value(node)
        if not value.condition:
            self.text.refuse(node, "a number, expected a condition such as a < b")
        return value

    def _constant(self, node: ast.Constant) -> Node:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            self.text.refuse(node, f"{node.value!r} ({type(node.value).__name__}), expected a number")
        try:
            value = float(node.value)
        except OverflowError:
            value = float("inf")
        if value - value != 0:
            self.text.refuse(node, "a number beyond what a double holds")
        return self.graph.literal(value)

    def _binary(self, node: ast.BinOp) -> Node:
        if isinstance(node.op, ast.Pow):
            return self._power(node)
        if type(node.op) not in _BINARY:
            self.text.refuse(node, f"the operator {_kind(node.op)}, expected one of + - * / **")
        if isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant) and node.right.value == 0:
            self.text.refuse(node.right, "a division by zero")
        return self.graph.node(_BINARY[type(node.op)], self._number(node.left), self._number(node.right))

    def _power(self, node: ast.BinOp) -> Node:
        base, exponent = self._number(node.left), self._number(node.right)
        if base.number and exponent.number:
            if exponent.operation == "clock":
                return self.graph.node("power_of_clock", base)
            if not _small_whole(exponent):
                return self.graph.node("power", base, exponent)
        if _small_whole(exponent):
            result = base
            for _ in range(int(exponent.value) - 1):
                result = self.graph.node("multiply", result, base)
            return result
        advice = " (the root is sqrt(x))" if exponent.operation == "literal" and exponent.value == 0.5 else ""
        self.text.refuse(
            node, f"a power of an element, expected a whole exponent from 2 to {LARGEST_POWER} written out{advice}"
        )

    def _comparison(self, node: ast.Compare) -> Node:
        sides = [self._number(each) for each in (node.left, *node.comparators)]
        result: Node | None = None
        for index, operator in enumerate(node.ops):
            if type(operator) not in _COMPARING:
                self.text.refuse(node, "this comparison, expected one of < <= > >= == !=")
            operation, turned = _COMPARING[type(operator)]
            a, b = sides[index], sides[index + 1]
            one = self.graph.node(operation, *((b, a) if turned else (a, b)))
            result = one if result is None else self.graph.node("and", result, one)
        assert result is not None
        return result

    def _call(self, node: ast.Call) -> Node:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS:
            shown = ast.unparse(node.func)
            known = f"{near(shown, FUNCTIONS) or ';'} there are {', '.join(FUNCTIONS)}"
            self.text.refuse(node.func, f"unknown function {shown!r}{known}")
        operation, count = FUNCTIONS[name]
        if node.keywords or any(isinstance(each, ast.Starred) for each in node.args) or len(node.args) != count:
            given = len(node.args) + len(node.keywords)
            self.text.refuse(node, f"{name}() got {given} arguments or names, expected {count} by place")
        if name == "where":
            values = [self._condition(node.args[0]), *map(self._number, node.args[1:])]
        else:
            values = [self._number(each) for each in node.args]
        if operation in NUMBERS_ONLY and not all(value.number for value in values):
            self.text.refuse(
                node, f"{name} of an element, expected one of hypers, t and numbers alone: that is computed once a step"
            )
        return self.graph.node(operation, *values)


def _small_whole(exponent: Node) -> bool:
    return (
        exponent.operation == "literal"
        and exponent.value == int(exponent.value)
        and 1 <= exponent.value <= LARGEST_POWER
    )


def _kind(node: ast.AST) -> str:
    """What a node of the grammar is called."""
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()
    named = {"expr": "an expression that is assigned to nothing", "if": "an if", "for": "a loop", "while": "a loop"}
    return named.get(words, f"a {words}")


assert set(COMPARISONS) >= {operation for operation, _ in _COMPARING.values()}
