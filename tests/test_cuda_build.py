"""From a kernel's name to a cubin on disk: the cache, NVRTC found or missing, and all that can be wrong with them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schuss
from compilers import ADAMW, Pretender, Refuser, needs_nvrtc
from helpers import output_of
from schuss._engine.cuda import builder, cache, driver, nvrtc, source


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, and no driver."""
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_private", None)
    monkeypatch.setattr(driver, "major", lambda: None)
    return tmp_path / "cache"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Puts a compiler in NVRTC's place."""

    def put(compiler: Any) -> Any:
        monkeypatch.setattr(builder, "compiler", compiler)
        return compiler

    return put


# The cache.


def test_a_kernel_is_compiled_once(folder: Path, use: Any) -> None:
    compiler = use(Pretender())
    path = builder.cubin(*ADAMW)
    assert path.parent == folder
    assert builder.cubin(*ADAMW) == path
    assert compiler.named == ["adamw map (float32 by float32, slots m v)"]
    use(Refuser())
    assert builder.cubin(*ADAMW) == path


def test_beside_a_kernel_stands_what_it_is(use: Any) -> None:
    use(Pretender())
    path = builder.cubin(*ADAMW)
    told = json.loads(path.with_suffix(".json").read_text())
    assert told == {
        "kind": "map",
        "rule": "adamw",
        "variants": [[3, "float32", "float32"]],
        "arch": "sm_90",
        "options": list(source.options("sm_90")),
        "entry": "schuss_kernel",
        "schuss": schuss.__version__,
        "nvrtc": "13.0",
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert sorted(each.suffix for each in path.parent.iterdir()) == [".cubin", ".json"]


def test_all_that_makes_a_kernel_makes_its_key(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Pretender())
    paths = {builder.cubin(*ADAMW)}
    paths.add(builder.cubin(*ADAMW[:3], "sm_80"))
    paths.add(builder.cubin("map", "adam", *ADAMW[2:]))
    paths.add(builder.cubin("map", "adamw", ((3, "float32", "bfloat16"),), "sm_90"))
    use(Pretender("12.9"))
    paths.add(builder.cubin(*ADAMW))
    text = source.text(*ADAMW[:3])
    monkeypatch.setattr(source, "text", lambda *_: text + "// edited\n")
    paths.add(builder.cubin(*ADAMW))
    monkeypatch.setattr(source, "options", lambda arch: ("--std=c++20",))
    paths.add(builder.cubin(*ADAMW))
    assert len(paths) == 7


def test_without_a_compiler_the_kernel_of_the_newest_serves(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {version: builder.cubin(*ADAMW) for version in ("12.9", "13.10", "13.9") if use(Pretender(version))}
    use(Refuser(None))
    assert builder.cubin(*ADAMW) == made["13.10"]
    monkeypatch.setattr(driver, "major", lambda: 12)
    assert builder.cubin(*ADAMW) == made["12.9"]


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated cubin": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty cubin": lambda path: path.write_bytes(b""),
    "another cubin": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "no cubin": lambda path: path.unlink(),
    "truncated json": lambda path: path.with_suffix(".json").write_text('{"sha256": "'),
    "json of another kind": lambda path: path.with_suffix(".json").write_text("[1, 2]"),
    "binary json": lambda path: path.with_suffix(".json").write_bytes(b"\xff\xfe\x00"),
    "json without a digest": lambda path: path.with_suffix(".json").write_text("{}"),
    "no json": lambda path: path.with_suffix(".json").unlink(),
    "folder for a json": lambda path: (path.with_suffix(".json").unlink(), path.with_suffix(".json").mkdir()),
}


@pytest.mark.parametrize("damage", [name for name in DAMAGES if "folder" not in name])
def test_a_damaged_entry_is_compiled_again(damage: str, use: Any) -> None:
    compiler = use(Pretender())
    path = builder.cubin(*ADAMW)
    whole = path.read_bytes()
    DAMAGES[damage](path)
    assert builder.cubin(*ADAMW) == path
    assert path.read_bytes() == whole
    assert len(compiler.named) == 2
    use(Refuser())
    builder.cubin(*ADAMW)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "no cubin"])
def test_a_damaged_entry_is_named_where_nothing_can_repair_it(damage: str, use: Any) -> None:
    use(Pretender())
    path = builder.cubin(*ADAMW)
    DAMAGES[damage](path)
    use(Refuser(None))
    with pytest.raises(RuntimeError, match=re.escape(str(path))) as caught:
        builder.cubin(*ADAMW)
    assert "adamw map (float32 by float32, slots m v) for sm_90, is damaged" in str(caught.value)
    assert 'pip install "schuss[cuda13]"' in str(caught.value)


