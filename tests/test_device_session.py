"""A session on a device: what it hands to the engine there, what it keeps, and what an error leaves behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_stand_ins import Array, Cuda, Engine, engine, installed
from schuss import _core


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    yield from installed(monkeypatch)


def ones(*shape: int, dtype: Any = np.float32) -> Array:
    return Array(np.ones(shape, dtype))


def made(cls: Any = schuss.AdamW, **keywords: Any) -> Any:
    return cls({"a": ones(2, 3), "b": ones(4)}, **keywords)


def grads() -> dict[str, Any]:
    return {"a": ones(2, 3), "b": ones(4)}


def calls(*names: str) -> list[Any]:
    return [call for call in engine().calls if call[0] in names]


# Steps.


def test_the_engine_is_made_once_and_told_of_every_group() -> None:
    opt = made()
    opt.add_group({"params": [ones(5)], "lr": 0.5})
    assert engine().calls == [("Engine", 0, "adamw"), ("added", 2), ("added", 3)]
    assert [fact[4] for fact in opt._session.leaf_facts()] == [0, 0, 1]


def test_on_the_cpu_there_is_none() -> None:
    opt = schuss.SGD([np.ones(2)])
    opt.step([np.ones(2)])
    assert opt._session.device is None


def test_what_changed_of_the_gradients_is_told() -> None:
    opt = made()
    g = grads()
    changes = []

    def step(given: Any) -> None:
        opt.step(given)
        changes.append(engine().calls[-1][1])

    step(g)
    step(g)
    step({"a": g["a"], "b": Array(g["b"].host)})  # another object over the same memory
    step({"a": ones(2, 3), "b": g["b"]})
    step({"a": Array(np.ones((3, 2), np.float32).T), "b": g["b"]})
    strided = Array(np.ones((2, 6), np.float32)[:, ::2])
    step({"a": strided, "b": g["b"]})
    step({"a": strided, "b": g["b"]})
    step({"a": Array(np.ones((2, 6), np.float32)[:, ::2]), "b": g["b"]})
    step({"a": None, "b": g["b"]})
    step({"a": None, "b": g["b"]})
    step({"a": None, "b": ones(4)})
    step({"a": None, "b": ones(4, dtype=np.float64)})
    assert changes == [2, 0, 0, 1, 2, 2, 0, 1, 2, 0, 1, 2]


def test_after_a_step_that_failed_everything_is_new() -> None:
    opt = made()
    g = grads()
    opt.step(g)
    with pytest.raises(ValueError, match=r"grads\['b'\]: shape"):
        opt.step({"a": g["a"], "b": ones(5)})
    opt.step(g)
    assert engine().calls[-1] == ("step", 0), "a walk that failed told nothing"
    engine().fails["step"] = MemoryError()
    with pytest.raises(MemoryError):
        opt.step(g)
    opt.step(g)
    assert engine().calls[-1] == ("step", 2)
    opt.step(g)
    assert engine().calls[-1] == ("step", 0)


def test_the_views_of_the_gradients_stay_while_no_group_is_added() -> None:
    opt = made()
    pointers, formats = opt._session.gradient_pointers, opt._session.gradient_formats
    g = grads()
    opt.step(g)
    assert pointers.tolist() == [g["a"].data.ptr, g["b"].data.ptr]
    opt.add_group({"params": [ones(5)]})
    opt.step([g, [ones(5)]])
    assert len(opt._session.gradient_pointers) == 3
    assert formats.tolist() == [1, 1]


def test_flush_asks_only_where_something_is_pending() -> None:
    opt = made(accumulate=4)
    assert opt.flush() is None
    assert calls("flush") == []
    engine().pending = 2
    assert opt.pending == 2
    assert opt.flush().step == 0
    assert calls("flush") == [("flush",)]


def test_what_else_is_asked_goes_to_the_engine() -> None:
    opt = made()
    session = opt._session
    assert opt.state["a"] == {"m": "slot 0 of 0"}
    assert calls("slot") == [
        ("slot", 0, 0),
        ("slot", 0, 1),
        ("slot", 0, 2),
        ("slot", 1, 0),
        ("slot", 1, 1),
        ("slot", 1, 2),
    ]
    assert session.accumulator(1) == "accumulator of 1"
    assert (session.accumulated(0), session.accumulated(1)) == (False, True)
    assert session.clock(1) == 101
    session.set_clock(1, 7)
    session.set_pending(2, [True, False])
    session.steps = 9
    assert engine().steps == session.steps == 9
    opt.renew()
    assert engine().calls[-3:] == [("set_clock", 1, 7), ("set_pending", 2, [True, False]), ("renew",)]


def test_freezing_and_hypers_are_kept_and_told() -> None:
    opt = made()
    opt.freeze("b")
    opt.groups[0]["lr"] = 0.25
    assert engine().calls[-2:] == [("changed",), ("changed_hypers",)]
    assert [fact[6] for fact in opt._session.leaf_facts()] == [False, True]
    assert opt._session.frozen(1)


def test_masks_follow_the_hypers() -> None:
    opt = made(schuss.SGD)
    session = opt._session
    assert session.mask(0) == _core.rule_mask("sgd", list(opt.groups[0].hypers.values())) == 0
    opt.groups[0]["momentum"] = 0.9
    assert session.mask(0) == 1
    opt.groups[0]["momentum"] = lambda step: 0.0
    assert session.mask(0) == 1, "a schedule may take any value"
    assert session.slot_initials(0) == [0.0]


def test_options_are_told_in_words() -> None:
    scaler = schuss.LossScaler()
    session = made(clip=2.0, accumulate=3, scaler=scaler)._session
    assert session.options == {
        "clip": "global_norm",
        "limit": 2.0,
        "nonfinite": "skip",
        "accumulate": 3,
        "needs_norm": True,
        "has_scaler": True,
    }
    assert session.scaler is scaler
    plain = made(clip=schuss.clipping.Value(1.5), nonfinite="apply")._session
    assert (plain.options["clip"], plain.options["limit"], plain.options["nonfinite"]) == ("value", 1.5, "apply")
    assert (plain.options["needs_norm"], plain.scaler) == (False, None)


def test_only_python_functions_are_python_functions() -> None:
    cosine = schuss.schedules.cosine(0.1, steps=10)
    opt = made(lr=cosine)
    assert not opt._session.calls_python
    opt.groups[0]["lr"] = schuss.schedules.warmup(3, lambda step: 0.1)
    assert opt._session.calls_python
    opt.groups[0]["lr"] = 0.1
    assert not opt._session.calls_python


# Guards.


def test_nothing_else_steps_it_in_a_step() -> None:
    opt = made()
    heard: list[str] = []

    def meddle(change: int) -> Any:
        for act in (lambda: opt.step(grads()), lambda: opt.freeze("a"), opt.flush, opt.renew):
            thread = threading.Thread(target=attempt, args=(act,))
            thread.start()
            thread.join()
        return engine().info(0)

    def attempt(act: Any) -> None:
        try:
            act()
        except RuntimeError as error:
            heard.append(str(error))

    engine().step = meddle  # type: ignore[method-assign]
    opt.step(grads())
    assert len(heard) == 4
    assert all("in the middle of a step" in each for each in heard)


def test_the_look_ahead_point_is_guarded_as_on_the_cpu() -> None:
    opt = made(schuss.Nesterov)
    with opt.lookahead():
        with pytest.raises(RuntimeError, match="at the look-ahead point"):
            opt.step(grads())
        with pytest.raises(RuntimeError, match="at the look-ahead point already"):
            opt._session.to_point()
    with pytest.raises(RuntimeError, match="not at the look-ahead point"):
        opt._session.from_point(True)

    def leave_early() -> None:
        with opt.lookahead():
            raise KeyError

    with pytest.raises(KeyError):
        leave_early()
    told = [("to_point",), ("from_point", True), ("to_point",), ("from_point", False)]
    assert calls("to_point", "from_point") == told
    with pytest.raises(ValueError, match="where the parameters are"):
        made(schuss.SGD)._session.to_point()


# What an error leaves behind.


def test_a_group_that_finds_no_room_is_not_there() -> None:
    opt = made()
    g = grads()
    opt.step(g)
    engine().fails["added"] = MemoryError("no room")
    with pytest.raises(MemoryError, match="no room"):
        opt.add_group({"params": [ones(5), ones(6)], "lr": lambda step: 0.5})
    assert (opt._session.leaves, opt._session.elements, len(opt.groups)) == (2, 10, 1)
    opt.step(g)
    assert engine().calls[-1] == ("step", 2)
    opt.add_group({"params": [ones(7)], "lr": 0.5})
    assert not opt._session.calls_python, "the function of the group that is not there is forgotten"
    assert [fact[2] for fact in opt._session.leaf_facts()] == [(2, 3), (4,), (7,)]
    opt.step([g, [ones(7)]])
    assert opt._session.gradient_formats.tolist() == [1, 1, 1]


def test_an_engine_that_cannot_be_made_makes_no_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Engine, session: Any) -> None:
        raise ImportError("arrays on a CUDA device need CuPy")

    monkeypatch.setattr(Engine, "__init__", refuse)
    with pytest.raises(ImportError, match=r"^arrays on a CUDA device need CuPy$"):
        made()


def test_hypers_that_are_refused_there_are_as_before() -> None:
    opt = made(schuss.SGD, momentum=0.5)
    engine().fails["changed_hypers"] = MemoryError()
    with pytest.raises(MemoryError):
        opt.groups[0]["momentum"] = 0.0
    assert opt.groups[0]["momentum"] == 0.5
    assert opt._session.mask(0) == 1
    with pytest.raises(ValueError, match="lr is -1"):
        opt.groups[0]["lr"] = -1.0
    assert calls("changed_hypers") == [("changed_hypers",)], "of a bad one the engine hears nothing"


def test_a_schedule_is_checked_at_the_step_that_comes() -> None:
    opt = made()
    engine().steps = 7
    seen: list[int] = []
    opt.groups[0]["lr"] = lambda step: seen.append(step) or 0.1
    assert seen == [7]


def test_an_optimizer_takes_its_engine_along() -> None:
    opt = made()
    its = weakref.ref(engine())
    del opt
    assert its() is None


def test_the_collector_finds_an_engine_that_holds_its_session() -> None:
    opt = made()
    its = weakref.ref(engine())
    engine().holds = opt._session  # type: ignore[attr-defined]
    del opt
    gc.collect()
    assert its() is None
