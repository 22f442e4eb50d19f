"""The optimizers that an experiment enters, by name: a class, its hypers, a label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .settings import BadSetting


@dataclass(frozen=True)
class Entry:
    """One optimizer as entered: `rule` names the class, `hypers` what differs from its defaults."""

    name: str
    label: str
    rule: str
    hypers: dict[str, float] = field(default_factory=dict)

    def make(self, params: Any, **common: Any) -> Any:
        """The optimizer over `params`; `common` holds lr, clip and the like."""
        import schuss

        return getattr(schuss, self.rule)(params, **self.hypers, **common)

    def call(self, lr: float) -> str:
        """How a reader would write it, peak rate included.

        Examples
        --------
        >>> ENTRIES["momentum"].call(0.1)
        'SGD(params, lr=0.1, momentum=0.9)'
        """
        hypers = "".join(f", {name}={value:g}" for name, value in self.hypers.items())
        return f"{self.rule}(params, lr={lr:g}{hypers})"


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("sgd", "SGD", "SGD"),
        Entry("momentum", "SGD + momentum", "SGD", {"momentum": 0.9}),
        Entry("nesterov", "Nesterov", "Nesterov", {"beta": 0.9}),
        Entry("adagrad", "Adagrad", "Adagrad"),
        Entry("rmsprop", "RMSprop", "RMSprop", {"alpha": 0.99}),
        Entry("adam", "Adam", "Adam"),
        Entry("adamw", "AdamW", "AdamW", {"weight_decay": 0.1}),
    )
}


def pick(names: Iterable[str] | None) -> list[Entry]:
    """The entries of these names, in the table's order; all of them for None.

    Raises
    ------
    BadSetting
        Naming an unknown optimizer and the ones there are.

    Examples
    --------
    >>> [entry.label for entry in pick(["adam", "sgd"])]
    ['SGD', 'Adam']
    """
    if names is None:
        return list(ENTRIES.values())
    wanted = list(names)
    for name in wanted:
        if name not in ENTRIES:
            raise BadSetting(f"optimizers: unknown {name!r}, expected some of {', '.join(ENTRIES)}")
    if not wanted:
        raise BadSetting(f"optimizers: none named, expected some of {', '.join(ENTRIES)}")
    return [entry for name, entry in ENTRIES.items() if name in wanted]
