"""What an optimizer does beside the plain step, on the device as on the CPU, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from gpu_twins import CLASSES, FORMATS, Twins, bits, gradient, normal, plain, replays, same, trees

pytestmark = pytest.mark.gpu


# Gradients: some, none, several.


@pytest.mark.parametrize("format_", FORMATS)
def test_micro_gradients_are_accumulated(arrays: Any, format_: str) -> None:
    params, grads = trees(1, plain(format_))
    twins = Twins(arrays, schuss.AdamW, params, {"accumulate": 3, "clip": 1.0})
    for step in range(7):
        given: dict[str, Any] = grads(step)
        if step % 3 == 1:
            given[f"{format_}-37"] = None
        if step < 3:  # none at all in the first real step
            given[f"{format_}-1"] = None
        twins.step(given)
    twins.check("before the flush")
    twins.infos.append((twins.want.flush(), twins.got.flush()))
    twins.check("after it")
    assert twins.want.flush() is twins.got.flush() is None


def test_gradients_of_another_format_are_accumulated(arrays: Any) -> None:
    shapes = {f"{p} {g}": ((5000,), p, g) for p in FORMATS for g in FORMATS}
    params, grads = trees(2, shapes)
    twins = Twins(arrays, schuss.Adam, params, {"accumulate": 2})
    for step in range(4):
        twins.step(grads(step))
    twins.check()


def test_none_and_frozen_leaves_keep_their_clocks(arrays: Any) -> None:
    params, grads = trees(3, plain())
    twins = Twins(arrays, schuss.AdamW, params, {"lr": schuss.schedules.cosine(0.1, steps=20)})
    for step in range(12):
        if step == 3:
            twins.both(lambda opt: opt.freeze("float32-5000"))
        if step == 7:
            twins.both(lambda opt: opt.unfreeze("float32-5000"))
        given: dict[str, Any] = grads(step)
        if step in (1, 2, 8):
            given["float32-37"] = None
        twins.step(given)
    twins.check()


def test_leaves_sit_out_where_steps_may_be_skipped(arrays: Any) -> None:
    """The device counts them by itself; a leaf that returns has its own bias correction."""
    params, grads = trees(4, plain())
    twins = Twins(arrays, schuss.AdamW, params, lambda: {"scaler": schuss.LossScaler(scale=64.0), "clip": 1.0})
    for step in range(12):
        given: dict[str, Any] = grads(step)
        if step in (2, 5):
            given["float32-5000"][step] = np.inf
        if 1 <= step < 7:
            given["float32-37"] = None
        twins.step(given)
    twins.check()


def test_ties_are_stepped_once(arrays: Any) -> None:
    params, grads = trees(5, plain())
    twins = Twins(arrays, schuss.SGD, params, {"momentum": 0.9, "clip": 2.0}, group=lambda p: [p, p["float32-37"]])
    for step in range(3):
        twins.step([grads(step), grads(100 + step)["float32-37"]])
    twins.check()


def test_groups_have_hypers_of_their_own(arrays: Any) -> None:
    params, grads = trees(6, plain())

    def grouped(p: Any) -> Any:
        return [
            {"params": [p["float32-5000"]], "lr": schuss.schedules.warmup(3, schuss.schedules.constant(0.1))},
            {"params": {"b": p["float32-37"]}, "weight_decay": 0.3, "name": "body", "beta1": lambda step: 0.5},
        ]

    twins = Twins(arrays, schuss.AdamW, params, {"lr": 1e-2}, group=grouped)
    for step in range(3):
        given = grads(step)
        twins.step([[given["float32-5000"]], {"b": given["float32-37"]}])
    late = {"want": twins.on_host["float32-1"], "got": twins.on_device["float32-1"]}
    twins.want.add_group({"params": [late["want"]], "lr": 0.5})
    twins.got.add_group({"params": [late["got"]], "lr": 0.5})
    for step in range(3, 6):
        given = grads(step)
        twins.step([[given["float32-5000"]], {"b": given["float32-37"]}, [given["float32-1"]]])
    twins.check()


# Settings that change on the way.


def test_hypers_are_changed_between_steps(arrays: Any) -> None:
    params, grads = trees(7, plain())
    twins = Twins(arrays, schuss.AdamW, params)
    for step in range(8):
        if step == 2:
            twins.both(lambda opt: opt.groups[0].__setitem__("lr", 0.05))
        if step == 4:
            twins.both(lambda opt: opt.groups[0].__setitem__("beta1", schuss.schedules.polynomial(0.9, 0.5, 10)))
        twins.step(grads(step))
    twins.check()


def test_a_slot_that_a_hyper_asks_for_is_made(arrays: Any) -> None:
    params, grads = trees(8, plain())
    twins = Twins(arrays, schuss.SGD, params, {"lr": 0.1})
    for step in range(4):
        if step == 2:
            twins.both(lambda opt: opt.groups[0].__setitem__("momentum", 0.9))
        twins.step(grads(step))
    twins.check()
    assert list(twins.got.state["float32-37"]) == ["v"]


def test_python_functions_are_schedules(arrays: Any) -> None:
    params, grads = trees(9, plain())
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.1 / (1 + step)

    twins = Twins(arrays, schuss.Adam, params, {"lr": rate})
    for step in range(5):
        twins.step(grads(step))
    twins.check()
    assert max(asked) == 4, "asked for a step ahead of time"


def test_a_schedule_goes_on_past_the_table(gpu: Any, arrays: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More steps than are prepared at a time."""
    steps = replays(gpu, monkeypatch) + 100
    params, grads = trees(10, plain(sizes=(7,)))
    rate = schuss.schedules.one_cycle(0.1, steps=steps + 10)
    twins = Twins(arrays, schuss.Adam, params, {"lr": rate})
    given = grads(0)
    there = twins.to_device(given)
    for _ in range(steps):
        twins.want.step(given)
        twins.got.step(there)
    twins.check()


