"""The way of a step on a CUDA device: numbers ahead of time, tables where they changed, one launch or three.

Nothing here waits for the device but where it says so, and once an optimizer has stepped nothing is allocated.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from typing import Any

import numpy as np

from schuss import _core
from schuss._engine.catalog import named
from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.launches import Launches
from schuss._engine.cuda.numbers import Numbers
from schuss._engine.cuda.report import Fetch
from schuss._engine.cuda.tables import Tables

from .device_state import DeviceState
from .leaves import Leaves
from .lifetimes import Lifetimes
from .point import Point

_SAME, _POINTERS, _MORE = 0, 1, 2  # how the gradients differ from those of the step before
_REPLAYS = 1024  # of a graph that may be under way


class Engine:
    """Steps the leaves of one session on its device. Its methods are those that the session asks for."""

    def __init__(self, session: _core.Session) -> None:
        session = weakref.proxy(session)  # which holds this engine: the memory goes as soon as it goes
        self._session = session
        self._options = session.options
        self.device = runtime.Device.at(session.device or 0)
        self.rule = named(session.rule_name)
        hypers = {hyper.name for hyper in self.rule.hypers}
        self._has_lr, self._has_lookahead = "lr" in hypers, "lookahead" in hypers
        with self.device:
            stream = self._stream()
            self.state = DeviceState(session, self.device, stream)
            self.numbers = Numbers(session, stream)
        self._lifetimes = Lifetimes(self.state)
        self.leaves = Leaves(session, len(self.rule.slots))
        self.state.of(self.leaves)
        self._launches = Launches(self.device.index, session.rule_name)
        self._point = Point(self)
        self._tables: Tables | None = None
        self._spare: Tables | None = None  # for a graph: while one is captured nothing can be made
        self._call = 0
        self._pending = 0
        self._planned = False  # the host's tables fit what steps
        self._torn = False
        self._visited: bool | None = None  # True: the next gradients were taken at the look-ahead point

    def added(self) -> None:
        """Leaves were added: memory for them."""
        with self.device:
            self.state.settle()
            leaves = self.leaves.copy()
            leaves.extend(self._stream(), self.state.steps)
        self._let_go(self.leaves, self._tables, *self._point.held)
        self._take_leaves(leaves)
        self._tables = self._spare = None
        self._point.forget()

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "_lifetimes"):
            with contextlib.suppress(Exception):  # the device may be gone
                self._lifetimes.end(self.__dict__, self.device)

    def changed(self) -> None:
        """Leaves were frozen or unfrozen."""
        self.leaves.frozen_changed = True
        self._planned = False

    def changed_factors(self) -> None:
        self.leaves.read_factors()
        self._planned = False

    def changed_hypers(self) -> None:
        with self.device:
            leaves = self.leaves.copy()
            if leaves.memory.remake(self._stream()):
                self._let_go(self.leaves)
                self._take_leaves(leaves)
        self.numbers.changed()

    def _take_leaves(self, leaves: Leaves) -> None:
        """All of a change to them, once nothing of it can fail."""
        self.leaves = leaves
        self.state.of(leaves)
        self._planned = False

    def step(self, change: int) -> Any:
        with self.device:
            return self._step(self._stream(), change, given=True)

    def flush(self) -> Any:
        with self.device:
            return self._step(self._stream(), _MORE, given=False)

    def hold(self, things: list[Any]) -> None:
        """Until the step that begins now is done."""
        self._retire(*things)

    def _let_go(self, *things: Any) -> None:
        self._lifetimes.let_go(self._call + 1, *things)

    def _retire(self, *things: Any) -> None:
        self._lifetimes.retire(self._call + 1, *things)

    def _stream(self) -> Any:
        return self.device.stream(self._session.has_torch)

    # ---- the step ----

    def _step(self, stream: Any, change: int, given: bool) -> Any:
        self.state.check_starved()
        real = not given or self._pending + 1 >= self._options["accumulate"]
        capturing = runtime.is_capturing(stream)
        if capturing:
            self._check_capture()
        fresh = change == _MORE or not self._planned or self.leaves.other_leaves_step(given)
        if fresh:
            self._plan(given, stream, capturing)
        elif change == _POINTERS:
            self.leaves.read_pointers()
        takes = given and (self.leaves.takes or not real)  # a micro-step without gradients reports too
        self._load_kernels(real, takes)
        call = self._call + 1
        self._cover(call, stream, capturing)
        changed = fresh or change != _SAME
        tables = self._tables_for(changed, capturing, stream)
        tables.reserve(call, self._done, stream, capturing, changed)
        if not capturing:
            self._make_spare(stream)
        captured = self.state.reports.captured_record() if capturing else None
        record = captured.ptr if captured else self.state.reports.record(call)
        # From here on nothing is refused.
        self._call = call
        self._planned = True
        self.state.release(stream)
        tables.send(self.leaves.host, stream, capturing, fresh)
        if capturing:
            self.state.captured = True
            self.numbers.pin([*self.leaves.keys, *self._point.keys])
        pending = self._pending + given
        launch = self._fill_launch(tables, call, pending)
        if takes:
            launch["flags"], launch["record"] = self.leaves.adds, 0 if real else record
            self._launches.run("take", stream)
        if real:
            launch["record"] = record
            self._launch_real(stream, capturing)
        fetch = Fetch(self.device, self.state.reports, stream, call, captured)
        self._close(real, pending)
        if real and self._options["nonfinite"] == "raise":
            self._raise_if_skipped(fetch)
        return _core.lazy_step_info(fetch, 0 if real else pending)

    @property
    def _done(self) -> int:
        return self.state.reports.call

    def _plan(self, given: bool, stream: Any, capturing: bool) -> None:
        """The host's tables for the leaves that step, with the rows of their numbers."""
        self._planned = False
        if self.leaves.needs_clocks(given):  # the one thing that a step may wait for
            self._refuse_capture(capturing)
            self.state.settle()
        keys = self.leaves.plan(given, self._visited)
        self._refuse_capture(capturing and not self.numbers.has(keys))
        self.numbers.keep([*keys, *self._point.keys], self._call + 1)
        self.leaves.set_rows({key: self.numbers.row(key, stream) for key in keys})
        self._retire(*self.numbers.fit(stream))

    def _cover(self, call: int, stream: Any, capturing: bool) -> None:
        """Have numbers for every step that this call may turn out to be."""
        low, high = self.state.bounds(self._call, _REPLAYS)
        if self.numbers.covers(low, high):
            return
        self._refuse_capture(capturing)
        ahead = self.state.captured or not self._session.calls_python
        try:
            until = self.numbers.cover(low, high, ahead, call, self._done, stream)
        except Exception:
            if low == high:
                raise
            until = low
        if until <= high:  # a hyper was refused, at a step that may not be the present one
            self.state.settle()
            low, _ = self.state.bounds(self._call, 0)
            self.numbers.cover(low, low, ahead, call, self._done, stream)

    @staticmethod
    def _refuse_capture(refused: bool) -> None:
        if refused:
            raise RuntimeError(
                "a step is being captured whose numbers are not on the device: settings, or the leaves that step, have "
                "changed since the last one; take an ordinary step before capturing, or call renew() where a schedule "
                "is a Python function, which is asked for one step at a time"
            )

    def _load_kernels(self, real: bool, takes: bool) -> None:
        """All that this step needs, so that none is missing once it has begun."""
        kinds = ["take"] if takes else []
        if real and self._options["needs_norm"]:
            kinds += ["sum", "finish"]
        for kind in kinds:
            self._launches.kernel(kind)
        if real:
            self._launches.kernel("map", self.leaves.variants)

    def _tables_for(self, other: bool, capturing: bool, stream: Any) -> Tables:
        """The tables to send to. A graph's own are not written again."""
        host = self.leaves.host
        if capturing:
            assert self._tables is not None
            if not self._tables.of_graph or other:
                if self._spare is None or not self._spare.fits(host):
                    raise RuntimeError(
                        "two steps with different gradients are being captured in one graph, expected one; "
                        "capture them in graphs of their own, with an ordinary step between"
                    )
                self._retire(self._tables)
                self._tables, self._spare = self._spare, None
                self._lifetimes.of_graphs.append(self._tables)
        elif self._tables is None or not self._tables.fits(host) or (self._tables.of_graph and other):
            self._retire(self._tables)
            self._tables = Tables(host, stream)
        return self._tables

    def _make_spare(self, stream: Any) -> None:
        if self._spare is None or not self._spare.fits(self.leaves.host):
            self._spare = Tables(self.leaves.host, stream)
            self._spare.prepare_capture(stream)
        self.state.reports.prepare_capture()

    def _fill_launch(self, tables: Tables, call: int, pending: int) -> Any:
        launch = self._launches.struct
        if int(launch["leaves"]) != tables.leaves or int(launch["chunks"]) != self.leaves.memory.chunks_at:
            self.leaves.memory.fill_launch(launch)
            launch["leaves"], launch["sources"], launch["views"] = tables.leaves, tables.sources, tables.views
            launch["state"], launch["mailbox"] = self.state.ptr, self.state.reports.mailbox
            launch["limit"] = self._options["limit"]
            launch["bound"] = self._options["limit"] if self._options["clip"] == "value" else np.inf
        launch["rows"] = self.numbers.table
        launch["lr_row"] = self.leaves.lr_row if self._has_lr else -1
        launch["call"], launch["moved"] = call, self.state.moved
        launch["pending"] = pending
        launch["mean"] = 1 / pending if pending else 1
        return launch

    def _launch_real(self, stream: Any, capturing: bool) -> None:
        options, launch = self._options, self._launches.struct
        flags = layout.IN_GRAPH if capturing else 0
        flags |= layout.SOME_SIT_OUT if self.leaves.some_sit_out else 0
        if options["needs_norm"]:
            flags |= layout.TAKES_NORM
            flags |= layout.HAS_SCALER if options["has_scaler"] else 0
            flags |= layout.SKIPS_NONFINITE if options["nonfinite"] != "apply" else 0
            flags |= {"leaf_norm": layout.BY_LEAF, "global_norm": layout.BY_GLOBAL}.get(options["clip"], 0)
            launch["flags"] = flags
            if self._torn:  # by an exception between sum and finish
                self.state.clear_sums(stream)
            self._torn = True
            self._launches.run("sum", stream)
            self._launches.run("finish", stream)
            self._torn = False
        launch["flags"] = flags
        self._launches.run("map", stream, self.leaves.variants)

    def _close(self, real: bool, pending: int) -> None:
        self._pending = 0 if real else pending
        self.leaves.close(real, self.state.exact)
        if not real:
            return
        self.state.step_taken(self.leaves.some_sit_out)
        if self._visited:
            self._visited = None
            self._planned = False

    def _raise_if_skipped(self, fetch: Fetch) -> None:
        _, _, norm, _, skipped = fetch()
        if skipped:
            raise FloatingPointError(f"the norm of the gradients is {norm}; no parameter, slot or clock was changed")

    # ---- graphs ----

    def renew(self) -> None:
        """Numbers for thousands of steps from the present one on; waits."""
        with self.device:
            stream = self._stream()
            if runtime.is_capturing(stream):
                raise RuntimeError(
                    "renew() was called while a graph is being captured; call it before, or between replays"
                )
            self.state.settle()
            low = self.state.steps
            self.state.release(stream)
            self.numbers.cover(low, low, True, self._call + 1, self._done, stream, renew=True)
            stream.synchronize()  # a graph may be replayed on another

    def _check_capture(self) -> None:
        if self._options["nonfinite"] == "raise":
            raise RuntimeError(
                "a step with nonfinite='raise' waits for its norm and cannot be captured; expected 'skip'"
            )
        if self._tables is None:
            raise RuntimeError("a step is being captured before any was taken; take an ordinary step first")

    # ---- the look-ahead point ----

    def to_point(self) -> None:
        with self.device:
            self.state.check_starved()
            stream = self._stream()
            capturing = runtime.is_capturing(stream)
            if self.leaves.uncertain:
                self._refuse_capture(capturing)
                self.state.settle()
            keys, held = self._point.choose_keys(), self._point.held
            self._refuse_capture(capturing and not self.numbers.has(keys))
            rows = self._point.plan([self.numbers.row(key, stream) for key in keys])
            self._retire(*self.numbers.fit(stream))
            self._refuse_capture(capturing and not self._point.is_ready(rows))
            self._launches.kernel("point", self._point.variants)
            self._launches.kernel("restore")
            self._cover(self._call + 1, stream, capturing)
            if self._point.send(rows, stream):
                self._let_go(*held)
            self.state.release(stream)
            self._launches.run("point", stream, self._point.variants, self._point_launch())

    def from_point(self, taken: bool) -> None:
        with self.device:
            stream = self._stream()
            self.state.release(stream)
            self._launches.run("restore", stream, struct=self._point_launch())
        if taken and self._has_lookahead:
            self._visited = True
            self._planned = False

    def _point_launch(self) -> Any:
        launch = np.zeros((), layout.Launch)
        self.leaves.memory.fill_launch(launch)
        launch["rows"], launch["state"] = self.numbers.table, self.state.ptr
        self._point.fill_launch(launch)
        return launch

    # ---- state ----

    @property
    def steps(self) -> int:
        return self.state.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.state.steps = steps
        self.numbers.changed()
        self._planned = False

    def clock(self, leaf: int) -> int:
        self.state.settle()
        return self.state.steps - int(self.leaves.behind[leaf])

    def set_clock(self, leaf: int, clock: int) -> None:
        self.state.settle()
        with self.device:
            self.leaves.set_behind(leaf, self.state.steps - clock)
        self.state.clocks_set()
        self._planned = False

    @property
    def pending(self) -> int:
        return self._pending

    def set_pending(self, pending: int, held: list[bool]) -> None:
        self._pending = pending
        self.leaves.accumulated[:] = held
        self._planned = False

    def slot(self, leaf: int, slot: int) -> Any:
        return self.leaves.memory.slot(leaf, slot)

    def accumulator(self, leaf: int) -> Any:
        return self.leaves.memory.accumulator(leaf)

    def accumulated(self, leaf: int) -> bool:
        return bool(self.leaves.accumulated[leaf])
