"""Captures that are refused, with a message and before anything is asked of CUDA, and what graphs outlive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import make
from helpers import raw
from test_cuda_graphs import LR, SHAPES, Captured


def first(one: Captured) -> None:
    """Nothing: no step was taken."""


def stepped(one: Captured) -> None:
    one.eager()


def changed(one: Captured) -> None:
    one.eager()
    one.opt.groups[0]["lr"] = 0.5


def frozen(one: Captured) -> None:
    one.eager()
    one.opt.freeze("b")


def added(one: Captured) -> None:
    one.eager()
    one.opt.add_group({"params": {"late": one.cupy.ones(4)}})
    one.buffers[0] = [one.buffers[0], {"late": one.cupy.ones(4)}]  # type: ignore[assignment]


def loaded(one: Captured) -> None:
    one.eager()
    one.opt.load_state_dict(one.opt.state_dict())


def back_again(one: Captured) -> None:
    """A leaf that sat out, in a run that may have skipped steps."""
    one.eager()
    with one.stream:
        one.opt.step({**one.buffers[0], "b": None})


def looked(one: Captured) -> None:
    """The next step takes the other form."""
    one.eager()
    with one.stream, one.opt.lookahead():
        pass


REFUSED: dict[str, tuple[Callable[[Captured], None], dict[str, Any], str]] = {
    "first": (first, {}, r"captured before any was taken; take an ordinary step"),
    "raise": (stepped, {"nonfinite": "raise"}, r"nonfinite='raise' waits .* cannot be captured; expected 'skip'"),
    "changed": (changed, {}, "settings, .* have changed since the last one; take an ordinary step"),
    "added": (added, {}, r"captured before any was taken; take an ordinary step"),
    "loaded": (loaded, {"clip": 1.0}, "take an ordinary step before capturing"),
    "back again": (back_again, {"clip": 1.0}, "have changed since the last one; take an ordinary step"),
    "looked": (looked, {}, "have changed since the last one; take an ordinary step"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_capture_that_cannot_be_is_refused_and_the_stream_stays_as_it_was(cuda: Any, cupy: Any, why: str) -> None:
    prepare, common, message = REFUSED[why]
    one = Captured(cupy, make(schuss.Nesterov, **common))
    prepare(one)
    cuda.drain()
    before = {name: raw(p.get()) for name, p in one.params.items()}
    with one.stream:
        one.stream.begin_capture()
        with pytest.raises(RuntimeError, match=message), cuda.counting() as asked:
            one.opt.step(one.buffers[0])
        graph = one.stream.end_capture()
        graph.launch()  # of nothing that moves anything
        one.stream.synchronize()
    assert set(asked) <= {"launch", "copy"}
    assert {name: raw(p.get()) for name, p in one.params.items()} == before
    with one.stream:
        one.opt.step(one.buffers[0])
        one.stream.synchronize()


def test_a_capture_refused_is_a_capture_after_an_ordinary_step(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=LR, clip=1.0))
    with one.stream:
        one.stream.begin_capture()
        with pytest.raises(RuntimeError, match="take an ordinary step"):
            one.opt.step(one.buffers[0])
        one.stream.end_capture()
    one.eager()
    graph, _ = one.capture(0)
    for _ in range(3):
        one.replay(graph, 0)
    one.check()


def test_reading_and_scaling_do_not_stand_in_the_way_of_a_capture(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW, {"scale": 8.0}, lr=LR, clip=1.0))
    one.eager()
    one.check()
    assert one.opt.state_dict()["clock"] == one.opt.clock == 1
    for opt in (one.host, one.opt):
        opt.scaler.update(overflow=True)
    graph, _ = one.capture(0)
    for _ in range(3):
        one.replay(graph, 0)
    one.check()


def test_renewing_while_capturing_is_refused(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW))
    one.eager()
    with one.stream:
        one.stream.begin_capture()
        with pytest.raises(RuntimeError, match=r"renew\(\) was called while a graph is being captured"):
            one.opt.renew()
        one.opt.step(one.buffers[0])
        graph = one.stream.end_capture()
    one.replay(graph, 0)
    one.check()


# A graph goes on whatever the optimizer does beside it.


def test_a_frozen_leaf_in_a_graph_stays_as_it_was_captured(cuda: Any, cupy: Any) -> None:
    """A graph repeats the step that it was captured with: its clock counts on."""
    one = Captured(cupy, make(schuss.AdamW, clip=1.0))
    for opt in (one.host, one.opt):
        opt.freeze("b")
    one.eager()
    graph, _ = one.capture(0)
    for _ in range(3):
        one.replay(graph, 0)
    for opt in (one.host, one.opt):
        opt.unfreeze("b")
    one.eager()
    one.check()


def test_a_leaf_of_which_a_graph_gives_no_gradient_falls_behind(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.Adam))
    one.eager()
    with one.stream:
        one.opt.step({**one.buffers[0], "b": None})
        one.stream.begin_capture()
        one.opt.step({**one.buffers[0], "b": None})
        graph = one.stream.end_capture()
    without = {"w": one.buffers[0]["w"].get(), "b": None}
    one.host.step(without)
    for _ in range(4):
        graph.launch(one.stream)
        one.host.step(without)
    one.eager()
    one.check()
    assert one.opt.clock == 7


@pytest.mark.parametrize("order", [("w", "b"), ("b", "w")], ids=" ".join)
def test_a_graph_of_a_leaf_that_sat_out_elsewhere_is_not_taken_and_told(
    cuda: Any, cupy: Any, order: tuple[str, str]
) -> None:
    """Its numbers are for another clock; those of rows that came and went meanwhile are not mistaken for them."""
    first, second = order

    def build(params: Any) -> Any:
        return schuss.Adam([{"params": {first: params[first]}}, {"params": {second: params[second]}}], lr=0.01)

    def nest(grads: Any) -> Any:
        return [{name: grads[name]} for name in order]

    one = Captured(cupy, build, nest=nest)
    one.eager()
    graph, _ = one.capture(0)
    one.replay(graph, 0)
    one.check()
    for t in range(100):
        grads = one.draw()
        out = {name: None for k, name in enumerate(order) if t % (2 + k) == 0}
        with one.stream:
            one.opt.step(nest({**one.buffers[0], **out}))
        one.host.step(nest({**grads, **out}))
    one.check()
    one.opt.renew()
    for _ in range(3):
        graph.launch(one.stream)
    with pytest.raises(RuntimeError, match=r"3 replayed steps .*captured anew once a leaf of it sat out"):
        assert one.opt.clock
    one.check()
    one.eager()
    anew, _ = one.capture(0)
    for _ in range(3):
        one.replay(anew, 0)
    one.check()


def test_of_two_graphs_that_leave_each_others_leaf_out_the_second_is_not_taken_and_told(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW))
    one.eager()
    graphs = []
    for absent in ("w", "b"):
        with one.stream:
            one.opt.step({**one.buffers[0], absent: None})
            one.stream.begin_capture()
            one.opt.step({**one.buffers[0], absent: None})
            graphs.append(one.stream.end_capture())
    graphs[1].launch(one.stream)  # as it was captured
    assert one.opt.clock == 4
    graphs[0].launch(one.stream)  # whose leaf has sat out since
    with pytest.raises(RuntimeError, match=r"1 replayed steps .*captured anew"):
        assert one.opt.clock


def test_a_graph_goes_on_after_a_group_was_added(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW))
    one.eager()
    graph, _ = one.capture(0)
    one.opt.add_group({"params": {"late": cupy.ones(5000)}})
    for _ in range(3):
        one.replay(graph, 0)
    one.stream.synchronize()
    for name, p in one.params.items():
        assert raw(p.get()) == raw(one.host_params[name])
    assert one.opt.clock == 4


def test_looking_ahead_is_captured_with_the_gradient_and_the_step(cuda: Any, cupy: Any) -> None:
    """The whole of a training step in one graph: to the point, a gradient of the parameters, back, the step."""
    one = Captured(cupy, make(schuss.Nesterov, lr=LR))

    def train() -> None:
        with one.opt.lookahead():
            for name, p in one.params.items():
                one.buffers[0][name][...] = p
                one.buffers[0][name] *= np.float32(2)
        one.opt.step(one.buffers[0])

    with one.stream:
        for _ in range(2):
            train()
        one.stream.begin_capture()
        train()
        graph = one.stream.end_capture()
        for _ in range(5):
            graph.launch()
    for _ in range(7):
        with one.host.lookahead():
            grads = {name: p * np.float32(2) for name, p in one.host_params.items()}
        one.host.step(grads)
    one.check()


@pytest.mark.parametrize("name", SHAPES)
def test_a_gradient_that_lies_strided_is_captured(cuda: Any, cupy: Any, name: str) -> None:
    one = Captured(cupy, make(schuss.AdamW, clip=1.0))
    with one.stream:
        one.buffers[0][name] = cupy.zeros((2, *SHAPES[name][::-1]), np.float32)[1].T
    one.eager()
    graph, _ = one.capture(0)
    for _ in range(3):
        one.replay(graph, 0)
    one.check()
