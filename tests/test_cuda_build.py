"""From a kernel's name to a cubin on disk: what is kept, under which key, and all that can become of it."""

from __future__ import annotations

import hashlib
import json
import os
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
from compilers import ADAMW, Pretender, Refuser
from helpers import output_of
from schuss._engine.cuda import builder, cache, driver, source


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


def test_what_is_written_takes_its_name_when_it_is_whole(folder: Path, use: Any, monkeypatch: Any) -> None:
    use(Pretender())
    write, replace, parts = Path.write_bytes, os.replace, []

    def replacing(part: Path, path: Path) -> None:
        parts.append(part.name)
        assert part.parent == path.parent  # of one file system
        replace(part, path)

    monkeypatch.setattr(os, "replace", replacing)
    for _ in range(2):
        builder.cubin(*ADAMW).unlink()
    assert len(set(parts)) == 4

    def filling(path: Path, content: bytes) -> int:
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    before = sorted(folder.iterdir())
    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.warns(RuntimeWarning, match="No space left on device"), pytest.raises(OSError, match="No space left"):
        builder.cubin(*ADAMW)  # nor is there room in the folder of last resort
    assert sorted(folder.iterdir()) == before


def test_clearing_takes_kernels_and_litter_and_nothing_else(folder: Path, use: Any) -> None:
    use(Pretender())
    path = builder.cubin(*ADAMW)
    (folder / f".{path.stem}.7-0a1b.part").write_bytes(b"")  # of a process that was killed
    for name in ("notes.json", "mine.cubin"):
        (folder / name).write_text("mine")
    assert cache.clear() == 1
    assert sorted(each.name for each in folder.iterdir()) == ["mine.cubin", "notes.json"]
