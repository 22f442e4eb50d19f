"""float16 beside the other formats: read and rounded exactly, mixed freely, refused on CUDA by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import schuss
import storing
from helpers import BFLOAT16, CASES, CLASSES, REPOSITORY, case_id, gradients, normal, same_bits, snapshot
from storing import FLOAT16, FORMATS

EVERY = np.arange(2**16, dtype=np.uint16).view(FLOAT16)


def test_every_float16_is_read_exactly() -> None:
    p = np.zeros(EVERY.shape, np.float32)
    schuss.SGD(p, lr=1.0).step(EVERY)
    want = -EVERY.astype(np.float32)
    finite = ~np.isnan(want)
    assert np.array_equal(p[finite], want[finite])
    assert np.array_equal(np.isnan(p), np.isnan(want))
    assert np.isnan(p).sum() == 2 * 1023


def test_every_kind_of_float32_is_rounded_to_the_nearest_float16_ties_to_even() -> None:
    every = EVERY[~np.isnan(EVERY)].astype(np.float32)
    between = (every[:-1].astype(np.float64) + every[1:]) / 2
    ties = between[np.isfinite(between)].astype(np.float32)
    edges = np.array([65504, 65519.996, 65520, 65536, 1e30, np.inf, 2**-25, 2**-24, 2**-14, 1e-45, 0], np.float32)
    x = np.concatenate([every, ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-1)), edges])
    x = np.concatenate([x, -x, normal(1, 100_000, np.float32)])
    p = np.zeros(x.shape, FLOAT16)
    schuss.SGD(p, lr=1.0).step(-x)
    with np.errstate(over="ignore"):
        assert np.array_equal(p, x.astype(FLOAT16))
    p = np.zeros(1, FLOAT16)
    schuss.SGD(p, lr=1.0).step(np.array([np.nan], np.float32))
    assert np.isnan(p[0])


def test_a_float16_zero_keeps_its_sign() -> None:
    p = np.array([-0.0, 0.0], FLOAT16)
    schuss.SGD(p, lr=1.0).step(np.zeros(2, FLOAT16))
    assert np.signbit(p).tolist() == [True, False]


@pytest.mark.parametrize("n", [1, 33, 513, 4097, 9_000])
@pytest.mark.parametrize("grad_dtype", FORMATS)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_float16_step_is_the_float32_step_rounded_once(
    rule: str, setting: dict[str, Any], grad_dtype: str, n: int
) -> None:
    p, g = normal(5, n, FLOAT16), gradients(6, n, 1, FORMATS[grad_dtype])[0]
    want = p.astype(np.float32)
    CLASSES[rule](want, **setting).step(g)
    opt = CLASSES[rule](p, **setting)
    opt.step(g)
    assert same_bits(p, want.astype(FLOAT16))
    assert all(slot.dtype == np.float32 for slot in opt.state.values() if slot.shape)


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_float16_gradient_is_the_same_gradient_widened(dtype: str) -> None:
    g = normal(2, (40, 130), FLOAT16)
    p = [normal(1, (40, 130), FORMATS[dtype]) for _ in range(2)]
    for array, grad in zip(p, (g, g.astype(np.float32)), strict=True):
        opt = schuss.AdamW(array, lr=0.1, clip=1.0)
        opt.step(grad)
    assert same_bits(*p)


@pytest.mark.parametrize("order", ["C", "F"])
def test_strided_float16_is_stepped_as_if_it_lay_in_c_order(order: Any) -> None:
    base, g = normal(1, (60, 70), FLOAT16), normal(2, (30, 70), FLOAT16)
    plain = base[::2].copy()
    view = np.array(base, order=order)[::2]
    schuss.AdamW(plain, lr=0.1).step(g)
    schuss.AdamW(view, lr=0.1).step(np.asfortranarray(g))
    assert same_bits(plain, view)


def test_torch_and_dlpack_and_the_array_interface_bring_float16() -> None:
    torch = pytest.importorskip("torch")

    class Interface:
        def __init__(self, array: np.ndarray) -> None:
            self.__array_interface__ = array.__array_interface__
            self.array = array

    class Capsule:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **keywords: Any) -> Any:
            return self.array.__dlpack__(**keywords)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    g = normal(2, 600, FLOAT16)
    want = normal(1, 600, FLOAT16)
    schuss.Adam(want, lr=0.1).step(g)
    for wrap in (Interface, Capsule, torch.from_numpy):
        p = normal(1, 600, FLOAT16)
        schuss.Adam(wrap(p), lr=0.1).step(wrap(g))
        assert same_bits(p, want), wrap


def test_float16_gradients_are_clipped_and_summed_as_widened() -> None:
    g = normal(5, 10_000, FLOAT16)
    norm = schuss.clipping.global_norm(g)
    assert norm == schuss.clipping.global_norm(g.astype(np.float32))
    clipped = g.copy()
    schuss.clipping.by_global_norm(clipped, 1.0)
    assert same_bits(clipped, (g.astype(np.float32) * np.float32(1.0 / norm)).astype(FLOAT16))


def test_accumulated_float16_gradients_are_added_in_float32() -> None:
    p = np.zeros(3, FLOAT16)
    opt = schuss.SGD(p, lr=1.0, accumulate=2)
    opt.step(np.full(3, 49_152, FLOAT16))
    opt.step(np.full(3, 57_344, FLOAT16))
    assert np.array_equal(p, np.full(3, -53_248, FLOAT16))


def test_plain_functions_take_float16() -> None:
    p, g = normal(1, 700, FLOAT16), normal(2, 700, FLOAT16)
    want = p.copy()
    schuss.AdamW(want, lr=0.1).step(g)
    schuss.ops.adamw(p, g, np.zeros(700, np.float32), np.zeros(700, np.float32), lr=0.1)
    assert same_bits(p, want)


def test_the_lookahead_point_of_float16_comes_back_exactly() -> None:
    p = normal(1, 5_000, FLOAT16)
    opt = schuss.Nesterov(p, lr=0.1)
    opt.step(normal(2, 5_000, FLOAT16))
    before = p.copy()

    def leave_early() -> None:
        with opt.lookahead():
            assert not same_bits(p, before)
            raise KeyError

    with pytest.raises(KeyError):
        leave_early()
    assert same_bits(p, before)


def test_cost_counts_two_bytes() -> None:
    assert schuss.SGD(np.zeros(1000, FLOAT16)).cost()["bytes_moved"] == 6000


def test_other_types_are_refused_with_the_list_of_those_taken() -> None:
    with pytest.raises(TypeError, match="dtype int16, expected float64, float32, bfloat16 or float16"):
        schuss.SGD(np.zeros(3, np.int16))
    with pytest.raises(TypeError, match=r"dtype >f2 \(not in this machine's byte order\)"):
        schuss.SGD(np.zeros(3, ">f2"))
    p = {"w": np.zeros(3, FLOAT16)}
    opt = schuss.SGD(p)
    before = snapshot(opt, p)
    with pytest.raises(TypeError, match=r"grads\['w'\]: dtype int16"):
        opt.step({"w": np.zeros(3, np.int16)})
    assert snapshot(opt, p) == before


@pytest.mark.parametrize("kind", storing.STORED)
@pytest.mark.parametrize("rule", storing.RULES_WALKED)
def test_threads_and_the_order_of_leaves_change_no_bit(kind: str, rule: str) -> None:
    before = schuss.get_num_threads()
    found = set()
    for threads in (1, 3):
        schuss.set_num_threads(threads)
        found |= {storing.walked(kind, rule, order) for order in (1, -1)}
    schuss.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.parametrize("level", schuss.info()["levels"])
def test_levels_agree_bit_for_bit_in_every_way_to_store(level: str) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "storing.py"],
        env={**os.environ, "SCHUSS_CPU_LEVEL": level},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    there, here = json.loads(done.stdout), storing.all_walked()
    assert there["level"] == level
    assert [key for key in here if there["bits"][key] != here[key]] == []


def test_bfloat16_and_float16_mix() -> None:
    p, g = normal(1, 5_000, BFLOAT16), normal(2, 5_000, FLOAT16)
    want = p.astype(np.float32)
    schuss.AdamW(want, lr=0.1).step(g.astype(np.float32))
    schuss.AdamW(p, lr=0.1).step(g)
    assert same_bits(p, want.astype(BFLOAT16))
