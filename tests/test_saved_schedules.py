"""Hypers that are schedules, saved and loaded."""

import numpy as np
import pytest
import schuss


def optimizer(lr):
    return schuss.SGD(np.ones(3), lr=lr)


def test_a_schedule_comes_back_as_it_was(tmp_path):
    saved = optimizer(schuss.schedules.warmup(5, schuss.schedules.cosine(0.1, 50)))
    schuss.save(tmp_path / "opt", saved)
    other = optimizer(0.3)
    schuss.load(tmp_path / "opt", other)
    assert other.groups[0]["lr"] == saved.groups[0]["lr"]
    assert [other.step(np.ones(3)).lr for _ in range(8)] == [saved.step(np.ones(3)).lr for _ in range(8)]


@pytest.mark.parametrize(
    "make", [lambda f: f, lambda f: schuss.schedules.warmup(3, f)], ids=["bare", "within a schedule"]
)
def test_a_python_function_is_left_to_the_loading_optimizer(make, tmp_path):
    saved = optimizer(make(lambda step: 0.1 / (step + 1)))
    assert saved.state_dict()["groups"][0]["hypers"]["lr"] is None
    schuss.save(tmp_path / "opt", saved)
    mine = make(lambda step: 0.2 / (step + 1))
    other = optimizer(mine)
    schuss.load(tmp_path / "opt", other)
    assert other.groups[0]["lr"] is mine
    with pytest.raises(ValueError, match=r"lr was a Python callable when saved and is 0\.3 now"):
        schuss.load(tmp_path / "opt", optimizer(0.3))
