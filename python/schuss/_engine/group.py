"""Groups of leaves that share their hypers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schuss import _core
from schuss._engine.catalog import Rule


def settled(hypers: dict[str, Any]) -> dict[str, Any]:
    """The hypers as they were taken: an array of one number is that number, whatever becomes of the array."""
    return {
        name: value if isinstance(value, (bool, int, float)) or callable(value) else float(value)
        for name, value in hypers.items()
    }


class Group:
    """A group of an optimizer: its hypers by name, readable and settable.

    Attributes
    ----------
    name : str
    leaves : range
        Indices of its leaves.
    frozen : bool
        Whether all of them are; may be set.
    """

    def __init__(
        self, session: _core.Session, rule: Rule, index: int, name: str, leaves: range, hypers: dict[str, Any]
    ) -> None:
        self._session = session
        self._rule = rule
        self.index = index
        self.hypers = hypers
        self.name = name
        self.leaves = leaves

    def __getitem__(self, hyper: str) -> Any:
        self._rule.index(hyper)
        return self.hypers[hyper]

    def __setitem__(self, hyper: str, value: Any) -> None:
        self._session.set_hyper(self.index, self._rule.index(hyper), value)
        self.hypers |= settled({hyper: value})

    def __iter__(self) -> Iterator[str]:
        return iter(self.hypers)

    def keys(self) -> list[str]:
        """Names of the hypers."""
        return list(self.hypers)

    @property
    def frozen(self) -> bool:
        """Whether all of its leaves are left as they are; may be set."""
        return all(self._session.frozen(leaf) for leaf in self.leaves)

    @frozen.setter
    def frozen(self, value: bool) -> None:
        for leaf in self.leaves:
            self._session.set_frozen(leaf, bool(value))

    def __repr__(self) -> str:
        hypers = ", ".join(f"{name}={value!r}" for name, value in self.hypers.items())
        return f"Group({self.name!r}, {len(self.leaves)} leaves, {hypers})"
