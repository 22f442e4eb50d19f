"""Steps captured in CUDA graphs: every replay is a step, schedules moving on, with the CPU's bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Tree, facts, make
from helpers import DTYPES, flat, normal, raw

SHAPES: dict[str, tuple[int, ...]] = {"w": (70, 61), "b": (61,)}


class Captured:
    """An optimizer on a stream of its own beside one on the CPU, and gradients in buffers that stay."""

    def __init__(
        self,
        cupy: Any,
        make_one: Callable[[Tree], Any],
        buffers: int = 1,
        dtype: Any = np.float32,
        nest: Callable[[Tree], Any] = lambda tree: tree,
    ) -> None:
        self.cupy, self.nest = cupy, nest
        self.host_params = {name: normal(k, shape, dtype) for k, (name, shape) in enumerate(SHAPES.items())}
        self.params = {name: cupy.asarray(p) for name, p in self.host_params.items()}
        self.buffers = [{name: cupy.zeros(shape, dtype) for name, shape in SHAPES.items()} for _ in range(buffers)]
        cupy.cuda.Device().synchronize()
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self.host, self.opt = make_one(self.host_params), make_one(self.params)
        self.dtype = dtype
        self.drawn = 0
        self.wanted: Any = None

    def draw(self, buffer: int = 0, spoiled: bool = False, scale: float = 1.0) -> Tree:
        """New gradients in a buffer, in the stream's order; what they are."""
        self.drawn += 1
        grads = {
            name: (normal(100 * self.drawn + k, shape) * scale).astype(self.dtype)
            for k, (name, shape) in enumerate(SHAPES.items())
        }
        if spoiled:
            grads["b"][7] = np.inf
        with self.stream:
            for name, g in grads.items():
                self.buffers[buffer][name][...] = g
        return grads

    def eager(self, buffer: int = 0, **drawn: Any) -> None:
        """An ordinary step of both."""
        grads = self.draw(buffer, **drawn)
        with self.stream:
            info = self.opt.step(self.nest(self.buffers[buffer]))
        self.wanted = self.host.step(self.nest(grads))
        assert facts(info) == facts(self.wanted)

    def capture(self, *buffers: int) -> tuple[Any, list[Any]]:
        """A graph of a step from each buffer, and what the steps told."""
        with self.stream:
            self.stream.begin_capture()
            infos = [self.opt.step(self.nest(self.buffers[buffer])) for buffer in buffers]
            return self.stream.end_capture(), infos

    def replay(self, graph: Any, *buffers: int, **drawn: Any) -> Any:
        """New gradients, a replay, and the same steps on the CPU; what the last one there told."""
        wanted = [self.host.step(self.nest(self.draw(buffer, **drawn))) for buffer in buffers]
        graph.launch(self.stream)
        self.wanted = wanted[-1]
        return self.wanted

    def check(self) -> None:
        self.stream.synchronize()
        for name, p in self.params.items():
            assert raw(p.get()) == raw(self.host_params[name]), f"parameter {name}"
        slots = dict(flat(self.opt.state))
        for name, want in flat(self.host.state):
            assert raw(slots[name].get()) == raw(want), f"slot {name}"
        assert self.opt.clock == self.host.clock
        if self.host.scaler is not None:
            assert self.opt.scaler.state_dict() == self.host.scaler.state_dict()


