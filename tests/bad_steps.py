"""The table of bad steps: what is called on a good optimizer, and how it must be refused.

A row gives the call, the error's type, and what its message must say: the leaf or hyper, what it
is, and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import schuss
from helpers import normal, snapshot


@dataclass
class World:
    """Parameters, and an optimizer that has made a step: slots and clock hold something."""

    params: dict[str, Any] = field(
        default_factory=lambda: {
            "encoder": {"w": normal(1, (4, 3)), "b": normal(2, 3, np.float32)},
            "head": [normal(3, 5), normal(4, (2, 2))],
        }
    )

    def __post_init__(self) -> None:
        self.opt = schuss.AdamW(self.params, clip=1.0)
        self.opt.step(self.grads())

    def grads(self, **changed: Any) -> Any:
        """Good gradients, but for the leaves given as encoder_w, encoder_b, head_0, head_1."""
        return {
            "encoder": {
                "w": changed.get("encoder_w", np.ones((4, 3))),
                "b": changed.get("encoder_b", np.ones(3, np.float32)),
            },
            "head": [changed.get("head_0", np.ones(5)), changed.get("head_1", np.ones((2, 2)))],
        }


@dataclass
class Row:
    name: str
    call: Callable[[World], Any]
    error: type[Exception]
    says: tuple[str, ...]


def without(nest: dict[str, Any], *path: str) -> dict[str, Any]:
    inner = nest
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return nest


def extended(nest: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**nest, key: value}


class Alien:
    """Nothing that anybody could take for an array."""

    def __repr__(self) -> str:
        return "Alien()"


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder())


STEPS = [
    Row(
        "gradient of another shape",
        lambda at: at.opt.step(at.grads(encoder_w=np.ones((3, 4)))),
        ValueError,
        ("grads['encoder']['w']", "shape (3, 4)", "expected (4, 3)"),
    ),
    Row(
        "gradient of as many elements in another shape",
        lambda at: at.opt.step(at.grads(encoder_w=np.ones(12))),
        ValueError,
        ("grads['encoder']['w']", "(12,)", "(4, 3)"),
    ),
    Row(
        "gradient with one dimension too many",
        lambda at: at.opt.step(at.grads(head_0=np.ones((1, 5)))),
        ValueError,
        ("grads['head'][0]", "(1, 5)", "(5,)"),
    ),
    Row(
        "the last leaf is the bad one",
        lambda at: at.opt.step(at.grads(head_1=np.ones((2, 3)))),
        ValueError,
        ("grads['head'][1]", "(2, 3)", "(2, 2)"),
    ),
    Row(
        "integer gradient",
        lambda at: at.opt.step(at.grads(head_0=np.ones(5, np.int64))),
        TypeError,
        ("grads['head'][0]", "int64", "float"),
    ),
    Row(
        "boolean gradient",
        lambda at: at.opt.step(at.grads(head_0=np.ones(5, bool))),
        TypeError,
        ("grads['head'][0]", "bool", "float"),
    ),
    Row(
        "complex gradient",
        lambda at: at.opt.step(at.grads(encoder_w=np.ones((4, 3), complex))),
        TypeError,
        ("grads['encoder']['w']", "complex128", "float"),
    ),
    Row(
        "gradient of objects",
        lambda at: at.opt.step(at.grads(encoder_w=np.full((4, 3), None))),
        TypeError,
        ("grads['encoder']['w']", "object", "float"),
    ),
    Row(
        "gradient of strings",
        lambda at: at.opt.step(at.grads(head_0=np.array(["a"] * 5))),
        TypeError,
        ("grads['head'][0]", "float"),
    ),
    Row(
        "long double gradient",
        lambda at: at.opt.step(at.grads(head_0=np.ones(5, np.longdouble))),
        TypeError,
        ("grads['head'][0]", np.dtype(np.longdouble).name, "float64"),
    ),
    Row(
        "byte-swapped gradient",
        lambda at: at.opt.step(at.grads(head_0=swapped(np.ones(5)))),
        TypeError,
        ("grads['head'][0]", "byte"),
    ),
    Row(
        "missing leaf",
        lambda at: at.opt.step(without(at.grads(), "encoder", "b")),
        ValueError,
        ("grads['encoder']", "b"),
    ),
    Row(
        "missing branch",
        lambda at: at.opt.step(without(at.grads(), "head")),
        ValueError,
        ("grads", "head"),
    ),
    Row(
        "extra leaf",
        lambda at: at.opt.step(extended(at.grads(), "decoder", np.ones(2))),
        ValueError,
        ("grads", "decoder"),
    ),
    Row(
        "list too short",
        lambda at: at.opt.step({**at.grads(), "head": [np.ones(5)]}),
        ValueError,
        ("grads['head']", "1", "2"),
    ),
    Row(
        "list too long",
        lambda at: at.opt.step({**at.grads(), "head": [np.ones(5), np.ones((2, 2)), np.ones(1)]}),
        ValueError,
        ("grads['head']", "3", "2"),
    ),
    Row(
        "list where a dict is",
        lambda at: at.opt.step({**at.grads(), "encoder": [np.ones((4, 3)), np.ones(3)]}),
        TypeError,
        ("grads['encoder']", "list", "dict"),
    ),
    Row(
        "dict where a list is",
        lambda at: at.opt.step({**at.grads(), "head": {0: np.ones(5), 1: np.ones((2, 2))}}),
        TypeError,
        ("grads['head']", "dict", "list"),
    ),
    Row(
        "array where a dict is",
        lambda at: at.opt.step(np.ones(3)),
        TypeError,
        ("grads", "ndarray", "dict"),
    ),
    Row(
        "dict where an array is",
        lambda at: at.opt.step(at.grads(head_0={"x": np.ones(5)})),
        TypeError,
        ("grads['head'][0]", "dict", "array"),
    ),
    Row(
        "list of numbers where an array is",
        lambda at: at.opt.step(at.grads(head_0=[1.0] * 5)),
        TypeError,
        ("grads['head'][0]", "list", "array"),
    ),
    Row(
        "number where an array is",
        lambda at: at.opt.step(at.grads(head_0=1.0)),
        TypeError,
        ("grads['head'][0]", "float", "array"),
    ),
    Row(
        "string where an array is",
        lambda at: at.opt.step(at.grads(head_0="ones")),
        TypeError,
        ("grads['head'][0]", "str", "array"),
    ),
    Row(
        "anything else where an array is",
        lambda at: at.opt.step(at.grads(head_0=Alien())),
        TypeError,
        ("grads['head'][0]", "Alien", "array"),
    ),
    Row("no gradients at all", lambda at: at.opt.step(None), TypeError, ("grads", "None", "dict")),
    Row(
        "setting a negative rate",
        lambda at: at.opt.groups[0].__setitem__("lr", -0.1),
        ValueError,
        ("lr", "-0.1", "0 or more"),
    ),
    Row(
        "setting beta1 to one",
        lambda at: at.opt.groups[0].__setitem__("beta1", 1.0),
        ValueError,
        ("beta1", "1", "[0, 1)"),
    ),
    Row(
        "freezing a name that is not there",
        lambda at: at.opt.freeze("decoder"),
        ValueError,
        ("decoder", "encoder"),
    ),
    Row(
        "state of another rule",
        lambda at: at.opt.load_state_dict(schuss.SGD(World().params, momentum=0.9).state_dict()),
        ValueError,
        ("sgd", "adamw"),
    ),
    Row(
        "state that is no state",
        lambda at: at.opt.load_state_dict({"weights": 3}),
        ValueError,
        ("state", "rule"),
    ),
    Row(
        "state that is no dict",
        lambda at: at.opt.load_state_dict(cast(Any, [1, 2])),
        TypeError,
        ("list", "dict"),
    ),
]


def schedule_gives(value: Any) -> Callable[[World], Any]:
    """A schedule that turns bad at the second step."""

    def call(at: World) -> None:
        at.opt.groups[0]["lr"] = lambda step: 0.1 if step == 0 else value
        at.before = snapshot(at.opt, at.params)  # type: ignore[attr-defined]
        at.opt.step(at.grads())

    return call


SCHEDULES = [
    Row("a schedule gives NaN", schedule_gives(float("nan")), ValueError, ("lr", "step 1", "nan")),
    Row("a schedule gives less than nothing", schedule_gives(-1.0), ValueError, ("lr", "-1")),
    Row("a schedule gives a string", schedule_gives("0.1"), TypeError, ("lr", "str", "number")),
    Row("a schedule gives nothing", schedule_gives(None), TypeError, ("lr", "None", "number")),
]
