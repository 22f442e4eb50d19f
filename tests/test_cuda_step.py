"""What a step on a simulated device does is what it does on the CPU: accumulation, ties, clocks, groups, schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Tree, Twins, make
from helpers import CLASSES, DTYPES, ON_DEVICE, normal, raw
from test_accumulation import micro

SHAPES: dict[str, tuple[int, ...]] = {"w": (50, 7), "b": (7,), "e": (0, 2), "s": ()}
CLIPS: dict[str, Any] = {"plain": None, "clipped": 1.0, "each leaf clipped": schuss.clipping.LeafNorm(1.0)}


def params_of(seed: int = 1, dtype: Any = np.float32, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Tree:
    return {name: normal(seed + k, shape, dtype) for k, (name, shape) in enumerate(shapes.items())}


def grads_of(t: int, *without: str, dtype: Any = np.float32) -> Tree:
    return {name: None if name in without else g for name, g in params_of(100 * (t + 1), dtype).items()}


# Accumulation.

PATTERNS = {
    "all": [(), (), ()],
    "some": [("w",), ("b",), ()],
    "one never": [("b",), ("b",), ("b",)],
    "one late": [("w",), ("w",), ("s",)],
    "nothing first": [("w", "b", "e", "s"), (), ("b",)],
    "nothing last": [(), ("b",), ("w", "b", "e", "s")],
    "nothing at all": [("w", "b", "e", "s")] * 3,
}


@pytest.mark.parametrize("clip", CLIPS.values(), ids=list(CLIPS))
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=list(PATTERNS))
def test_micro_gradients_accumulate_as_on_the_cpu(cuda: Any, pattern: list[tuple[str, ...]], clip: Any) -> None:
    twins = Twins(make(schuss.AdamW, accumulate=3, clip=clip), params_of())
    for t in range(9):
        twins.step(grads_of(t, *pattern[t % 3]))
    twins.check()
    for t in range(2):
        twins.step(grads_of(t, *pattern[2 - t]))
    twins.check()
    twins.flush()
    twins.flush()
    twins.step(grads_of(5))
    twins.check()


@pytest.mark.parametrize("p_dtype", DTYPES)
def test_micro_gradients_of_every_format_and_layout_accumulate(cuda: Any, p_dtype: str) -> None:
    twins = Twins(make(schuss.SGD, accumulate=6, clip=1.0), params_of(dtype=DTYPES[p_dtype]))
    layouts = [{"w": "dense", "b": "dense"}, {"w": "transposed", "b": "every second"}]
    for t in range(12):
        twins.step(grads_of(t, dtype=list(DTYPES.values())[t % 3]), layouts[t // 3 % 2])
    twins.check()


def test_scaled_micro_gradients_overflow_and_are_flushed_as_on_the_cpu(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, {"scale": 16.0, "growth_interval": 1}, accumulate=2, clip=1.0), params_of())
    for t in range(11):
        grads = grads_of(t, *(("b",) if t % 3 else ()))
        if t in (2, 7):
            grads["w"][3] = np.inf
        twins.step(grads)
    twins.flush()
    twins.check()


def test_gradients_may_be_reused_between_micro_steps(cuda: Any, cupy: Any) -> None:
    """In the stream's order: the step takes what the array held when it was given."""
    p, g = cupy.zeros(5), cupy.full(5, 2.0)
    opt = schuss.SGD(p, lr=1.0, accumulate=2)
    opt.step(g)
    g.fill(4.0)
    opt.step(g)
    g.fill(100.0)
    assert p.get().tolist() == [-3.0] * 5


def test_grids_of_eighths_are_summed_exactly(cuda: Any) -> None:
    twins = Twins(make(schuss.Adam, accumulate=4), {"w": normal(1, 4133, np.float32)})
    for g in micro(3, 4133, 8, np.float32):
        twins.step({"w": g})
    twins.check()


