"""The compiler that stands in for NVRTC: g++ over the shim. Gives shared objects where NVRTC gives cubins."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path

from cudasim.modules import sealed

HERE = Path(__file__).parent
GXX = shutil.which("g++")
KERNEL_FLAGS = [
    *["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wno-unknown-pragmas"],
    # As the kernels ask it of NVRTC: no contraction. Types are punned as CUDA allows.
    *["-ffp-contract=off", "-fno-strict-aliasing"],
    "-fstack-clash-protection",  # a stack that runs over meets its guard
    # A device faults where an address is misaligned; the others are wrong everywhere.
    "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero,unreachable,return",
    "-fno-sanitize-recover",
]
RUNTIME_FLAGS = ["-std=c++17", "-O2", "-g1", "-shared", "-fPIC", "-fvisibility=hidden"]
EXPECTED_OPTIONS = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--std=c++17")


class Compiler:
    """``builder.compiler`` of a simulation; what it has made stays in ``folder``, for all processes that share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiled: list[str] = []  # titles, in order

    @cached_property
    def version(self) -> str:
        return f"sim.{_digest()[:12]}"

    @cached_property
    def runtime(self) -> Path:
        """The simulator's library, built once."""
        path = self.folder / f"libcudasim-{_digest()[:16]}.so"
        with _locked(path):
            if not path.exists():
                _build([*RUNTIME_FLAGS, str(HERE / "runtime.cpp")], path)
        return path

    def compile(self, text: str, options: Sequence[str], name: str) -> bytes:
        missing = [option for option in EXPECTED_OPTIONS if option not in options]
        assert not missing, f"{name} is compiled without {', '.join(missing)}"
        self.compiled.append(name)
        key = hashlib.sha256(f"{_digest()}\n{text}".encode()).hexdigest()[:32]
        source, path = self.folder / f"{key}.cpp", self.folder / f"{key}.so"
        with _locked(path):
            if not path.exists():
                source.write_text(f'{text}\n#include "entry.hpp"\n', encoding="utf-8")
                include = ["-include", "device.hpp", f"-I{HERE}"]
                _build([*KERNEL_FLAGS, *include, str(source), "-nodefaultlibs", "-lm", "-lc", "-lgcc"], path, name)
        return sealed(path.read_bytes())


@cache
def _digest() -> str:
    """Of all that a library depends on beside its text."""
    parts = [path.read_bytes() for path in sorted(HERE.glob("*.[ch]pp"))]
    parts += [" ".join(KERNEL_FLAGS + RUNTIME_FLAGS).encode()]
    parts += [subprocess.run([str(GXX), "--version"], capture_output=True, check=True).stdout]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time makes this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(words: list[str], path: Path, name: str = "the simulator") -> None:
    from schuss._engine.cuda.builder import CompileError

    part = path.with_suffix(".part")
    done = subprocess.run(
        [str(GXX), *words, "-o", str(part)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        raise CompileError(f"{name} did not compile\n{done.stderr}")
    os.replace(part, path)
