"""Signatures and docstrings, made from the catalog's facts. Imports nothing: the build uses it too."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMON = """\
clip : float or schuss.clipping.GlobalNorm, LeafNorm or Value, optional
    How gradients are clipped; a number is a largest global norm.
nonfinite : {"skip", "raise", "apply"}, default "skip"
    What becomes of a step whose gradient norm was computed and is not finite; ``"raise"`` has it computed.
accumulate : int, default 1
    Micro-gradients a real step: their mean is applied at every `accumulate`-th call.
scaler : schuss.LossScaler, optional
    Gradients come scaled by it; a step that overflowed is skipped.
grad_norm : bool, default False
    Report the gradient norm even where nothing else needs it.
slots : {"float32", "bfloat16", "8bit"}, default "float32"
    How slots are stored; float64 parameters keep theirs in float64, leaves below 4,096 elements theirs out of 8 bits.
rounding : {"nearest", "stochastic"}, default "nearest"
    How bfloat16 and float16 parameters are rounded when they are stored.
seed : int, default 0
    Of stochastic rounding.
master : bool, default False
    Keep bfloat16 and float16 parameters in float32 too, as ``state[…]["master"]``.
decay : callable or collection of str, optional
    Which leaves decay, where the rule has ``weight_decay``: ``lambda name, leaf: leaf.ndim > 1``, or the names, or
    prefixes of names, of those that do.
lr_scale : callable or dict of str to float, optional
    A factor on ``lr`` for each leaf: ``lambda name, leaf: 0.5``, or by name or prefix, of which the longest holds."""

COMMON_SIGNATURE = (
    ("clip", "ClipLike", "None"),
    ("nonfinite", 'Literal["skip", "raise", "apply"]', '"skip"'),
    ("accumulate", "int", "1"),
    ("scaler", "LossScaler | None", "None"),
    ("grad_norm", "bool", "False"),
    ("slots", 'Literal["float32", "bfloat16", "8bit"]', '"float32"'),
    ("rounding", 'Literal["nearest", "stochastic"]', '"nearest"'),
    ("seed", "int", "0"),
    ("master", "bool", "False"),
    ("decay", "Decay", "None"),
    ("lr_scale", "LrScale", "None"),
)

RANGES = {"real": "", "nonnegative": ", 0 or more", "unit": ", in [0, 1)", "flag": ""}


def default(hyper: "dict[str, Any]") -> str:
    """The default as a Python literal."""
    if hyper["range"] == "flag":
        return str(bool(hyper["default"]))
    value = hyper["default"]
    return repr(int(value)) if value == int(value) else repr(value)


def form(rule: "dict[str, Any]", text: str) -> "dict[str, float | bool]":
    """The defaults of a named form: ``"lr=0.001 eps=0"`` as a dict."""
    flags = {hyper["name"] for hyper in rule["hypers"] if hyper["range"] == "flag"}
    pairs = (pair.split("=") for pair in text.split())
    return {name: bool(float(value)) if name in flags else float(value) for name, value in pairs}


def _hypers(rule: "dict[str, Any]", defaults: "dict[str, float | bool] | None" = None) -> "list[str]":
    lines = []
    for hyper in rule["hypers"]:
        kind = "bool" if hyper["range"] == "flag" else "float, schedule or callable"
        value = default(hyper) if defaults is None else f"{defaults.get(hyper['name'], default(hyper))!s}"
        meaning = _sentence(hyper["doc"] + RANGES[hyper["range"]])
        lines += [f"{hyper['name']} : {kind}, default {value}", f"    {meaning}"]
    return lines


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _slots(rule: "dict[str, Any]") -> str:
    kept = {True: "", False: " Kept only where the hypers need it."}
    lines = [f"{slot['name']}\n    {_sentence(slot['doc'])}{kept[bool(slot['always'])]}" for slot in rule["slots"]]
    lines += [f"{scalar['name']}\n    {_sentence(scalar['doc'])} A number in float64." for scalar in rule["scalars"]]
    return "\n".join(lines)


def class_doc(rule: "dict[str, Any]") -> str:
    """The docstring of an optimizer class."""
    return f"""{_about(rule)}

