"""The same bits in give the same bits out: over levels, threads, leaf order, layout and chunks."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import schuss
from digests import FORMATS, SHAPES, all_digests, schedule_bits, walk_digest
from helpers import CASES, CLASSES, DTYPES, POINTWISE_CASES, REPOSITORY, case_id, gradients, normal, same_bits
from hypothesis import given
from hypothesis import strategies as st

LEVELS = list(schuss.info()["levels"])
CHUNK = 4096


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    """The digests of this process, at its own level, on one thread."""
    before = schuss.get_num_threads()
    schuss.set_num_threads(1)
    found = {"steps": all_digests(), "schedules": schedule_bits()}
    schuss.set_num_threads(before)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_levels_agree_bit_for_bit(level: str, here: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "digests.py"],
        env={**os.environ, "SCHUSS_CPU_LEVEL": level, "SCHUSS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    there = json.loads(done.stdout)
    assert there["level"] == level
    differ = [key for key, value in here["steps"].items() if there["steps"][key] != value]
    assert differ == []
    assert there["schedules"] == here["schedules"]


def test_this_machine_runs_more_than_one_level() -> None:
    """Otherwise the test above compares a level with itself; say so rather than pass quietly."""
    if len(LEVELS) < 2:
        pytest.skip(f"only {LEVELS} run on this processor")
    assert len(set(LEVELS)) == len(LEVELS)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("formats", FORMATS, ids="/".join)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_threads_agree_bit_for_bit(
    rule: str,
    setting: dict[str, Any],
    formats: tuple[str, str],
    threads: int,
    here: dict[str, Any],
) -> None:
    schuss.set_num_threads(threads)
    assert schuss.get_num_threads() == threads
    key = f"{rule} {case_id(setting)} {'/'.join(formats)}"
    assert walk_digest(rule, setting, formats) == here["steps"][key]


@pytest.mark.parametrize("order", [tuple(SHAPES)[::-1], tuple("cafedb")], ids="".join)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_leaf_order_does_not_matter(rule: str, setting: dict[str, Any], order: tuple[str, ...]) -> None:
    for threads in (1, 3):
        schuss.set_num_threads(threads)
        assert walk_digest(rule, setting, order=order) == walk_digest(rule, setting)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), POINTWISE_CASES, ids=case_id)
def test_an_element_does_not_know_where_in_the_array_it_lies(rule: str, setting: dict[str, Any], dtype: str) -> None:
    """Each element's step is its own: cut at any place, vector body and tail give the same bits."""
    n = 2 * CHUNK + 77
    p, grads = normal(1, n, DTYPES[dtype]), gradients(2, n, 3, DTYPES[dtype])
    cuts = [0, 1, 8, 41, 1000, CHUNK - 1, CHUNK, CHUNK + 1, n - 3, n]
    pieces = [p[a:b].copy() for a, b in pairwise(cuts)]
    whole, cut = CLASSES[rule](p, **setting), CLASSES[rule](pieces, **setting)
    for g in grads:
        whole.step(g)
        cut.step([g[a:b].copy() for a, b in pairwise(cuts)])
    assert same_bits(np.concatenate(pieces), p)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_strided_and_contiguous_leaves_agree(rule: str, setting: dict[str, Any], dtype: str) -> None:
    shape = (61, 83)
    start, grads = normal(3, shape, DTYPES[dtype]), gradients(4, shape, 3, DTYPES[dtype])
    contiguous = {"w": start.copy()}
    home = np.zeros((2 * 61, 3 * 83), DTYPES[dtype])
    strided = {"w": home[::2, 1::3]}
    strided["w"][...] = start
    one = CLASSES[rule](contiguous, clip=1.0, **setting)
    other = CLASSES[rule](strided, clip=1.0, **setting)
    for g in grads:
        # The norm's order of addition is the elements' own, so even it agrees.
        assert one.step({"w": g}).grad_norm == other.step({"w": np.asfortranarray(g)}).grad_norm
    assert same_bits(strided["w"], contiguous["w"])
    for name, slot in one.state["w"].items():
        assert same_bits(other.state["w"][name], slot)
    outside = home.copy()
    outside[::2, 1::3] = 0
    assert not outside.any(), "elements between the strides were written"


# Subnormals and non-finite numbers.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [7, 100, CHUNK + 5])
def test_subnormal_slots_are_stored_as_zero(dtype: str, n: int) -> None:
    tiny = np.finfo(dtype).tiny
    p = np.zeros(n, dtype)
    opt = schuss.Momentum({"w": p}, beta=0.5)
    opt.step({"w": np.full(n, 4 * tiny, dtype)})
    seen = [float(opt.state["w"]["v"][0] / tiny)]
    for _ in range(4):
        opt.step({"w": np.zeros(n, dtype)})
        v = opt.state["w"]["v"]
        assert np.all(v == v[0])
        seen.append(float(v[0] / tiny))
    assert seen == [2.0, 1.0, 0.0, 0.0, 0.0]  # the half of the smallest normal number is zero


def test_negative_subnormal_slots_are_stored_as_zero_too() -> None:
    tiny = np.finfo(np.float32).tiny
    opt = schuss.Momentum({"w": np.zeros(50, np.float32)}, beta=0.5)
    opt.step({"w": np.full(50, -tiny, np.float32)})
    np.testing.assert_array_equal(opt.state["w"]["v"], 0.0)


