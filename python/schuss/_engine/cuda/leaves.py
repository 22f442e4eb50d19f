"""The leaves of a device's optimizer: their memory, and what of them steps now."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.numbers import Key
from schuss._engine.cuda.source import Variant
from schuss._engine.cuda.tables import HostTables

from .memory import Memory

_Array = np.ndarray[Any, Any]


class Leaves:
    """One row a leaf, in NumPy arrays, so that no step touches a leaf in Python."""

    def __init__(self, session: _core.Session, rule_slots: int) -> None:
        self._session = session
        options = session.options
        self.by_leaf = options["clip"] == "leaf_norm"
        self._accumulate = options["accumulate"]
        self.count = 0
        self.memory = Memory(self, session, rule_slots)
        self.host = HostTables(0, 0)
        self.behind = np.zeros(0, np.int64)  # real steps each sat out, as far as the host knows
        self._uncertain = np.zeros(0, bool)  # whether a skipped step may have been counted, or one not
        self.accumulated = np.zeros(0, bool)
        self._active = np.zeros(0, bool)
        self._given = np.zeros(0, bool)
        self._known: set[int] = set()  # codes of variants met: kernels only grow, so that they are made once
        self.variants: tuple[Variant, ...] = ()
        self.lr_row = -1
        self.adds = 0  # flags of a launch that takes gradients into accumulators

    def copy(self) -> Leaves:
        """One that may be changed while this stays as it is."""
        other = copy.copy(self)
        other.memory = self.memory.copy(other)
        other.host = self.host.copy()
        return other

    def extend(self, stream: Any, steps: int) -> None:
        """Take in the leaves added since the last time; the present ones keep their memory."""
        facts = self._session.leaf_facts()
        old, new = self.count, len(facts)
        pointers, formats, shapes, strides, groups, sources, frozen, factors = zip(*facts, strict=True)
        counts = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
        self.shapes, self.counts = shapes, np.array(counts, np.int64)
        self.formats = np.array(formats, np.int32)
        self.arithmetic = np.minimum(self.formats, 1)
        self.groups = np.array(groups, np.int32)
        self.factors = np.array(factors, np.int32)
        self.sources = np.array(sources, np.int32)
        self.first_source = np.concatenate([[0], np.cumsum(self.sources)[:-1]]).astype(np.int32)
        self._frozen = np.array(frozen, bool)
        self.frozen_changed = False
        self.count = new
        self.host = HostTables(int(self.sources.sum()), new)
        rows = self.host.leaves
        rows["p"] = pointers
        rows["p_format"], rows["arithmetic"] = self.formats, self.arithmetic
        rows["source"], rows["sources"] = self.first_source, self.sources
        rows["p_view"] = [
            -1 if its is None else self.host.add_view(shape, its, f"params {self._session.leaf_name(i)}")
            for i, (shape, its) in enumerate(zip(shapes, strides, strict=True))
        ]
        self.host.fixed_views = len(self.host.views)
        per_leaf = -(-self.counts // layout.CHUNK)
        rows["chunks"], rows["first_chunk"] = per_leaf, np.concatenate([[0], np.cumsum(per_leaf)[:-1]])
        accumulates = (self.sources > 1) | (self._accumulate > 1)
        self.memory.extend(stream, old, accumulates)
        self.has_accumulator = accumulates
        self.accumulates = bool(accumulates.any())
        grow = new - old
        self.accumulated = np.concatenate([self.accumulated, np.zeros(grow, bool)])
        self.behind = np.concatenate([self.behind, np.full(grow, steps, np.int64)])
        self._uncertain = np.concatenate([self._uncertain, np.zeros(grow, bool)])
        self.send_clocks()
        self._active = self._given = np.zeros(new, bool)

    def frozen_now(self) -> _Array:
        if self.frozen_changed:
            self._frozen = self._session.frozen_leaves()
            self.frozen_changed = False
        return self._frozen

    # ---- what steps ----

    def _steps_now(self, given: bool) -> tuple[_Array, _Array]:
        """Which leaves step, and which have a gradient now."""
        if given:
            has = np.logical_or.reduceat(self._session.gradient_formats >= 0, self.first_source)
        else:
            has = np.zeros(self.count, bool)
        steps = ~self.frozen_now()
        return (has | self.accumulated) & steps, has & steps

    def other_leaves_step(self, given: bool) -> bool:
        """Whether that is so though the gradients given are of the same leaves, or accumulators stand otherwise."""
        if not self.accumulates:
            return False
        active, has = self._steps_now(given)
        if not (np.array_equal(active, self._active) and np.array_equal(has, self._given)):
            return True
        return self._read_adds()

    @property
    def uncertain(self) -> bool:
        """Whether there is a leaf that is not frozen and sat out the host does not know how many steps."""
        return bool((self._uncertain & ~self.frozen_now()).any())

    def needs_clocks(self, given: bool) -> bool:
        """Whether a leaf steps again of which the host does not know how many steps it sat out."""
        return bool((self._steps_now(given)[0] & self._uncertain).any())

    def plan(self, given: bool, visited: bool | None) -> list[Key]:
        """Fill the host's tables for this step; gives the keys of the numbers, of which `set_rows` takes the rows."""
        active, self._given = self._steps_now(given)
        self._active = active
        self.some_sit_out = not bool(active.all())
        self.takes = bool((self._given & self.has_accumulator).any())
        self._read_adds()
        if given:
            self._read_gradients()
        g_formats = np.where(self.has_accumulator, self.arithmetic, self._session.gradient_formats[self.first_source])
        self._choose_variants(active, np.where(active, g_formats, 0))
        return self._choose_keys(active, visited)

    def _read_gradients(self) -> None:
        host, formats = self.host, self._session.gradient_formats
        del host.views[host.fixed_views :]
        host.sources["data"], host.sources["format"] = self._session.gradient_pointers, formats
        host.sources["view"] = -1
        leaf_of = np.repeat(np.arange(self.count), self.sources)
        for source in self._session.strided_sources:
            strides = self._session.gradient_strides(source) or ()
            leaf = int(leaf_of[source])
            where = f"grads {self._session.leaf_name(leaf)}"
            host.sources["view"][source] = host.add_view(self.shapes[leaf], strides, where)

    def read_pointers(self) -> None:
        self.host.sources["data"] = self._session.gradient_pointers

    def _choose_variants(self, active: _Array, g_formats: _Array) -> None:
        masks = self.memory.masks
        codes = (masks * 3 + self.formats) * 3 + g_formats
        works = active & (self.counts > 0)
        self._known |= set(np.unique(codes[works]).tolist()) or (set() if self._known else {int(codes[0])})
        known = np.array(sorted(self._known))
        self.variants = tuple((int(c) // 9, layout.FORMATS[c // 3 % 3], layout.FORMATS[c % 3]) for c in known)
        index = np.searchsorted(known, codes)
        self.host.leaves["variant"] = np.where(active, np.where(works, index, 0), -1)

    def _choose_keys(self, active: _Array, visited: bool | None) -> list[Key]:
        self._keys, self._kind = self.keys_of(active, visited)
        first = next((key for key in self._keys if key.group == 0), None)
        if first is None:  # no leaf of the first group steps, yet its rate is told
            first = Key(0, int(self.arithmetic[0]), int(self.memory.masks[0]), visited, 0, 0)
        self._lr_key = first
        return self.keys

    def keys_of(self, chosen: _Array, visited: bool | None) -> tuple[list[Key], _Array]:
        """The keys of these leaves' numbers, and for each leaf which is its own."""
        columns = np.stack([self.groups, self.arithmetic, self.memory.masks, self.behind, self.factors], axis=1)
        kinds, kind = np.unique(columns[chosen], axis=0, return_inverse=True)
        return [Key(int(g), int(a), int(m), visited, int(b), int(f)) for g, a, m, b, f in kinds], kind

    def read_factors(self) -> None:
        """They have changed."""
        self.factors = np.array([fact[-1] for fact in self._session.leaf_facts()], np.int32)

    @property
    def keys(self) -> list[Key]:
        """Of the rows that the planned step reads."""
        return [*self._keys, self._lr_key]

    def set_rows(self, rows: dict[Key, int]) -> None:
        self.host.leaves["behind"] = self.behind
        order = np.array([rows[key] for key in self._keys], np.int32)
        if len(order):
            self.host.leaves["row"][self._active] = order[self._kind.reshape(-1)]
        self.lr_row = rows[self._lr_key]

    def _read_adds(self) -> bool:
        """Whether accumulators hold something: all that are taken into, none, or as each row says, if rows change."""
        holding = self.accumulated[self._given & self.has_accumulator]
        if not holding.any() or holding.all():
            self.adds = layout.ADDS if holding.any() else 0
            return False
        self.adds = layout.ADDS_BY_LEAF
        changed = not np.array_equal(self.host.leaves["add"], self.accumulated)
        self.host.leaves["add"] = self.accumulated
        return changed

    def close(self, real: bool, exact: bool) -> None:
        """The step is on its way: whose clock falls behind, which accumulators hold something."""
        if not real:
            self.accumulated |= self._active & self.has_accumulator
            return
        if self.accumulates:
            self.accumulated[:] = False
        if not self.some_sit_out:
            return
        if exact:
            self.behind[~self._active] += 1
        else:
            self._uncertain |= ~self._active

    # ---- clocks ----

    def fetch_clocks(self) -> None:
        runtime.fetch(self.behind, self.memory.behind_at)
        self._uncertain[:] = False

    def send_clocks(self) -> None:
        runtime.put(self.memory.behind_at, self.behind)

    def shift_clocks(self, steps: int) -> None:
        self.behind += steps
        self.send_clocks()

    def set_behind(self, leaf: int, behind: int) -> None:
        self.behind[leaf] = behind
        runtime.put(self.memory.behind_at + 8 * leaf, self.behind[leaf : leaf + 1])
