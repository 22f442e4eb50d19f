"""The house as the design draws it: who includes whom, who imports whom, what a level may hold."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schuss
from helpers import REPOSITORY, python_files

CPP = REPOSITORY / "cpp"
INCLUDE = CPP / "include" / "schuss"
PYTHON = REPOSITORY / "python" / "schuss"
FREESTANDING = {"cstdint", "cstddef"}
ABOVE = ("lab", "bench", "cli.py", "__main__.py")  # of Python: what stands on the whole package
GENERATED = {"levels.hpp"}  # by CMake: the list of levels
PUBLIC = {"config.hpp", "catalog.hpp", "engine.hpp", "schuss.hpp"}

if not CPP.exists():
    pytest.skip("these tests read the source tree", allow_module_level=True)


def sources(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def includes(path: Path) -> Iterator[str]:
    """What a C++ file includes: files of ours relative to cpp/include or cpp, others as written."""
    for line in path.read_text().splitlines():
        found = re.match(r'\s*#\s*include\s*([<"])([^">]+)[">]', line)
        if not found:
            continue
        bracket, name = found.groups()
        for folder in (path.parent, CPP / "include", CPP / "src"):
            inner = (folder / name).resolve()
            if bracket == '"' and inner.exists():
                base = INCLUDE if inner.is_relative_to(INCLUDE) else CPP
                yield inner.relative_to(base).as_posix()
                break
        else:
            assert bracket == "<" or name in GENERATED, f"{path}: {name} is nowhere"
            yield f"<{name}>"


def layer(name: str) -> str:
    """rules/adam.hpp -> rules; config.hpp -> config.hpp; <vector> -> <>."""
    if name.startswith("<"):
        return "<>"
    return name.partition("/")[0] if "/" in name else name


# Which layers may include which. `config.hpp` is under all of them.
ARROWS = {
    "rules": {"rules", "control"},
    "formats": {"formats", "rules"},
    "loops": {"loops", "formats", "rules", "control"},  # a device closes its steps by the numbers of control
    "control": {"control"},
}


@pytest.mark.parametrize("folder", ARROWS)
def test_include_arrows_of_the_shipped_headers(folder: str) -> None:
    files = sources(INCLUDE / folder, ".hpp", ".cuh")
    assert files
    for path in files:
        inner = {each for each in map(layer, includes(path)) if each != "<>"}
        assert inner <= ARROWS[folder] | {"config.hpp"}, f"{path.name} includes {inner}"


@pytest.mark.parametrize("folder", ["rules", "formats", "loops"])
def test_shipped_headers_need_no_library(folder: str) -> None:
    """The very text that NVRTC compiles, which has no standard headers."""
    for path in sources(INCLUDE / folder, ".hpp"):
        outer = {each.strip("<>") for each in includes(path) if each.startswith("<")}
        assert outer <= FREESTANDING, f"{path.name} includes {outer}"


def test_control_needs_no_library_but_for_schedules() -> None:
    """Schedules are the host's; the device reads their numbers from a table."""
    for path in sources(INCLUDE / "control", ".hpp"):
        if path.name.startswith("schedule"):
            continue
        outer = {each.strip("<>") for each in includes(path) if each.startswith("<")}
        assert outer <= FREESTANDING, f"{path.name} includes {outer}"
        inner = {each for each in includes(path) if "schedule" in each}
        assert inner == set(), f"{path.name} includes {inner}"


def test_a_rule_includes_rule_hpp_or_a_rule_that_it_extends() -> None:
    for path in sources(INCLUDE / "rules", ".hpp"):
        if path.name in ("rule.hpp", "table.hpp"):
            continue
        assert all(each.startswith("rules/") for each in includes(path)), path.name
        assert len(list(includes(path))) == 1, path.name
        assert "rules/table.hpp" not in includes(path)


def test_the_engine_knows_no_rule_and_no_loop() -> None:
    """Only the level files meet both; the catalog reads the facts, the seam the arguments."""
    granted = {
        ("src/catalog.cpp", "rules/table.hpp"),
        ("src/catalog.cpp", "rules/cautious.hpp"),
        ("src/kernel.hpp", "loops/arguments.hpp"),
        ("src/kernel.hpp", "loops/program.hpp"),
    }
    for path in sources(CPP / "src", ".hpp", ".cpp"):
        name = path.relative_to(CPP).as_posix()
        if name in ("src/level.cpp", "src/level_formats.cpp"):
            continue
        for inner in includes(path):
            if layer(inner) in ("rules", "loops"):
                assert (name, inner) in granted, f"{name} includes {inner}"
            assert layer(inner) != "bind", f"{name} includes {inner}"


