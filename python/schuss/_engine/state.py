"""An optimizer's state as plain data, out and in; matched by name, checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss import _core
from schuss._engine.stored import check_storing, expected_arrays

if TYPE_CHECKING:
    from .optimizer import Optimizer

FORMAT = 1


def skeleton(tree: Any, sources: Iterator[int]) -> Any:
    """The nesting of the parameters, with a source's number in place of each array."""
    if isinstance(tree, dict):
        return {key: skeleton(value, sources) for key, value in tree.items()}
    if isinstance(tree, list):
        return [skeleton(value, sources) for value in tree]
    if isinstance(tree, tuple):
        return tuple(skeleton(value, sources) for value in tree)
    return next(sources)


def mirror(skeleton: Any, leaf: Callable[[int], Any]) -> Any:
    """The same nesting with `leaf(source)` in place of each number."""
    if isinstance(skeleton, dict):
        return {key: mirror(value, leaf) for key, value in skeleton.items()}
    if isinstance(skeleton, list):
        return [mirror(value, leaf) for value in skeleton]
    if isinstance(skeleton, tuple):
        return tuple(mirror(value, leaf) for value in skeleton)
    return leaf(skeleton)


def take(opt: Optimizer, copy: bool) -> dict[str, Any]:
    """The state of an optimizer; without `copy` its arrays are the optimizer's own."""
    session = opt._session
    given = _taken(session, copy)

    def leaf_state(leaf: int) -> dict[str, Any]:
        held = session.accumulated(leaf)
        return {
            "clock": session.clock(leaf),
            "frozen": session.frozen(leaf),
            "shape": session.shape(leaf),
            "slots": {name: given(array) for name, array in session.stored(leaf).items()},
            "accumulator": given(session.accumulator(leaf)) if held else None,
        } | ({"factors": factors} if (factors := named_factors(opt, leaf)) else {})

    return {
        "format": FORMAT,
        "rule": opt.rule.function,
        **({"digest": opt.rule.digest} if opt.rule.digest else {}),
        "clock": session.steps,
        "pending": session.pending,
        "groups": [
            {
                "name": group.name,
                "leaves": [opt.names[leaf] for leaf in group.leaves],
                "hypers": {name: _plain(group[name]) for name in group},
            }
            for group in opt.groups
        ],
        "leaves": {name: leaf_state(leaf) for leaf, name in enumerate(opt.names)},
        "scaler": None if opt.scaler is None else opt.scaler.state_dict(),
    }


def named_factors(opt: Optimizer, leaf: int) -> dict[str, float]:
    """What a leaf's hypers are multiplied by, where that is not 1."""
    factors = zip(opt.rule.hypers, opt._session.factors(leaf), strict=False)
    return {hyper.name: factor for hyper, factor in factors if factor != 1}


def put(opt: Optimizer, saved: dict[str, Any]) -> None:
    """Write a state into an optimizer, or raise with nothing written."""
    if not isinstance(saved, dict):
        raise TypeError(f"the state is a {type(saved).__name__}, expected a dict from state_dict()")
    lacking = [key for key in ("rule", "format", "clock", "pending", "groups", "leaves", "scaler") if key not in saved]
    if lacking:
        raise ValueError(f"the state lacks {', '.join(map(repr, lacking))}, expected a dict from state_dict()")
    if saved["rule"] != opt.rule.function:
        raise ValueError(f"the state is of rule {saved['rule']!r}, expected {opt.rule.function!r}")
    if saved.get("digest", "") != opt.rule.digest:
        raise ValueError(
            f"the state is of another text of the rule {opt.rule.function!r}; make the optimizer with the text it was "
            "saved with"
        )
    if saved["format"] != FORMAT:
        raise ValueError(f"the state has format {saved['format']!r}, expected {FORMAT}")
    _check_counts(saved)
    _same_names("leaf", opt.names, list(saved["leaves"]))
    _same_names("group", [group.name for group in opt.groups], [_group_name(group) for group in saved["groups"]])
    if saved["scaler"] is not None and opt.scaler is None:
        raise ValueError("the state holds a loss scaler, expected none; make the optimizer with scaler=")
    hypers = {group["name"]: _hypers(opt, group) for group in saved["groups"]}
    for group in opt.groups:
        kept = _core.slots_kept(opt.rule.core, hypers[group.name], saved["clock"])
        for leaf in group.leaves:
            _check_leaf(opt, leaf, saved["leaves"][opt.names[leaf]], kept)
    _check_pending(opt, saved)
    opt._session.check_idle()
    if saved["scaler"] is not None and opt.scaler is not None:
        opt.scaler.load_state_dict(saved["scaler"])  # all of it or an error, with nothing else written yet
    _write(opt, saved, hypers)


def _write(opt: Optimizer, saved: dict[str, Any], hypers: dict[str, dict[str, Any]]) -> None:
    session = opt._session
    write = _written(session)
    session.steps = saved["clock"]
    for group in opt.groups:
        session.set_hypers(group.index, hypers[group.name])
        group.hypers.update(hypers[group.name])
    held = [False] * len(opt.names)
    for leaf, name in enumerate(opt.names):
        one = saved["leaves"][name]
        session.set_clock(leaf, one["clock"])
        session.set_frozen(leaf, one["frozen"])
        session.set_factors(leaf, [one.get("factors", {}).get(hyper.name, 1.0) for hyper in opt.rule.hypers])
        for slot, array in session.stored(leaf).items():
            write(array, one["slots"][slot])
        own = session.accumulator(leaf)
        if own is not None and one["accumulator"] is not None:
            write(own, one["accumulator"])
            held[leaf] = True
    session.set_pending(saved["pending"], held)


