"""Rules of the user's own: short text of scalar maths, made into a class like the others."""

from __future__ import annotations

import hashlib
import keyword
import sys
from collections.abc import Mapping
from typing import Any

from schuss import _core
from schuss._engine import wording
from schuss._engine.catalog import Rule, of_own, rules
from schuss._engine.classes import COMMON, make_class
from schuss._engine.optimizer import Optimizer
from schuss._engine.own import header, nodes, program, reading
from schuss._engine.own.refusal import Text

__all__ = ["rule"]

_TAKEN = {*COMMON, "params", "name", "frozen", "lookahead", "accumulator", "step", "self"}
_RANGES = tuple(wording.RANGES)


def rule(
    name: str,
    text: str,
    *,
    hypers: Mapping[str, Any] | None = None,
    slots: Mapping[str, Any] | None = None,
    summary: str = "",
    paper: str = "",
) -> type[Optimizer]:
    """Make an optimizer class from the text of an update rule; no compiler is needed.

    The text is assignments to ``p``, to slots and to names of its own, carried out in order for every element::

        m = beta * m + (1 - beta) * g
        p = p - lr * m

    It may read ``p``, ``g`` (after scaling and clipping), hypers, slots as the step before left them, and ``t``, the
    count of steps with this one; ``+ - * /``, whole powers from 2 to 8, ``sqrt abs sign min max``, comparisons with
    ``and or not``, and ``where(condition, a, b)``. What depends on hypers, ``t`` and numbers alone is found and
    computed once a step in double, where ``exp log cos`` and any ``**`` are allowed too, and then rounded once.

    Parameters
    ----------
    name : str
        Of the class.
    text : str
    hypers : dict of str to number or tuple, optional
        Each its default, or ``(default, range)`` or ``(default, range, doc)`` with a range of ``"real"`` (that of a
        bare number), ``"nonnegative"``, ``"unit"`` ([0, 1)) or ``"flag"``.
    slots : dict of str to number or tuple, optional
        State arrays beside the parameter: each its first value, or ``(first value, doc)``. At most 4.
    summary, paper : str, optional
        For its docstring.

    Returns
    -------
    type of Optimizer
        A class like ``schuss.AdamW``: groups, schedules, clipping, accumulation, loss scaling, checkpoints.

    Raises
    ------
    TypeError, ValueError
        For what the text or a setting has wrong, with its line and a mark under the place.

    Examples
    --------
    >>> import numpy as np, schuss
    >>> Heavy = schuss.rule("Heavy", "v = mu * v + g; p -= lr * v", hypers={"lr": 0.1, "mu": 0.5}, slots={"v": 0})
    >>> w = np.ones(2)
    >>> opt = Heavy(w, clip=10.0)
    >>> for _ in range(2):
    ...     info = opt.step(np.array([1.0, 2.0]))
    >>> w.round(3).tolist()
    [0.75, 0.5]
    """
    _check_name("name", name, set())
    if name in {known for one in rules().values() for known in (one.name, one.function)}:
        raise ValueError(f"name is {name!r}, which is a rule of the catalog; give yours another")
    if not isinstance(text, str):
        raise TypeError(f"text is {text!r} ({type(text).__name__}), expected the rule as a str")
    hyper_facts = [_hyper(key, value) for key, value in _pairs("hypers", hypers)]
    slot_facts = [_slot(key, value) for key, value in _pairs("slots", slots)]
    hyper_names, slot_names = [one[0] for one in hyper_facts], [one[0] for one in slot_facts]
    for both in set(hyper_names) & set(slot_names):
        raise ValueError(f"{both!r} is a hyper and a slot, expected one of them")
    most = _core.program_limits["slots"]
    if len(slot_names) > most:
        raise ValueError(f"slots has {len(slot_names)} slots, expected at most {most}")
    for what, value in (("summary", summary), ("paper", paper)):
        if not isinstance(value, str):
            raise TypeError(f"{what} is {value!r} ({type(value).__name__}), expected a str")
    graph = reading.read(Text(name, text), hyper_names, slot_names)
    made = program.compiled(name, graph.outputs, hyper_names, slot_names)
    written = nodes.written(graph.outputs)
    starts = ";".join(f"{one[0]}={one[1].hex()}" for one in sorted(slot_facts))
    digest = hashlib.sha256(f"{written}|{starts}|{sorted(hyper_names)}".encode()).hexdigest()[:32]
    key = f"{name}@{digest}"
    core = _core.OwnRule(
        name=name,
        key=key,
        summary=summary or f"{name}, a rule of your own",
        paper=paper or "A rule of your own",
        hypers=hyper_facts,
        slots=slot_facts,
        steps=made.steps,
        numbers=made.numbers,
        code=made.code,
        literals=made.literals,
        operations=made.operations,
    )
    struct = header.header(graph.outputs, slot_names, made.number_nodes)
    its: Rule = of_own(core.facts, core, key, digest, struct)
    caller = sys._getframe(1).f_globals.get("__name__", "__main__")
    return make_class(its, wording.own_class_doc(its.facts, text), caller)


def _pairs(what: str, given: Any) -> list[tuple[Any, Any]]:
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is {given!r} ({type(given).__name__}), expected a dict of names to numbers")
    return list(given.items())


def _check_name(what: str, name: Any, taken: set[str]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} is {name!r} ({type(name).__name__}), expected a str")
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii() or name.startswith("__"):
        raise ValueError(f"{what} is {name!r}, expected a name of letters, digits and _ that Python takes")
    if name in taken:
        raise ValueError(f"{what} is {name!r}, which has a meaning of its own; expected another name")


def _number(what: str, value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what} is {value!r} ({type(value).__name__}), expected a number") from None
    if number - number != 0:
        raise ValueError(f"{what} is {number}, expected a finite number")
    return number


def _parts(what: str, value: Any, most: int) -> tuple[Any, ...]:
    parts = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(parts) <= most:
        raise ValueError(f"{what} has {len(parts)} parts, expected 1 to {most}")
    return parts


def _hyper(name: Any, value: Any) -> tuple[str, float, str, str]:
    _check_name("a hyper", name, {*reading.RESERVED, *_TAKEN})
    what = f"hypers[{name!r}]"
    default, kind, doc = [*_parts(what, value, 3), "", ""][:3]
    if not kind:
        kind = "flag" if isinstance(default, bool) else "real"
    if kind not in _RANGES:
        raise ValueError(f"{what}: range is {kind!r}, expected one of {', '.join(map(repr, _RANGES))}")
    if not isinstance(doc, str):
        raise TypeError(f"{what}: doc is {doc!r} ({type(doc).__name__}), expected a str")
    return name, _number(what, default), kind, doc or f"the hyper {name}"


def _slot(name: Any, value: Any) -> tuple[str, float, str]:
    _check_name("a slot", name, {*reading.RESERVED, *_TAKEN})
    what = f"slots[{name!r}]"
    initial, doc = [*_parts(what, value, 2), ""][:2]
    if not isinstance(doc, str):
        raise TypeError(f"{what}: doc is {doc!r} ({type(doc).__name__}), expected a str")
    return name, _number(what, initial), doc or f"the slot {name}"
