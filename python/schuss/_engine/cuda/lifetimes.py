"""How long memory lives that the device reads: until the calls that may read it are done, or as long as graphs do."""

from __future__ import annotations

from typing import Any

from schuss._engine.cuda import runtime

from .device_state import DeviceState

_orphans: list[dict[str, Any]] = []  # of optimizers that went while a graph was captured, until the next is made


class Lifetimes:
    """What an optimizer holds beside what it uses."""

    def __init__(self, state: DeviceState) -> None:
        while _orphans:
            _orphans.pop()["state"].wait()
        self._state = state
        self._retired: list[tuple[int, Any]] = []  # with the call that must be done
        self.of_graphs: list[Any] = []  # which read it whenever they are replayed

    def let_go(self, call: int, *things: Any) -> None:
        """Of what a graph may read for as long as it is replayed, and calls before `call` until they are done."""
        if self._state.captured:
            self.of_graphs += things
        else:
            self.retire(call, *things)

    def retire(self, call: int, *things: Any) -> None:
        """Let go of what calls up to `call` may read once they are done."""
        done = self._state.reports.call
        self._retired = [one for one in self._retired if one[0] > done]
        self._retired += [(call, thing) for thing in things]

    def end(self, everything: dict[str, Any], device: runtime.Device) -> None:
        """The optimizer goes, with whatever it has on the device."""
        current = [device.stream(of_torch) for of_torch in (False, True) if not of_torch or runtime.torch_is_on_cuda()]
        if any(runtime.is_capturing(stream) for stream in (*current, *self._state.streams)):
            _orphans.append(everything)  # waiting, or giving memory back, would spoil the capture
        else:
            self._state.part()