LR = schuss.schedules.warmup(5, schuss.schedules.cosine(0.05, steps=60))
KINDS: dict[str, tuple[Callable[[Tree], Any], bool]] = {  # and whether steps may be skipped
    "plain": (make(schuss.AdamW), False),
    "scheduled": (make(schuss.AdamW, lr=LR), False),
    "scheduled in Python": (make(schuss.SGD, lr=lambda step: 0.1 / (step + 1), momentum=0.9), False),
    "clipped": (make(schuss.AdamW, lr=LR, clip=1.0), True),
    "each leaf clipped": (make(schuss.AdamW, lr=LR, clip=schuss.clipping.LeafNorm(1.0)), True),
    "values clipped": (make(schuss.AdamW, lr=LR, clip=schuss.clipping.Value(0.5)), False),
    "scaled and clipped": (make(schuss.AdamW, {"scale": 8.0, "growth_interval": 3}, lr=LR, clip=1.0), True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_replays_step_as_the_cpu_does(cuda: Any, cupy: Any, kind: str) -> None:
    make_one, skips = KINDS[kind]
    one = Captured(cupy, make_one)
    for _ in range(2):
        one.eager()
    if kind == "scheduled in Python":  # else it is asked for no step ahead of time
        one.opt.renew()
    graph, (info,) = one.capture(0)
    one.check()  # nothing has run
    for t in range(40):
        one.replay(graph, 0, spoiled=skips and t in (4, 5, 11))
        if t % 10 == 4:
            assert facts(info) == facts(one.wanted)
        if t % 13 == 0:
            one.check()
    one.check()
    for _ in range(3):
        one.eager()
    one.check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_of_every_format_are_captured(cuda: Any, cupy: Any, dtype: str) -> None:
    one = Captured(cupy, make(schuss.AdamW, clip=1.0), dtype=DTYPES[dtype])
    one.eager()
    graph, _ = one.capture(0)
    for _ in range(3):
        one.replay(graph, 0)
    one.check()


def test_one_ordinary_step_is_enough_before_a_capture(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW))
    one.eager()
    with cuda.counting() as asked:
        graph, _ = one.capture(0)
    assert not asked, "capturing asks for nothing beside what it captures"
    one.replay(graph, 0)
    one.check()


def test_the_info_of_a_captured_step_shows_the_latest_replay(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.SGD, lr=LR, clip=1.0))
    one.eager()
    graph, (info,) = one.capture(0)
    with pytest.raises(RuntimeError, match="not been replayed yet"):
        _ = info.step
    for t in range(4):
        one.replay(graph, 0, spoiled=t == 2)
        assert facts(info) == facts(one.wanted)
    one.eager()
    assert facts(info) != facts(one.wanted)


def test_two_graphs_and_ordinary_steps_take_turns(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=LR, clip=1.0), buffers=3)
    graphs = []
    for buffer in (0, 1):
        one.eager(buffer)
        graphs.append(one.capture(buffer))
    for t in range(30):
        if t % 3 == 2:
            one.eager(2 if t % 2 else 0)
        else:
            graph, (info,) = graphs[t % 3]
            one.replay(graph, t % 3)
            if t % 4 == 0:
                assert facts(info) == facts(one.wanted)
    one.check()


def test_two_graphs_of_the_same_gradients_are_two(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW, clip=1.0))
    one.eager()
    graphs = [one.capture(0), one.capture(0)]
    wanted = []
    for graph, _ in graphs:
        one.replay(graph, 0)
        wanted.append(one.wanted)
    for (_, (info,)), want in zip(graphs, wanted, strict=True):
        assert facts(info) == facts(want)
    one.check()


def test_many_graphs_may_be_captured_with_ordinary_steps_between(cuda: Any, cupy: Any) -> None:
    """As where a model is captured anew for each length of its input."""
    one = Captured(cupy, make(schuss.AdamW), buffers=2)
    one.eager()
    graphs = []
    for _ in range(70):
        graphs.append(one.capture(0)[0])
        one.eager()
    for graph in graphs[::10]:
        one.replay(graph, 0)
    one.check()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_whole_cycle_of_micro_steps_is_captured(cuda: Any, cupy: Any, clip: float | None) -> None:
    one = Captured(cupy, make(schuss.AdamW, accumulate=3, clip=clip, lr=LR))
    for _ in range(3):
        one.eager()
    with one.stream:
        one.stream.begin_capture()
        infos = [one.opt.step(one.buffers[0]) for _ in range(3)]
        graph = one.stream.end_capture()
    assert [info.pending for info in infos] == [1, 2, 0]
    for _ in range(5):
        grads = one.draw()
        wanted = [one.host.step(grads) for _ in range(3)]
        graph.launch(one.stream)
        assert [facts(info) for info in infos] == [facts(want) for want in wanted]
    for _ in range(4):
        one.eager()
    one.check()


def test_other_gradients_need_a_graph_of_their_own(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.AdamW), buffers=2)
    one.eager(0)
    with one.stream:
        one.stream.begin_capture()
        one.opt.step(one.buffers[1])  # other buffers than those of the step before
        with pytest.raises(RuntimeError, match=r"different gradients .* one graph"):
            one.opt.step(one.buffers[0])
        graph = one.stream.end_capture()
    for _ in range(3):
        one.replay(graph, 1)
    one.eager(0)
    one.replay(graph, 1)
    one.check()


