"""The state of an optimizer on a simulated device: read, saved, loaded on either side, and let go of."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_twins import Tree, Twins, clocks, make
from helpers import ON_DEVICE, flat, normal, raw, repr_bits
from test_cuda_bits import World
from test_cuda_step import grads_of, params_of

SCALER = {"scale": 8.0, "growth_interval": 2}


def crossed(one: Twins, other: Twins, through: Callable[[Any, Any], None]) -> None:
    """What one's optimizers stand at goes to the other's, from the CPU to the device and from the device to the CPU."""
    for name, home in one.host_homes.items():
        other.host_homes[name][...] = home
        other.device_homes[name][...] = other.cupy.asarray(home)
    through(one.host, other.device)
    through(one.device, other.host)


def in_memory(saving: Any, loading: Any) -> None:
    loading.load_state_dict(saving.state_dict())


@pytest.mark.parametrize("rule", ON_DEVICE)
def test_a_run_resumed_on_the_other_side_continues_bit_for_bit(cuda: Any, rule: str) -> None:
    one, other = (World(rule, [33, 4097], clip=1.0, scaler=SCALER) for _ in range(2))
    for t in range(5):
        grads = one.grads(t)
        grads["0 float32 float32 33"] = None
        if t == 3:
            grads["0 float64 float64 33"][7] = np.nan
        one.step(t, grads)
    one.twins.check()
    assert repr_bits(one.twins.host.state_dict()) == repr_bits(one.twins.device.state_dict())
    crossed(one.twins, other.twins, in_memory)
    other.twins.check()
    for t in range(5, 8):
        other.step(t, other.grads(t))
        one.step(t, one.grads(t))
    other.twins.check()
    one.twins.check()
    for name, home in one.twins.host_homes.items():
        assert raw(other.twins.host_homes[name]) == raw(home)


@pytest.mark.parametrize("micro_steps", [2, 3, 7])
def test_a_file_of_either_side_is_loaded_on_the_other(cuda: Any, tmp_path: Path, micro_steps: int) -> None:
    """With accumulation in flight, a schedule, a frozen leaf, clocks of leaves and a loss scale."""
    pytest.importorskip("safetensors", reason="files need it")
    lr = schuss.schedules.cosine(0.1, steps=20)
    one, other = (Twins(make(schuss.AdamW, SCALER, lr=lr, clip=1.0, accumulate=3), params_of()) for _ in range(2))
    one.both(lambda opt: opt.freeze("s"))
    for t in range(micro_steps):
        one.step(grads_of(t, *(("b",) if t % 3 == 0 else ())))
    assert one.device.pending == micro_steps % 3

    def through(saving: Any, loading: Any) -> None:
        path = tmp_path / "run.safetensors"
        schuss.save(path, saving)
        schuss.load(path, loading)

    crossed(one, other, through)
    other.check()
    for twins in (one, other):
        for t in range(4):
            twins.step(grads_of(10 + t))
        twins.both(lambda opt: opt.unfreeze("s"))
        for t in range(3):
            twins.step(grads_of(20 + t))
        twins.check()
    for name, home in one.host_homes.items():
        assert raw(other.host_homes[name]) == raw(home)


@pytest.mark.parametrize("clock", [0, 1, 7, 6000])
@pytest.mark.parametrize("common", [{}, {"clip": 1.0}], ids=["no skips", "skips"])
def test_a_run_may_be_set_back_and_forth(cuda: Any, common: dict[str, Any], clock: int) -> None:
    """The device goes on with the numbers of the step that it was set to."""
    twins = Twins(make(schuss.AdamW, lr=schuss.schedules.cosine(0.1, steps=7000), **common), params_of())
    for t in range(4):
        twins.step(grads_of(t))
    saved = twins.host.state_dict()
    saved["clock"] = clock
    for leaf in saved["leaves"].values():
        leaf["clock"] = min(leaf["clock"], clock)
    twins.both(lambda opt: opt.load_state_dict(saved))
    for t in range(5):
        twins.step(grads_of(t, *(("b",) if t == 1 else ())))
    twins.check()


def test_slots_are_cupy_arrays_and_changing_one_changes_the_state(cuda: Any, cupy: Any) -> None:
    twins = Twins(make(schuss.AdamW), params_of())
    twins.step(grads_of(0))
    slot = twins.device.state["w"]["m"]
    assert isinstance(slot, cupy.ndarray)
    assert (slot.shape, slot.dtype, slot.device.id) == ((50, 7), np.float32, 0)
    assert slot.data.ptr == twins.device.state["w"]["m"].data.ptr
    slot *= 2
    twins.host.state["w"]["m"][...] *= 2
    twins.step(grads_of(1))
    twins.check()


def test_a_state_dict_is_numpys_and_no_part_of_the_run(cuda: Any, cupy: Any) -> None:
    twins = Twins(make(schuss.AdamW, SCALER, accumulate=2), params_of())
    for t in range(3):
        twins.step(grads_of(t))
    saved = twins.device.state_dict()
    arrays = [leaf for _, leaf in flat(saved) if hasattr(leaf, "dtype")]
    assert len(arrays) == 12
    assert {type(each) for each in arrays} == {np.ndarray}
    before = repr_bits(saved)
    twins.step(grads_of(3))
    twins.check()
    assert repr_bits(saved) == before
    for each in arrays:
        each[...] = 7
    twins.step(grads_of(4))
    twins.check()


def test_reading_the_state_does_not_change_the_run(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, SCALER, clip=1.0), params_of())
    for t in range(9):
        twins.step(grads_of(t, *(("b",) if t % 2 else ())))
        if t % 3 == 0:
            twins.check()
        if t % 3 == 1:
            assert clocks(twins.device) == clocks(twins.host)
            assert twins.device.pending == 0
            assert repr(twins.device) == repr(twins.host)
    twins.check()


REFUSED: dict[str, Callable[[Any], None]] = {
    "a slot of another shape": lambda saved: saved["leaves"]["w"]["slots"].update(m=np.zeros((7, 50), np.float32)),
    "a slot of another type": lambda saved: saved["leaves"]["b"]["slots"].update(v=np.zeros(7)),
    "a leaf too few": lambda saved: saved["leaves"].pop("s"),
    "a clock that is none": lambda saved: saved["leaves"]["b"].update(clock=-1),
    "a bad scale": lambda saved: saved["scaler"].update(scale=-1.0),
    "a bad rate": lambda saved: saved["groups"][0]["hypers"].update(lr=-1.0),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_state_that_is_refused_changes_nothing(cuda: Any, why: str) -> None:
    twins = Twins(make(schuss.AdamW, SCALER, clip=1.0), params_of())
    for t in range(3):
        twins.step(grads_of(t))
    saved = twins.device.state_dict()
    twins.step(grads_of(3))
    REFUSED[why](saved)
    with pytest.raises((ValueError, TypeError)):
        twins.device.load_state_dict(saved)
    twins.check()
    twins.step(grads_of(4))
    twins.check()


# The loss scale.


def test_the_loss_scale_is_read_on_the_device_without_waiting(cuda: Any, cupy: Any) -> None:
    twins = Twins(make(schuss.AdamW, SCALER), params_of())
    on_device = twins.device.scaler.on_device()
    assert (type(on_device), on_device.shape, on_device.dtype) == (cupy.ndarray, (), np.float32)
    assert float(on_device) == 8.0
    losses, scales = [], []
    for t in range(8):
        with cuda.counting() as asked:
            losses.append(twins.device.scaler.on_device() * 3)
        assert "synchronize" not in asked
        scales.append(twins.host.scaler.scale)
        grads = grads_of(t)
        if t == 4:
            grads["w"][0] = np.inf
        twins.step(grads)
    assert [float(loss) for loss in losses] == [3 * scale for scale in scales]
    assert len(set(scales)) > 2
    twins.check()
    twins.device.scaler.update(overflow=True)
    assert float(twins.device.scaler.on_device()) == twins.device.scaler.scale


def test_the_loss_scale_may_be_moved_by_hand_between_steps(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, SCALER), params_of())
    for t in range(10):
        twins.step(grads_of(t))
        if t % 3 == 0:
            twins.both(lambda opt: opt.scaler.update(overflow=False))
        if t == 4:
            twins.both(lambda opt: opt.scaler.update(overflow=True))
        if t == 6:
            twins.both(lambda opt: opt.scaler.load_state_dict({**opt.scaler.state_dict(), "scale": 32.0}))
        for name in ("scale", "good_steps", "hysteresis_left"):
            assert getattr(twins.device.scaler, name) == getattr(twins.host.scaler, name)
        assert repr(twins.device.scaler) == repr(twins.host.scaler)
    twins.check()


def test_a_scaler_goes_on_when_its_optimizer_is_gone(cuda: Any) -> None:
    def scaler_of(params: Tree) -> Any:
        scaler = schuss.LossScaler(8.0, growth_interval=1)
        opt = schuss.AdamW(params, scaler=scaler)
        for _ in range(3):
            opt.step(dict(params))
        return scaler

    twins = Twins(make(schuss.AdamW), params_of())
    host, device = scaler_of(twins.host_params), scaler_of(twins.device_params)
    assert device.state_dict() == host.state_dict()
    assert device.scale == 64.0
    later = schuss.AdamW(twins.device_params, scaler=device)
    later.step(twins.device_params)
    assert device.scale == 128.0


# What it costs, and how it ends.


def test_the_cost_is_the_cpus_but_for_the_time(cuda: Any) -> None:
    twins = Twins(make(schuss.AdamW, clip=1.0, accumulate=2), params_of())
    want, got = twins.both(lambda opt: opt.cost())
    assert got["seconds"] > 0
    assert {**got, "seconds": 0} == {**want, "seconds": 0}


@contextmanager
def uncollected() -> Iterator[None]:
    """What goes in here goes without the collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def held(cuda: Any) -> tuple[int, int]:
    """Allocations on the devices and of pinned memory."""
    cuda.drain()
    on_device = sum(not block.freed for arena in cuda.arenas for block in arena.blocks)
    return on_device, sum(not block.freed for block in cuda.pinned.blocks)


LIVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip": 1.0},
    "scaled": {"scaler": SCALER, "clip": schuss.clipping.LeafNorm(1.0)},
    "accumulated": {"accumulate": 2},
    "raising": {"nonfinite": "raise"},
    "scheduled": {"lr": lambda step: 0.1},
}


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("life", LIVES)
def test_a_deleted_optimizer_gives_its_memory_back_at_once(cuda: Any, cupy: Any, life: str, steps: int) -> None:
    """Also while its work is queued: that runs to its end, on memory that is still there."""
    host_params = params_of()
    params = {name: cupy.asarray(p) for name, p in host_params.items()}
    settings = {key: value for key, value in LIVES[life].items() if key != "scaler"}
    host, opt = (make(schuss.Nesterov, LIVES[life].get("scaler"), **settings)(each) for each in (host_params, params))
    grads = [{name: cupy.asarray(g) for name, g in grads_of(t).items()} for t in range(steps)]
    del opt
    with uncollected():
        before = held(cuda)
        opt = make(schuss.Nesterov, LIVES[life].get("scaler"), **settings)(params)
        for t in range(steps):
            opt.step(grads[t])
            host.step(grads_of(t))
            if t == 3:
                opt.groups[0]["lr"] = host.groups[0]["lr"] = 0.5
                with opt.lookahead(), host.lookahead():
                    pass
        assert held(cuda) > before
        for t in range(steps):
            opt.step(grads[t])
            host.step(grads_of(t))
        del opt
        assert held(cuda) == before
    for name, p in params.items():
        assert raw(p.get()) == raw(host_params[name])


def test_slots_outlive_their_optimizer(cuda: Any, cupy: Any) -> None:
    host_params = params_of()
    opt, host = schuss.AdamW({k: cupy.asarray(p) for k, p in host_params.items()}), schuss.AdamW(host_params)
    opt.step({k: cupy.asarray(g) for k, g in grads_of(0).items()})
    host.step(grads_of(0))
    slot = opt.state["w"]["m"]
    del opt
    cuda.drain()
    assert raw(slot.get()) == raw(host.state["w"]["m"])


def test_optimizers_that_fail_leave_nothing_on_the_device(cuda: Any, cupy: Any) -> None:
    params = {"w": cupy.zeros(4), "b": cupy.zeros(4)}
    with uncollected():
        before = held(cuda)
        for settings in ({"lr": -1.0}, {"nonfinite": "sometimes"}, {"beta3": 1.0}):
            with pytest.raises((ValueError, TypeError)):
                schuss.AdamW(params, **settings)  # type: ignore[arg-type]
        gc.collect()
        assert held(cuda) == before


def test_renewing_is_nothing_on_the_cpu() -> None:
    opt = schuss.SGD(normal(1, 3))
    assert opt.renew() is None  # type: ignore[func-returns-value]
    assert opt.clock == 0
