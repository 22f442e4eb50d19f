"""NVRTC: where it is found, which is taken, what is said without it and of what it refuses, and when it is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compilers import ADAMW, needs_nvrtc
from helpers import output_of
from schuss._engine.cuda import builder, cache, driver, nvrtc, source


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, NVRTC's own binding, and no driver."""
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_private", None)
    monkeypatch.setattr(driver, "major", lambda: None)
    monkeypatch.setattr(builder, "compiler", nvrtc.Nvrtc())
    return tmp_path / "cache"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVRTC."""
    monkeypatch.setattr(nvrtc, "folders", lambda: iter([Path("/nowhere/lib")]))
    monkeypatch.setattr(nvrtc, "_by_loader", lambda: iter([]))


@pytest.mark.usefixtures("nowhere")
def test_without_nvrtc_the_message_says_what_to_install() -> None:
    compiler = builder.compiler
    assert compiler.version is None
    for attempt in (lambda: builder.cubin(*ADAMW), lambda: compiler.compile("", (), "adamw")):
        with pytest.raises(ImportError) as caught:
            attempt()
        for part in (
            'pip install "schuss[cuda13]"',
            "schuss[cuda12]",
            "/nowhere/lib",
            "libnvrtc.so.13",
            "schuss compile",
        ):
            assert part in str(caught.value)
    with pytest.raises(
        ImportError, match=re.escape("no compiled kernel adamw map (float32 by float32, slots m v) for")
    ):
        builder.cubin(*ADAMW)


def installed(folder: Path, major: int, *minors: int) -> Path:
    """A folder with the names of an NVRTC's files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"libnvrtc.so.{major}").touch()
    (folder / f"libnvrtc.alt.so.{major}").touch()
    for minor in minors:
        (folder / f"libnvrtc-builtins.so.{major}.{minor}").touch()
        (folder / f"libnvrtc-builtins.alt.so.{major}.{minor}").touch()
    return folder


def test_the_version_is_read_from_the_names_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is loaded for it: these files are empty."""
    here = installed(tmp_path / "lib", 12, 4)
    monkeypatch.setattr(nvrtc, "folders", lambda: iter([tmp_path / "none", here]))
    compiler = nvrtc.Nvrtc()
    assert compiler.version == "12.4"
    assert compiler._loaded is None
    assert nvrtc.find() == (str(here / "libnvrtc.so.12"), str(here / "libnvrtc-builtins.so.12.4"), "12.4")


@pytest.mark.parametrize("variable", ["CUDA_PATH", "CUDA_HOME"])
@pytest.mark.parametrize("name", ["lib64", "lib"])
def test_nvrtc_is_found_where_the_toolkit_is_said_to_be(
    variable: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(nvrtc, "find_spec", lambda name: None)
    here = installed(tmp_path / name, 13, 1)
    assert nvrtc.find() == (str(here / "libnvrtc.so.13"), str(here / "libnvrtc-builtins.so.13.1"), "13.1")


def test_wheels_come_before_the_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "toolkit"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed(tmp_path / "toolkit" / "lib64", 13, 9)
    installed(tmp_path / "site" / "nvidia" / "cu13" / "lib", 13, 8)
    places = list(nvrtc.folders())
    assert places.index(tmp_path / "site/nvidia/cu13/lib") < places.index(tmp_path / "site/nvidia/cuda_nvrtc/lib")
    assert places.index(tmp_path / "site/nvidia/cuda_nvrtc/lib") < places.index(tmp_path / "toolkit/lib64")
    library = nvrtc.find()
    assert library
    assert library.version == "13.8"


@pytest.mark.parametrize(
    ("of_driver", "want"), [(None, "13.0"), (13, "13.0"), (14, "13.0"), (12, "12.9"), (11, "13.0")]
)
def test_of_two_the_one_that_the_driver_can_use_is_taken(
    of_driver: int | None, want: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [installed(tmp_path / "13", 13, 0), installed(tmp_path / "12", 12, 9)]
    monkeypatch.setattr(nvrtc, "folders", lambda: iter(both))
    monkeypatch.setattr(driver, "major", lambda: of_driver)
    assert nvrtc.Nvrtc().version == want


@needs_nvrtc
def test_a_version_that_the_files_do_not_tell_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = nvrtc.find()
    assert library
    named = nvrtc.Nvrtc().version
    (tmp_path / Path(library.path).name).symlink_to(library.path)
    monkeypatch.setattr(nvrtc, "folders", lambda: iter([tmp_path]))
    compiler = nvrtc.Nvrtc()
    assert compiler.version == named
    assert compiler._loaded is not None


@needs_nvrtc
def test_a_warm_start_loads_no_compiler(folder: Path) -> None:
    code = """
import sys
from schuss._engine.cuda import builder
from compilers import ADAMW
print(builder.cubin(*ADAMW))
maps = open("/proc/self/maps").read()
print("libnvrtc" in maps, "cupy" in sys.modules, "torch" in sys.modules)
"""
    cold, warm = (output_of(code).splitlines() for _ in range(2))
    assert cold[0] == warm[0]
    assert Path(cold[0]).parent == folder
    assert cold[1] == "True False False"
    assert warm[1] == "False False False"


@needs_nvrtc
def test_an_error_of_the_compiler_comes_with_its_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "".join(f"int a{i} = missing{i};\n" for i in range(5))
    monkeypatch.setattr(source, "text", lambda *_: wrong)
    with pytest.raises(builder.CompileError) as caught:
        builder.cubin(*ADAMW)
    message = str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert re.search(r"NVRTC 1\d\.\d+ did not compile adamw map \(float32 by float32, slots m v\) for sm_90:", message)
    for i in range(5):
        assert f'identifier "missing{i}" is undefined' in message
    assert '5 errors detected in the compilation of "adamw_map' in message


@needs_nvrtc
def test_an_architecture_that_nvrtc_has_not_is_told_with_those_it_has(folder: Path) -> None:
    with pytest.raises(builder.CompileError, match=r"for sm_30:\n(.|\n)*knows sm_.*sm_90") as caught:
        builder.cubin(*ADAMW[:3], "sm_30")
    assert "gpu-architecture" in str(caught.value)
    assert not folder.exists()
