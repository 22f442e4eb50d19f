"""Classes from rules: one factory for those of the catalog and for the user's own."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from schuss._engine import wording
from schuss._engine.catalog import Rule
from schuss._engine.optimizer import AveragedOptimizer, Optimizer, PointOptimizer

COMMON = {
    "clip": None,
    "nonfinite": "skip",
    "accumulate": 1,
    "scaler": None,
    "grad_norm": False,
    "slots": "float32",
    "rounding": "nearest",
    "seed": 0,
    "master": False,
    "decay": None,
    "lr_scale": None,
}


def _signature(rule: Rule, form: dict[str, Any] | None = None) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    hypers = rule.defaults | (form or {})
    return inspect.Signature(
        [
            inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(inspect.Parameter(name, keyword, default=value) for name, value in (hypers | COMMON).items()),
        ]
    )


def _form(rule: Rule, name: str) -> classmethod[Any, Any, Any]:
    def make(cls: type[Optimizer], params: Any, **given: Any) -> Optimizer:
        hypers: dict[str, Any] = {**rule.forms[name], **given}
        return cls(params, **hypers)

    make.__name__ = name
    make.__qualname__ = f"{rule.name}.{name}"
    make.__doc__ = wording.form_doc(rule.facts, next(one for one in rule.facts["forms"] if one["name"] == name))
    make.__signature__ = functools.reduce(  # type: ignore[attr-defined]
        lambda signature, parameter: signature.replace(parameters=[parameter, *signature.parameters.values()]),
        [inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD)],
        _signature(rule, rule.forms[name]),
    )
    return classmethod(make)


def make_class(rule: Rule, doc: str, module: str) -> type[Optimizer]:
    """The optimizer class of a rule."""
    base = (PointOptimizer if "lookahead" in rule.defaults else AveragedOptimizer) if rule.has_point else Optimizer
    body: dict[str, Any] = {name: _form(rule, name) for name in rule.forms}
    body |= {
        "rule": rule,
        "__doc__": doc,
        "__signature__": _signature(rule),
        "__module__": module,
    }
    made: Any = type(rule.name, (base,), body)
    return made