# One array in two places.


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=list(CLIPS))
def test_an_array_in_two_places_takes_the_sum_of_both_gradients(cuda: Any, clip: Any, accumulate: int) -> None:
    def build(params: Tree) -> Any:
        tied = {"in": params["w"], "b": params["b"], "out": params["w"]}
        return schuss.AdamW(tied, clip=clip, accumulate=accumulate)

    def nest(tree: Tree) -> Tree:
        return {"in": tree["w"], "b": tree["b"], "out": tree["again"]}

    twins = Twins(build, {"w": normal(1, (70, 61), np.float32), "b": normal(2, 61, np.float32)}, nest=nest)
    for t, without in enumerate([(), ("w",), ("again",), (), ("w", "again"), ("b",), ()]):
        grads: Tree = {name: normal(10 * t + k, (70, 61), np.float32) for k, name in enumerate(("w", "again"))}
        grads = {**grads, "b": normal(10 * t + 3, 61, np.float64)}
        twins.step({name: None if name in without else g for name, g in grads.items()})
    twins.check()


# Leaves that sit out.


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}], ids=["no skips", "skips"])
@pytest.mark.parametrize("how", ["none", "freeze"])
@pytest.mark.parametrize("rule", ON_DEVICE)
def test_a_leaf_that_sits_out_has_its_own_clock(cuda: Any, rule: str, how: str, common: dict[str, Any]) -> None:
    setting: dict[str, Any] = {"lr": schuss.schedules.cosine(0.05, steps=12), **common}
    setting |= {"sgd": {"momentum": 0.9, "dampening": 0.5}, "adagrad": {"lr_decay": 0.1}}.get(rule, {})
    twins = Twins(make(CLASSES[rule], **setting), params_of(shapes={"a": (33,), "b": (33,), "c": (5000,)}))
    out = {0: ("b",), 1: ("b", "c"), 2: ("b",), 5: ("a", "b", "c"), 6: ("a",), 7: ("c",)}
    for t in range(10):
        grads = params_of(50 * (t + 1), shapes={"a": (33,), "b": (33,), "c": (5000,)})
        if t in (2, 6):
            grads["c"][7] = np.nan if common else 0.0
        for name in "abc":
            if how == "none" and name in out.get(t, ()):
                grads[name] = None
            elif how == "freeze":
                twins.both(lambda opt, n=name, t=t: (opt.freeze if n in out.get(t, ()) else opt.unfreeze)(n))
        twins.step(grads)
    twins.check()


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}], ids=["no skips", "skips"])
def test_leaves_of_as_many_clocks_as_groups_step_as_on_the_cpu(cuda: Any, common: dict[str, Any]) -> None:
    """Each clock of each group has numbers of its own: they become many while steps are under way."""
    names = [f"{group}{leaf}" for group in range(10, 50) for leaf in "ab"]

    def nest(tree: Tree) -> list[Tree]:
        return [{name: tree[name] for name in names[k : k + 2]} for k in range(0, len(names), 2)]

    def build(params: Tree) -> Any:
        return schuss.Adam([{"params": each, "lr": 0.01 * k} for k, each in enumerate(nest(params))], **common)

    twins = Twins(build, {name: normal(k, 3, np.float32) for k, name in enumerate(names)}, nest=nest)
    for t in range(6):
        grads: Tree = {name: normal(100 * t + k, 3, np.float32) for k, name in enumerate(names)}
        out = [name for k, name in enumerate(names) if name[-1] == "b" and (t == 1 or (t == 3 and k % 3 == 0))]
        twins.step({**grads, **dict.fromkeys(out)})
    twins.check()


def test_a_step_in_which_every_gradient_is_none_still_counts(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, clip=1.0), params_of())
    for without in (("w", "b", "e", "s"), (), ("w", "b", "e", "s")):
        twins.step(grads_of(1, *without))
    twins.check()
    assert twins.device.clock == 3


