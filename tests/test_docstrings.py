"""What help() shows: every public thing has its text, its parameters as they are, and an example that runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
import schuss
from helpers import CLASSES
from schuss import checkpoint, clipping, ops, scaling, schedules
from schuss._engine.group import Group

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = {"schuss": schuss, "schedules": schedules, "clipping": clipping, "scaling": scaling, "ops": ops}
SAVING = {"checkpoint.save": checkpoint.save, "checkpoint.load": checkpoint.load}
TYPES = {"ClipLike", "ScheduleLike"}  # for annotations only
# Values that functions give back: they are read, and made by nobody.
GIVEN = {"schuss.StepInfo", "schuss.Optimizer"}


def public_callables() -> dict[str, Any]:
    """Functions and classes that users call, by where they are found."""
    found = dict(SAVING)
    for where, module in MODULES.items():
        for name in module.__all__:
            each = getattr(module, name)
            if not isinstance(each, types.ModuleType) and name not in TYPES:
                found[f"{where}.{name}"] = each
    for rule, made in CLASSES.items():
        found |= {f"{made.__name__}.{form}": getattr(made, form) for form in schuss.rules()[rule].forms}
    return {name: each for name, each in found.items() if name not in GIVEN}


def methods() -> dict[str, Any]:
    """Public methods and properties of the classes that users meet."""
    owners = [schuss.Optimizer, schuss.Nesterov, schuss.LossScaler, schuss.schedules.Schedule]
    found = {}
    for owner in [*owners, Group]:
        for name in dir(owner):
            each = getattr(owner, name)
            if not name.startswith("_") and (callable(each) or isinstance(each, property)):
                found[f"{owner.__name__}.{name}"] = each
    return found


def documented(text: str, section: str = "Parameters") -> list[str]:
    """Names of a NumPy docstring's section."""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", text, re.S | re.M)
    if not found:
        return []
    heads = [line.partition(" : ")[0] for line in found[1].splitlines() if line and not line.startswith(" ")]
    return [name.strip() for head in heads for name in head.split(",")]


def examples(each: Any, name: str) -> Iterator[doctest.DocTest]:
    names = {**vars(schedules), **vars(scaling), "schuss": schuss}
    text = inspect.getdoc(each) or ""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    if test.examples:
        yield test


def run(test: doctest.DocTest) -> None:
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert failed == 0, "".join(said)


@pytest.mark.parametrize("name", public_callables())
def test_every_public_callable_has_an_example_that_runs(name: str) -> None:
    if name.startswith("checkpoint."):
        pytest.importorskip("safetensors", reason="saving needs safetensors")
    found = list(examples(public_callables()[name], name))
    assert found, f"{name} shows no example"
    run(found[0])


@pytest.mark.parametrize("name", methods())
def test_every_method_has_a_text_and_its_examples_run(name: str) -> None:
    text = inspect.getdoc(methods()[name])
    assert text, f"{name} says nothing"
    for test in examples(methods()[name], name):
        run(test)


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if module.__doc__])
def test_examples_of_the_modules_run(name: str) -> None:
    for test in examples(MODULES[name], name):
        run(test)


def parameters(each: Any) -> list[str]:
    """Names of what it takes; what the extension binds shows its signature in a first line of text."""
    bound = each.__init__ if each is schuss.schedules.Schedule else each
    shown = re.match(r"\w+\((.*)\) -> ", inspect.getdoc(bound) or "")
    if shown:
        return [name for name in re.findall(r"(\w+): ", shown[1]) if name != "self"]
    return list(inspect.signature(each).parameters)


@pytest.mark.parametrize("name", public_callables())
def test_documented_parameters_are_those_of_the_signature(name: str) -> None:
    each = public_callables()[name]
    text = inspect.getdoc(each) or ""
    taken = parameters(each)
    if isinstance(each, type) and issubclass(each, tuple) and "Parameters\n" not in text:
        assert all(f"`{field}`" in text for field in taken), f"{name} does not tell of {taken}"
        return
    told = documented(text)
    if "**common" in told:
        told.remove("**common")
        told += ["clip", "nonfinite", "accumulate", "scaler", "grad_norm", "slots", "rounding", "seed", "master"]
        told += ["decay", "lr_scale"]
    assert told == taken


@pytest.mark.parametrize("rule", CLASSES)
def test_documented_defaults_are_those_of_the_signature(rule: str) -> None:
    forms = (getattr(CLASSES[rule], form) for form in schuss.rules()[rule].forms)
    for each in [CLASSES[rule], getattr(ops, rule), *forms]:
        text = inspect.getdoc(each) or ""
        for name, parameter in inspect.signature(each).parameters.items():
            said = re.search(rf"^{name} : .*default (\S+)$", text, re.M)
            if said and parameter.default is not inspect.Parameter.empty:
                assert ast.literal_eval(said[1]) == parameter.default, f"{each.__name__}: {name}"


@pytest.mark.parametrize("rule", CLASSES)
def test_the_text_of_a_class_tells_of_slots_errors_and_the_paper(rule: str) -> None:
    text = inspect.getdoc(CLASSES[rule]) or ""
    assert documented(text, "Slots")[: len(schuss.rules()[rule].slots)] == [s.name for s in schuss.rules()[rule].slots]
    assert "Raises\n" in text
    assert schuss.rules()[rule].paper in text


def test_a_step_tells_what_it_gives_back() -> None:
    text = inspect.getdoc(schuss.AdamW.step) or ""
    for name in ("step", "lr", "grad_norm", "clip_coef", "skipped", "pending"):
        assert f".{name}" in text
        assert inspect.getdoc(getattr(schuss.StepInfo, name))
