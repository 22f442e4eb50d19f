"""Adding a rule touches three files: its header, the table, its oracle. Everything else follows.

A copy of the tree gets a rule of four lines, is built, and is asked for all that must appear.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import REPOSITORY

HEADER = r"""#pragma once
#include "rule.hpp"

#define SCHUSS_SIGNSGD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                       \
  PAPER(2018, "A step of one size along the sign of the running mean",                 \
        "Bernstein et al. 2018, arXiv 1802.04434")                                     \
  TRAITS("mean of g", "none", "none", "none", "gradients sent as one bit")             \
  HYPER(lr, 3e-4, nonnegative, "size of every step")                                   \
  HYPER(beta, 0.9, unit, "share of the mean kept")                                     \
  SLOT(m, 0, "running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(SignSGD, SCHUSS_SIGNSGD)

template <class T, unsigned Kept> struct SignSGD {
  T lr, keep;

  static SignSGD prepare(const SignSGDHypers& h, Clock) { return {T(h.lr), T(1 - h.beta)}; }

  SCHUSS_FN void apply(T& p, T g, T& m) const {
    m += keep * (g - m);
    p -= lr * select(m > T(0), T(1), select(m < T(0), T(-1), m));  // zero and NaN stay
  }
};

}  // namespace schuss
"""

ORACLE = '''

@oracle({"beta": 0.5})
def signsgd(p: Array, g: Array, slots: Slots, t: int, *, lr=3e-4, beta=0.9) -> Array:
    """Bernstein et al. 2018."""
    slots["m"] = beta * slots.get("m", np.zeros_like(p)) + (1 - beta) * g
    return p - lr * np.sign(slots["m"])
'''

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (REPOSITORY / "pyproject.toml").exists(), reason="this test builds the source tree"),
]


def add_the_rule(tree: Path) -> list[str]:
    """The three edits; returns the files that were touched."""
    rules = tree / "cpp" / "include" / "schuss" / "rules"
    (rules / "signsgd.hpp").write_text(HEADER)

    table = rules / "table.hpp"
    text = table.read_text()
    text = text.replace('#include "sgd.hpp"\n', '#include "sgd.hpp"\n#include "signsgd.hpp"\n')
    last = re.findall(r"RULE\(\w+, SCHUSS_\w+, \w+\)", text)[-1]
    text = text.replace(last, f"{last} \\\n  RULE(SignSGD, SCHUSS_SIGNSGD, signsgd)")
    table.write_text(text)

    oracles = tree / "tests" / "oracles.py"
    text = oracles.read_text()
    cut = text.index("\n\ndef defaults(")
    oracles.write_text(text[:cut] + ORACLE + text[cut:])
    return ["rules/signsgd.hpp", "rules/table.hpp", "tests/oracles.py"]


def one_level_only(tree: Path) -> None:
    """Only for the time that this test takes: the other levels are the same text."""
    path = tree / "cmake" / "levels.cmake"
    text, changed = re.subn(r"set\(SCHUSS_LEVELS x86_64_v4 [^)]*\)", "set(SCHUSS_LEVELS plain)", path.read_text())
    assert changed == 1
    path.write_text(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the copied tree, the folder that its build is installed in)."""
    tree = tmp_path_factory.mktemp("three") / "tree"
    ignored = shutil.ignore_patterns(
        ".git",
        "build",
        "dist",
        "wheelhouse",
        "__pycache__",
        ".venv",
        "venv",
        "*.so",
        ".*_cache",
        "results",
    )
    shutil.copytree(REPOSITORY, tree, ignore=ignored)
    assert len(add_the_rule(tree)) == 3
    one_level_only(tree)
    target = tree.parent / "site"
    ready = all(importlib.util.find_spec(name) for name in ("scikit_build_core", "pybind11"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"],
            *["--disable-pip-version-check", "--target", str(target)],
            *(["--no-build-isolation"] if ready else []),
            str(tree),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return tree, target


def inside(site: tuple[Path, Path], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the copied tree against its own build."""
    tree, target = site
    paths = os.pathsep.join([str(target), str(tree / "tests")])
    return subprocess.run(
        [sys.executable, "-s", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def told(site: tuple[Path, Path], code: str) -> Any:
    """What code printed, as JSON."""
    done = inside(site, "-c", code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_class_function_and_catalog_row_appear(site: tuple[Path, Path]) -> None:
    code = """
import inspect, json, numpy as np, schuss
p = np.zeros(3)
opt = schuss.SignSGD({"w": p}, lr=0.5)
opt.step({"w": np.array([3.0, -0.1, 0.0])})
q, m = np.zeros(3), np.zeros(3)
schuss.ops.signsgd(q, np.array([3.0, -0.1, 0.0]), m, step=1, lr=0.5)
print(json.dumps({
    "from": schuss.__file__,
    "p": p.tolist(), "q": q.tolist(), "m": opt.state["w"]["m"].tolist(),
    "hypers": [k for k in inspect.signature(schuss.SignSGD).parameters][:3],
    "doc": schuss.SignSGD.__doc__,
    "rules": list(schuss.rules()),
    "all": "SignSGD" in schuss.__all__,
    "bytes": schuss.SignSGD(np.zeros(10, np.float32)).cost()["bytes_moved"],
}))
"""
    seen = told(site, code)
    assert Path(seen["from"]).is_relative_to(site[1]), "this is not the built copy"
    assert seen["p"] == seen["q"] == [-0.5, 0.5, 0.0]
    assert seen["m"] == pytest.approx([0.3, -0.01, 0.0])
    assert seen["hypers"] == ["params", "lr", "beta"]
    assert "signsgd" in seen["rules"]
    assert seen["all"]
    assert seen["bytes"] == 200
    for words in ("size of every step", "share of the mean kept", "Bernstein et al. 2018"):
        assert words.lower() in seen["doc"].lower()


def test_stub_has_the_class_and_the_function(site: tuple[Path, Path]) -> None:
    stubs = "".join(path.read_text() for path in (site[1] / "schuss").rglob("*.pyi"))
    assert re.search(r"class SignSGD\(.*Optimizer.*\)", stubs)
    assert re.search(r"def signsgd\(", stubs)
    body = stubs[stubs.index("class SignSGD") :]
    assert re.search(r"beta: [^,]*= 0\.9", body)
    assert re.search(r"lr: [^,]*= 0\.0003|lr: [^,]*= 3e-0?4", body)


def test_tests_of_every_rule_take_it_in_and_pass(site: tuple[Path, Path]) -> None:
    done = inside(
        site,
        *[
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/test_rules.py",
            "tests/test_bits.py",
        ],
        *["-k", "(signsgd or every_rule_has) and not threads", "-x"],
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 50


def test_its_cuda_kernel_steps_as_the_cpu_does(site: tuple[Path, Path]) -> None:
    """On the simulator, by the tests of every rule."""
    done = inside(
        site, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_cuda_bits.py", "-k", "signsgd", "-x"
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ (passed|skipped)", done.stdout), done.stdout[-3000:]
    text = told(site, 'import json, schuss; print(json.dumps(schuss.kernel_source("signsgd").text))')
    assert "schuss::map_phase<schuss::SignSGD, schuss::SignSGDSlots, schuss::Variant<1u, float, float>>" in text


def test_a_rule_without_its_oracle_is_noticed(site: tuple[Path, Path]) -> None:
    """The gate itself: this repository's own oracles against the copy's rules."""
    paths = os.pathsep.join([str(site[1]), str(REPOSITORY / "tests")])
    code = "import schuss, oracles; print(sorted(set(schuss.rules()) - set(oracles.ORACLES)))"
    done = subprocess.run(
        [sys.executable, "-s", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['signsgd']"


def test_bench_has_a_row_for_it(site: tuple[Path, Path]) -> None:
    out = site[1].parent / "bench"
    options = ["--sizes", "1000", "--shapes", "none", "--peers", "none", "--quick", "--no-memory"]
    done = inside(site, "bench/run.py", "--rules", "signsgd", *options, "--out", str(out), "--name", "it")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((out / "it.json").read_text())["rows"]
    assert "signsgd" in json.dumps(row)


def test_command_and_catalog_have_a_row_for_it(site: tuple[Path, Path]) -> None:
    done = inside(site, "-m", "schuss", "rules")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^SignSGD +mean of g +none +none +none +m +4 +2018 +gradients sent as one bit$", done.stdout, re.MULTILINE
    )
    code = "import json, schuss; r = schuss.rules()['signsgd']; print(json.dumps([r.paper, r.year]))"
    assert told(site, code) == ["Bernstein et al. 2018, arXiv 1802.04434", 2018]


def test_docs_have_a_row_and_a_section_for_it(site: tuple[Path, Path]) -> None:
    out = site[1].parent / "docs"
    done = inside(site, "docs/build.py", "--out", str(out))
    assert done.returncode == 0, done.stderr
    page = (out / "rules.md").read_text()
    assert re.search(r"\| \[SignSGD\][^|]*\| mean of g \|.*\| m \| 4 \| 2018 \| gradients sent as one bit \|", page)
    section = page[page.index("## SignSGD") :]
    assert "Bernstein et al. 2018" in section
    assert "size of every step" in section.lower()
