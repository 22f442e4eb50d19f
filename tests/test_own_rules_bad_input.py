"""What is wrong with a rule's text is said when the rule is made, with its place; nothing waits for the first step."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import schuss
from schuss import _core

HYPERS = {"lr": 0.1, "beta": 0.9}
SLOTS = {"m": 0.0}
GOOD = "m = beta * m + g\np = p - lr * m"


def refusal(text: str, hypers: dict[str, Any] | None = None, slots: dict[str, Any] | None = None) -> str:
    given_hypers = HYPERS if hypers is None else hypers
    given_slots = SLOTS if slots is None else slots
    with pytest.raises(ValueError, match=r"^rule 'Wrong'") as caught:
        schuss.rule("Wrong", text, hypers=given_hypers, slots=given_slots)
    return str(caught.value)


# A text, the part of it that is marked, and what the message says beside its place.
WRONG = {
    "unknown name": (
        "m = betta * m + g\np = p - lr * m * beta",
        "betta",
        "line 1, column 5: unknown name 'betta'; did you mean 'beta'? there are lr, beta, m, p, g, t",
    ),
    "a name of nothing near": ("m = g\np = p - lr * beta * xyz", "xyz", "unknown name 'xyz'; there are lr"),
    "a hyper assigned": (f"lr = lr / 2\n{GOOD}", "lr", "line 1, column 1: 'lr' is a hyper, which a step cannot change"),
    "g assigned": (f"{GOOD}\ng = 2 * g", "g", "line 3, column 1: 'g' is the gradient"),
    "g scaled in place": (f"{GOOD}\ng *= 2", "g", "'g' is the gradient"),
    "t assigned": (f"t = 1\n{GOOD}", "t", "'t' is the count of steps"),
    "a function assigned": (f"sqrt = 1\n{GOOD}", "sqrt", "'sqrt' is a function"),
    "syntax": (
        "m = beta * m + g\np = p - lr * (m",
        "(",
        "line 2, column 14: '(' was never closed, expected",
    ),
    "read before assigned": (
        "m = beta * u + g\nu = m\np = p - lr * u",
        "u",
        "line 1, column 12: 'u' is read before it is assigned; what lasts from step to step is a slot",
    ),
    "a cycle": ("u = w\nw = u\nm = g\np = p - lr * beta * w", "w", "'w' is read before it is assigned"),
    "exp of an element": (
        "m = beta * m + exp(g)\np = p - lr * m",
        "exp(g)",
        "line 1, column 16: exp of an element, expected one of hypers, t and numbers alone",
    ),
    "log of a slot": ("m = g\nm = log(beta + m)\np = p - lr * m", "log(beta + m)", "log of an element"),
    "a power by a hyper": ("m = g ** beta\np = p - lr * m", "g ** beta", "a power of an element, expected a whole"),
    "a root as power": ("m = g ** 0.5\np = p - lr * beta * m", "g ** 0.5", "written out (the root is sqrt(x))"),
    "a large power": ("m = g ** 9\np = p - lr * beta * m", "g ** 9", "expected a whole exponent from 2 to 8"),
    "p never assigned": (
        "m = beta * m + lr * g",
        "m = beta * m + lr * g",
        "p is never assigned, expected",
    ),
    "a slot never assigned": ("p = p - lr * beta * m * g", None, "slot 'm' is never assigned, expected its new value"),
    "a hyper never read": ("m = g\np = p - lr * m", None, "hyper 'beta' is never read; use it, or take it out"),
    "a name never read": (
        f"mm = beta * m + g\n{GOOD}",
        "mm",
        "line 1, column 1: 'mm' is assigned and never read; a slot is named in slots=; did you mean 'm'?",
    ),
    "a value never read": (f"u = g\nu = p\n{GOOD} * u", "u", "line 1, column 1: 'u' is assigned and never read"),
    "an unknown function": ("m = sqr(g)\np = p - lr * beta * m", "sqr", "unknown function 'sqr'; did you mean 'sqrt'?"),
    "a method": ("m = np.sqrt(g)\np = p - lr * beta * m", "np.sqrt", "unknown function 'np.sqrt'"),
    "arguments": ("m = max(g)\np = p - lr * beta * m", "max(g)", "max() got 1 arguments or names, expected 2 by place"),
    "a keyword": ("m = sqrt(x=g)\np = p - lr * beta * m", "sqrt(x=g)", "sqrt() got 1 arguments or names"),
    "a function without call": ("m = sqrt\np = p - lr * beta * m", "sqrt", "'sqrt' is a function, expected sqrt(…)"),
    "a condition as number": ("m = 2 * (g > 0)\np = p - lr * beta * m", "g > 0", "a condition among numbers"),
    "a condition kept": ("m = g > 0\np = p - lr * beta * m", "m = g > 0", "'m' would be a condition"),
    "a number as condition": ("m = where(g, 1, 2)\np = p - lr * beta * m", "g", "a number, expected a condition"),
    "a number in and": ("m = where(g and p > 0, 1, 2)\np = p - lr * beta * m", "g", "a number, expected a condition"),
    "an if expression": (
        "m = 1 if g > 0 else 2\np = p - lr * beta * m",
        "1 if g > 0 else 2",
        "expected where(condition, a, b)",
    ),
    "an if": (f"{GOOD}\nif g > 0: p = g", "if g > 0: p = g", "an if, expected an assignment"),
    "a loop": (f"{GOOD}\nfor i in p: p = g", "for i in p: p = g", "a loop, expected an assignment"),
    "an import": (f"import os\n{GOOD}", "import os", "a import, expected an assignment"),
    "nothing assigned": (f"{GOOD}\np + g", "p + g", "an expression that is assigned to nothing"),
    "two at once": ("m, p = g, g * lr * beta", "m, p", "a tuple is assigned to, expected p, a slot or a name"),
    "an element of p": (f"{GOOD}\np[0] = g", "p[0]", "a subscript is assigned to"),
    "an attribute": ("m = g.T\np = p - lr * beta * m", "g.T", "a attribute, expected numbers, names, + - * / **"),
    "matrix product": ("m = g @ p\np = p - lr * beta * m", "g @ p", "expected one of + - * / **"),
    "a string": ("m = 'x'\np = p - lr * beta * m", "'x'", "'x' (str), expected a number"),
    "a truth": ("m = True * g\np = p - lr * beta * m", "True", "True (bool), expected a number"),
    "a large number": ("m = 1e999 * g\np = p - lr * beta * m", "1e999", "a number beyond what a double holds"),
    "zero below": ("m = g / 0\np = p - lr * beta * m", "0", "a division by zero"),
    "identity": ("m = where(g is p, 1, 2)\np = p - lr * beta * m", "g is p", "expected one of < <= > >= == !="),
    "after accents": ("ö = g; m = zz * ö\np = p - lr * beta * m", "zz", "line 1, column 12: unknown name 'zz'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_refused_with_its_place_marked(name: str) -> None:
    text, marked, said = WRONG[name]
    message = refusal(text)
    head, shown, mark = message.split("\n")
    assert said in head, message
    assert shown[4:] in text.splitlines()
    if marked is not None:
        assert shown[mark.index("^") : len(mark)] == marked, message
    assert set(mark) == {" ", "^"}


def test_an_indented_text_is_shown_as_it_stands() -> None:
    message = refusal("""
        m = beta * m + g
        p = p - lr * mm
    """)
    assert message.startswith("rule 'Wrong', line 3, column 22: unknown name 'mm'; did you mean 'm'?")
    assert message.endswith("\n    p = p - lr * mm\n                 ^^")


@pytest.mark.parametrize("text", ["", "  \n\n", "# nothing"])
def test_an_empty_text_is_refused(text: str) -> None:
    assert "the text is empty, expected assignments such as p = p - lr * g" in refusal(text)


@pytest.mark.parametrize("text", ["p = p - g\0", "p = " + "(" * 500 + "p" + ")" * 500, "p = " + "-" * 5000 + "p"])
def test_what_python_cannot_parse_is_refused(text: str) -> None:
    refusal(text, {}, {})


def test_what_is_too_large_is_refused() -> None:
    hypers = {f"h{i}": 0.5 for i in range(16)}
    many = "p = p - g" + "".join(f" * (g + {name})" for name in hypers)
    assert "16 numbers are computed from hypers and t for the elements, expected at most 15" in refusal(
        many, hypers, {}
    )
    held = "\n".join([f"a{i} = g * {i + 2}" for i in range(30)] + [f"b{i} = sqrt(a{i}) + p" for i in range(30)])
    held += "\np = " + " + ".join(f"b{i} * a{29 - i}" for i in range(30))
    assert "more than 24 values of an element are held at once" in refusal(held, {}, {})
    long = "\n".join(["p = sqrt(p) / g"] * 200)
    assert "400 instructions, expected at most 256" in refusal(long, {}, {})
    literals = "p = p" + "".join(f" + g / {i + 0.5}" for i in range(60))
    assert "60 literals, expected at most 49" in refusal(literals, {}, {})


NAMES = {
    "no str": (3, TypeError, "name is 3 (int), expected a str"),
    "a space": ("My rule", ValueError, "name is 'My rule', expected a name of letters"),
    "a keyword": ("class", ValueError, "name is 'class', expected a name"),
    "of the catalog": ("AdamW", ValueError, "name is 'AdamW', which is a rule of the catalog"),
    "its function": ("adamw", ValueError, "name is 'adamw', which is a rule of the catalog"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_wrong_name_is_refused(case: str) -> None:
    name, kind, said = NAMES[case]
    with pytest.raises(kind, match=re.escape(said)):
        schuss.rule(name, GOOD, hypers=HYPERS, slots=SLOTS)


FACTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "text": ({"text": 3}, TypeError, "text is 3 (int), expected the rule as a str"),
    "hypers": ({"hypers": ["lr"]}, TypeError, "hypers is ['lr'] (list), expected a dict of names to numbers"),
    "a hyper named p": ({"hypers": {"p": 1}}, ValueError, "a hyper is 'p', which has a meaning of its own"),
    "a hyper named clip": ({"hypers": {"clip": 1}}, ValueError, "a hyper is 'clip', which has a meaning of its own"),
    "a hyper named by a number": ({"hypers": {1: 1}}, TypeError, "a hyper is 1 (int), expected a str"),
    "a default": ({"hypers": {"lr": "x"}}, TypeError, "hypers['lr'] is 'x' (str), expected a number"),
    "an infinite default": ({"hypers": {"lr": float("inf")}}, ValueError, "hypers['lr'] is inf, expected a finite"),
    "a range": ({"hypers": {"lr": (1, "positive")}}, ValueError, "hypers['lr']: range is 'positive', expected one of"),
    "out of range": (
        {"hypers": {"lr": (1, "unit"), "beta": 0.5}},
        ValueError,
        "Wrong(): lr is 1, expected a number in [0, 1)",
    ),
    "parts": ({"hypers": {"lr": (1, "real", "x", 2)}}, ValueError, "hypers['lr'] has 4 parts, expected 1 to 3"),
    "a doc": ({"hypers": {"lr": (1, "real", 2)}}, TypeError, "hypers['lr']: doc is 2 (int), expected a str"),
    "a slot named g": ({"slots": {"g": 0}}, ValueError, "a slot is 'g', which has a meaning of its own"),
    "a slot's value": ({"slots": {"m": None}}, TypeError, "slots['m'] is None (NoneType), expected a number"),
    "five slots": ({"slots": dict.fromkeys("abcde", 0)}, ValueError, "slots has 5 slots, expected at most 4"),
    "both": ({"slots": {"lr": 0}}, ValueError, "'lr' is a hyper and a slot, expected one of them"),
    "paper": ({"paper": 2020}, TypeError, "paper is 2020 (int), expected a str"),
}


@pytest.mark.parametrize("case", FACTS)
def test_wrong_facts_are_refused(case: str) -> None:
    given, kind, said = FACTS[case]
    arguments: dict[str, Any] = {"text": GOOD, "hypers": HYPERS, "slots": SLOTS, **given}
    with pytest.raises(kind, match=re.escape(said)):
        schuss.rule("Wrong", **arguments)


def test_the_core_refuses_a_program_that_leads_nowhere() -> None:
    """The parser makes none; the core does not take its word for it."""
    good: dict[str, Any] = {
        **{"name": "Bad", "key": "", "summary": "", "paper": "", "hypers": [], "slots": [("m", 0.0, "")]},
        **{"steps": [], "numbers": [], "literals": [], "operations": (0, 0, 0, 0, 0)},
    }
    limits = _core.program_limits
    row_p, row_g, row_slots = limits["row_p"], limits["row_g"], limits["row_slots"]
    _core.OwnRule(**good, code=[[0, row_p, row_g, 0, 0, 0, 0, 0, 0]])
    wrong = {
        "an instruction writes where it must not": [0, row_g, row_p, 0, 0, 0, 0, 0, 0],
        "no such row": [0, row_p, row_slots + 1, 0, 0, 0, 0, 0, 0],
        "no such constant": [0, row_p, row_g, 0, 0, 0, 1, 0, 0],
        "no such instruction": [len(_core.instructions), row_p, row_g, 0, 0, 0, 0, 0, 0],
        "nine entries": [0, row_p],
        "from 0 to 255": [0, row_p, 256, 0, 0, 0, 0, 0, 0],
    }
    for said, instruction in wrong.items():
        with pytest.raises(ValueError, match=said):
            _core.OwnRule(**good, code=[instruction])
    with pytest.raises(ValueError, match="a number of a later step"):
        _core.OwnRule(**{**good, "steps": [(3, 1, 0, 0, 0.0)]}, code=[])
    with pytest.raises(ValueError, match="no such number"):
        _core.OwnRule(**{**good, "numbers": [0]}, code=[])


def test_a_refused_gradient_leaves_everything_alone() -> None:
    p = np.ones(3)
    opt = schuss.rule("Right", GOOD, hypers=HYPERS, slots=SLOTS)(p)
    with pytest.raises(ValueError, match=r"grads: shape \(2,\), expected \(3,\)"):
        opt.step(np.ones(2))
    assert p.tolist() == [1, 1, 1]
    assert opt.clock == 0