# Hypers and the window of numbers.


@pytest.mark.parametrize("clip", [None, 1.0])
def test_hypers_changed_between_replays_hold_once_renewed(cuda: Any, cupy: Any, clip: float | None) -> None:
    one = Captured(cupy, make(schuss.AdamW, clip=clip))
    one.eager()
    graph, _ = one.capture(0)
    for lr in (0.1, LR, lambda step: 0.01 * (step % 3)):
        for opt in (one.host, one.opt):
            opt.groups[0]["lr"] = lr
        one.opt.renew()
        for _ in range(4):
            one.replay(graph, 0)
    one.check()


def test_hypers_not_renewed_hold_from_the_next_ordinary_step_on(cuda: Any, cupy: Any) -> None:
    one = Captured(cupy, make(schuss.SGD, lr=0.1))
    one.eager()
    graph, (info,) = one.capture(0)
    one.opt.groups[0]["lr"] = 0.5
    one.replay(graph, 0)
    assert info.lr == 0.1
    one.host.groups[0]["lr"] = 0.5
    one.eager()
    one.replay(graph, 0)
    assert info.lr == 0.5
    one.check()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A window of so many steps."""
    from schuss._engine.cuda import engine, numbers

    monkeypatch.setattr(numbers, "LONGEST", 40)
    monkeypatch.setattr(engine, "_REPLAYS", 10)
    return 40


@pytest.mark.parametrize("lr", [0.1, LR], ids=["number", "schedule"])
def test_a_replay_beyond_the_window_is_not_taken_and_told_at_the_next_contact(
    cuda: Any, cupy: Any, short: int, lr: Any
) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=lr, clip=1.0))
    one.eager()
    graph, (info,) = one.capture(0)
    for _ in range(short - 1):
        one.replay(graph, 0)
    for _ in range(3):
        graph.launch(one.stream)
    one.stream.synchronize()
    assert (info.step, info.skipped) == (short, True)
    with pytest.raises(RuntimeError, match=r"3 replayed steps .* not taken.* 40 times until renew\(\)"):
        one.opt.step(one.buffers[0])
    one.check()
    assert one.opt.clock == short
    one.opt.renew()
    for _ in range(3):
        one.replay(graph, 0)
    one.eager()
    one.check()


CONTACTS: dict[str, Callable[[Any], Any]] = {
    "clock": lambda opt: opt.clock,
    "renew": lambda opt: opt.renew(),
    "state_dict": lambda opt: opt.state_dict(),
}


@pytest.mark.parametrize("contact", CONTACTS)
def test_every_contact_tells_of_replays_not_taken_even_of_those_under_way(
    cuda: Any, cupy: Any, short: int, contact: str
) -> None:
    one = Captured(cupy, make(schuss.AdamW))
    one.eager()
    graph, _ = one.capture(0)
    for _ in range(short + 1):
        graph.launch(one.stream)
    with pytest.raises(RuntimeError, match="2 replayed steps"):
        CONTACTS[contact](one.opt)
    assert one.opt.clock == short


def test_ordinary_steps_between_replays_renew_the_window(cuda: Any, cupy: Any, short: int) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=LR, clip=1.0))
    one.eager()
    graph, _ = one.capture(0)
    for t in range(100):
        if t % 8 == 7:
            one.eager()
        else:
            one.replay(graph, 0)
    one.check()


def test_what_was_read_before_replays_is_not_taken_for_what_is(cuda: Any, cupy: Any, short: int) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=LR, clip=1.0))
    one.eager()
    graph, _ = one.capture(0)
    one.check()
    for _ in range(short - 1):
        one.replay(graph, 0)
    cuda.drain()
    one.eager()
    one.check()


def test_renewing_in_time_is_enough(cuda: Any, cupy: Any, short: int) -> None:
    one = Captured(cupy, make(schuss.AdamW, lr=LR, clip=1.0))
    one.eager()
    graph, _ = one.capture(0)
    for t in range(100):
        if t % 30 == 0:
            one.opt.renew()
        one.replay(graph, 0)
    one.check()
