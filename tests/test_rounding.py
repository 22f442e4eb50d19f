"""Stochastic rounding: the mean is right, and the bits depend on seed, name, clock and index alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, gradients, normal, same_bits, tree_bits
from storing import FLOAT16


def mixed(x: int) -> int:
    """SplitMix64's finisher."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def noise(seed: int, name: str, clock: int, count: int) -> np.ndarray:
    """The 32 bits of every element of a leaf."""
    hashed = 0xCBF29CE484222325
    for letter in name.encode():
        hashed = (hashed ^ letter) * 0x100000001B3 % 2**64
    key = mixed((mixed(mixed(seed) ^ hashed) + clock * 0x9E3779B97F4A7C15) % 2**64)
    key = mixed(key)  # of the first 2^32 elements
    x = np.arange(count, dtype=np.uint32) ^ np.uint32(key & 0xFFFFFFFF)
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    return ((x ^ x >> np.uint32(15)) + np.uint32(key >> 32)) * np.uint32(0x846CA68B)


def rounded_to_bfloat16(x: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return ((x.view(np.uint32) + (bits >> np.uint32(16))) >> np.uint32(16)).astype(np.uint16).view(BFLOAT16)


def stored_by_a_step(x: np.ndarray, dtype: Any, seed: int = 0, name: str = "w") -> np.ndarray:
    """What a leaf holds after a step that takes it from zero to x."""
    p = np.zeros(x.shape, dtype)
    schuss.SGD({name: p}, lr=1.0, rounding="stochastic", seed=seed).step({name: -x})
    return p


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 3, 2**64 - 1])
def test_bfloat16_is_rounded_by_the_bits_of_the_counter(seed: int) -> None:
    x = normal(1, 10_000, np.float32)
    assert same_bits(stored_by_a_step(x, BFLOAT16, seed), rounded_to_bfloat16(x, noise(seed, "w", 1, x.size)))


def test_the_clock_and_the_name_turn_the_bits() -> None:
    x = np.full(20_000, 1 + 2**-9, np.float32)
    p = {"encoder/w": np.zeros(20_000, BFLOAT16), "b": np.zeros(20_000, BFLOAT16)}
    opt = schuss.SGD(p, lr=1.0, rounding="stochastic", seed=5)
    for clock in (1, 2, 3):
        for array in p.values():
            array[:] = 0
        opt.step(dict.fromkeys(p, -x))
        for name, array in p.items():
            assert same_bits(array, rounded_to_bfloat16(x, noise(5, name, clock, x.size))), (name, clock)


def test_the_bits_are_even_and_independent() -> None:
    count = 2**17
    draws = [
        noise(seed, name, clock, count) >> np.uint32(16)
        for seed, name, clock in [(0, "w", 1), (0, "w", 2), (0, "b", 1), (1, "w", 1)]
    ]
    for draw in draws:
        unit = draw / 65536.0
        assert abs(unit.mean() - 0.5) < 5 / np.sqrt(12 * count)
        counts = np.bincount(draw >> np.uint16(8), minlength=256)
        assert ((counts - count / 256) ** 2 / (count / 256)).sum() < 255 + 5 * np.sqrt(2 * 255)
        for lag in (1, 2, 16, 256, 512, 4096):
            assert abs(np.corrcoef(unit[:-lag], unit[lag:])[0, 1]) < 5 / np.sqrt(count)
        for bit in range(16):
            assert abs(((draw >> np.uint16(bit)) & 1).mean() - 0.5) < 2.5 / np.sqrt(count)
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)
            assert np.mean(one == other) < 1e-3


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
def test_the_mean_of_what_is_stored_is_what_was_to_be_stored(dtype: Any) -> None:
    for value in (1.0013, -3.3333, 0.1, 7e-6, 3.3e-8, -1.7e-5):
        stored = stored_by_a_step(np.full(100_000, value, np.float32), dtype).astype(np.float64)
        neighbours = np.unique(stored)
        assert len(neighbours) == 2
        assert neighbours[0] < value < neighbours[1]
        spread = (neighbours[1] - neighbours[0]) / 2
        assert abs(stored.mean() - np.float32(value)) < 5 * spread / np.sqrt(stored.size)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
