"""The plain functions of ops and clipping, on arrays of a CUDA device: no optimizer, no state that stays.

An array comes as (pointer, format, shape, strides or None, device, name, first, torch).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, runtime

_INFINITE = float("inf")


class _Array(NamedTuple):
    pointer: int
    format: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    device: int
    name: str
    first: bool  # False: the same memory stood before in the list
    torch: bool


class _Call:
    """One call's tables, on the device for as long as its kernels run."""

    def __init__(self, given: list[Any]) -> None:
        self.arrays = [_Array(*one) for one in given]
        self.device = runtime.Device.at(self.arrays[0].device)
        with self.device:
            self.stream = self.device.stream(any(one.torch for one in self.arrays))
            if runtime.is_capturing(self.stream):
                raise RuntimeError(
                    "ops and clipping keep nothing that a graph could replay, expected no capture; "
                    "capture a step of an optimizer"
                )
        self._block: runtime.Block | None = None
        counts = [math.prod(one.shape) for one in self.arrays]
        self.chunks = layout.chunks_of(counts)
        self.launch = np.zeros((), layout.Launch)
        self.launch["bound"] = _INFINITE
        self.leaves = np.zeros(len(counts), layout.LeafRow)
        self.leaves["p"] = [one.pointer for one in self.arrays]
        self.leaves["p_format"] = [one.format for one in self.arrays]
        self.leaves["arithmetic"] = np.minimum(self.leaves["p_format"], 1)
        self.leaves["source"], self.leaves["sources"] = np.arange(len(counts)), 1
        self.leaves["chunks"] = per_leaf = [-(-count // layout.CHUNK) for count in counts]
        self.leaves["first_chunk"] = np.cumsum([0, *per_leaf])[:-1]
        self.sources = np.zeros(len(counts), layout.SourceRow)
        self.sources["data"], self.sources["format"] = self.leaves["p"], self.leaves["p_format"]
        views = [self._view(one) for one in self.arrays]
        strided = [view for view in views if view is not None]
        index = iter(range(len(strided)))
        self.leaves["p_view"] = self.sources["view"] = [-1 if view is None else next(index) for view in views]
        self.views = np.concatenate(strided) if strided else np.zeros(1, layout.View)

    @staticmethod
    def _view(one: _Array) -> np.ndarray[Any, Any] | None:
        if one.strides is None:
            return None
        view = np.zeros(1, layout.View)
        layout.fill_view(view[0], one.shape, one.strides, one.name)
        return view

    def upload(self, **tables: np.ndarray[Any, Any]) -> None:
        """All tables in one block, and the launch struct that points to them; `tables` by their names there."""
        parts = {"chunks": self.chunks, "leaves": self.leaves, "sources": self.sources, "views": self.views, **tables}
        places, end = {}, 0
        for name, part in parts.items():
            places[name] = end
            end = runtime.rounded(end + part.nbytes)
        self._block = runtime.Block(end, self.stream)
        host = np.zeros(end, np.uint8)
        launch = self.launch
        for name, part in parts.items():
            host[places[name] : places[name] + part.nbytes] = part.view(np.uint8)
            if name != "entry":
                launch[name] = self._block.ptr + places[name]
        if "entry" in parts:
            rows = host[places["rows"] : places["rows"] + layout.Rows.itemsize].view(layout.Rows)
            rows["rows"]["entries"] = self._block.ptr + places["entry"]
        runtime.send_now(self._block.ptr, host, self.stream)
        launch["chunk_count"], launch["leaf_count"] = len(self.chunks), len(self.leaves)
        launch["lr_row"] = -1

    def run(self, kind: str, rule: str | None = None, variants: Any = ()) -> None:
        if len(self.chunks) == 0:
            return
        kernel = runtime.kernel(self.device.index, kind, rule, variants)
        blocks = min(len(self.chunks), runtime.resident_blocks(kernel, self.device.index))
        runtime.launch(kernel, blocks, runtime.as_argument(self.launch), self.stream)


def _norms(call: _Call) -> tuple[float, list[float]]:
    """Of all together, and of each; waits."""
    sums = np.zeros(len(call.chunks))
    with call.device, call.stream:
        call.upload(state=np.zeros(1, layout.State), chunk_sums=sums)
        call.run("sum")
        call.stream.synchronize()
        runtime.fetch(sums, int(call.launch["chunk_sums"]))
    each = np.split(sums, call.leaves["first_chunk"][1:])
    return _core.exact_root(sums), [_core.exact_root(own) for own in each]


def _scale(leaves: list[Any], factors: list[float], bound: float) -> None:
    """Each times its factor and held within the bound; each memory once, however often it is met."""
    once = [k for k, leaf in enumerate(leaves) if _Array(*leaf).first]
    call = _Call([leaves[k] for k in once])
    call.launch["bound"] = bound
    with call.device, call.stream:
        call.upload(leaf_scales=np.array([factors[k] for k in once], np.float64))
        call.run("scale")


def global_norm(leaves: list[Any]) -> float:
    return _norms(_Call(leaves))[0]


def clip_global_norm(leaves: list[Any], limit: float) -> float:
    norm, _ = _norms(_Call(leaves))
    coef = _core.clip_coef(norm, limit)
    if coef != 1:
        _scale(leaves, [coef] * len(leaves), _INFINITE)
    return norm


def clip_leaf_norm(leaves: list[Any], limit: float) -> list[tuple[str, float]]:
    call = _Call(leaves)
    _, each = _norms(call)
    _scale(leaves, [_core.clip_coef(own, limit) for own in each], _INFINITE)
    return [(one.name, own) for one, own in zip(call.arrays, each, strict=True)]


def clip_value(leaves: list[Any], limit: float) -> None:
    _scale(leaves, [1.0] * len(leaves), limit)


def apply(rule: str, leaves: list[Any], step: int, values: list[float]) -> None:
    """One step of a rule: p, g and its slots, None where one is not kept."""
    p, g, *slots = leaves
    call = _Call([p])
    own = call.arrays[0]
    mask = _core.rule_mask(rule, values)
    gradient = _Array(*g)
    view = call._view(gradient)
    if view is not None:
        call.sources["view"] = len(call.views)
        call.views = np.concatenate([call.views, view])
    else:
        call.sources["view"] = -1
    call.sources["data"], call.sources["format"] = gradient.pointer, gradient.format
    for k, slot in enumerate(slots):
        call.leaves["slots"][0, k] = 0 if slot is None else slot[0]
    entry = np.zeros(1, layout.Entry)
    arithmetic = min(own.format, 1)
    entry["numbers"][0] = np.frombuffer(_core.prepare(rule, arithmetic, mask, values, step), np.uint8)
    rows = np.zeros(1, layout.Rows)
    rows["valid_until"] = 1
    call.launch["mean"] = 1
    with call.device, call.stream:
        call.upload(
            entry=entry,
            rows=rows,
            state=np.zeros(1, layout.State),
            record=np.zeros(1, layout.Record),
            mailbox=np.zeros(1, layout.Mailbox),
        )
        call.run("map", rule, ((mask, layout.FORMATS[own.format], layout.FORMATS[gradient.format]),))
