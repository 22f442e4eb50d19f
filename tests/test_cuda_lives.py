"""Long lives by chance: an optimizer on a simulated device stays the CPU's twin through whatever is done to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Tree, Twins, facts, make
from helpers import normal, repr_bits
from test_cuda_graphs import Captured

COMMON: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip": 1.0},
    "scaled": {"clip": 5.0, "scaler": {"scale": 8.0, "growth_interval": 3}},
    "each leaf clipped": {"clip": schuss.clipping.LeafNorm(0.5)},
    "applied": {"nonfinite": "apply", "grad_norm": True},
    "accumulated": {"accumulate": 2, "clip": 1.0},
    "accumulated and scaled": {"accumulate": 3, "scaler": {"scale": 8.0, "growth_interval": 3}},
}
RATES = [0.1, 0.5, schuss.schedules.cosine(0.1, steps=30), lambda step: 0.1 / (step + 1)]
HYPERS = {"AdamW": ("amsgrad", [True, False]), "SGD": ("momentum", [0.0, 0.9]), "Nesterov": ("beta", [0.5, 0.9])}
LAYOUTS = ["dense", "dense", "every second", "backwards", "misaligned"]


class Life:
    """Two groups of leaves, then more, one array in two places, and what may be done to them."""

    def __init__(self, seed: int, rule: Any, common: dict[str, Any]) -> None:
        self.chance = random.Random(seed)
        self.rule = rule
        self.sizes = {"0/a": 33, "0/b": 5000, "0/c": 1, "1/a": 500, "1/b": 4097}
        self.dtypes = {name: np.float64 if name == "0/b" else np.float32 for name in self.sizes}

        def build(params: Tree) -> Any:
            groups = [{"params": each, "lr": 0.01 * (k + 1)} for k, each in enumerate(self.nest(params))]
            return make(rule, **common)(groups)

        params = {name: normal(k, n, self.dtypes[name]) for k, (name, n) in enumerate(self.sizes.items())}
        self.twins = Twins(build, params, nest=self.nest)

    def nest(self, tree: Tree) -> list[Tree]:
        groups: list[Tree] = [{} for _ in {name[0] for name in self.sizes}]
        for name, leaf in tree.items():
            groups[int(name[0])][name[2:]] = leaf
        groups[0]["c again"] = tree["0/c"]
        return groups

    # What may happen, and how often.

    def step(self) -> None:
        absent = self.chance.choice([0, 0, 0.3, 0.9])
        grads: Tree = {}
        for name, n in self.sizes.items():
            dtype = self.chance.choice([self.dtypes[name], np.float32])
            grads[name] = None if self.chance.random() < absent else normal(self.chance.randrange(9**9), n, dtype)
        given = [g for g in grads.values() if g is not None]
        if given and self.chance.random() < 0.15:
            self.chance.choice(given)[0] = self.chance.choice([np.inf, np.nan])
        self.twins.step(grads, {name: self.chance.choice(LAYOUTS) for name in grads})

    def flush(self) -> None:
        self.twins.flush()

    def freeze(self) -> None:
        name, on = self.chance.choice(self.twins.host.names), self.chance.random() < 0.5
        self.twins.both(lambda opt: (opt.freeze if on else opt.unfreeze)(name))

    def set_hyper(self) -> None:
        group = self.chance.randrange(len(self.twins.host.groups))
        name, values = self.chance.choice([("lr", RATES), HYPERS[self.rule.__name__]])
        value = self.chance.choice(values)
        self.twins.both(lambda opt: opt.groups[group].__setitem__(name, value))

    def add_group(self) -> None:
        group = len(self.twins.host.groups)
        if group > 4:
            return
        twins, name = self.twins, f"{group}/a"
        twins.host_homes[name] = normal(group, 4100, np.float32)
        twins.device_homes[name] = twins.cupy.asarray(twins.host_homes[name])
        self.sizes[name], self.dtypes[name] = 4100, np.float32
        for opt, home in ((twins.host, twins.host_homes), (twins.device, twins.device_homes)):
            opt.add_group({"params": {"a": home[name]}, "lr": 0.3})

    def read(self) -> None:
        twins = self.twins
        assert twins.device.clock == twins.host.clock
        if twins.host.scaler is not None:
            assert twins.device.scaler.scale == twins.host.scaler.scale

    def scale(self) -> None:
        if self.twins.host.scaler is not None:
            self.twins.both(lambda opt: opt.scaler.update(overflow=True))

    def save_and_load(self) -> None:
        ours, theirs = self.twins.both(lambda opt: opt.state_dict())
        assert repr_bits(ours) == repr_bits(theirs)
        self.twins.device.load_state_dict(ours)
        self.twins.host.load_state_dict(theirs)

    def look_ahead(self) -> None:
        if self.rule is schuss.Nesterov:
            with self.twins.host.lookahead(), self.twins.device.lookahead():
                self.twins.check_params()

    def renew(self) -> None:
        self.twins.device.renew()

    def check(self) -> None:
        self.twins.check()


OFTEN: dict[Callable[[Life], None], int] = {
    Life.step: 40,
    Life.set_hyper: 6,
    Life.freeze: 3,
    Life.check: 3,
    Life.read: 3,
    Life.flush: 2,
    Life.scale: 1,
    Life.look_ahead: 2,
    Life.save_and_load: 1,
    Life.add_group: 1,
    Life.renew: 1,
}


@pytest.mark.parametrize("common", COMMON)
@pytest.mark.parametrize("rule", [schuss.AdamW, schuss.SGD, schuss.Nesterov], ids=lambda rule: rule.__name__)
def test_a_life_is_the_cpus_whatever_happens_in_it(cuda: Any, rule: Any, common: str) -> None:
    for seed in range(2):
        life = Life(seed, rule, COMMON[common])
        for event in life.chance.choices(list(OFTEN), list(OFTEN.values()), k=60):
            event(life)
            if life.chance.random() < 0.2:
                cuda.drain()
        life.check()


# With graphs. Leaves and forms of a step stay, since a graph repeats those that it was captured with.


class GraphLife:
    def __init__(self, cupy: Any, seed: int, common: dict[str, Any]) -> None:
        self.chance = random.Random(seed)
        self.one = Captured(cupy, make(schuss.AdamW, **common), buffers=3)
        self.calls = common.get("accumulate", 1)  # to a real step
        self.skips = "clip" in common
        self.graphs: list[tuple[Any, int, list[Any]]] = []
        self.told: list[tuple[Any, str]] = []
        self.step()

    def draw(self, buffer: int) -> Tree:
        return self.one.draw(buffer, spoiled=self.skips and self.chance.random() < 0.1)

    def step(self) -> None:
        buffer = self.chance.randrange(3)
        for _ in range(self.calls):
            grads = self.draw(buffer)
            with self.one.stream:
                info = self.one.opt.step(self.one.buffers[buffer])
            self.told.append((info, facts(self.one.host.step(grads))))

    def capture(self) -> None:
        if len(self.graphs) < 6:
            self.step()
            self.one.opt.renew()  # a schedule in Python is asked for no step ahead of time otherwise
            buffer = self.chance.randrange(3)
            graph, infos = self.one.capture(*[buffer] * self.calls)
            self.graphs.append((graph, buffer, infos))

    def replay(self) -> None:
        if not self.graphs:
            return
        graph, buffer, infos = self.chance.choice(self.graphs)
        for _ in range(self.chance.choice([1, 2, 5])):
            grads = self.draw(buffer)
            graph.launch(self.one.stream)
            wanted = [self.one.host.step(grads) for _ in range(self.calls)]
        if self.chance.random() < 0.3:
            assert [facts(info) for info in infos] == [facts(want) for want in wanted]

    def set_rate(self) -> None:
        self.one.host.groups[0]["lr"] = self.one.opt.groups[0]["lr"] = self.chance.choice(RATES)
        self.one.opt.renew()

    def scale(self) -> None:
        for opt in (self.one.host, self.one.opt):
            if opt.scaler is not None:
                opt.scaler.update(overflow=True)

    def load(self) -> None:
        saved = self.one.opt.state_dict()
        for opt in (self.one.opt, self.one.host):
            opt.load_state_dict(saved)
        self.one.opt.renew()

    def read(self) -> None:
        assert self.one.opt.clock == self.one.host.clock

    def check(self) -> None:
        for info, want in self.told:
            assert facts(info) == want
        self.told.clear()
        self.one.check()


@pytest.mark.parametrize("common", [name for name in COMMON if name != "applied"])
def test_a_life_with_graphs_is_the_cpus(cuda: Any, cupy: Any, common: str) -> None:
    events = {
        GraphLife.step: 8, GraphLife.capture: 4, GraphLife.replay: 12, GraphLife.set_rate: 2, GraphLife.scale: 1,
        GraphLife.load: 1, GraphLife.read: 2, GraphLife.check: 2,
    }  # fmt: skip
    for seed in range(3):
        life = GraphLife(cupy, seed, COMMON[common])
        for event in life.chance.choices(list(events), list(events.values()), k=60):
            event(life)
            if life.chance.random() < 0.1:
                cuda.drain()
        life.check()
