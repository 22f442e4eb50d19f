"""The table of bad constructions and settings: parameters, hypers and keywords to be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import schuss
from bad_steps import Alien, Row, World, frozen, swapped
from helpers import CLASSES, RULES
from oracles import defaults


def made(params: Any, cls: str = "AdamW", **keywords: Any) -> Callable[[World], Any]:
    return lambda at: getattr(schuss, cls)(params(at) if callable(params) else params, **keywords)


def good(at: World) -> Any:
    return at.params


MAKING = [
    Row("empty dict", made({}), ValueError, ("params",)),
    Row("empty list", made([]), ValueError, ("params",)),
    Row("nested and still empty", made({"a": {}, "b": []}), ValueError, ("params",)),
    Row("None for parameters", made(None), TypeError, ("params", "None")),
    Row("None for a leaf", made({"w": None}), TypeError, ("params['w']", "None")),
    Row("number for a leaf", made({"w": 1.0}), TypeError, ("params['w']", "float", "array")),
    Row("string for a leaf", made({"w": "x"}), TypeError, ("params['w']", "str", "array")),
    Row("list of numbers", made({"w": [1.0, 2.0]}), TypeError, ("params['w'][0]", "float", "array")),
    Row("a set", made({"w": {1, 2}}), TypeError, ("params['w']", "set")),
    Row("alien leaf", made({"w": Alien()}), TypeError, ("params['w']", "Alien", "array")),
    Row("integer array", made({"w": np.ones(3, int)}), TypeError, ("params['w']", "int", "float")),
    Row(
        "complex array",
        made({"w": np.ones(3, np.complex64)}),
        TypeError,
        ("params['w']", "complex64", "float"),
    ),
    Row(
        "array of objects",
        made({"w": np.array([1.0, None], object)}),
        TypeError,
        ("params['w']", "object", "float"),
    ),
    Row(
        "structured array",
        made({"w": np.zeros(3, [("x", float)])}),
        TypeError,
        ("params['w']", "float"),
    ),
    Row("byte-swapped array", made({"w": swapped(np.ones(3))}), TypeError, ("params['w']", "byte")),
    Row("array of dates", made({"w": np.zeros(3, "M8[s]")}), TypeError, ("params['w']", "float")),
    Row("NumPy scalar", made({"w": np.float64(1.0)}), TypeError, ("params['w']", "float64", "array")),
    Row(
        "read-only array",
        made({"a": {"w": frozen(np.ones(3))}}),
        ValueError,
        ("params['a']['w']", "read-only"),
    ),
    Row(
        "overlapping views",
        made(lambda at: {"a": at.params["head"][0][:4], "b": at.params["head"][0][1:]}),
        ValueError,
        ("params['a']", "params['b']", "overlap"),
    ),
    Row(
        "masked array",
        made({"w": np.ma.masked_less(np.arange(3.0), 1.0)}),
        TypeError,
        ("params['w']", "MaskedArray"),
    ),
    Row(
        "the good leaf beside the bad one",
        made(lambda at: {"good": at.params["head"][0], "bad": np.ones(2, int)}),
        TypeError,
        ("params['bad']", "int"),
    ),
    Row(
        "unknown hyper",
        made(good, "Adam", beta3=0.5),
        TypeError,
        (
            "Adam() got an unknown hyper 'beta3'",
            "it takes lr, beta1, beta2, eps, eps_root, weight_decay, amsgrad",
        ),
    ),
    Row("hyper of another rule", made(good, "SGD", beta1=0.9), TypeError, ("SGD()", "'beta1'")),
    Row("betas as torch has them", made(good, "AdamW", betas=(0.9, 0.9)), TypeError, ("'betas'",)),
    Row("lr is a string", made(good, lr="0.1"), TypeError, ("AdamW()", "lr", "'0.1'", "number")),
    Row("lr is None", made(good, lr=None), TypeError, ("lr", "None", "number")),
    Row("lr is a list", made(good, lr=[0.1]), TypeError, ("lr", "list", "number")),
    Row("lr is an array", made(good, lr=np.ones(2)), TypeError, ("lr", "ndarray", "number")),
    Row("lr is complex", made(good, lr=1j), TypeError, ("lr", "complex", "number")),
    Row(
        "nesterov needs momentum",
        made(good, "SGD", nesterov=True),
        ValueError,
        ("nesterov", "momentum"),
    ),
    Row(
        "nesterov takes no dampening",
        made(good, "SGD", nesterov=True, momentum=0.9, dampening=0.1),
        ValueError,
        ("nesterov", "dampening"),
    ),
    Row("amsgrad is a number", made(good, amsgrad=0.5), ValueError, ("amsgrad", "0.5")),
    Row("amsgrad is a string", made(good, amsgrad="yes"), TypeError, ("amsgrad", "'yes'")),
    Row("amsgrad is a schedule", made(good, amsgrad=lambda step: True), TypeError, ("amsgrad",)),
    Row("negative clip", made(good, clip=-1.0), ValueError, ("clip", "-1", "above 0")),
    Row("clip of zero", made(good, clip=0), ValueError, ("clip", "0", "above 0")),
    Row("NaN clip", made(good, clip=float("nan")), ValueError, ("clip", "nan")),
    Row("clip is a string", made(good, clip="1.0"), TypeError, ("clip", "'1.0'")),
    Row("clip is True", made(good, clip=True), TypeError, ("clip", "True")),
    Row(
        "nonfinite is a word nobody knows",
        made(good, nonfinite="ignore"),
        ValueError,
        ("nonfinite", "'ignore'", "'skip'", "'raise'", "'apply'"),
    ),
    Row("nonfinite is None", made(good, nonfinite=None), ValueError, ("nonfinite", "None")),
    Row("accumulate zero", made(good, accumulate=0), ValueError, ("accumulate", "0", "1 or more")),
    Row("accumulate minus one", made(good, accumulate=-1), ValueError, ("accumulate", "-1")),
    Row("accumulate a half", made(good, accumulate=1.5), TypeError, ("accumulate", "1.5")),
    Row("accumulate a string", made(good, accumulate="2"), TypeError, ("accumulate", "'2'")),
    Row("scaler is a number", made(good, scaler=65536.0), TypeError, ("scaler", "LossScaler")),
    Row(
        "raising where a scaler looks for overflow",
        made(good, nonfinite="raise", scaler=schuss.LossScaler()),
        ValueError,
        ("nonfinite", "'skip'", "scaler"),
    ),
    Row(
        "group without params",
        made(lambda at: [{"params": at.params, "lr": 0.1}, {"lr": 0.1}]),
        ValueError,
        ("[1]", "params"),
    ),
    Row(
        "group with an unknown hyper",
        made(lambda at: [{"params": at.params, "beta3": 0.5}]),
        TypeError,
        ("'beta3'", "beta1"),
    ),
    Row(
        "group with a bad hyper",
        made(lambda at: [{"params": at.params, "beta1": 1.5}]),
        ValueError,
        ("beta1", "1.5", "[0, 1)"),
    ),
    Row(
        "a textbook form's unknown hyper",
        lambda at: CLASSES["rmsprop"].textbook(at.params, gamma=0.5),
        TypeError,
        ("'gamma'",),
    ),
    Row(
        "negative limit by value",
        lambda at: schuss.clipping.by_value(at.params, -1.0),
        ValueError,
        ("limit", "-1"),
    ),
    Row(
        "negative norm",
        lambda at: schuss.clipping.by_global_norm(at.params, -1.0),
        ValueError,
        ("max_norm", "-1"),
    ),
    Row(
        "NaN norm",
        lambda at: schuss.clipping.by_leaf_norm(at.params, float("nan")),
        ValueError,
        ("max_norm", "nan"),
    ),
    Row(
        "clip of a negative norm",
        made(good, clip=schuss.clipping.GlobalNorm(-2.0)),
        ValueError,
        ("clip", "max_norm", "-2"),
    ),
    Row(
        "clipping what cannot be written",
        lambda at: schuss.clipping.by_global_norm([at.params["head"][0], frozen(np.ones(2))], 1e-3),
        ValueError,
        ("grads[1]", "read-only"),
    ),
    Row(
        "norm of integers",
        lambda at: schuss.clipping.global_norm([np.ones(2), np.ones(2, int)]),
        TypeError,
        ("grads[1]", "int"),
    ),
    Row("no threads", lambda at: schuss.set_num_threads(0), ValueError, ("threads", "0")),
    Row("threads in words", lambda at: schuss.set_num_threads(cast(Any, "two")), TypeError, ("str",)),
]


NAMED_HYPERS = [
    (rule, hyper) for rule in RULES for hyper, value in defaults(rule).items() if not isinstance(value, bool)
]
EXPECTED = {"unit": "[0, 1)", "real": "finite", "nonnegative": "0 or more"}

for _rule, _hyper in NAMED_HYPERS:
    _name = CLASSES[_rule].__name__
    _range = next(each.range for each in schuss.rules()[_rule].hypers if each.name == _hyper)
    for _value in [float("nan"), float("inf"), -0.5, 1.0, 1.5]:
        if (_value >= 1 and np.isfinite(_value) and _range != "unit") or (_value == -0.5 and _range == "real"):
            continue  # those values are good
        MAKING.append(
            Row(
                f"{_name} {_hyper}={_value}",
                made(good, _name, **{_hyper: _value}),
                ValueError,
                (f"{_name}()", _hyper, f"{_value:g}", EXPECTED[_range]),
            )
        )
    MAKING.append(
        Row(
            f"{_name} {_hyper} is a string",
            made(good, _name, **{_hyper: "much"}),
            TypeError,
            (f"{_name}()", _hyper, "'much'", "number"),
        )
    )
