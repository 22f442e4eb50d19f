"""The same optimizer twice, on the CPU and on a simulated device: fed alike, compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import schuss
from helpers import flat, raw

Shape = tuple[int, ...]
Tree = dict[str, Any]

# How an array lies: the shape of what it is a part of, and which part.
LAYOUTS: dict[str, tuple[Callable[[Shape], Shape], Callable[[Any, Shape], Any]]] = {
    "dense": (lambda shape: shape, lambda home, shape: home),
    "misaligned": (lambda shape: (1 + int(np.prod(shape)),), lambda home, shape: home[1:].reshape(shape)),
    "every second": (lambda shape: (*shape[:-1], 2 * shape[-1]), lambda home, shape: home[..., ::2]),
    "transposed": (lambda shape: shape[::-1], lambda home, shape: home.T),
    "turned": (lambda shape: (*shape[1:], shape[0]), lambda home, shape: home.transpose(-1, *range(len(shape) - 1))),
    "backwards": (lambda shape: shape, lambda home, shape: home[::-1]),
}


def laid_out(values: np.ndarray, layout: str) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """An array that holds the values in this layout, and what of it, or of a copy, they are."""
    home_shape, part = LAYOUTS[layout]
    home = np.full(home_shape(values.shape), 7, values.dtype)
    part(home, values.shape)[...] = values
    return home, lambda other: part(other, values.shape)


def facts(info: Any) -> str:
    """All of a StepInfo; NaN equals NaN here."""
    return repr((info.step, info.lr, info.grad_norm, info.clip_coef, info.skipped, info.pending))


class Twins:
    """Two optimizers that `make` made of the same parameters: a dict by name, which it may nest as it likes."""

    def __init__(
        self,
        make: Callable[[Tree], Any],
        params: Tree,
        layouts: dict[str, str] | None = None,
        nest: Callable[[Tree], Any] = lambda tree: tree,
    ) -> None:
        import cupy

        self.cupy, self.nest = cupy, nest
        self.host_homes: Tree = {}
        self.device_homes: Tree = {}
        self.host_params: Tree = {}
        self.device_params: Tree = {}
        for name, values in params.items():
            home, part = laid_out(values, (layouts or {}).get(name, "dense"))
            self.host_homes[name], self.device_homes[name] = home, cupy.asarray(home)
            self.host_params[name], self.device_params[name] = part(home), part(self.device_homes[name])
        self.host, self.device = make(self.host_params), make(self.device_params)
        self.infos: list[tuple[Any, Any]] = []

    def both(self, call: Callable[[Any], Any]) -> tuple[Any, Any]:
        return call(self.host), call(self.device)

    def step(self, grads: Tree, layouts: dict[str, str] | None = None) -> None:
        """Both step; what they tell of it is compared when everything is."""
        on_host: Tree = {}
        on_device: Tree = {}
        for name, values in grads.items():
            if values is None:
                on_host[name] = on_device[name] = None
                continue
            home, part = laid_out(values, (layouts or {}).get(name, "dense"))
            on_host[name], on_device[name] = part(home), part(self.cupy.asarray(home))
        self.infos.append((self.host.step(self.nest(on_host)), self.device.step(self.nest(on_device))))

    def flush(self) -> None:
        self.infos.append((self.host.flush(), self.device.flush()))

    def check(self) -> None:
        """The same bits everywhere, in what they tell and in what they hold."""
        for at, (want, got) in enumerate(self.infos):
            assert (got is None) == (want is None)
            assert got is None or facts(got) == facts(want), f"call {at}"
        self.infos.clear()
        self.check_params()
        slots = dict(flat(self.device.state))
        for name, want in flat(self.host.state):
            assert slots[name].dtype == want.dtype
            assert settled(slots[name].get()) == settled(want), f"slot {name}"
        assert self.device.clock == self.host.clock
        assert self.device.pending == self.host.pending
        assert clocks(self.device) == clocks(self.host)
        if self.host.scaler is not None:
            assert self.device.scaler.state_dict() == self.host.scaler.state_dict()

    def check_params(self) -> None:
        for name, home in self.host_homes.items():
            assert settled(self.device_homes[name].get()) == settled(home), f"parameter {name}"


def settled(array: np.ndarray) -> bytes:
    """Its bits; those of a NaN beside its being one are free."""
    array = array.copy()
    array[np.isnan(array)] = np.nan
    return raw(array)


def clocks(opt: Any) -> dict[str, int]:
    """Each leaf's own."""
    return {name: leaf["clock"] for name, leaf in opt.state_dict()["leaves"].items()}


def make(rule: Any, scaler: dict[str, Any] | None = None, **settings: Any) -> Callable[[Tree], Any]:
    """Makes an optimizer of the parameters given, with a scaler of its own."""
    if scaler is None:
        return lambda params: rule(params, **settings)
    return lambda params: rule(params, scaler=schuss.LossScaler(**scaler), **settings)
