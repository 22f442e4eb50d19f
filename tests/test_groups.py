"""Groups of parameters, freezing, and leaves whose gradient is absent for a while."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from helpers import (
    CLASSES,
    RULES,
    assert_walks,
    gradients,
    normal,
    same_bits,
    snapshot,
    tree_bits,
)
from oracles import Walk


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


def test_groups_have_hypers_of_their_own() -> None:
    w, b = normal(3, 10), normal(4, 5)
    want_w, want_b = Walk("adamw", w, lr=0.1, weight_decay=0.2), Walk("adamw", b, weight_decay=0.0)
    opt = schuss.AdamW([{"params": {"w": w}, "lr": 0.1, "weight_decay": 0.2}, {"params": [b], "weight_decay": 0.0}])
    for g in gradients(5, 10, 4, np.float64):
        assert opt.step([{"w": g}, [g[:5]]]).lr == 0.1, "the first group's"
        want_w.step(g)
        want_b.step(g[:5])
    assert_walks({"w": (w, want_w), "b": (b, want_b)}, 1e-13)
    assert list(opt.names) == ["0/w", "1/0"]


def test_group_hypers_fall_back_to_the_keywords() -> None:
    a, b = np.zeros(2), np.zeros(2)
    opt = schuss.SGD([{"params": a}, {"params": b, "lr": 0.5}], lr=0.25)
    opt.step([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(a, -0.25)
    np.testing.assert_array_equal(b, -0.5)


def test_group_hypers_are_read_and_set() -> None:
    a, b = np.zeros(2), np.zeros(2)
    opt = schuss.SGD([{"params": a}, {"params": b, "lr": 0.5}], lr=0.25)
    assert [group["lr"] for group in opt.groups] == [0.25, 0.5]
    opt.groups[1]["lr"] = 2.0
    assert opt.groups[1]["lr"] == 2.0
    opt.step([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(b, -2.0)
    np.testing.assert_array_equal(a, -0.25)


def test_a_group_setting_is_checked_like_a_keyword() -> None:
    opt = schuss.Adam(np.zeros(2))
    group = opt.groups[0]
    with pytest.raises(ValueError, match=r"lr.*-1"):
        group["lr"] = -1.0
    with pytest.raises(TypeError, match="lr"):
        group["lr"] = "fast"
    with pytest.raises((KeyError, TypeError), match="beta3"):
        group["beta3"] = 0.5
    assert group["lr"] == 1e-3


def test_groups_of_different_schedules() -> None:
    a, b = np.zeros(1), np.zeros(1)
    opt = schuss.SGD(
        [
            {"params": a, "lr": lambda step: 1.0 + step},
            {"params": b, "lr": lambda step: 10.0 * step},
        ]
    )
    for _ in range(3):
        opt.step([np.ones(1), np.ones(1)])
    assert (a[0], b[0]) == (-6.0, -30.0)


def test_add_group_starts_with_bias_correction_of_its_own() -> None:
    a, b = normal(6, 8), normal(7, 4)
    want_a, want_b = Walk("adam", a), Walk("adam", b, lr=0.05)
    opt = schuss.Adam([{"params": {"a": a}}])
    grads = gradients(8, 8, 9, np.float64)
    for g in grads[:5]:
        opt.step([{"a": g}])
        want_a.step(g)
    opt.add_group({"params": {"b": b}, "lr": 0.05}, name="late")
    assert opt.groups[-1].name == "late"
    for g in grads[5:]:
        opt.step([{"a": g}, {"b": g[:4]}])
        want_a.step(g)
        want_b.step(g[:4])
    assert opt.clock == 9
    assert_walks({"a": (a, want_a), "b": (b, want_b)}, 1e-13)


def test_add_group_keeps_what_was_there() -> None:
    params = {"a": normal(9, 30)}
    opt = schuss.Adam([{"params": params}])
    opt.step([{"a": np.ones(30)}])
    before = {name: np.array(slot) for name, slot in opt.state[0]["a"].items()}
    opt.add_group({"params": {"b": np.zeros(20)}})
    for name, slot in before.items():
        assert same_bits(opt.state[0]["a"][name], slot)
    assert set(opt.state[1]["b"]) == {"m", "v"}


def test_add_group_refuses_a_leaf_that_is_there_already() -> None:
    a = normal(10, 6)
    opt = schuss.Adam([{"params": {"a": a}}])
    opt.step([{"a": np.ones(6)}])
    before = snapshot(opt, {"a": a})
    with pytest.raises(ValueError, match=r"a"):
        opt.add_group({"params": {"again": a}})
    assert snapshot(opt, {"a": a}) == before
    assert len(opt.groups) == 1


# Freezing and absent gradients.


def test_a_frozen_leaf_is_left_alone_whatever_its_gradient() -> None:
    params = nested(11)
    opt = schuss.AdamW(params, weight_decay=0.1)
    opt.step(nested(12))
    before = tree_bits(params), tree_bits(opt.state)
    opt.freeze("encoder")
    opt.step(nested(13))
    after = tree_bits(params), tree_bits(opt.state)
    for name in ("encoder/w", "encoder/b"):
        assert after[0][name] == before[0][name]
        assert after[1][f"{name}/m"] == before[1][f"{name}/m"]
    assert after[0]["layers/0/w"] != before[0]["layers/0/w"]
    opt.unfreeze("encoder/w")
    opt.step(nested(14))
    assert tree_bits(params)["encoder/w"] != before[0]["encoder/w"]
    assert tree_bits(params)["encoder/b"] == before[0]["encoder/b"]


def test_freezing_by_prefix_stops_at_whole_names() -> None:
    params = {"enc": np.ones(2), "encoder": np.ones(2)}
    opt = schuss.SGD(params, lr=1.0)
    opt.freeze("enc")
    opt.step({"enc": np.ones(2), "encoder": np.ones(2)})
    np.testing.assert_array_equal(params["enc"], 1.0)
    np.testing.assert_array_equal(params["encoder"], 0.0)


def test_freezing_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    opt = schuss.SGD(nested(15))
    with pytest.raises(ValueError, match=r"'decoder'.*encoder"):
        opt.freeze("decoder")


def test_a_frozen_group_stands_still() -> None:
    a, b = np.zeros(2), np.zeros(2)
    opt = schuss.SGD([{"params": a}, {"params": b}], lr=1.0)
    opt.groups[0].frozen = True
    opt.step([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(a, 0.0)
    np.testing.assert_array_equal(b, -1.0)
    assert opt.groups[0].frozen
    opt.groups[0].frozen = False
    opt.step([np.ones(2), np.ones(2)])
    np.testing.assert_array_equal(a, -1.0)


@pytest.mark.parametrize("how", ["none", "freeze"])
@pytest.mark.parametrize("rule", RULES)
def test_a_leaf_that_starts_late_has_its_own_clock(rule: str, how: str) -> None:
    """Bias correction, Adagrad's falling rate and SGD's first velocity count the leaf's steps."""
    setting: dict[str, Any] = {"lr": schuss.schedules.cosine(0.05, steps=12)}
    setting |= {"sgd": {"momentum": 0.9, "dampening": 0.5}, "adagrad": {"lr_decay": 0.1}}.get(rule, {})
    params = {"a": normal(16, 33), "b": normal(17, 33)}
    want = {name: Walk(rule, p, **setting) for name, p in params.items()}
    opt = CLASSES[rule](params, **setting)
    if how == "freeze":
        opt.freeze("b")
    for t, g in enumerate(gradients(18, 33, 10, np.float64)):
        if t == 6 and how == "freeze":
            opt.unfreeze("b")
        opt.step({"a": g, "b": g if how == "freeze" or t >= 6 else None})
        want["a"].step(g, schedule_step=t)
        if t >= 6:
            want["b"].step(g, schedule_step=t)
    assert opt.clock == 10
    assert_walks({name: (p, want[name]) for name, p in params.items()}, 1e-13)


def test_a_step_in_which_every_gradient_is_none_still_counts() -> None:
    params = {"a": np.ones(2), "b": np.ones(3)}
    opt = schuss.AdamW(params, weight_decay=0.5)
    before = tree_bits(params), tree_bits(opt.state)
    info = opt.step({"a": None, "b": None})
    assert (tree_bits(params), tree_bits(opt.state)) == before
    assert info.step == opt.clock == 1


def test_none_for_a_whole_branch_leaves_all_of_it() -> None:
    params = nested(19)
    opt = schuss.SGD(params)
    before = tree_bits(params)
    grads = nested(20)
    grads["encoder"] = {"w": None, "b": None}
    opt.step(grads)
    after = tree_bits(params)
    assert after["encoder/w"] == before["encoder/w"]
    assert after["layers/0/w"] != before["layers/0/w"]
