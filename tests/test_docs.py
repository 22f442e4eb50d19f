"""The documentation is true: its code runs, its links lead somewhere, it knows every rule."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import REPOSITORY

DOCS = REPOSITORY / "docs"
if not DOCS.exists():
    pytest.skip("these tests read the source tree", allow_module_level=True)

PAGES = [*sorted(DOCS.glob("*.md")), *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Keywords of other libraries that the pages name in code, and of our own functions that are no rules.
OTHERS = {
    "decay",
    "T_max",
    "dtype",
    "axis",
    "atol",
    "rtol",
    "start",
    "non_blocking",
    "grad_dtype",
    "hypers",
    "slots",
    "paper",
}


def by_name(path: Path) -> str:
    return path.name


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


# Code.


@pytest.mark.parametrize("path", [page for page in PAGES if blocks(page, "python")], ids=by_name)
def test_the_code_of_a_page_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Its blocks in order, in one namespace: sessions as doctests, others as they are; CUDA's on the simulator."""
    if re.search(r"^(>>> )?import .*\bcupy\b", path.read_text(encoding="utf-8"), re.M):
        request.getfixturevalue("cuda")
    for package in ("torch", "jax", "optax", "safetensors"):
        if re.search(rf"^(>>> )?import .*\b{package}\b", path.read_text(encoding="utf-8"), re.M):
            pytest.importorskip(package, reason=f"this page shows {package}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for index, block in enumerate(blocks(path, "python")):
        where = f"{path.name}, block {index}"
        if ">>>" not in block:
            exec(compile(block, where, "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(block, names, where, str(path), 0)
        said: list[str] = []
        failed, tried = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
        names = test.globs
        assert tried > 0
        assert failed == 0, "".join(said)


def test_the_rule_that_is_added_for_show_is_the_rule(tmp_path: Path) -> None:
    """Its header compiles, and its oracle takes the step that the header says."""
    header, row = blocks(DOCS / "adding-a-rule.md", "cpp")
    assert row.strip() == "RULE(SignSGD, SCHUSS_SIGNSGD, signsgd)"
    assert len(header.splitlines()) <= 60
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("this test needs a C++ compiler")
    program = """
#include <cstdio>
int main() {
  double p = 1, m = 0.5;
  const double grads[] = {0.3, -2.0, 0.0};
  for (double g : grads)
    schuss::step_element(schuss::SignSGD<double, 1>::prepare({0.1, 0.9, 0.5}, {1}), p, g, m);
  std::printf("%.12f %.12f", p, m);
}"""
    (tmp_path / "signsgd.cpp").write_text(header.replace("#pragma once", "") + program)
    rules = REPOSITORY / "cpp" / "include" / "schuss" / "rules"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-I", rules]
    subprocess.run([compiler, *flags, tmp_path / "signsgd.cpp", "-o", tmp_path / "signsgd"], check=True, timeout=120)
    got = subprocess.run([tmp_path / "signsgd"], capture_output=True, text=True, check=True, timeout=20).stdout
    names: dict[str, Any] = {}
    exec(blocks(DOCS / "adding-a-rule.md", "python")[0], names)
    p, slots = np.ones(1), {"m": np.full(1, 0.5)}
    for t, g in enumerate((0.3, -2.0, 0.0), start=1):
        p = names["signsgd"](p, np.full(1, g), slots, t, lr=0.1, weight_decay=0.5)
    assert [float(word) for word in got.split()] == pytest.approx([p[0], slots["m"][0]], abs=1e-11)


# Links.


def anchors(path: Path) -> set[str]:
    """Headings as they are linked to."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def dead_links(path: Path) -> list[str]:
    dead = []
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = (path.parent / target).resolve() if target else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_links_lead_somewhere(path: Path) -> None:
    assert dead_links(path) == []


def test_every_page_is_on_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in DOCS.glob("*.md")} - {"index.md"}


# What is built.


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(builder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A build beside a copy of nothing else; what it wrote is what it printed."""
    out = tmp_path / "docs" / "_build"
    assert builder.main(["--out", str(out)]) == 0
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(path) for path in out.iterdir())
    return out


def test_every_rule_has_its_row_and_its_section(built: Path) -> None:
    text = (built / "rules.md").read_text(encoding="utf-8")
    for rule in schuss.rules().values():
        row = next(line for line in text.splitlines() if line.startswith(f"| [{rule.name}]("))
        section = text.split(f"\n## {rule.name}\n")[1].split("\n## ")[0]
        assert rule.paper in section
        assert rule.traits["use"] in row
        for hyper in rule.hypers:
            assert re.search(rf"^\| `{hyper.name}` \| `[^`]+` \| .+ \| .+ \|$", section, re.M)
        for slot in rule.slots:
            assert re.search(rf"\b{slot.name}\b", row)
            assert f"| `{slot.name}` |" in section
        for form in rule.forms:
            assert f"`{rule.name}.{form}(" in section
        assert "Operations an element: " in section


def test_pages_are_copied_with_what_is_made_in_its_place(built: Path) -> None:
    assert {path.name for path in DOCS.glob("*.md")} | {"rules.md"} == {path.name for path in built.iterdir()}
    for path in built.iterdir():
        assert "<!-- made" not in path.read_text(encoding="utf-8"), path.name
    assert "](rules.md)" in (built / "index.md").read_text(encoding="utf-8")
    for path in built.iterdir():
        inner = [link for link in dead_links(path) if not link.startswith("../")]
        assert inner == [], path.name


def test_figures_are_those_of_the_newest_result(builder: ModuleType, tmp_path: Path) -> None:
    assert builder.newest(tmp_path) is None
    assert builder.figures(None) == builder.NO_FIGURES
    results = sorted((REPOSITORY / "bench" / "results").glob("*.json"))
    if not results:
        pytest.skip("no result is kept yet")
    text = results[0].read_text(encoding="utf-8")
    for name, date in (("a", "2001-01-01"), ("b", "2003-01-01"), ("c", "2002-01-01")):
        (tmp_path / f"{name}.json").write_text(re.sub(r'"date": "[^"]*"', f'"date": "{date}"', text), encoding="utf-8")
    assert builder.newest(tmp_path) == tmp_path / "b.json"
    made = builder.figures(tmp_path / "b.json")
    assert "2003-01-01" in made
    assert "`b.json`" in made
    assert made.count("| adamw ") >= 2


# What pages speak of.


def hypers_and_keywords() -> set[str]:
    known = {hyper.name for rule in schuss.rules().values() for hyper in rule.hypers}
    known |= {"params", "name", "frozen", "clip", "nonfinite", "accumulate", "scaler", "grad_norm", "step", "grads"}
    known |= {"slots", "rounding", "seed", "master"}
    known |= {"decay", "lr_scale"}
    functions = [getattr(schuss.schedules, name) for name in schuss.schedules.__all__ if name[0].islower()]
    functions += [
        schuss.choose,
        schuss.LossScaler,
        schuss.Lookahead,
        schuss.gradients.add_noise,
        schuss.gradients.centralize,
        schuss.clipping.adaptive,
        schuss.clipping.GlobalNorm,
        schuss.clipping.LeafNorm,
        schuss.clipping.Value,
    ]
    for function in functions:
        known |= set(inspect.signature(function).parameters)
    return known | OTHERS


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "adding-a-rule.md"], ids=by_name)
def test_no_page_speaks_of_an_unknown_hyper(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    code = [*re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text), *blocks(path, "python")]
    known = hypers_and_keywords()
    for piece in code:
        unknown = set(re.findall(r"[(,]\s*([A-Za-z_]\w*)=(?!=)", piece)) - known
        assert unknown == set(), piece


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_pages_name_no_class_that_is_not_there(path: Path) -> None:
    for name in re.findall(r"\bschuss\.([A-Za-z_]\w*)", path.read_text(encoding="utf-8")):
        assert hasattr(schuss, name) or name in {"hpp"}, f"schuss.{name}"