def test_an_optimizer_of_empty_leaves_alone_steps(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, clip=1.0, accumulate=2), {"e": np.zeros((0, 3), np.float32)})
    for _ in range(4):
        twins.step({"e": np.zeros((0, 3), np.float32)})
    twins.check()


# Groups, schedules, hypers.


def grouped(params: Tree) -> list[Tree]:
    return [{name: params[name] for name in names if name in params} for names in (("w", "s"), ("b", "e"), ("late",))][
        : 3 if "late" in params else 2
    ]


def late(twins: Twins, seed: int = 77) -> None:
    """Both are given one more group."""
    values = normal(seed, (4100,), np.float32)
    twins.host_homes["late"], twins.device_homes["late"] = values, twins.cupy.asarray(values)
    for opt, home in ((twins.host, twins.host_homes), (twins.device, twins.device_homes)):
        opt.add_group({"params": {"late": home["late"]}, "lr": 0.05}, name="late")


@pytest.mark.parametrize(
    "common",
    [{}, {"clip": 1.0}, {"clip": schuss.clipping.LeafNorm(0.5)}, {"accumulate": 2}],
    ids=["plain", "skips", "each leaf clipped", "accumulated"],
)
def test_a_group_may_be_added_at_any_time(cuda: Any, common: dict[str, Any]) -> None:
    def build(params: Tree) -> Any:
        groups = grouped(params)
        return schuss.Adam([{"params": groups[0], "lr": 0.1}, {"params": groups[1]}], **common)

    twins = Twins(build, params_of(), nest=grouped)
    for t in range(8):
        grads = grads_of(t, *(("b",) if t == 1 else ()))
        if t >= 3:
            grads["late"] = normal(500 + t, (4100,), np.float32)
        if t == 2 and "clip" in common:
            grads["w"][0] = np.inf
        if t == 3:
            late(twins)
        twins.step(grads)
    twins.check()
    assert twins.device.names == twins.host.names


def python_lr(step: int) -> float:
    return 0.1 / (step + 1)


SCHEDULES: dict[str, Any] = {
    "number": 0.01,
    "core": schuss.schedules.warmup(3, schuss.schedules.cosine(0.05, steps=10)),
    "python": python_lr,
    "core around python": schuss.schedules.warmup(3, python_lr),
}


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}, {"accumulate": 2}], ids=["plain", "skips", "accumulated"])
@pytest.mark.parametrize("lr", SCHEDULES.values(), ids=list(SCHEDULES))
def test_schedules_are_read_at_the_real_step(cuda: Any, lr: Any, common: dict[str, Any]) -> None:
    momentum = schuss.schedules.cosine(0.9, steps=20, min=0.5)
    twins = Twins(make(schuss.SGD, lr=lr, momentum=momentum, **common), params_of())
    for t in range(8):
        grads = grads_of(t)
        if t in (3, 4) and "clip" in common:
            grads["b"][0] = np.nan
        twins.step(grads)
    twins.check()


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_python_schedule_is_asked_for_the_real_steps_alone(cuda: Any, cupy: Any, accumulate: int) -> None:
    """It may lean on what the program does between steps, so it is asked when its step comes."""
    asked: list[int] = []

    def lr(step: int) -> float:
        asked.append(step)
        return 0.1

    opt = schuss.SGD({"w": cupy.ones(3)}, lr=lr, accumulate=accumulate)
    for t in range(3 * accumulate):
        asked.clear()
        opt.step({"w": cupy.ones(3)})
        assert set(asked) <= {t // accumulate}


def test_hypers_may_change_before_every_step(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, clip=1.0), params_of())
    for t, lr in enumerate([0.1, 0.2, python_lr, SCHEDULES["core"], 0.3, 0.3, 0.01]):
        twins.both(lambda opt, lr=lr: opt.groups[0].__setitem__("lr", lr))
        twins.both(lambda opt, t=t: opt.groups[0].__setitem__("weight_decay", 0.01 * t))
        twins.step(grads_of(t, *(("b",) if t == 3 else ())))
    twins.check()


