"""A float32 master beside bfloat16 and float16 parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, CASES, CLASSES, case_id, gradients, normal, same_bits, snapshot, tree_bits
from storing import FLOAT16

LOW = pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)


@LOW
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_master_walks_as_a_float32_parameter_and_the_copy_is_it_rounded(
    rule: str, setting: dict[str, Any], dtype: Any
) -> None:
    p = normal(1, (70, 80), dtype)
    want = p.astype(np.float32)
    opt, exact = CLASSES[rule]({"w": p}, master=True, **setting), CLASSES[rule]({"w": want}, **setting)
    for g in gradients(2, (70, 80), 5, dtype):
        opt.step({"w": g})
        exact.step({"w": g})
        assert same_bits(opt.state["w"]["master"], want)
        assert same_bits(p, want.astype(dtype))


def test_a_master_begins_as_the_parameter_at_the_first_step_of_its_leaf() -> None:
    params = {"w": np.ones(10, BFLOAT16), "late": np.ones(10, BFLOAT16)}
    opt = schuss.SGD(params, lr=1.0, master=True)
    ones = np.full(10, 2**-12, np.float32)
    opt.step({"w": ones, "late": None})
    params["late"][:] = 3
    opt.step({"w": ones, "late": ones})
    assert (opt.state["w"]["master"] == 1 - 2**-11).all()
    assert (opt.state["late"]["master"] == 3 - 2**-12).all()


def test_only_smaller_parameters_have_one() -> None:
    params = {"a": np.ones(3), "b": np.ones(3, np.float32), "c": np.ones(3, BFLOAT16), "d": np.ones(3, FLOAT16)}
    opt = schuss.AdamW(params, master=True)
    assert ["master" in opt.state[name] for name in params] == [False, False, True, True]
    assert "master" not in schuss.AdamW({"c": np.ones(3, BFLOAT16)}).state["c"]


@LOW
def test_small_steps_add_up(dtype: Any) -> None:
    p = np.full(1_000, 100, dtype)
    opt = schuss.SGD(p, lr=1e-4, master=True)
    for _ in range(2_000):
        opt.step(np.ones(1_000, np.float32))
    np.testing.assert_allclose(opt.state["master"], 99.8, atol=1e-2)
    assert same_bits(p, opt.state["master"].astype(dtype))


def test_a_strided_leaf_has_its_master_in_c_order() -> None:
    base, g = normal(1, (60, 70), BFLOAT16), normal(2, (30, 70), np.float32)
    plain, view = base[::2].copy(), np.asfortranarray(base)[::2]
    masters = []
    for array in (plain, view):
        opt = schuss.AdamW(array, lr=0.1, master=True)
        opt.step(g)
        opt.step(g)
        masters.append(opt.state["master"])
    assert same_bits(plain, view)
    assert same_bits(*masters)


@LOW
def test_the_lookahead_point_is_that_of_the_master(dtype: Any) -> None:
    p = normal(1, 5_000, dtype)
    want = p.astype(np.float32)
    opt, exact = schuss.Nesterov(p, lr=0.1, master=True), schuss.Nesterov(want, lr=0.1)
    for t in range(3):
        with opt.lookahead(), exact.lookahead():
            assert same_bits(p, want.astype(dtype))
        g = normal(5 + t, 5_000, np.float32)
        opt.step(g)
        exact.step(g)
        assert same_bits(opt.state["master"], want)
        assert same_bits(p, want.astype(dtype))


@LOW
def test_a_resumed_run_continues_bit_for_bit(dtype: Any, tmp_path: Path) -> None:
    params = {"w": normal(1, (70, 80), dtype), "b": normal(2, 33, dtype)}
    grads = [{name: normal(10 * t, array.shape, dtype) for name, array in params.items()} for t in range(6)]
    straight = schuss.AdamW(params, lr=1e-4, master=True)
    for g in grads[:3]:
        straight.step(g)
    schuss.save(tmp_path / "run.safetensors", straight)
    stopped = {name: array.copy() for name, array in params.items()}
    resumed = schuss.AdamW(stopped, lr=1e-4, master=True)
    schuss.load(tmp_path / "run.safetensors", resumed)
    for g in grads[3:]:
        straight.step(g)
        resumed.step(g)
    assert tree_bits(stopped) == tree_bits(params)
    assert snapshot(resumed, stopped) == snapshot(straight, params)


@pytest.mark.parametrize("own", [True, False])
def test_a_state_with_or_without_a_master_is_refused_by_the_other(own: bool) -> None:
    def made(master: bool) -> tuple[Any, Any]:
        params = {"w": normal(1, 50, BFLOAT16)}
        opt = schuss.AdamW(params, master=master)
        opt.step({"w": normal(2, 50, BFLOAT16)})
        return params, opt

    (params, opt), (_, saved) = made(own), made(not own)
    before = snapshot(opt, params)
    with pytest.raises(ValueError, match=f"w: the state {'lacks' if own else 'has'} a float32 master.*master="):
        opt.load_state_dict(saved.state_dict())
    assert snapshot(opt, params) == before


def test_a_skipped_step_writes_no_master() -> None:
    params = {"w": normal(1, 5_000, BFLOAT16)}
    opt = schuss.AdamW(params, clip=1.0, master=True)
    opt.step({"w": normal(2, 5_000, BFLOAT16)})
    before = snapshot(opt, params)
    assert opt.step({"w": np.full(5_000, np.nan, BFLOAT16)}).skipped
    assert snapshot(opt, params) == before


def test_cost_counts_the_master() -> None:
    cost = schuss.SGD(np.ones(1_000, BFLOAT16), master=True).cost()
    assert (cost["bytes_kept"], cost["bytes_moved"]) == (4_000, 12_000)


def test_another_master_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"master is 'float32' \(str\), expected True or False"):
        schuss.AdamW(np.ones(3, BFLOAT16), master="float32")  # pyright: ignore[reportArgumentType]
