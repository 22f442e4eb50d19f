"""The tables of a launch: gradients, leaves and views in one block, sent when they change.

A graph that captures a step keeps the tables it was captured with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schuss._engine.cuda import layout, runtime
from schuss._engine.cuda.staging import Staging

_TURNS = 32  # steps whose gradients moved that may be under way before a new one waits


class HostTables:
    """What is to be sent, as the host writes it."""

    def __init__(self, sources: int, leaves: int) -> None:
        self.sources = np.zeros(sources, layout.SourceRow)
        self.leaves = np.zeros(leaves, layout.LeafRow)
        self.views: list[np.ndarray[Any, Any]] = []
        self.fixed_views = 0  # those of parameters

    def copy(self) -> HostTables:
        """One whose leaves may be changed while this stays as it is."""
        other = HostTables(0, 0)
        other.sources, other.leaves = self.sources, self.leaves.copy()
        other.views, other.fixed_views = list(self.views), self.fixed_views
        return other

    def add_view(self, shape: tuple[int, ...], strides: tuple[int, ...], where: str) -> int:
        view = np.zeros(1, layout.View)
        layout.fill_view(view[0], shape, strides, where)
        self.views.append(view)
        return len(self.views) - 1


class Tables:
    """The same on the device."""

    def __init__(self, host: HostTables, stream: Any) -> None:
        self._room_for_views = max(len(host.views), 1)
        self._leaves_at = runtime.rounded(host.sources.nbytes)
        self._views_at = runtime.rounded(self._leaves_at + host.leaves.nbytes)
        size = self._views_at + self._room_for_views * layout.View.itemsize
        self._block = runtime.Block(size, stream)
        self._staging = Staging(size, _TURNS)
        self._graph: runtime.Pinned | None = None
        self._piece: runtime.Pinned | None = None
        self._sent = self._held = False

    def fits(self, host: HostTables) -> bool:
        return len(host.views) <= self._room_for_views

    @property
    def sources(self) -> int:
        return self._block.ptr

    @property
    def leaves(self) -> int:
        return self._block.ptr + self._leaves_at

    @property
    def views(self) -> int:
        return self._block.ptr + self._views_at

    def prepare_capture(self, stream: Any) -> None:
        """Make what a capture needs, since then nothing can be made."""
        self._graph = self._staging.next(0, 0, stream)

    @property
    def of_graph(self) -> bool:
        """Whether a graph holds them: every replay sends what they were when it was captured."""
        return self._held

    def reserve(self, call: int, done: int, stream: Any, capturing: bool, changed: bool) -> None:
        """Have what `send` needs: only this may fail."""
        self._piece = None
        if not capturing and not self._held and (changed or not self._sent):
            self._piece = self._staging.next(call, done, stream)

    def send(self, host: HostTables, stream: Any, capturing: bool, fresh: bool) -> None:
        """What of the host's tables is not on the device yet, before the launches of the call reserved for."""
        if capturing and not self._held:
            self._held = True
            assert self._graph
            self._write(self._graph, host, False)
        if self._graph and self._held:  # the graph may not have run yet, or others have not
            runtime.send(self._block.ptr, self._graph.ptr, self._graph.size, stream)
            return
        if self._piece is None:
            return
        sources_only = self._sent and not fresh
        self._write(self._piece, host, sources_only)
        size = host.sources.nbytes if sources_only else self._piece.size
        runtime.send(self._block.ptr, self._piece.ptr, size, stream)
        self._sent = True

    def _write(self, pinned: runtime.Pinned, host: HostTables, sources_only: bool) -> None:
        pinned.bytes[: host.sources.nbytes] = host.sources.view(np.uint8)
        if sources_only:
            return
        pinned.bytes[self._leaves_at : self._leaves_at + host.leaves.nbytes] = host.leaves.view(np.uint8)
        for k, view in enumerate(host.views):
            at = self._views_at + k * layout.View.itemsize
            pinned.bytes[at : at + layout.View.itemsize] = view.view(np.uint8)