def test_what_fits_exactly_stays(dtype: Any) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32)
    every = every[~np.isnan(every)]
    got = stored_by_a_step(every, dtype).astype(np.float32)
    assert np.array_equal(got, every)
    assert np.isnan(stored_by_a_step(np.array([np.nan], np.float32), dtype).astype(np.float32)).all()


def test_values_beyond_float16_become_infinite() -> None:
    got = stored_by_a_step(np.array([65_536, 1e30, -1e30, np.inf, -np.inf], np.float32), FLOAT16)
    assert got.tolist() == [np.inf, np.inf, -np.inf, np.inf, -np.inf]


def test_steps_below_half_a_unit_move_the_mean_as_they_should() -> None:
    """A bfloat16 weight of 100 is 0.5 from its neighbours: steps of 0.001 are lost to rounding to nearest."""
    g = np.ones(100_000, np.float32)
    nearest, stochastic = np.full(g.shape, 100, BFLOAT16), np.full(g.shape, 100, BFLOAT16)
    one = schuss.SGD(nearest, lr=1e-3)
    other = schuss.SGD(stochastic, lr=1e-3, rounding="stochastic", seed=1)
    for _ in range(200):
        one.step(g)
        other.step(g)
    assert (nearest.astype(np.float64) == 100).all()
    assert abs(stochastic.astype(np.float64).mean() - 99.8) < 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wider_parameters_are_stored_as_ever(dtype: Any) -> None:
    got = []
    for rounding in ("nearest", "stochastic"):
        p = normal(1, 5_000, dtype)
        opt = schuss.AdamW(p, rounding=rounding)
        for g in gradients(2, 5_000, 3, dtype):
            opt.step(g)
        got.append(p)
    assert same_bits(*got)


def test_slots_are_those_of_the_rule_whatever_the_rounding() -> None:
    p, g = normal(1, 5_000, BFLOAT16), normal(2, 5_000, BFLOAT16)
    one, other = schuss.AdamW(p.copy()), schuss.AdamW(p.copy(), rounding="stochastic")
    one.step(g)
    other.step(g)
    assert tree_bits(one.state) == tree_bits(other.state)


def test_a_strided_leaf_takes_the_bits_of_its_c_order() -> None:
    base, g = normal(1, (60, 70), BFLOAT16), normal(2, (30, 70), np.float32)
    plain, view = base[::2].copy(), np.asfortranarray(base)[::2]
    for array in (plain, view):
        schuss.SGD({"w": array}, lr=0.1, rounding="stochastic", seed=3).step({"w": g})
    assert same_bits(plain, view)


def test_a_resumed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    params = {"w": normal(1, (70, 80), BFLOAT16), "h": normal(2, 33, FLOAT16)}
    grads = [{name: normal(10 * t, array.shape, np.float32) for name, array in params.items()} for t in range(6)]
    straight = schuss.AdamW(params, lr=0.01, rounding="stochastic", seed=9)
    for g in grads[:3]:
        straight.step(g)
    schuss.save(tmp_path / "run.safetensors", straight)
    stopped = {name: array.copy() for name, array in params.items()}
    resumed = schuss.AdamW(stopped, lr=0.01, rounding="stochastic", seed=9)
    schuss.load(tmp_path / "run.safetensors", resumed)
    for g in grads[3:]:
        straight.step(g)
        resumed.step(g)
    assert tree_bits(stopped) == tree_bits(params)


def test_a_frozen_leaf_takes_up_its_bits_where_it_stopped() -> None:
    params = {"w": normal(1, 5_000, BFLOAT16)}
    rested = {"w": params["w"].copy()}
    one = schuss.SGD(params, lr=0.1, rounding="stochastic")
    other = schuss.SGD(rested, lr=0.1, rounding="stochastic")
    for t in range(4):
        g = {"w": normal(5 + t, 5_000, np.float32)}
        one.step(g)
        other.step({"w": None})
        other.step(g)
    assert same_bits(params["w"], rested["w"])


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"rounding": "up"}, ValueError, "rounding is 'up', expected one of 'nearest', 'stochastic'"),
        ({"rounding": None}, ValueError, "rounding is None"),
        ({"seed": 1.5}, TypeError, r"seed is 1.5 \(float\), expected a whole number"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"seed": -1}, ValueError, "seed is -1, expected 0 or more"),
        ({"seed": 2**64}, ValueError, r"below 2\^64"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_by_name(keywords: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        schuss.AdamW(np.ones(3, np.float32), **keywords)