Examples
--------
>>> import numpy as np, schuss
>>> params = {{"w": np.ones(3, np.float32)}}
>>> opt = schuss.{rule["name"]}(params, lr=0.1)
>>> grads = {{"w": np.array([1, 0, -1], np.float32)}}
>>> [opt.step(grads).step for _ in range(2)]
[1, 2]
>>> bool(params["w"][0] < params["w"][1] < params["w"][2])
True
"""


def own_class_doc(rule: "dict[str, Any]", text: str) -> str:
    """The docstring of the class of a user's own rule."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{_about(rule)}\n\nThe rule::\n\n" + "".join(f"    {line}\n" for line in lines)


def _about(rule: "dict[str, Any]") -> str:
    parameters = "\n".join(
        [
            "params : array, nested dict, list or tuple of arrays, or list of groups",
            "    Updated in place. A group is a dict with ``params`` and hypers of its own.",
            *_hypers(rule),
            COMMON,
        ]
    )
    slots = f"\n\nSlots\n-----\n{_slots(rule)}" if rule["slots"] or rule["scalars"] else ""
    forms = "".join(f"\n\nAlso: ``{rule['name']}.{one['name']}``, {one['doc']}." for one in rule["forms"])
    return f"""{_sentence(rule["summary"])}

Parameters
----------
{parameters}{slots}{forms}

Raises
------
TypeError, ValueError
    Naming the leaf or hyper, what it is and what was expected, before anything is written.

References
----------
{rule["paper"]}."""


def form_doc(rule: "dict[str, Any]", one: "dict[str, Any]") -> str:
    """The docstring of a named form."""
    hypers = "\n".join(_hypers(rule, form(rule, one["hypers"])))
    return f"""{rule["name"]} with {one["doc"]}.

Parameters
----------
params : as for `{rule["name"]}`
{hypers}
**common
    As for `{rule["name"]}`.

Examples
--------
>>> import numpy as np, schuss
>>> w = np.ones(2)
>>> opt = schuss.{rule["name"]}.{one["name"]}(w)
>>> info = opt.step(np.ones(2))
>>> bool((w < 1).all())
True
"""


def function_doc(rule: "dict[str, Any]") -> str:
    """The docstring of a plain function."""
    held = [*(slot for slot in rule["slots"] if slot["always"]), *rule["scalars"]]
    names = ", ".join(["p", "g", *(one["name"] for one in held)])
    slots = "".join(
        f"\n{slot['name']} : array{'' if slot['always'] else ', optional'}\n    {_sentence(slot['doc'])} "
        "Written in place; float64 where p is, else float32; in C order."
        for slot in rule["slots"]
    )
    slots += "".join(
        f"\n{scalar['name']} : array\n    {_sentence(scalar['doc'])} Written in place; float64, without dimensions."
        for scalar in rule["scalars"]
    )
    state = ", ".join(
        ["np.zeros(2)" for slot in rule["slots"] if slot["always"]] + ["np.zeros(())"] * len(rule["scalars"])
    )
    return f"""One step of {rule["name"]} on one array, in place.

Parameters
----------
p : array
    Parameter, written in place.
g : array
    Its gradient, of the same shape.{slots}
step : int, default 1
    The count of steps, this one included.
{chr(10).join(_hypers(rule))}

References
----------
{rule["paper"]}.

Examples
--------
>>> import numpy as np, schuss
>>> p, g = np.ones(2), np.ones(2)
>>> {names} = p, g{", " + state if state else ""}
>>> for step in (1, 2):
...     schuss.ops.{rule["function"]}({names}, step=step, lr=0.1)
>>> bool((p < 1).all())
True
"""
