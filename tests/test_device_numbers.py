"""What a device's engine asks the core for: the numbers of steps to come, and infos of steps not yet done."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_stand_ins import Array, Cuda, installed
from schuss import _core


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    yield from installed(monkeypatch)


def session_of(cls: Any = schuss.AdamW, **hypers: Any) -> Any:
    """Outlives its optimizer, which nobody needs here."""
    return cls({"a": Array(np.ones((2, 3), np.float32))}, **hypers)._session


# The numbers of steps to come.

ENTRY = np.dtype([("lr", "f8"), ("unused", "f8"), ("numbers", "V128")])


def filled(session: Any, *key: Any, count: int = 4) -> tuple[int, np.ndarray]:
    entries = np.zeros(count, ENTRY)
    return session.fill(*key, entries), entries


@pytest.mark.parametrize("arithmetic", [0, 1])
def test_entries_are_what_the_rule_prepares(arithmetic: int) -> None:
    lr = schuss.schedules.cosine(0.1, steps=10)
    opt = schuss.AdamW(Array(np.ones(3)), lr=lr)
    count, entries = filled(opt._session, 0, arithmetic, 0b11, None, 2, 5)
    assert count == 4
    for i, entry in enumerate(entries):
        assert entry["lr"] == lr(5 + i)
        values = [float(lr(5 + i)) if name == "lr" else float(value) for name, value in opt.groups[0].hypers.items()]
        assert bytes(entry["numbers"]) == _core.prepare("adamw", arithmetic, 0b11, values, 5 + i - 2 + 1)


def test_the_look_ahead_form_has_numbers_of_its_own() -> None:
    session = session_of(schuss.Nesterov)
    plain, ahead = (filled(session, 0, 1, 1, form, 0, 0)[1]["numbers"][0] for form in (None, True))
    assert bytes(plain)[16] == 0
    assert bytes(ahead)[16] == 1
    assert bytes(filled(session, 0, 1, 1, False, 0, 0)[1]["numbers"][0]) == bytes(plain)


def test_entries_end_before_a_step_whose_hypers_are_refused() -> None:
    def rate(step: int) -> Any:
        if step == 6:
            raise OSError("no more")
        return -1.0 if step == 8 else "much" if step == 10 else 0.1

    session = session_of(lr=rate)
    assert filled(session, 0, 1, 3, None, 0, 4)[0] == 2
    assert filled(session, 0, 1, 3, None, 0, 7)[0] == 1
    assert filled(session, 0, 1, 3, None, 0, 9)[0] == 1
    for first, error, words in [(6, OSError, "no more"), (8, ValueError, "at step 8"), (10, TypeError, "much")]:
        with pytest.raises(error, match=words):
            filled(session, 0, 1, 3, None, 0, first)


def test_an_interrupt_is_not_taken_for_a_refusal() -> None:
    def rate(step: int) -> float:
        if step == 2:
            raise KeyboardInterrupt
        return 0.1

    with pytest.raises(KeyboardInterrupt):
        filled(session_of(lr=rate), 0, 1, 3, None, 0, 0)


def test_fill_refuses_what_it_cannot_write() -> None:
    session = session_of()
    with pytest.raises(ValueError, match="mask"):
        filled(session, 0, 1, 0, None, 0, 0)
    with pytest.raises(IndexError):
        filled(session, 1, 1, 3, None, 0, 0)
    with pytest.raises(ValueError, match="first"):
        filled(session, 0, 1, 3, None, 0, -1)
    with pytest.raises((TypeError, BufferError)):
        session.fill(0, 1, 3, None, 0, 0, bytes(288))
    with pytest.raises(ValueError, match="3 hypers"):
        _core.prepare("momentum", 1, 1, [0.1], 1)


# What a step was, when somebody asks.


def test_a_lazy_step_info_asks_once_and_only_when_read() -> None:
    asked: list[int] = []
    info = _core.lazy_step_info(lambda: asked.append(1) or (3, 0.5, 2.0, 0.25, True), 0)
    assert type(info) is _core.StepInfo
    assert info.pending == 0
    assert asked == []
    assert (info.step, info.lr, info.grad_norm, info.clip_coef, info.skipped) == (3, 0.5, 2.0, 0.25, True)
    assert asked == [1]
    assert repr(info) == "StepInfo(step=3, lr=0.5, grad_norm=2.0, clip_coef=0.25, skipped=True, pending=0)"
    assert "grad_norm=None" in repr(_core.lazy_step_info(lambda: (1, 0.1, None, 1.0, False), 2))
    assert asked == [1]


def test_a_fetch_that_fails_is_tried_again() -> None:
    answers: list[Any] = [RuntimeError("an earlier error"), (1, 0.1, "much", 1.0, False), (1, 0.1, None, 1.0, False)]

    def fetch() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    info = _core.lazy_step_info(fetch, 0)
    with pytest.raises(RuntimeError, match="an earlier error"):
        _ = info.lr
    with pytest.raises(TypeError):
        _ = info.skipped
    assert info.step == 1
    assert answers == []


def test_a_lazy_step_info_that_holds_itself_is_collected() -> None:
    class Fetch:
        info: Any

        def __call__(self) -> Any:
            return (1, 0.1, None, 1.0, False)

    fetch = Fetch()
    fetch.info = _core.lazy_step_info(fetch, 0)  # type: ignore[arg-type]
    its = weakref.ref(fetch)
    del fetch
    gc.collect()
    assert its() is None


def test_what_was_fetched_lets_its_source_go() -> None:
    def fetch() -> Any:
        return (1, 0.1, None, 1.0, False)

    its, info = weakref.ref(fetch), _core.lazy_step_info(fetch, 0)
    del fetch
    assert its() is not None
    assert info.step == 1
    assert its() is None


def test_step_infos_of_the_cpu_take_each_others_place() -> None:
    """Freed and used again: what one says is not touched by the next."""
    opt = schuss.SGD([np.ones(2)], lr=0.5)
    kept = [opt.step([np.ones(2)]) for _ in range(3)]
    for _ in range(3):
        opt.step([np.ones(2)])
    assert [info.step for info in kept] == [1, 2, 3]
    assert opt.step([np.ones(2)]).step == 7
