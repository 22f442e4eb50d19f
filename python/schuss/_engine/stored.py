"""How an optimizer is told to store slots and parameters, and what that weighs."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from schuss import _core
from schuss._engine.catalog import Rule

SLOTS = ("float32", "bfloat16", "8bit")
ROUNDING = ("nearest", "stochastic")
_BLOCK = 256  # elements that share a scale
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "8bit": 1}


def read_storing(slots: Any, rounding: Any, seed: Any, master: Any) -> dict[str, Any]:
    """The keywords as the core takes them; an error that names the one it cannot."""
    for name, value, expected in (("slots", slots, SLOTS), ("rounding", rounding, ROUNDING)):
        if value not in expected:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, expected))}")
    try:
        if isinstance(seed, (bool, np.bool_)):
            raise TypeError
        number = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed is {seed!r} ({type(seed).__name__}), expected a whole number") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"seed is {number}, expected 0 or more, below 2^64")
    if not isinstance(master, (bool, np.bool_)):
        raise TypeError(f"master is {master!r} ({type(master).__name__}), expected True or False")
    return {"slots": slots, "stochastic": rounding == "stochastic", "seed": number, "master": bool(master)}


def expected_arrays(rule: Rule, session: _core.Session, leaf: int, kept: list[str]) -> dict[str, tuple[str, Any]]:
    """Type and shape of every array that the state of a leaf has, by name."""
    shape = tuple(session.shape(leaf))
    arrays: dict[str, tuple[str, Any]] = {}
    for name in kept:
        stored = session.slot_format(leaf, name)
        arrays[name] = ("uint8" if stored == "8bit" else stored, shape)
        if stored == "8bit":
            arrays[name + ".scale"] = ("float32", (-(-int(np.prod(shape, dtype=np.int64)) // _BLOCK),))
    arrays |= {scalar.name: ("float64", ()) for scalar in rule.scalars}
    if session.has_master(leaf):
        arrays["master"] = ("float32", shape)
    return arrays


def check_storing(name: str, slots: dict[str, Any], expected: dict[str, tuple[str, Any]]) -> None:
    """Refuse a state whose slots are stored in another way than the optimizer's, or that has or lacks a master."""
    for slot, (dtype, _) in expected.items():
        own = "8bit" if slot + ".scale" in expected else dtype
        array = slots.get(slot)
        if slot.endswith(".scale") or slot == "master" or not isinstance(array, np.ndarray):
            continue
        saved = "8bit" if slot + ".scale" in slots else str(array.dtype)
        if saved != own and {saved, own} & {"8bit", "bfloat16"}:
            raise TypeError(
                f"{name}: slot {slot} is stored as {saved} in the state, expected {own}; "
                f"make the optimizer with the slots= it was saved with"
            )
    for have, lack, words in ((slots, expected, "has"), (expected, slots, "lacks")):
        if "master" in have and "master" not in lack:
            raise ValueError(
                f"{name}: the state {words} a float32 master; make the optimizer with the master= it was saved with"
            )


def slot_bytes(session: _core.Session, leaf: int, slot: str, count: int) -> int:
    """Bytes of a slot that is kept, of so many elements."""
    stored = session.slot_format(leaf, slot)
    return _BYTES[stored] * count + (4 * -(-count // _BLOCK) if stored == "8bit" else 0)