def _taken(session: _core.Session, copy: bool) -> Callable[[Any], Any]:
    """How an array of the session comes into a state, which holds NumPy arrays wherever it came from."""
    if session.device is not None:
        from schuss._engine.cuda import runtime

        return runtime.to_host
    return (lambda array: array.copy()) if copy else (lambda array: array)


def _written(session: _core.Session) -> Callable[[Any, Any], None]:
    """How an array of a state goes into one of the session."""
    if session.device is not None:
        from schuss._engine.cuda import runtime

        return runtime.to_device
    return np.copyto


def _check_counts(saved: dict[str, Any]) -> None:
    for key in ("clock", "pending"):
        _whole("the state's " + key, saved[key])
    for key, kind in (("leaves", dict), ("groups", list)):
        if not isinstance(saved[key], kind):
            raise TypeError(f"the state's {key} is a {type(saved[key]).__name__}, expected a {kind.__name__}")


def _whole(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is {value!r} ({type(value).__name__}), expected a whole number")
    if not 0 <= value < 2**62:
        raise ValueError(f"{what} is {value}, expected 0 or more")


def _group_name(group: Any) -> str:
    if not isinstance(group, dict) or not isinstance(group.get("hypers"), dict) or "name" not in group:
        raise TypeError(f"the state has a group {group!r}, expected a dict with name and hypers")
    return group["name"]


def _plain(value: Any) -> Any:
    """A hyper as plain data: a number, a schedule's dict, or None for a Python callable."""
    if isinstance(value, _core.Schedule):
        return None if value.holds_function else value.to_dict()
    if isinstance(value, (bool, int, float)):
        return value
    return None if callable(value) else float(value)


def _hypers(opt: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    group = next(one for one in opt.groups if one.name == saved["name"])
    for name in saved["hypers"]:
        opt.rule.index(name)
    return {name: _hyper(group[name], saved["hypers"].get(name, group[name]), name) for name in group}


def _hyper(own: Any, saved: Any, name: str) -> Any:
    if saved is None:
        if not callable(own):
            raise ValueError(f"{name} was a Python callable when saved and is {own!r} now; make the optimizer with it")
        return own
    return _core.Schedule.from_dict(saved) if isinstance(saved, dict) else saved


def _same_names(kind: str, own: list[str], saved: list[str]) -> None:
    missing = [name for name in own if name not in set(saved)]
    extra = [name for name in saved if name not in set(own)]
    if missing or extra:
        lacks = f"the state lacks {kind} {', '.join(map(repr, missing))}" if missing else ""
        more = f"the state has {kind} {', '.join(map(repr, extra))}, which the optimizer lacks" if extra else ""
        raise ValueError("; ".join(filter(None, [lacks, more])))


def _check_leaf(opt: Optimizer, leaf: int, saved: Any, kept: list[str]) -> None:
    name, shape = opt.names[leaf], tuple(opt._session.shape(leaf))
    arithmetic = "float64" if opt._session.dtype(leaf) == "float64" else "float32"
    fields = ("clock", "frozen", "shape", "slots", "accumulator")
    if not isinstance(saved, dict) or any(field not in saved for field in fields):
        raise ValueError(f"{name}: the state has {saved!r:.80}, expected a dict with {', '.join(fields)}")
    _whole(f"{name}: the clock in the state", saved["clock"])
    if not isinstance(saved["frozen"], bool):
        raise TypeError(f"{name}: frozen is {saved['frozen']!r} in the state, expected True or False")
    _check_factors(opt, name, saved.get("factors", {}))
    if tuple(saved["shape"]) != shape:
        raise ValueError(f"{name}: shape {tuple(saved['shape'])} in the state, expected {shape}")
    expected = expected_arrays(opt.rule, opt._session, leaf, kept)
    check_storing(name, saved["slots"], expected)
    if sorted(saved["slots"]) != sorted(expected):
        raise ValueError(f"{name}: the state has slots {sorted(saved['slots'])}, expected {sorted(expected)}")
    arrays = {f"slot {slot}": (array, *expected[slot]) for slot, array in saved["slots"].items()}
    if saved["accumulator"] is not None:
        if opt._session.accumulator(leaf) is None:
            raise ValueError(f"{name}: the state holds micro-gradients, expected none without accumulate=")
        arrays["accumulator"] = (saved["accumulator"], arithmetic, shape)
    for what, (array, dtype, extents) in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: {what} is a {type(array).__name__} in the state, expected a NumPy array")
        if array.shape != extents:
            raise ValueError(f"{name}: {what} has shape {array.shape} in the state, expected {extents}")
        if str(array.dtype) != dtype:
            raise TypeError(f"{name}: {what} is {array.dtype} in the state, expected {dtype}")


def _check_factors(opt: Optimizer, name: str, factors: Any) -> None:
    if not isinstance(factors, dict):
        raise TypeError(f"{name}: factors is {factors!r} in the state, expected a dict")
    for hyper, factor in factors.items():
        opt.rule.index(hyper)
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < float("inf"):
            raise ValueError(f"{name}: the factor on {hyper} is {factor!r} in the state, expected a number, 0 or more")


def _check_pending(opt: Optimizer, saved: dict[str, Any]) -> None:
    if saved["pending"] and saved["pending"] >= opt._accumulate:
        raise ValueError(
            f"the state holds {saved['pending']} micro-gradients, expected fewer than accumulate={opt._accumulate}; "
            "make the optimizer with the accumulate it was saved with"
        )
