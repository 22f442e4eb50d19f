"""The stubs say what is there, and a type checker understands them."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schuss
from helpers import CLASSES, REPOSITORY
from schuss import _core

PACKAGE = Path(schuss.__file__).parent
USAGE = REPOSITORY / "tests" / "typing" / "usage.py"
PYRIGHT = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")


def stub(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{name}.pyi").read_text(encoding="utf-8"))


def names_of(body: list[ast.stmt]) -> set[str]:
    """What a module or a class of a stub defines."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return names


def classes_of(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def functions_of(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


# The extension module.

EVERY_MODULE = {"__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}
EVERY_OBJECT = {
    *("__doc__", "__init__", "__module__", "__new__", "__repr__", "__dict__"),
    "_pybind11_conduit_v1_",
}


def test_the_stub_of_the_extension_lists_its_names_and_no_others() -> None:
    private = {each for each in names_of(stub("_core").body) if re.match(r"_[^_]", each)}
    assert names_of(stub("_core").body) - private == set(vars(_core)) - EVERY_MODULE
    assert private == {"_ScheduleLike"}


@pytest.mark.parametrize("name", [name for name, each in vars(_core).items() if isinstance(each, type)])
def test_the_stub_of_a_class_of_the_extension_lists_its_members_and_no_others(name: str) -> None:
    listed = names_of(classes_of(stub("_core"))[name].body) - EVERY_OBJECT
    assert listed == set(vars(getattr(_core, name))) - EVERY_OBJECT


def functions_with_signatures() -> dict[str, tuple[ast.FunctionDef, str]]:
    """Functions and methods of the extension that carry a signature in their docstring, as pybind11 writes it."""
    tree = stub("_core")
    found = {name: (node, getattr(_core, name).__doc__) for name, node in functions_of(tree.body).items()}
    for owner, node in classes_of(tree).items():
        for name, method in functions_of(node.body).items():
            doc = getattr(getattr(_core, owner), name).__doc__
            found[f"{owner}.{name}"] = (method, doc)
    return {
        name: (node, doc)
        for name, (node, doc) in found.items()
        if isinstance(doc, str) and doc.startswith(f"{node.name}(") and "->" in doc
    }


@pytest.mark.parametrize("name", functions_with_signatures())
def test_a_function_of_the_extension_takes_what_its_stub_says(name: str) -> None:
    node, doc = functions_with_signatures()[name]
    line = doc.splitlines()[0]
    line = re.sub(r"<[^>]*>", "None", line)
    there = ast.parse(f"def {line.replace('::', '.')}: ...").body[0]
    assert isinstance(there, ast.FunctionDef)
    stubbed = [*node.args.posonlyargs, *node.args.args]
    real = [*there.args.posonlyargs, *there.args.args]
    assert len(stubbed) == len(real)
    assert len(node.args.kwonlyargs) == len(there.args.kwonlyargs)
    for ours, theirs in zip(stubbed, real, strict=True):
        if not re.fullmatch(r"arg\d+", theirs.arg) and theirs.arg != "self":
            assert ours.arg == theirs.arg
    assert len(node.args.defaults) == len(there.args.defaults)


def test_most_functions_of_the_extension_are_compared() -> None:
    assert len(functions_with_signatures()) > 35


# What the build writes from the catalog.


@pytest.mark.skipif(not (REPOSITORY / "cmake").exists(), reason="this test reads the source tree")
def test_the_installed_stubs_are_what_the_build_writes_now(tmp_path: Path) -> None:
    assert _core.__file__
    script = REPOSITORY / "cmake" / "write_stubs.py"
    subprocess.run([sys.executable, script, _core.__file__, tmp_path], check=True, timeout=60)
    for name in ("optimizers.pyi", "ops.pyi"):
        assert (PACKAGE / name).read_text() == (tmp_path / name).read_text(), name


def arguments(node: ast.FunctionDef, skip: int) -> list[tuple[str, str, Any]]:
    """(name, kind, default) of a function in a stub."""
    given = node.args
    positional = given.args[skip:]
    missing = len(positional) - len(given.defaults)
    defaults = [inspect.Parameter.empty] * missing + [ast.literal_eval(each) for each in given.defaults]
    rows = [(each.arg, "positional", value) for each, value in zip(positional, defaults, strict=True)]
    for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        rows.append((each.arg, "keyword", inspect.Parameter.empty if value is None else ast.literal_eval(value)))
    return rows


def signature(function: Any) -> list[tuple[str, str, Any]]:
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional", inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return [(each.name, kinds[each.kind], each.default) for each in inspect.signature(function).parameters.values()]


def test_the_stub_of_the_optimizers_lists_every_rule() -> None:
    assert set(classes_of(stub("optimizers"))) == {each.__name__ for each in CLASSES.values()}


@pytest.mark.parametrize("rule", CLASSES)
def test_the_stub_of_a_class_has_its_true_signatures(rule: str) -> None:
    node = classes_of(stub("optimizers"))[CLASSES[rule].__name__]
    methods = functions_of(node.body)
    assert set(methods) == {"__init__", *schuss.rules()[rule].forms}
    assert arguments(methods["__init__"], skip=1) == signature(CLASSES[rule])
    for form in schuss.rules()[rule].forms:
        assert arguments(methods[form], skip=1) == signature(getattr(CLASSES[rule], form))
    assert ast.get_docstring(node, clean=True) == inspect.getdoc(CLASSES[rule])


def test_the_stub_of_the_plain_functions_lists_every_rule() -> None:
    assert set(functions_of(stub("ops").body)) == set(schuss.rules())


@pytest.mark.parametrize("rule", schuss.rules())
def test_the_stub_of_a_plain_function_has_its_true_signature(rule: str) -> None:
    node = functions_of(stub("ops").body)[rule]
    assert arguments(node, skip=0) == signature(getattr(schuss.ops, rule))
    assert ast.get_docstring(node, clean=True) == inspect.getdoc(getattr(schuss.ops, rule))


# A type checker.


@pytest.mark.slow
@pytest.mark.skipif(PYRIGHT is None, reason="this test runs pyright")
def test_a_type_checker_takes_what_is_right_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "usage.py").write_text(USAGE.read_text())
    config = {"pythonVersion": "3.10", "reportUnnecessaryTypeIgnoreComment": "error", "enableTypeIgnoreComments": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    found = json.loads(done.stdout)
    messages = [f"{each['range']['start']['line'] + 1}: {each['message']}" for each in found["generalDiagnostics"]]
    assert found["summary"]["filesAnalyzed"] == 1
    assert messages == []
