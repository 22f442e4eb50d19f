"""The same optimizer twice, on the CPU and on the device: after every comparison they hold the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import schuss
from oracles import SETTINGS
from schuss._engine.catalog import device_rules

FORMATS: dict[str, Any] = {"float64": np.dtype(np.float64), "float32": np.dtype(np.float32)}
try:
    import ml_dtypes
except ImportError:
    pass  # then nothing here is bfloat16: NumPy has no other
else:
    FORMATS["bfloat16"] = np.dtype(ml_dtypes.bfloat16)

PAIRS = [(p, g) for p in FORMATS for g in FORMATS]
CLASSES = {name: getattr(schuss, rule.name) for name, rule in device_rules().items()}
CASES = [(rule, setting) for rule in sorted(CLASSES) for setting in SETTINGS.get(rule, [{}])]
Tree = Any
Look = Callable[[Any], Any]


def case_id(value: Any) -> str | None:
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items()) or "defaults"
    return None


def normal(seed: int, shape: Any, dtype: Any = np.float32, scale: float = 1.0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def gradient(seed: int, shape: Any, dtype: Any = np.float32) -> np.ndarray:
    """Several magnitudes, with exact zeros among them."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal(shape) * 10.0 ** rng.uniform(-2, 2, shape)
    return np.asarray(np.where(rng.random(shape) < 0.05, 0.0, g)).astype(dtype)


def trees(seed: int, shapes: Mapping[str, tuple[Any, str, str]]) -> tuple[dict[str, Any], Callable[[int], Any]]:
    """Parameters by name, and what gives the gradients of a step, from (shape, format of p, format of g)."""
    params = {
        name: normal(seed + k, shape, FORMATS[p]) for k, (name, (shape, p, _)) in enumerate(sorted(shapes.items()))
    }

    def grads(step: int) -> dict[str, np.ndarray]:
        return {
            name: gradient(seed + 1000 * (step + 1) + k, shape, FORMATS[g])
            for k, (name, (shape, _, g)) in enumerate(sorted(shapes.items()))
        }

    return params, grads


def plain(format_: str = "float32", sizes: Any = (5000, 37, 1)) -> dict[str, tuple[Any, str, str]]:
    return {f"{format_}-{size}": ((size,), format_, format_) for size in sizes}


def replays(gpu: Any, monkeypatch: Any) -> int:
    """Of a graph, until it runs out of numbers; fewer in a rehearsal, where each takes its time."""
    from schuss._engine.cuda import numbers

    if gpu.simulated:
        monkeypatch.setattr(numbers, "LONGEST", 128)
    return numbers.LONGEST


def flat(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nesting of dict, list and tuple, with their names."""
    if isinstance(tree, Mapping):
        for key, each in tree.items():
            yield from flat(each, f"{path}/{key}" if path else str(key))
    elif isinstance(tree, (list, tuple)):
        for index, each in enumerate(tree):
            yield from flat(each, f"{path}/{index}" if path else str(index))
    else:
        yield path, tree


def bits(tree: Tree) -> dict[str, Any]:
    """Arrays as their types, shapes and bytes; everything else as it prints."""
    return {
        name: (str(leaf.dtype), leaf.shape, np.ascontiguousarray(leaf).tobytes())
        if isinstance(leaf, np.ndarray)
        else repr(leaf)
        for name, leaf in flat(tree)
    }


def told(info: Any) -> dict[str, str]:
    """All that a StepInfo says, told apart where numbers are: -0.0 from 0.0, and NaN like NaN."""
    return {name: repr(getattr(info, name)) for name in TOLD}


TOLD = ("step", "lr", "grad_norm", "clip_coef", "skipped", "pending")


class CupyArrays:
    """How a twin's arrays come to the device and back."""

    def __init__(self, gpu: Any) -> None:
        self.put, self.get = gpu.array, gpu.host

    def like(self, host: Any, look: Look) -> Any:
        return look(self.put(host))


class Twins:
    """One optimizer on NumPy arrays and one on the device's.

    A leaf is a view `looks[name]` of the array `params[name]`; what lies beside it in memory is compared too.
    """

    def __init__(
        self,
        arrays: Any,
        make: Any,
        params: dict[str, np.ndarray],
        settings: Callable[[], dict[str, Any]] | dict[str, Any] | None = None,
        looks: Mapping[str, Look] | None = None,
        offsets: Mapping[str, int] | None = None,
        group: Callable[[Any], Any] = lambda params: params,
    ) -> None:
        self.arrays, self.looks = arrays, looks or {}
        self.offsets = offsets or {}
        self.on_host = {name: each.copy() for name, each in params.items()}
        self.on_device = {name: arrays.put(each, self.offsets.get(name, 0)) for name, each in params.items()}
        chosen = settings if callable(settings) else (lambda: dict(settings or {}))
        self.want = make(group(self._seen(self.on_host)), **chosen())
        self.got = make(group(self._seen(self.on_device)), **chosen())
        self.infos: list[tuple[Any, Any]] = []
        self.given: list[Any] = []

    def _seen(self, whole: dict[str, Any]) -> dict[str, Any]:
        return {name: self.looks.get(name, lambda x: x)(each) for name, each in whole.items()}

    def to_device(self, grads: Tree) -> Tree:
        """The same gradients there; None stays None."""
        if isinstance(grads, dict):
            return {name: self.to_device(each) for name, each in grads.items()}
        if isinstance(grads, (list, tuple)):
            return [self.to_device(each) for each in grads]
        return None if grads is None else self.arrays.put(grads)

    def step(self, grads: Tree, on_device: Tree = None) -> Any:
        """Both step; what the device says is looked at in `check`, so that nothing waits here."""
        mine = self.to_device(grads) if on_device is None else on_device
        info = self.got.step(mine)
        self.infos.append((self.want.step(grads), info))
        self.given.append(mine)
        return info

    def both(self, act: Callable[[Any], Any]) -> None:
        """The same done to each: ``twins.both(lambda opt: opt.freeze("w"))``."""
        act(self.want)
        act(self.got)

    def check(self, where: str = "") -> None:
        for count, (want, got) in enumerate(self.infos, start=1):
            assert told(got) == told(want), f"{where}: call {count}"
        self.check_params(where)
        want, got = (opt.state_dict() for opt in (self.want, self.got))
        assert bits(got) == bits(want), f"{where}: the states differ"
        assert self.got.clock == self.want.clock

    def check_params_but_for_nan(self) -> None:
        """A NaN has any payload, where it is one on both."""
        for name, host in self.on_host.items():
            got = self.arrays.get(self.on_device[name]).copy()
            nan = np.isnan(host)
            assert (np.isnan(got) == nan).all(), name
            same(np.where(nan, np.zeros_like(got), got), np.where(nan, np.zeros_like(host), host), name)

    def check_params(self, where: str = "") -> None:
        for name, host in self.on_host.items():
            same(self.arrays.get(self.on_device[name]), host, f"{where}: {name}")


def same(got: np.ndarray, want: np.ndarray, where: str = "") -> None:
    """The same bits, or which element differs first."""
    got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape), where
    if got.tobytes() == want.tobytes():
        return
    size = got.dtype.itemsize
    a, b = (x.reshape(-1).view(np.dtype(f"u{size}")) for x in (got, want))
    off = np.flatnonzero(a != b)
    at = int(off[0])
    raise AssertionError(
        f"{where}: {len(off)} of {a.size} elements differ, the first at {at}: "
        f"{got.reshape(-1)[at]!r} ({int(a[at]):#x}), expected {want.reshape(-1)[at]!r} ({int(b[at]):#x})"
    )
