"""The build: versions that agree, what the wheel's recipe names, and equal bits on other architectures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import schuss
from helpers import REPOSITORY

if not (REPOSITORY / "pyproject.toml").exists():
    pytest.skip("these tests read the source tree", allow_module_level=True)

TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
CROSS = REPOSITORY / "tests" / "cross"


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def quoted_list(key: str) -> list[str]:
    """The strings of ``key = [...]`` in pyproject.toml. (tomllib is younger than Python 3.10.)"""
    found = re.search(rf"^{re.escape(key)} = \[(.*?)\]$", read("pyproject.toml"), re.M | re.S)
    assert found, key
    return re.findall(r'"([^"]*)"', found[1])


def test_versions_agree() -> None:
    cmake = re.search(r"project\(schuss VERSION (\S+)", read("CMakeLists.txt"))
    python = re.search(r'^version = "(.+)"$', read("pyproject.toml"), re.M)
    assert cmake
    assert python
    assert cmake[1] == python[1] == schuss.__version__ == schuss.info()["version"]


def test_presets_are_there() -> None:
    presets = json.loads(read("CMakePresets.json"))
    names = {each["name"]: each for each in presets["configurePresets"]}
    assert set(names) >= {"dev", "release", "asan", "ubsan", "tsan"}
    kinds = {name: names[name]["cacheVariables"]["SCHUSS_SANITIZE"] for name in ("asan", "ubsan", "tsan")}
    assert kinds == {"asan": "address", "ubsan": "undefined", "tsan": "thread"}
    assert {each["configurePreset"] for each in presets["buildPresets"]} == set(names)


@pytest.mark.parametrize("extra", ["lab", "test", "bench", "cuda12", "cuda13", "dev"])
def test_extras_are_there(extra: str) -> None:
    assert quoted_list(extra)
    try:
        installed = metadata.metadata("schuss")
    except metadata.PackageNotFoundError:
        pytest.skip("run from the sources: nothing is installed")
    assert extra in (installed.get_all("Provides-Extra") or [])


def test_numpy_is_the_only_hard_dependency() -> None:
    assert [re.split(r"\W", each)[0] for each in quoted_list("dependencies")] == ["numpy"]


def test_every_source_is_built() -> None:
    """A file that no build names would rot unseen."""
    listed = set(re.findall(r"cpp/src/(\w+)\.cpp", read("CMakeLists.txt") + read("cmake/levels.cmake")))
    assert listed == {path.stem for path in (REPOSITORY / "cpp" / "src").glob("*.cpp")}


def commands_of_the_readme() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", read("README.md"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_readme_has_two_commands_and_ci_runs_the_one_for_the_tests() -> None:
    report, tests = sorted(commands_of_the_readme(), key=lambda line: "pytest" in line)
    assert "schuss lab compare" in report
    assert "pytest" in tests
    awk = re.search(r"command=\$\(awk '(.+)' README.md\)", read(".ci/run"))
    assert awk
    found = subprocess.run(["awk", awk[1], "README.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [tests]


@pytest.mark.parametrize("script", ["run", "sanitize"])
def test_scripts_are_sound(script: str) -> None:
    path = REPOSITORY / ".ci" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


# The same bits from every level, compiler and architecture.


def run(command: list[Any], **environment: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "PATH": TOOLS, **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def tool(name: str) -> str:
    found = shutil.which(name, path=TOOLS)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def built(folder: Path, compiler: str, *options: str) -> Path:
    """bits.cpp and the library under it."""
    ninja = shutil.which("ninja", path=TOOLS)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    common = ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_CXX_COMPILER={compiler}"]
    run([tool("cmake"), "-S", CROSS, "-B", folder, *generator, *common, *options])
    run([tool("cmake"), "--build", folder, "--parallel", "2"])
    return folder / "bits"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("native"), tool("g++"))


@cache
def bits_of(program: Path, level: str, *emulator: str) -> dict[str, str]:
    """What the program printed: a hash of the bits by what was walked. One thread or two: it is all one."""
    threads = "1" if level == "plain" else "2"
    lines = run([*emulator, program], SCHUSS_CPU_LEVEL=level, SCHUSS_NUM_THREADS=threads).splitlines()
    found = dict(line.rsplit(maxsplit=1) for line in lines)
    assert len(found) == len(lines)
    assert any(name.startswith("AdamW bfloat16/float32") for name in found)
    return found


def difference(got: dict[str, str], want: dict[str, str]) -> list[str]:
    return [name for name in want if got.get(name) != want[name]] + sorted(set(got) - set(want))


# Under --dist loadgroup one worker runs these, and builds what they share once.
together = pytest.mark.xdist_group("bits")


@pytest.mark.slow
@together
def test_levels_give_one_set_of_bits_from_cpp(native: Path) -> None:
    first, *others = schuss.info()["levels"]
    for level in others:
        assert difference(bits_of(native, level), bits_of(native, first)) == [], level


@pytest.mark.slow
@together
@pytest.mark.parametrize(("processor", "level"), [("aarch64", "aarch64"), ("riscv64", "plain")])
def test_another_architecture_gives_the_same_bits(native: Path, tmp_path: Path, processor: str, level: str) -> None:
    """Built by a cross compiler, run under an emulator. riscv64 has no level of its own: it takes the plain one."""
    compiler, emulator = tool(f"{processor}-linux-gnu-g++"), tool(f"qemu-{processor}-static")
    program = built(tmp_path, compiler, "-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={processor}")
    got = bits_of(program, level, emulator, "-L", f"/usr/{processor}-linux-gnu")
    assert difference(got, bits_of(native, schuss.info()["levels"][0])) == []
