"""Clipping by global norm, by leaf and by value: alone on arrays, and inside a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CLASSES, DTYPES, RULES, gradients, normal, same_bits, tree_bits
from hypothesis import given
from hypothesis import strategies as st

SHAPES = {"a": (300, 17), "b": (17,), "deep": [(4_097,), (1,)]}


def tree(seed: int, dtype: Any = np.float64, scale: float = 1.0) -> dict[str, Any]:
    """Parameters or gradients of one nesting."""
    make = lambda n, shape: (scale * normal(seed + n, shape)).astype(dtype)  # noqa: E731
    return {"a": make(0, (300, 17)), "b": make(1, 17), "deep": [make(2, 4_097), make(3, 1)]}


def copied(nest: dict[str, Any]) -> dict[str, Any]:
    return {"a": nest["a"].copy(), "b": nest["b"].copy(), "deep": [g.copy() for g in nest["deep"]]}


def norm_of(nest: dict[str, Any]) -> float:
    leaves = [nest["a"], nest["b"], *nest["deep"]]
    return math.sqrt(math.fsum(float(x) ** 2 for leaf in leaves for x in leaf.astype(float).flat))


# Alone, on arrays.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_by_global_norm_scales_in_place_by_tau_over_norm_with_nothing_added(dtype: str) -> None:
    grads = tree(1, dtype)
    before = copied(grads)
    norm = schuss.clipping.by_global_norm(grads, 1.0)
    assert norm == pytest.approx(norm_of(before), rel=1e-14)
    rtol = 1e-15 if dtype == "float64" else 1e-7
    for name in ("a", "b"):
        np.testing.assert_allclose(grads[name], before[name] * (1.0 / norm), rtol=2 * rtol)
    assert norm_of(grads) == pytest.approx(1.0, rel=1e-13 if dtype == "float64" else 1e-7)


def test_by_global_norm_leaves_what_is_within_the_limit_to_the_bit() -> None:
    grads = tree(2, np.float32)
    before = tree_bits(grads)
    norm = schuss.clipping.global_norm(grads)
    assert schuss.clipping.by_global_norm(grads, norm) == norm  # the limit itself is within
    assert schuss.clipping.by_global_norm(grads, 1e9) == norm
    assert tree_bits(grads) == before


def test_by_value_holds_every_element_within_the_limit() -> None:
    grads = tree(3)
    before = copied(grads)
    assert schuss.clipping.by_value(grads, 0.5) is None
    for name in ("a", "b"):
        assert same_bits(grads[name], np.clip(before[name], -0.5, 0.5))
    for got, was in zip(grads["deep"], before["deep"], strict=True):
        assert same_bits(got, np.clip(was, -0.5, 0.5))


def test_by_leaf_norm_clips_each_leaf_by_its_own_norm_and_names_them() -> None:
    grads = tree(4)
    grads["b"] *= 0.01  # this one is within the limit
    before = copied(grads)
    norms = schuss.clipping.by_leaf_norm(grads, 2.0)
    assert list(norms) == ["a", "b", "deep/0", "deep/1"]
    leaves = {"a": before["a"], "b": before["b"], "deep/0": before["deep"][0]}
    for name, leaf in leaves.items():
        assert norms[name] == pytest.approx(float(np.linalg.norm(leaf)), rel=1e-14)
    assert same_bits(grads["b"], before["b"])
    np.testing.assert_allclose(np.linalg.norm(grads["a"]), 2.0, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(grads["deep"][0]), 2.0, rtol=1e-14)


@pytest.mark.parametrize("function", ["by_global_norm", "by_leaf_norm", "by_value"])
def test_none_and_empty_leaves_are_passed_over(function: str) -> None:
    grads = {"w": np.full(4, 10.0), "frozen": None, "empty": np.zeros((0, 3))}
    getattr(schuss.clipping, function)(grads, 1.0)
    assert np.all(grads["w"] < 10.0)  # type: ignore[operator]
    assert grads["frozen"] is None


def test_global_norm_of_nothing_is_zero() -> None:
    assert schuss.clipping.global_norm({"w": np.zeros((0, 5), np.float32)}) == 0.0
    assert schuss.clipping.by_global_norm([np.zeros(3)], 1.0) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradients_are_reported_and_left_as_they_are(bad: float) -> None:
    grads = {"w": np.array([1.0, bad, 2.0]), "b": np.full(3, 9.0)}
    before = tree_bits(grads)
    norm = schuss.clipping.by_global_norm(grads, 1.0)
    assert not math.isfinite(norm)
    assert tree_bits(grads) == before, "scaling by a norm that is no number would spread it"


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200),
    st.floats(1e-3, 1e3),
)
def test_a_clipped_norm_never_exceeds_its_limit(values: list[float], limit: float) -> None:
    g = np.array(values)
    before = g.copy()
    norm = schuss.clipping.by_global_norm([g], limit)
    if norm <= limit:
        assert same_bits(g, before)
    else:
        assert float(np.linalg.norm(g)) == pytest.approx(limit, rel=1e-12)
        # The direction is kept.
        np.testing.assert_allclose(g * norm, before * limit, rtol=1e-12, atol=1e-290)


def test_bfloat16_gradients_are_clipped_and_rounded_once() -> None:
    g = normal(5, 1_000, DTYPES["bfloat16"])
    exact = g.astype(np.float64)
    norm = schuss.clipping.by_global_norm([g], 1.0)
    assert norm == pytest.approx(float(np.linalg.norm(exact)), rel=1e-14)
    want = (exact.astype(np.float32) * np.float32(1.0 / norm)).astype(DTYPES["bfloat16"])
    assert same_bits(g, want)


# Inside a step.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clip_in_a_step_equals_clipping_before_it(rule: str, dtype: str, limit: float) -> None:
    inside, before = tree(6, dtype), tree(6, dtype)
    one, other = CLASSES[rule](inside, clip=limit), CLASSES[rule](before)
    for t in range(3):
        grads, clipped = tree(20 + t, dtype), tree(20 + t, dtype)
        untouched = tree_bits(grads)
        info = one.step(grads)
        norm = schuss.clipping.by_global_norm(clipped, limit)
        other.step(clipped)
        assert tree_bits(grads) == untouched, "a step does not write the gradients"
        assert info.grad_norm == norm
        assert info.clip_coef == (limit / norm if norm > limit else 1.0)
    # One rounding of scale times gradient in both: the same bits.
    assert tree_bits(inside) == tree_bits(before)


def test_a_number_means_global_norm() -> None:
    results = []
    for clip in (1.0, 1, schuss.clipping.GlobalNorm(1.0)):
        params = tree(7)
        schuss.SGD(params, lr=0.1, clip=clip).step(tree(8))
        results.append(tree_bits(params))
    assert results[0] == results[1] == results[2]


def test_clip_by_leaf_norm_in_a_step() -> None:
    params, grads = tree(9), tree(10)
    start = copied(params)
    info = schuss.SGD(params, lr=1.0, clip=schuss.clipping.LeafNorm(0.5), grad_norm=True).step(grads)
    assert info.grad_norm == pytest.approx(norm_of(grads), rel=1e-14)
    for name in ("a", "b"):
        g = grads[name]
        coefficient = min(1.0, 0.5 / float(np.linalg.norm(g)))
        np.testing.assert_allclose(params[name], start[name] - coefficient * g, rtol=1e-13)


def test_clip_by_value_in_a_step() -> None:
    params, grads = tree(11), tree(12)
    start = copied(params)
    info = schuss.SGD(params, lr=1.0, clip=schuss.clipping.Value(0.3)).step(grads)
    assert info.clip_coef == 1.0
    for name in ("a", "b"):
        assert same_bits(params[name], start[name] - np.clip(grads[name], -0.3, 0.3))


def test_norm_is_reported_when_asked_for_and_only_then() -> None:
    grads = tree(13)
    assert schuss.Adam(tree(14)).step(grads).grad_norm is None
    asked = schuss.Adam(tree(14), grad_norm=True).step(grads)
    assert asked.grad_norm == schuss.clipping.global_norm(grads)
    assert asked.clip_coef == 1.0
    by_value = schuss.Adam(tree(14), clip=schuss.clipping.Value(1e-3), grad_norm=True).step(grads)
    assert by_value.grad_norm == asked.grad_norm, "the norm is the one before clipping"


def test_frozen_and_missing_leaves_are_no_part_of_the_norm() -> None:
    params = {"w": np.zeros(3), "b": np.zeros(4)}
    opt = schuss.SGD(params, clip=1.0)
    assert opt.step({"w": np.array([3.0, 4.0, 0.0]), "b": None}).grad_norm == 5.0
    opt.freeze("b")
    assert opt.step({"w": np.array([3.0, 4.0, 0.0]), "b": np.ones(4)}).grad_norm == 5.0


def test_zero_gradients_are_not_divided_by_their_norm() -> None:
    params = {"w": np.ones(5)}
    info = schuss.SGD(params, clip=1.0).step({"w": np.zeros(5)})
    assert (info.grad_norm, info.clip_coef, info.skipped) == (0.0, 1.0, False)
    np.testing.assert_array_equal(params["w"], 1.0)


def test_weight_decay_is_not_clipped() -> None:
    """Clipping bounds the gradient of the loss; AdamW's decay stands beside it."""
    params = {"w": np.full(8, 2.0)}
    schuss.AdamW(params, lr=0.1, weight_decay=0.5, clip=1e-12).step({"w": np.zeros(8)})
    np.testing.assert_allclose(params["w"], 2.0 * (1 - 0.1 * 0.5), rtol=1e-15)


@pytest.mark.parametrize("grad_dtype", ["float32", "bfloat16"])
def test_norm_is_of_the_gradients_as_given_not_as_rounded_to_the_parameters(
    grad_dtype: str,
) -> None:
    g = gradients(15, 5_000, 1, DTYPES[grad_dtype])[0]
    params = {"w": np.zeros(5_000, DTYPES["bfloat16"])}
    assert schuss.SGD(params, grad_norm=True).step({"w": g}).grad_norm == pytest.approx(
        math.sqrt(math.fsum(float(x) ** 2 for x in g)), rel=1e-14
    )