@pytest.mark.parametrize("settings", [{}, {"lookahead": True}])
def test_the_look_ahead_point_and_back(arrays: Any, settings: dict[str, Any]) -> None:
    shapes = {name: ((4130,), name, name) for name in FORMATS}
    params, grads = trees(11, shapes)
    twins = Twins(arrays, schuss.Nesterov, params, {"lr": 0.1, **settings})
    for step in range(4):
        if step == 2:
            twins.both(lambda opt: opt.freeze("float32"))
        with twins.want.lookahead(), twins.got.lookahead():
            twins.check_params("at the point")
        twins.check_params("back")
        twins.step(grads(step))
    twins.check()


# Arrays that do not lie in a row.


VIEWS = {
    "columns": lambda x: x[:, ::3],
    "rows": lambda x: x[1:-1:2],
    "transposed": lambda x: x.T,
    "backwards": lambda x: x[::-1, ::-1],
    "a window": lambda x: x[3:40, 5:60],
    "three dimensions": lambda x: x.reshape(11, 6, 67)[::2, :, 1::2].transpose(2, 0, 1),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("format_", FORMATS)
def test_strided_parameters_and_gradients(arrays: Any, name: str, format_: str) -> None:
    look = VIEWS[name]
    params = {"w": normal(12, (66, 67), FORMATS[format_]), "b": normal(13, 50, FORMATS[format_])}
    twins = Twins(arrays, schuss.AdamW, params, {"clip": 1.0}, looks={"w": look})
    for step in range(3):
        whole, b = gradient(14 + step, (66, 67), FORMATS[format_]), gradient(20 + step, 50, FORMATS[format_])
        twins.step({"w": look(whole), "b": b}, {"w": arrays.like(whole, look), "b": arrays.put(b)})
    twins.check()


def test_views_of_many_dimensions(arrays: Any) -> None:
    """Eight that do not merge into one another, and no more."""

    def look(x: Any) -> Any:
        return x[(slice(None, None, 2),) * x.ndim]

    params = {"w": normal(15, (3,) * 8)}
    twins = Twins(arrays, schuss.SGD, params, {"lr": 0.1}, looks={"w": look})
    twins.step({"w": look(gradient(16, (3,) * 8))}, {"w": arrays.like(gradient(16, (3,) * 8), look)})
    twins.check()
    with pytest.raises(ValueError, match="9 dimensions that do not merge, expected 8 at most on CUDA"):
        schuss.SGD(look(arrays.put(np.zeros((3,) * 9, np.float32))))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("which", ["parameters", "gradients", "both"])
def test_misaligned_arrays(arrays: Any, format_: str, which: str) -> None:
    size = FORMATS[format_].itemsize
    params, grads = trees(17, plain(format_, sizes=(5000, 37)))
    offsets = dict.fromkeys(params, size) if which != "gradients" else {}
    twins = Twins(arrays, schuss.AdamW, params, {"clip": 1.0}, offsets=offsets)
    for step in range(3):
        given = grads(step)
        there = {name: arrays.put(each, size if which != "parameters" else 0) for name, each in given.items()}
        twins.step(given, there)
    twins.check()


# State.


@pytest.mark.parametrize("rule", sorted(CLASSES))
def test_a_state_goes_from_the_device_to_the_cpu_and_back(arrays: Any, rule: str) -> None:
    params, grads = trees(18, plain())
    settings = {"lr": schuss.schedules.cosine(0.1, steps=9), "accumulate": 2}
    twins = Twins(arrays, CLASSES[rule], params, settings)
    for step in range(5):  # in the middle of a real step
        twins.step(grads(step))
    taken = twins.got.state_dict()
    assert bits(taken) == bits(twins.want.state_dict())
    other = Twins(arrays, CLASSES[rule], twins.on_host, settings)
    other.want.load_state_dict(taken)
    other.got.load_state_dict(twins.want.state_dict())
    for step in range(5, 9):
        twins.step(grads(step))
        other.step(grads(step))
    twins.check()
    other.check()
    for name, host in twins.on_host.items():
        same(other.on_host[name], host, name)


def test_a_checkpoint_goes_on_bit_for_bit(arrays: Any, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="checkpoints need safetensors")
    params, grads = trees(19, plain())
    twins = Twins(arrays, schuss.AdamW, params, lambda: {"scaler": schuss.LossScaler(growth_interval=3)})
    for step in range(4):
        twins.step(grads(step))
    schuss.save(tmp_path / "opt.safetensors", twins.got)
    other = Twins(arrays, schuss.AdamW, twins.on_host, lambda: {"scaler": schuss.LossScaler(growth_interval=3)})
    schuss.load(tmp_path / "opt.safetensors", other.got)
    schuss.load(tmp_path / "opt.safetensors", other.want)
    for step in range(4, 8):
        other.step(grads(step))
        twins.step(grads(step))
    other.check()
    twins.check()


def test_slots_are_arrays_on_the_device_that_may_be_written(gpu: Any, arrays: Any) -> None:
    params, grads = trees(20, plain())
    twins = Twins(arrays, schuss.Adam, params)
    twins.step(grads(0))
    twins.want.state["float32-37"]["m"][:] = 0.25
    gpu.write(twins.got.state["float32-37"]["m"], np.full(37, 0.25, np.float32))
    twins.step(grads(1))
    twins.check()


def test_a_cost_is_predicted_by_the_bandwidth_of_a_copy(arrays: Any, figure: Callable[[str], None]) -> None:
    params, _ = trees(21, plain(sizes=(100_000,)))
    twins = Twins(arrays, schuss.AdamW, params, {"clip": 1.0})
    want, got = twins.want.cost(), twins.got.cost()
    assert {name: got[name] for name in ("elements", "bytes_moved", "bytes_kept", "flops")} == {
        name: want[name] for name in ("elements", "bytes_moved", "bytes_kept", "flops")
    }
    assert 0 < got["seconds"] < 1
    figure(f"{got['bytes_moved']:,} bytes are predicted to take {1e6 * got['seconds']:.1f} µs")
