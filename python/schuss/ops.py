"""Every rule as a plain in-place function on arrays, for embedding where an optimizer object is in the way.

``schuss.ops.adamw(p, g, m, v, step=…, lr=…)`` takes the parameter, its gradient and the rule's slots in the
catalog's order; slots the hypers do not keep are left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from schuss import _core
from schuss._engine import wording
from schuss._engine.catalog import Rule, rules


def _function(rule: Rule) -> Callable[..., None]:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter("p", positional),
            inspect.Parameter("g", positional),
            *(
                inspect.Parameter(slot.name, positional, default=inspect.Parameter.empty if slot.always else None)
                for slot in rule.slots
            ),
            *(inspect.Parameter(scalar.name, positional, default=None) for scalar in rule.scalars),
            inspect.Parameter("step", keyword, default=1),
            *(inspect.Parameter(name, keyword, default=value) for name, value in rule.defaults.items()),
        ]
    )
    arrays = ("p", "g", *(one.name for one in (*rule.slots, *rule.scalars)))
    needed = 2 + sum(slot.always for slot in rule.slots)
    defaults = rule.defaults

    def function(*given: Any, step: int = 1, **named: Any) -> None:
        # Spelt out, since binding a signature would take ten times as long as a small step.
        if named.keys() - defaults.keys() or not needed <= len(given) <= len(arrays):
            for name in named:
                if name not in arrays:
                    rule.index(name, rule.function)
            bound = signature.bind(*given, **named).arguments
            given = tuple(bound.pop(name, None) for name in arrays)
            named = bound
        _core.apply(rule.function, given, step, named)

    function.__name__ = function.__qualname__ = rule.function
    function.__module__ = "schuss.ops"
    function.__doc__ = wording.function_doc(rule.facts)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


__all__: list[str] = []
for _rule in rules().values():
    globals()[_rule.function] = _function(_rule)
    __all__ += [_rule.function]