def test_an_entry_that_cannot_be_replaced_is_kept_elsewhere(use: Any) -> None:
    use(Pretender())
    path = builder.cubin(*ADAMW)
    DAMAGES["folder for a json"](path)
    with pytest.warns(RuntimeWarning, match="SCHUSS_CACHE_DIR"):
        assert builder.cubin(*ADAMW) != path


def test_an_unwritable_folder_is_replaced_with_one_warning(tmp_path: Path, use: Any, monkeypatch: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    use(Pretender())
    with pytest.warns(RuntimeWarning) as caught:
        path = builder.cubin(*ADAMW)
    assert re.search(
        rf"kept in {re.escape(str(tmp_path / 'file' / 'cache'))} .*SCHUSS_CACHE_DIR", str(caught[0].message)
    )
    builder.cubin("sum", None, (), "sm_90")  # without another
    use(Refuser())
    assert builder.cubin(*ADAMW) == path
    assert path.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(path.parent)


def test_the_replacement_goes_with_its_process(tmp_path: Path) -> None:
    code = """
import os, warnings
from schuss._engine.cuda import builder
from compilers import ADAMW, Pretender
warnings.simplefilter("ignore")
builder.compiler = Pretender()
path = builder.cubin(*ADAMW)
child = os.fork()
if child == 0:
    raise SystemExit  # its exit is not its parent's
os.waitpid(child, 0)
assert path.exists()
print(path)
"""
    (tmp_path / "file").write_text("")
    path = Path(output_of(code, env={"SCHUSS_CACHE_DIR": str(tmp_path / "file" / "cache")}))
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("environment", "want"),
    [
        ({"SCHUSS_CACHE_DIR": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"SCHUSS_CACHE_DIR": "~/kernels", "HOME": "/h"}, "/h/kernels"),
        ({"SCHUSS_CACHE_DIR": "", "XDG_CACHE_HOME": "/x"}, "/x/schuss"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/schuss"),
        ({"HOME": "/h"}, "/h/.cache/schuss"),
    ],
)
def test_where_the_cache_is(environment: dict[str, str], want: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCHUSS_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.folder() == Path(want)


def test_builders_at_once_leave_whole_entries_and_no_litter(folder: Path) -> None:
    code = """
import sys
from schuss._engine.cuda import builder, cache
from compilers import ADAMW, Pretender
builder.compiler = Pretender()
input()  # both begin now
for turn in range(40):
    for arch in ("sm_80", "sm_90"):
        path = builder.cubin(*ADAMW[:3], arch)
        assert path.exists()
        if turn % 4 == 2:
            path.write_bytes(b"torn")
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=Path(__file__).parent)
        for _ in range(2)
    ]
    waiting = [threading.Thread(target=each.communicate, args=(b"\n",)) for each in both]
    for each in waiting:
        each.start()
    for each in waiting:
        each.join(60)
    assert [each.returncode for each in both] == [0, 0]
    assert not [path for path in folder.iterdir() if path.suffix not in (".cubin", ".json")]
    assert all(cache.is_whole(path) for path in folder.glob("*.cubin"))


def test_clearing_takes_kernels_and_litter_and_nothing_else(folder: Path, use: Any) -> None:
    use(Pretender())
    path = builder.cubin(*ADAMW)
    (folder / f".{path.stem}.7-0a1b.part").write_bytes(b"")  # of a process that was killed
    for name in ("notes.json", "mine.cubin"):
        (folder / name).write_text("mine")
    assert cache.clear() == 1
    assert sorted(each.name for each in folder.iterdir()) == ["mine.cubin", "notes.json"]


# NVRTC.


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVRTC."""
    monkeypatch.setattr(nvrtc, "folders", lambda: iter([Path("/nowhere/lib")]))
    monkeypatch.setattr(nvrtc, "_by_loader", lambda: iter([]))


@pytest.mark.usefixtures("nowhere")
def test_without_nvrtc_the_message_says_what_to_install(use: Any) -> None:
    compiler = use(nvrtc.Nvrtc())
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
def test_an_error_of_the_compiler_comes_with_its_whole_log(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(nvrtc.Nvrtc())
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
def test_an_architecture_that_nvrtc_has_not_is_told_with_those_it_has(folder: Path, use: Any) -> None:
    use(nvrtc.Nvrtc())
    with pytest.raises(builder.CompileError, match=r"for sm_30:\n(.|\n)*knows sm_.*sm_90") as caught:
        builder.cubin(*ADAMW[:3], "sm_30")
    assert "gpu-architecture" in str(caught.value)
    assert not folder.exists()