def test_subnormal_parameters_are_kept() -> None:
    """Only slots are flushed: a parameter is the user's number."""
    p = np.full(100, 1e-42, np.float32)
    before = p.copy()
    schuss.SGD(p, lr=0.5).step(np.zeros(100, np.float32))
    assert same_bits(p, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), POINTWISE_CASES, ids=case_id)
def test_nonfinite_gradients_pass_through_where_they_are_applied(
    rule: str, setting: dict[str, Any], dtype: str, bad: float
) -> None:
    p, clean = normal(5, 200, DTYPES[dtype]), normal(5, 200, DTYPES[dtype])
    g = normal(6, 200, DTYPES[dtype])
    dirty = g.copy()
    dirty[[3, 77, 199]] = bad
    opt = CLASSES[rule]({"w": p}, nonfinite="apply", grad_norm=True, **setting)
    info = opt.step({"w": dirty})
    CLASSES[rule]({"w": clean}, **setting).step({"w": g})
    assert not info.skipped
    assert opt.clock == 1
    assert not math.isfinite(info.grad_norm)
    hit = np.zeros(200, bool)
    hit[[3, 77, 199]] = True
    assert same_bits(p[~hit], clean[~hit]), "a NaN stays in its own element"
    touched = [np.asarray(p, float)[hit], *(np.asarray(s)[hit] for s in opt.state["w"].values() if np.ndim(s))]
    assert all(any(not np.isfinite(each[i]) for each in touched) for i in range(3))
    if math.isnan(bad):
        assert np.isnan(np.asarray(p, float)[hit]).all()


# Norms: an exact sum between chunks, thirty-two lanes inside one.


def lanes_norm(leaves: list[np.ndarray]) -> float:
    """The norm as the design states it: 32 float64 lanes a chunk, halved; chunks summed exactly."""
    sums = []
    for leaf in leaves:
        flat = np.asarray(leaf).astype(np.float64).ravel()
        for start in range(0, flat.size, CHUNK):
            chunk = flat[start : start + CHUNK] ** 2
            rows = np.zeros((-(-chunk.size // 32), 32))
            rows.ravel()[: chunk.size] = chunk
            lanes = np.zeros(32)
            for row in rows:
                lanes = lanes + row
            while lanes.size > 1:
                lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
            sums.append(float(lanes[0]))
    return math.sqrt(math.fsum(sums))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 63, 65, 4095, 4096, 4097, 20_001])
def test_norm_is_the_lanes_of_each_chunk_summed_exactly(dtype: str, n: int) -> None:
    # Many draws: the root hides half of the differences that another order makes.
    for seed in range(20):
        g = (1 + normal(seed, n)).astype(DTYPES[dtype])
        assert schuss.clipping.global_norm({"w": g}) == lanes_norm([g])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_norm_of_many_leaves_does_not_depend_on_order_or_threads(threads: int) -> None:
    schuss.set_num_threads(threads)
    rng = np.random.default_rng(8)
    leaves = [
        (rng.standard_normal(int(n)) * 10.0 ** rng.integers(-12, 12)).astype(np.float32)
        for n in rng.integers(1, 9_000, 60)
    ]
    want = lanes_norm(leaves)
    for _ in range(4):
        assert schuss.clipping.global_norm(leaves) == want
        rng.shuffle(leaves)  # type: ignore[arg-type]


def test_norm_of_single_elements_is_the_correctly_rounded_sum() -> None:
    """One element a leaf: each square is exact in float64, and so is the sum between chunks."""
    rng = np.random.default_rng(9)
    values = (rng.standard_normal(3_000) * 10.0 ** rng.uniform(-18, 18, 3_000)).astype(np.float32)
    want = math.sqrt(math.fsum(float(v) ** 2 for v in values))
    assert schuss.clipping.global_norm([np.array([v]) for v in values]) == want


@given(st.lists(st.integers(-(2**20), 2**20), max_size=300), st.integers(-30, 30))
def test_norm_of_integers_is_exact(numbers: list[int], power: int) -> None:
    g = np.ldexp(np.array(numbers, np.float64), power)
    want = math.ldexp(math.sqrt(sum(each * each for each in numbers)), power)
    assert schuss.clipping.global_norm([g]) == want


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_norm_is_symmetric_in_its_leaves(values: list[float], random: Any) -> None:
    leaves = [np.array([v, v], np.float32) for v in values]
    want = schuss.clipping.global_norm(leaves)
    random.shuffle(leaves)
    assert schuss.clipping.global_norm(leaves) == want


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_norm_survives_where_squares_would_overflow_or_vanish(dtype: str) -> None:
    """A float32 square fits float64 everywhere."""
    huge = np.full(1000, np.finfo(np.float32).max, dtype)
    small = np.full(1000, np.finfo(np.float32).tiny, dtype)
    for g in (huge, small):
        got = schuss.clipping.global_norm({"w": g})
        assert got == pytest.approx(math.sqrt(1000) * float(g[0]), rel=1e-15)


def test_step_reports_the_same_norm_as_the_plain_function() -> None:
    grads = {"a": normal(10, 5_000, np.float32), "b": normal(11, (30, 40), np.float64)}
    params = {"a": np.zeros(5_000, np.float32), "b": np.zeros((30, 40))}
    info = schuss.SGD(params, grad_norm=True).step(grads)
    assert info.grad_norm == schuss.clipping.global_norm(grads)
