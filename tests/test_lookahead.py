"""Nesterov's look-ahead form: the gradient ahead, the step from where the parameters were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from helpers import DTYPES, assert_close, normal, same_bits, tree_bits


def test_lookahead_takes_the_gradient_ahead_and_steps_from_the_original() -> None:
    lr, beta = 0.05, 0.9
    curvature = np.linspace(0.1, 3, 501)
    params = {"w": normal(17, 501)}
    opt = schuss.Nesterov(params, lr=lr, beta=beta, lookahead=True)
    theta, v = params["w"].copy(), np.zeros(501)
    largest = np.abs(theta)
    for _ in range(30):
        before = params["w"].copy()
        velocity = np.array(opt.state["w"]["v"])
        with opt.lookahead():
            ahead = params["w"].copy()
            g = curvature * params["w"]
        assert same_bits(params["w"], before), "the original parameters are back, to the bit"
        np.testing.assert_allclose(ahead, before - lr * beta * velocity, rtol=1e-15, atol=1e-16)
        opt.step({"w": g})
        # The chapter, line by line.
        v = beta * v + (1 - beta) * curvature * (theta - lr * beta * v)
        theta = theta - lr * v
        largest = np.maximum(largest, np.abs(theta))
    assert_close(params["w"], theta, largest, 1e-13)


def test_lookahead_restores_the_parameters_when_the_body_raises() -> None:
    params = {"w": normal(18, 50, np.float32)}
    opt = schuss.Nesterov(params, lookahead=True)
    opt.step({"w": normal(19, 50, np.float32)})
    before = params["w"].copy()

    def fails() -> None:
        with opt.lookahead():
            raise KeyError("from the model")

    with pytest.raises(KeyError, match="from the model"):
        fails()
    assert same_bits(params["w"], before)
    assert opt.clock == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_parameters_of_every_kind_come_back_to_the_bit(dtype: str, threads: int) -> None:
    schuss.set_num_threads(threads)
    home = normal(1, (600, 301), DTYPES[dtype])
    params = {"big": normal(2, 200_003, DTYPES[dtype]), "strided": home[::2, ::-3], "none": home[:0]}
    opt = schuss.Nesterov(params, lr=0.5, lookahead=True)
    grads = {name: normal(3, p.shape, DTYPES[dtype]) for name, p in params.items()}
    opt.step(grads)
    before, all_of_it = tree_bits(params), home.tobytes()
    with opt.lookahead():
        ahead = tree_bits(params)
    assert tree_bits(params) == before
    assert home.tobytes() == all_of_it
    assert ahead["big"] != before["big"]
    assert ahead["strided"] != before["strided"]


def test_a_schedule_is_read_at_the_step_that_is_coming() -> None:
    p = np.zeros(1)
    opt = schuss.Nesterov(p, lr=lambda step: 1.0 + step, beta=0.5, lookahead=True)
    opt.step(np.ones(1))
    assert p[0] == -0.5  # v = 0.5
    with opt.lookahead():
        assert p[0] == -0.5 - 2.0 * 0.5 * 0.5
    opt.step(np.ones(1))
    assert p[0] == -0.5 - 2.0 * 0.75


def test_looking_ahead_chooses_the_form_of_the_next_step_only() -> None:
    """An optimizer in the library form that looks ahead once steps once along v alone."""
    library, mixed, ahead = (normal(4, 40) for _ in range(3))
    setting: dict[str, Any] = {"lr": 0.1, "beta": 0.9}
    opts = [schuss.Nesterov(p, **setting) for p in (library, mixed)]
    opts.append(schuss.Nesterov(ahead, **setting, lookahead=True))
    g = normal(5, 40)
    with opts[1].lookahead():
        pass
    for opt in opts:
        opt.step(g)
    assert same_bits(mixed, ahead)
    assert not same_bits(mixed, library)
    before = mixed.copy()
    opts[1].step(g)
    v = np.array(opts[1].state["v"])
    np.testing.assert_allclose(mixed, before - 0.1 * (0.9 * v + g), rtol=1e-14)


def test_frozen_leaves_stay_where_they_are() -> None:
    params = {"a": np.ones(3), "b": np.ones(3)}
    opt = schuss.Nesterov(params, lr=0.5, lookahead=True)
    opt.step({"a": np.ones(3), "b": np.ones(3)})
    opt.freeze("b")
    before = params["a"].copy(), params["b"].copy()
    with opt.lookahead():
        assert not same_bits(params["a"], before[0])
        assert same_bits(params["b"], before[1])


def test_a_step_inside_the_block_is_refused_and_the_parameters_come_back() -> None:
    p = np.ones(3)
    opt = schuss.Nesterov(p, lookahead=True)
    opt.step(np.ones(3))
    before = p.copy()
    with opt.lookahead(), pytest.raises(RuntimeError, match="look-ahead"):
        opt.step(np.ones(3))
    assert same_bits(p, before)
    assert opt.clock == 1


def test_looking_ahead_twice_is_refused() -> None:
    p = np.ones(3)
    opt = schuss.Nesterov(p, lookahead=True)
    opt.step(np.ones(3))
    before = p.copy()
    with opt.lookahead(), pytest.raises(RuntimeError, match="look-ahead"), opt.lookahead():
        pass
    assert same_bits(p, before)


def test_rules_without_a_point_to_look_at_say_so() -> None:
    p = np.ones(3)
    opt = schuss.Adam(p)
    with pytest.raises((TypeError, ValueError, AttributeError), match="Adam"):
        opt.lookahead().__enter__()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(p, 1.0)


def test_torch_sees_that_the_parameters_moved() -> None:
    torch = pytest.importorskip("torch", reason="this test is about torch tensors")
    w = torch.nn.Parameter(torch.ones(3))
    opt = schuss.Nesterov([w], lr=0.1, lookahead=True)
    opt.step([torch.ones(3)])
    loss = (w * w).sum()  # taken at the original
    with opt.lookahead(), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
