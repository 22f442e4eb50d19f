"""Trees of leaves: nesting, tied, empty and rebound leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from helpers import (
    CLASSES,
    RULES,
    normal,
    same_bits,
    snapshot,
    tree_bits,
)
from hypothesis import given
from hypothesis import strategies as st


def nested(seed: int, dtype: Any = np.float64) -> dict[str, Any]:
    return {
        "encoder": {"w": normal(seed, (4, 3), dtype), "b": normal(seed + 1, 3, dtype)},
        "layers": [
            {"w": normal(seed + 2, (3, 3), dtype)},
            (normal(seed + 3, 2, dtype), normal(seed + 4, (), dtype)),
        ],
        "empty": {},
        "out": normal(seed + 5, (3, 0), dtype),
    }


NAMES = ["encoder/w", "encoder/b", "layers/0/w", "layers/1/0", "layers/1/1", "out"]


def test_leaves_are_named_by_their_path() -> None:
    assert list(schuss.Adam(nested(1)).names) == NAMES


def test_state_has_the_nesting_of_the_parameters() -> None:
    params = nested(1)
    opt = schuss.Adam(params)
    opt.step(nested(10))
    state = opt.state
    assert list(state["encoder"]["w"]) == ["m", "v"]
    assert state["encoder"]["w"]["m"].shape == (4, 3)
    assert state["layers"][1][1]["v"].shape == ()
    assert state["out"]["m"].shape == (3, 0)
    np.testing.assert_allclose(state["layers"][0]["w"]["m"], 0.1 * nested(10)["layers"][0]["w"])


def test_state_of_one_array_is_its_slots() -> None:
    p = np.ones(3)
    opt = schuss.Adam(p)
    opt.step(np.ones(3))
    assert set(opt.state) == {"m", "v"}
    np.testing.assert_allclose(opt.state["m"], 0.1)


@pytest.mark.parametrize("rule", RULES)
def test_nested_parameters_step_as_each_would_alone(rule: str) -> None:
    params, alone = nested(1), dict(zip(NAMES, leaves(nested(1)), strict=True))
    opt = CLASSES[rule](params, lr=0.05)
    each = {name: CLASSES[rule](leaf, lr=0.05) for name, leaf in alone.items()}
    for t in range(3):
        grads = nested(20 + t)
        opt.step(grads)
        for name, g in zip(NAMES, leaves(grads), strict=True):
            each[name].step(g)
    for got, want in zip(leaves(params), alone.values(), strict=True):
        assert same_bits(got, want)


def leaves(tree: dict[str, Any]) -> list[np.ndarray]:
    return [
        tree["encoder"]["w"],
        tree["encoder"]["b"],
        tree["layers"][0]["w"],
        *tree["layers"][1],
        tree["out"],
    ]


def test_a_zero_dimensional_leaf_steps() -> None:
    p = np.array(1.0)
    schuss.SGD({"scale": p}, lr=0.5).step({"scale": np.array(2.0)})
    assert p == 0.0


def test_order_of_keys_in_the_gradients_does_not_matter() -> None:
    one, other = nested(1), nested(1)
    grads = nested(2)
    turned = dict(reversed(grads.items()))
    turned["encoder"] = dict(reversed(grads["encoder"].items()))
    schuss.Adam(one).step(grads)
    schuss.Adam(other).step(turned)
    assert tree_bits(one) == tree_bits(other)


@given(
    st.recursive(
        st.integers(0, 5).map(lambda n: np.ones(n)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
        ),
        max_leaves=12,
    )
)
def test_any_nesting_is_stepped_leaf_by_leaf(tree: Any) -> None:
    found = list(arrays_of(tree))
    if not found:
        with pytest.raises(ValueError, match=r"no|empty"):
            schuss.SGD(tree)
        return
    schuss.SGD(tree, lr=0.25).step(mirrored(tree))
    for leaf in found:
        np.testing.assert_array_equal(leaf, 0.5)


def arrays_of(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        yield tree
    else:
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from arrays_of(each)


def mirrored(tree: Any) -> Any:
    """The same nesting, of gradients that are all two."""
    if isinstance(tree, np.ndarray):
        return np.full_like(tree, 2.0)
    if isinstance(tree, dict):
        return {key: mirrored(each) for key, each in tree.items()}
    return type(tree)(mirrored(each) for each in tree)


# Tied, empty and rebound leaves.


@pytest.mark.parametrize("rule", RULES)
def test_tied_leaves_step_once_with_the_sum_of_their_gradients(rule: str) -> None:
    shared, alone = normal(21, (5, 4)), normal(21, (5, 4))
    opt = CLASSES[rule]({"embed": shared, "head": shared}, lr=0.05)
    other = CLASSES[rule]({"embed": alone}, lr=0.05)
    for t in range(4):
        one, two = np.round(normal(22 + t, (5, 4)), 3), np.round(normal(32 + t, (5, 4)), 3)
        opt.step({"embed": one, "head": two})
        other.step({"embed": one + two})
    assert same_bits(shared, alone)
    for name, slot in other.state["embed"].items():
        assert same_bits(opt.state["embed"][name], slot)


def test_tied_leaves_take_the_gradient_that_is_there() -> None:
    shared = np.zeros(3)
    opt = schuss.SGD({"a": shared, "b": shared}, lr=1.0)
    opt.step({"a": np.ones(3), "b": None})
    np.testing.assert_array_equal(shared, -1.0)
    opt.step({"a": None, "b": None})
    np.testing.assert_array_equal(shared, -1.0)


def test_the_norm_of_tied_leaves_is_of_the_summed_gradient() -> None:
    shared = np.zeros(1)
    opt = schuss.SGD({"a": shared, "b": shared}, clip=100.0)
    assert opt.step({"a": np.array([3.0]), "b": np.array([4.0])}).grad_norm == 7.0


def test_two_whole_views_of_one_array_are_tied() -> None:
    home = np.zeros((4, 3))
    opt = schuss.SGD({"a": home, "b": home[:]}, lr=1.0)
    opt.step({"a": np.ones((4, 3)), "b": np.ones((4, 3))})
    np.testing.assert_array_equal(home, -2.0)


def test_cost_counts_a_tied_leaf_once() -> None:
    shared = np.zeros(1_000)
    assert schuss.Adam({"a": shared, "b": shared}).cost()["elements"] == 1_000


def test_parameters_that_are_all_empty_step() -> None:
    params = {"a": np.zeros((0,)), "b": np.zeros((2, 0), np.float32)}
    opt = schuss.AdamW(params, clip=1.0)
    info = opt.step({"a": np.zeros((0,)), "b": np.zeros((2, 0), np.float32)})
    assert (info.step, info.grad_norm, info.skipped) == (1, 0.0, False)


def test_a_rebound_leaf_is_noticed_and_named() -> None:
    params = nested(23)
    opt = schuss.Adam(params)
    opt.step(nested(24))
    params["encoder"]["w"] = params["encoder"]["w"].copy()
    before = snapshot(opt, params)
    with pytest.raises(ValueError, match=r"params\['encoder'\]\['w'\]"):
        opt.step(nested(25))
    assert snapshot(opt, params) == before


def test_a_rebound_list_item_is_noticed_and_named() -> None:
    params = [np.zeros(2), np.zeros(2)]
    opt = schuss.SGD(params)
    params[1] = np.ones(2)
    with pytest.raises(ValueError, match=r"params\[1\]"):
        opt.step([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(params[0], 0.0)


def test_an_augmented_assignment_is_no_rebinding() -> None:
    params = {"w": np.ones(3)}
    opt = schuss.SGD(params, lr=1.0)
    params["w"] *= 2.0
    params["w"][...] = params["w"] + 1.0
    opt.step({"w": np.ones(3)})
    np.testing.assert_array_equal(params["w"], 2.0)


def test_the_optimizer_keeps_its_parameters_alive() -> None:
    opt = schuss.SGD(list(np.ones((3, 4))), lr=1.0)  # rows that nobody else holds
    opt.step([np.ones(4)] * 3)
    opt.step([np.ones(4)] * 3)
    assert opt.clock == 2


def test_a_generator_of_parameters_is_read_once() -> None:
    """As ``model.parameters()`` gives them."""
    arrays = [np.ones(2), np.ones(3)]
    opt = schuss.SGD((each for each in arrays), lr=1.0)
    opt.step([np.ones(2), np.ones(3)])
    np.testing.assert_array_equal(np.concatenate(arrays), 0.0)
