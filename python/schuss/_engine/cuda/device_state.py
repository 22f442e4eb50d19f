"""What the device itself moves, and the host knows of it: the count of steps, the clocks, the loss scale."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss import _core
from schuss._engine.cuda import layout, numbers, runtime
from schuss._engine.cuda.report import Reports

if TYPE_CHECKING:
    from .leaves import Leaves


class DeviceState:
    """The State struct on the device, with a copy here that holds from one `settle` to the next step."""

    def __init__(self, session: _core.Session, device: runtime.Device, stream: Any) -> None:
        self._scaler: Any = session.scaler
        self._device = device
        self._streams: dict[int, Any] = {}  # that this optimizer has steps on, perhaps still under way
        self._block = runtime.Block(layout.State.itemsize, stream, zeroed=True)
        self._host = np.zeros(1, layout.State)
        self._host["smallest_coef"] = 1.0
        self._settled = True  # the copy here holds
        self._steps = 0  # real ones, if none was skipped
        self.moved = 0  # times that clocks came apart; -1 where only the device knows
        self.reports = Reports()
        options = session.options
        self._can_skip = options["needs_norm"] and options["nonfinite"] != "apply"
        self.captured = False  # in a graph, whose replays the host does not see
        if self._scaler is not None:
            self._scaler._on_device = weakref.ref(self)
            self.push_scaler()
        else:
            self._send()

    def of(self, leaves: Leaves) -> None:
        """The leaves whose clocks these are."""
        self._leaves = leaves

    @property
    def ptr(self) -> int:
        return self._block.ptr

    @property
    def exact(self) -> bool:
        """Whether the host knows the count of steps without asking."""
        return not self._can_skip and not self.captured

    def bounds(self, call: int, replays: int) -> tuple[int, int]:
        """The first and the last step that the one after `call` may be, with so many replays under way."""
        if self.exact or (self._settled and not self.captured):
            return self._steps, self._steps
        done, low = self.reports.call, self.reports.steps  # in this order: the steps are those of `done` or later
        return low, low + replays if self.captured else max(low, min(self._steps, low + call - done))

    @property
    def streams(self) -> list[Any]:
        """Those that steps may be under way on."""
        return list(self._streams.values())

    def clear_sums(self, stream: Any) -> None:
        """What a step has left that was broken off between its sums and their end."""
        runtime.clear(self._block.ptr + _offset("digits"), 8 * 68, stream)
        runtime.clear(self._block.ptr + _offset("not_finite"), 4, stream)

    def step_taken(self, some_sit_out: bool) -> None:
        self._steps += 1
        if some_sit_out:
            self.moved = self.moved + 1 if self.exact and self.moved >= 0 else -1

    def clocks_set(self) -> None:
        """Since the last `settle`."""
        self._host["moved"] += 1
        self.moved += 1
        self._send()

    def wait(self) -> None:
        """For every step of this optimizer, on whichever stream."""
        with self._device:
            if self.captured:  # a graph may be replayed on any
                self._device.wait()
            for stream in self._streams.values():
                stream.synchronize()
        self._streams.clear()

    def settle(self) -> None:
        """Wait, and know all of it until the next step."""
        if self._settled and not self.captured:  # a graph may have run meanwhile
            return
        self.wait()
        with self._device:
            runtime.fetch(self._host, self._block.ptr)
            self._leaves.fetch_clocks()
        self._steps, self.moved = int(self._host["steps"][0]), int(self._host["moved"][0])
        if self._scaler is not None:
            scaler = self._host["scaler"][0]
            state = {name: scaler[name].item() for name in layout.LossScale.names or ()}
            _core.LossScaler.load_state_dict(self._scaler, state)
        self._settled = True
        self.check_starved()

    def check_starved(self) -> None:
        """As far as the device has come: whether it stood still for lack of numbers."""
        starved = self.reports.new_starved()
        if starved:
            raise RuntimeError(
                f"{starved} replayed steps found no numbers prepared for them and were not taken: a graph may be "
                f"replayed {numbers.LONGEST} times until renew() is due again, and is to be captured anew once a leaf "
                "of it sat out a step that others took, or had its clock set"
            )

    def part(self) -> None:
        """The optimizer goes: nothing may be under way in its memory, and the scaler goes on as it is now."""
        if self._scaler is not None:
            self.settle()
            self._scaler._on_device = None
        else:
            self.wait()

    def release(self, stream: Any) -> None:
        """A step begins on this stream: from here on only the device knows."""
        self._streams[int(stream.ptr)] = stream
        self._settled = False

    def _send(self) -> None:
        """The copy here to the device, which has nothing of this optimizer under way."""
        with self._device:
            runtime.put(self._block.ptr, self._host)

    # ---- what may be read and set ----

    @property
    def steps(self) -> int:
        if not self.exact:
            self.settle()
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.settle()
        with self._device:
            self._leaves.shift_clocks(steps - self._steps)
        self._host["steps"] = self._steps = steps
        self.reports.set_steps(steps)
        self.clocks_set()

    def pull_scaler(self) -> None:
        """Have the scaler's numbers as they are on the device; waits."""
        self.settle()

    def push_scaler(self) -> None:
        """The scaler was changed on the host, after `pull_scaler`."""
        state = _core.LossScaler.state_dict(self._scaler)
        for name, value in state.items():
            self._host["scaler"][name] = value
        self._host["loss_scale"] = state["scale"]
        self._send()

    def loss_scale(self) -> Any:
        """The scale as an array of one float32 on the device."""
        with self._device:
            return self._block.array(_offset("loss_scale"), (), np.float32)


def _offset(field: str) -> int:
    return (layout.State.fields or {})[field][1]
