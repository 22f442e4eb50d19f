"""Pinned memory in turns: one is written while copies from the others may still be under way."""

from __future__ import annotations

from typing import Any

from schuss._engine.cuda import runtime


class Staging:
    """So many pieces of pinned memory of one size; made as they are needed."""

    def __init__(self, size: int, turns: int) -> None:
        self.size = size
        self._turns = turns
        self._pieces: list[runtime.Pinned] = []
        self._calls: list[int] = []  # that come after the copy from each
        self._at = -1

    def make_all(self) -> None:
        """At once, in one piece."""
        whole = runtime.Pinned(self._turns * self.size)
        self._pieces = [whole.part(turn * self.size, self.size) for turn in range(self._turns)]
        self._calls = [0] * self._turns

    def next(self, call: int, done: int, stream: Any) -> runtime.Pinned:
        """A piece to fill for `call`; waits only where every piece's copy may be under way."""
        if len(self._pieces) < self._turns and (
            not self._pieces or self._calls[(self._at + 1) % len(self._calls)] > done
        ):
            piece = runtime.Pinned(self.size)
            self._at += 1
            self._pieces.insert(self._at, piece)
            self._calls.insert(self._at, call)
            return self._pieces[self._at]
        self._at = (self._at + 1) % len(self._pieces)
        if self._calls[self._at] > done:
            stream.synchronize()
        self._calls[self._at] = call
        return self._pieces[self._at]
