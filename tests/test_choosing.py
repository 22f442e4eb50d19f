"""`schuss.choose`: the chapter's advice, ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from schuss.choosing import MODELS


@pytest.mark.parametrize(
    ("asked", "best"),
    [
        ({}, "AdamW"),
        ({"model": "transformer"}, "AdamW"),
        ({"model": "convolutional"}, "SGD"),
        ({"model": "recurrent"}, "RMSprop"),
        ({"model": "reinforcement"}, "RMSprop"),
        ({"model": "embedding"}, "Adagrad"),
        ({"sparse": True}, "Adagrad"),
    ],
    ids=str,
)
def test_the_best_is_the_chapters_advice(asked: dict[str, Any], best: str) -> None:
    choices = schuss.choose(**asked)
    assert choices[0].rule == best
    assert len({choice.rule for choice in choices}) == len(choices) > 3


@pytest.mark.parametrize("model", [None, *MODELS])
@pytest.mark.parametrize("memory", [None, 0, 4, 8])
def test_every_choice_can_be_made_and_says_why(model: str | None, memory: float | None) -> None:
    choices = schuss.choose(model, memory=memory, batch=4096)
    assert choices
    for choice in choices:
        opt = getattr(schuss, choice.rule)(np.zeros(1000, np.float32), **choice.hypers)
        assert opt.cost()["bytes_kept"] == 1000 * choice.bytes_a_parameter <= 1000 * (12 if memory is None else memory)
        assert choice.reasons
        assert all(choice.reasons)


def test_without_memory_for_a_slot_momentum_goes_and_it_is_said() -> None:
    (choice,) = schuss.choose("convolutional", memory=0)
    assert (choice.rule, choice.bytes_a_parameter) == ("SGD", 0)
    assert "momentum" not in choice.hypers
    assert any("without momentum" in reason for reason in choice.reasons)


def test_warmup_is_a_must_for_transformers_and_advised_at_large_batches() -> None:
    assert any("warm" in reason for reason in schuss.choose("transformer")[0].reasons)
    assert any("warm" in reason for reason in schuss.choose("dense", batch=4096)[0].reasons)
    assert not any("warm" in reason for reason in schuss.choose("dense", batch=32)[0].reasons)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"model": "cnn"}, ValueError, "model is 'cnn', expected one of 'dense', 'convolutional'"),
        ({"sparse": 1}, TypeError, "sparse is 1 "),
        ({"memory": -1}, ValueError, "memory is -1, expected 0 or more"),
        ({"memory": float("nan")}, ValueError, "memory is nan"),
        ({"memory": "8"}, TypeError, "memory is '8' "),
        ({"batch": 0}, ValueError, "batch is 0, expected 1 or more"),
        ({"batch": 1.5}, TypeError, "batch is 1.5 "),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(asked: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        schuss.choose(**asked)
    assert said in str(raised.value)
