"""The optimizer classes, one a rule of the catalog. Nothing here is written by hand."""

from __future__ import annotations

from schuss._engine import wording
from schuss._engine.catalog import rules
from schuss._engine.classes import make_class
from schuss._engine.optimizer import Optimizer

__all__ = ["Optimizer"]
for _rule in rules().values():
    globals()[_rule.name] = make_class(_rule, wording.class_doc(_rule.facts), "schuss")
    __all__ += [_rule.name]