@pytest.mark.parametrize("pending", [False, True], ids=["between steps", "between micro-steps"])
@pytest.mark.parametrize(
    ("rule", "hyper", "values"),
    [
        ("adamw", "amsgrad", [True, False, True]),
        ("sgd", "momentum", [0.9, 0.0, 0.5]),
        ("rmsprop", "centered", [True, False, True]),
        ("sgd", "momentum", [lambda step: 0.5, 0.0, lambda step: 0.9]),
    ],
    ids=["adamw", "sgd", "rmsprop", "sgd, scheduled"],
)
def test_hypers_may_change_which_slots_are_kept(
    cuda: Any, rule: str, hyper: str, values: list[Any], pending: bool
) -> None:
    def build(params: Tree) -> Any:
        return CLASSES[rule]([{"params": each} for each in grouped(params)], accumulate=2 if pending else 1)

    twins = Twins(build, params_of(), nest=grouped)
    for t, value in enumerate(values):
        for k in range(3):
            twins.step(grads_of(10 * t + k))
        twins.both(lambda opt, value=value: opt.groups[1].__setitem__(hyper, value))
        twins.check()
    for k in range(3):
        twins.step(grads_of(k))
    twins.check()


def test_a_slot_that_begins_elsewhere_than_at_zero_does_so(cuda: Any) -> None:
    setting = {"initial_accumulator": 0.25}
    twins = Twins(make(schuss.Adagrad, **setting), {k: normal(1, 5000, d) for k, d in DTYPES.items()})
    twins.check()
    twins.step({k: normal(2, 5000, d) for k, d in DTYPES.items()})
    twins.check()


# Looking ahead.


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}], ids=["no skips", "skips"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_go_to_the_point_and_come_back_to_the_bit(cuda: Any, dtype: str, common: dict[str, Any]) -> None:
    shapes = {"big": (9001,), "strided": (61, 83), "none": (0,), "frozen": (10,)}
    layouts = {"strided": "transposed", "big": "misaligned"}
    lr = schuss.schedules.exponential(0.5, rate=0.9)
    twins = Twins(make(schuss.Nesterov, lr=lr, **common), params_of(1, DTYPES[dtype], shapes), layouts)
    twins.both(lambda opt: opt.freeze("frozen"))
    for t in range(6):
        grads = params_of(10 * t, DTYPES[dtype], shapes)
        if t == 2:
            grads["big"] = None
        if t == 3 and common:
            grads["strided"][5] = np.nan
        if t in (1, 3, 4):
            before = {name: raw(home.get()) for name, home in twins.device_homes.items()}
            with twins.host.lookahead(), twins.device.lookahead():
                twins.check_params()
                assert raw(twins.device_homes["strided"].get()) != before["strided"]
                assert raw(twins.device_homes["frozen"].get()) == before["frozen"]
            assert {name: raw(home.get()) for name, home in twins.device_homes.items()} == before
        twins.step(grads)
    twins.check()


def test_parameters_come_back_when_the_block_raises_and_the_next_step_is_an_ordinary_one(cuda: Any) -> None:
    twins = Twins(make(schuss.Nesterov, lr=0.1), params_of())
    twins.step(grads_of(0))

    def fails(opt: Any) -> None:
        with opt.lookahead():
            raise KeyError("from the model")

    for opt in (twins.host, twins.device):
        with pytest.raises(KeyError, match="from the model"):
            fails(opt)
    twins.step(grads_of(1))
    twins.check()


def test_a_step_at_the_point_is_refused_and_the_parameters_come_back(cuda: Any) -> None:
    twins = Twins(make(schuss.Nesterov, lr=0.1), params_of())
    twins.step(grads_of(0))
    with twins.host.lookahead(), twins.device.lookahead(), pytest.raises(RuntimeError, match="look-ahead"):
        twins.device.step({name: twins.cupy.asarray(g) for name, g in grads_of(1).items()})
    twins.step(grads_of(2))
    twins.check()