def test_the_bindings_see_the_engine_and_the_catalog_only() -> None:
    for path in sources(CPP / "bind", ".hpp", ".cpp"):
        for inner in includes(path):
            allowed = {"<>", "src", "bind", "control", "formats", *PUBLIC}
            assert layer(inner) in allowed, f"{path.name} includes {inner}"


def test_only_threads_cpp_touches_openmp() -> None:
    for path in sources(CPP, ".hpp", ".cpp", ".cuh"):
        text = path.read_text()
        if path.name == "threads.cpp":
            continue
        assert "<omp.h>" not in text, path
        for pragma in re.findall(r"#\s*pragma\s+omp\s+(\w+)", text):
            assert pragma == "simd", f"{path.name}: omp {pragma}"


def test_no_intrinsics_where_the_compiler_can_do_it() -> None:
    for path in sources(INCLUDE, ".hpp"):
        assert not re.search(r"immintrin|arm_neon|_mm\d*_", path.read_text()), path


def test_headers_throw_and_print_nothing() -> None:
    for folder in ("rules", "formats", "loops"):
        for path in sources(INCLUDE / folder, ".hpp"):
            code = re.sub(r"//.*", "", path.read_text())
            assert not re.search(r"\bthrow\b|printf|std::cout|\babort\(", code), path


# Python.


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules that a file imports, absolute, and whether when it is itself imported."""
    package = ["schuss", *path.relative_to(PYTHON).parent.parts]
    tree = ast.parse(path.read_text())
    top = set()
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        top.add(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            stack.extend(each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                whole = module if module != "schuss" and not is_module(inner) else inner
                yield whole, node in top


def is_module(name: str) -> bool:
    path = PYTHON.parent / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or name == "schuss._core"


def test_the_engine_imports_nothing_above_it() -> None:
    for path in python_files(PYTHON / "_engine"):
        for name, _ in imports(path):
            if name.partition(".")[0] == "schuss":
                inner = name.startswith(("schuss._engine", "schuss._core", "schuss._version"))
                assert inner, f"_engine/{path.name} imports {name}"


def test_the_package_imports_only_numpy_when_it_is_imported() -> None:
    """The laboratory, the benches and the command bring their own needs, when used."""
    for path in python_files(PYTHON):
        if path.relative_to(PYTHON).parts[0] in ABOVE:
            continue
        for name, at_import in imports(path):
            root = name.partition(".")[0]
            if at_import and root not in sys.stdlib_module_names:
                assert root in ("numpy", "schuss"), f"{path.name} imports {name}"


def test_frameworks_are_imported_only_where_their_business_is() -> None:
    homes = {"torch": {"torch.py"}, "jax": {"jax.py"}, "cupy": {"runtime.py"}}  # of _engine/cuda
    for path in python_files(PYTHON):
        if "lab" in path.parts or "bench" in path.parts:
            continue
        for name, _ in imports(path):
            root = name.partition(".")[0]
            if root in homes:
                assert path.name in homes[root], f"{path.name} imports {name}"


def test_the_core_does_not_import_the_laboratory_or_the_benches() -> None:
    for path in python_files(PYTHON):
        part = path.relative_to(PYTHON).parts[0]
        if part in ABOVE:
            continue
        for name, _ in imports(path):
            above = {("schuss", each) for each in ("lab", "bench", "cli")}
            assert tuple(name.split(".")[:2]) not in above, f"{path.name} imports {name}"


# Sizes.


def code_files() -> list[Path]:
    return [
        *sources(CPP, ".hpp", ".cpp", ".cuh"),
        *python_files(PYTHON),
        *python_files(REPOSITORY / "tests"),
        *python_files(REPOSITORY / "bench"),
        *python_files(REPOSITORY / "examples"),
    ]


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(REPOSITORY)): lines(path) for path in code_files()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_a_rule_is_a_page_at_most() -> None:
    common = {"rule.hpp", "cautious.hpp", "schedule_free.hpp", "table.hpp"}  # what rules are made of, and their list
    headers = [each for each in sources(INCLUDE / "rules", ".hpp") if each.name not in common]
    assert headers
    assert {path.name: lines(path) for path in headers if lines(path) > 60} == {}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


# The objects of the levels, as the release builds them.


@pytest.fixture(scope="module")
def level_objects(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """The level files compiled for every level by the project's own CMake, with its release flags."""
    folder = Path(os.environ.get("SCHUSS_BUILD_DIR", "")).resolve()
    if "SCHUSS_BUILD_DIR" not in os.environ:
        cmake = shutil.which("cmake", path=TOOLS)
        if cmake is None or shutil.which("readelf") is None:
            pytest.skip("reading the levels' objects needs CMake and binutils")
        folder = tmp_path_factory.mktemp("levels")
        ninja = shutil.which("ninja", path=TOOLS)
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        configure = [cmake, "-S", REPOSITORY, "-B", folder, "-DSCHUSS_PYTHON=OFF", *generator]
        run([*configure, "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF"])
        run([cmake, "--build", folder, "--parallel", "2", "--target", *level_targets()])
    found = [
        (path.parts[-4].removesuffix(".dir"), path)
        for name in ("level.cpp.o", "level_formats.cpp.o")
        for path in folder.rglob(name)
        if path.parts[-4].startswith("level_")
    ]
    assert sorted(level for level, _ in found) == sorted(2 * level_targets())
    return found


TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def level_targets() -> list[str]:
    return [f"level_{level}" for level in levels_of_the_architecture()]


def levels_of_the_architecture() -> list[str]:
    text = (REPOSITORY / "cmake" / "levels.cmake").read_text()
    lists = [each.split() for each in re.findall(r"set\(SCHUSS_LEVELS ([^)]*)\)", text)]
    here = set(schuss.info()["levels"])
    return next(each for each in lists if here <= set(each))


def run(command: list[Any]) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PATH": TOOLS},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, name) of every symbol, as nm writes them."""
    rows = (line.split() for line in run(["nm", path]).splitlines())
    return [(row[-2], row[-1]) for row in rows if len(row) >= 2]


@pytest.mark.slow
def test_levels_hold_no_weak_symbol(level_objects: list[tuple[str, Path]]) -> None:
    """The linker keeps one of several weak symbols, perhaps the AVX-512 one, for every caller."""
    for level, path in level_objects:
        weak = [name for kind, name in symbols(path) if kind in "WwVvuC"]
        assert weak == [], level


@pytest.mark.slow
def test_levels_show_nothing_but_their_table(level_objects: list[tuple[str, Path]]) -> None:
    for level, path in level_objects:
        shown = [name for kind, name in symbols(path) if kind in "TDRBGS"]
        assert len(shown) == 1, f"{level}: {shown}"
        assert level.removeprefix("level_") in shown[0]


@pytest.mark.slow
def test_levels_call_no_library(level_objects: list[tuple[str, Path]]) -> None:
    """No OpenMP, no libm, no C++ runtime: only the compiler's own memory functions."""
    for level, path in level_objects:
        own = level.removeprefix("level_") + "7formats"  # the other file's table
        called = {name for kind, name in symbols(path) if kind == "U" and own not in name}
        assert called <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}, level


@pytest.mark.slow
def test_levels_run_nothing_when_they_are_loaded(level_objects: list[tuple[str, Path]]) -> None:
    """A static initialiser of a level runs before any dispatch, on whatever processor there is."""
    for level, path in level_objects:
        sections = run(["readelf", "-SW", path])
        assert ".text" in sections
        assert not re.search(r"\.(init_array|ctors|preinit_array)", sections), level


@pytest.mark.slow
def test_levels_use_their_instructions_and_no_more(level_objects: list[tuple[str, Path]]) -> None:
    """What makes a level a level: zmm registers in v4 alone, ymm in v3 and v4."""
    if not any(level.startswith("level_x86_64") for level, _ in level_objects):
        pytest.skip("these registers are x86-64's")
    for level, path in level_objects:
        code = run(["objdump", "-d", "--no-show-raw-insn", path])
        widest = next((each for each in ("zmm", "ymm", "xmm") if f"%{each}" in code), None)
        want = {"level_x86_64_v4": "zmm", "level_x86_64_v3": "ymm"}.get(level, "xmm")
        assert widest == want, level


@pytest.mark.slow
def test_levels_fuse_nothing_that_rounds(level_objects: list[tuple[str, Path]]) -> None:
    """A fused a * b + c rounds once; only where a * b is exact anyway does that keep the bits."""
    for level, path in level_objects:
        function = ""
        for line in run(["objdump", "-d", "-C", "--no-show-raw-insn", path]).splitlines():
            if line.endswith(">:"):
                function = line
            if re.search(r"\bv?fn?m(add|sub|l[as])", line):
                exact = re.search(r"square_sum<(float|\S.*schuss::(bf16|f16))>\(", function)
                exact = exact or re.search(r"::measure<(?!.*double)", function)
                assert exact, f"{level}: {function} {line}"


def test_the_extension_binds_no_symbol_weakly_to_a_level() -> None:
    """The shipped module, whatever built it: no level's code behind a name that others share."""
    if shutil.which("nm") is None:
        pytest.skip("reading the module needs binutils")
    module = Path(importlib.import_module("schuss._core").__file__ or "")
    listing = run(["nm", "-C", "--defined-only", module])
    for line in listing.splitlines():
        if re.search(r" [WwVu] ", line):
            assert not re.search(r"schuss::(x86_64_v\d|plain|aarch64)::", line), line
