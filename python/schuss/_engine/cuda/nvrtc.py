"""NVRTC by ctypes: found by the names of its files, loaded only when something is to be compiled."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from schuss._engine.cuda import driver

MAJORS = (13, 12)  # those that this binding is written for, newest first


class CompileError(RuntimeError):
    """A kernel did not compile: its name, the architecture and the compiler's whole log."""


class Library(NamedTuple):
    """An NVRTC on disk."""

    path: str
    builtins: str | None  # loaded first: the library asks for it by its bare name
    version: str | None  # "13.0"; None where the files do not tell


class Built(NamedTuple):
    """What a compilation gave."""

    cubin: bytes
    ptx: str
    log: str


class Nvrtc:
    """The compiler of this process."""

    def __init__(self) -> None:
        self._library: Library | None = None
        self._loaded: ctypes.CDLL | None = None

    @property
    def version(self) -> str | None:
        """``"13.0"``; None where there is no NVRTC."""
        if self._library is None:
            self._library = find()
            if self._library is not None and self._library.version is None:
                self._library = self._library._replace(version=_version_of(self._load()))
        return None if self._library is None else self._library.version

    def compile(self, text: str, options: Sequence[str], name: str) -> bytes:
        """The cubin of a text; a `CompileError` with the log where it is wrong, an ImportError without NVRTC."""
        return self.build(text, options, name).cubin

    def build(self, text: str, options: Sequence[str], name: str) -> Built:
        """`compile`, and what else NVRTC says."""
        if self.version is None:
            raise ImportError(missing())
        library = self._load()
        program = ctypes.c_void_p()
        source = f"{re.sub(r'[^a-z0-9]+', '_', name).strip('_')}.cu".encode()
        _check(library, library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), source, 0, None, None))
        try:
            given = (ctypes.c_char_p * len(options))(*(each.encode() for each in options))
            failed = library.nvrtcCompileProgram(program, len(options), given)
            log = _read(library, program, "ProgramLog").decode(errors="replace").rstrip("\0").strip()
            if failed:
                raise CompileError(self._told(library, name, options, log or _meaning(library, failed)))
            ptx = _read(library, program, "PTX").decode().rstrip("\0")
            return Built(_read(library, program, "CUBIN"), ptx, log)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _load(self) -> ctypes.CDLL:
        if self._loaded is None:
            assert self._library is not None
            if self._library.builtins:
                ctypes.CDLL(self._library.builtins, mode=ctypes.RTLD_GLOBAL)
            library = ctypes.CDLL(self._library.path)
            library.nvrtcGetErrorString.restype = ctypes.c_char_p
            self._loaded = library
        return self._loaded

    def _told(self, library: ctypes.CDLL, name: str, options: Sequence[str], log: str) -> str:
        arch = next((each.partition("=")[2] for each in options if each.startswith("--gpu-architecture=")), "no arch")
        known = _architectures(library)
        unknown = arch.rstrip("af") not in known and f"\nNVRTC {self.version} knows {', '.join(known)}."
        return f"NVRTC {self.version} did not compile {name} for {arch}:\n{log}{unknown or ''}"


def find() -> Library | None:
    """The NVRTC to use: of the pip wheels, of CUDA_PATH or CUDA_HOME, or of the system; None where there is none.

    A driver of CUDA 12 loads no cubin of 13, so that of two the one it can use is taken.
    """
    candidates = [found for folder in folders() for found in _in_folder(folder)] or list(_by_loader())
    if len({_major(each) for each in candidates}) > 1:
        here = driver.major()
        candidates = [each for each in candidates if here is None or _major(each) <= here] or candidates
    return candidates[0] if candidates else None


def folders() -> Iterator[Path]:
    """Where NVRTC is looked for, in this order, before the system's loader is asked."""
    spec = find_spec("nvidia")
    wheels = list((spec and spec.submodule_search_locations) or ())
    for name in ("cu13", "cuda_nvrtc"):  # of CUDA 13, of 12
        yield from (Path(each) / name / "lib" for each in wheels)
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "lib64"
            yield Path(os.environ[variable]) / "lib"
    yield Path(sys.prefix) / "lib"
    yield Path("/usr/local/cuda/lib64")


def missing() -> str:
    """What to say where there is no NVRTC."""
    looked = [str(folder) for folder in folders()] + [
        f"lib{name}.so.{major}" for name in ("nvrtc",) for major in MAJORS
    ]
    return (
        "NVRTC, which compiles the CUDA kernels, is not here. Install it: "
        'pip install "schuss[cuda13]" (or "schuss[cuda12]" where the driver is for CUDA 12); '
        "or fill the cache of kernels on another machine by `schuss compile`. "
        f"Looked for in {', '.join(looked)}"
    )


def _in_folder(folder: Path) -> Iterator[Library]:
    """Newest first."""
    for major in MAJORS:
        path = folder / f"libnvrtc.so.{major}"
        if path.is_file():
            pattern = rf"libnvrtc-builtins\.so\.({major}\.\d+)"
            versions = {found[1] for each in folder.iterdir() if (found := re.fullmatch(pattern, each.name))}
            version = versions.pop() if len(versions) == 1 else None
            builtins = str(folder / f"libnvrtc-builtins.so.{version}") if version else None
            yield Library(str(path), builtins, version)


def _by_loader() -> Iterator[Library]:
    for major in MAJORS:
        try:
            ctypes.CDLL(f"libnvrtc.so.{major}")
        except OSError:
            continue
        yield Library(f"libnvrtc.so.{major}", None, None)


def _major(library: Library) -> int:
    return int(library.path.rpartition(".")[2])


def _version_of(library: ctypes.CDLL) -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(library, library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def _architectures(library: ctypes.CDLL) -> list[str]:
    count = ctypes.c_int()
    _check(library, library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    numbers = (ctypes.c_int * count.value)()
    _check(library, library.nvrtcGetSupportedArchs(numbers))
    return [f"sm_{number}" for number in numbers]


def _read(library: ctypes.CDLL, program: Any, what: str) -> bytes:
    get: Callable[..., int] = getattr(library, f"nvrtcGet{what}")
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, get(program, buffer))
    return buffer.raw


def _meaning(library: ctypes.CDLL, code: int) -> str:
    return library.nvrtcGetErrorString(code).decode()


def _check(library: ctypes.CDLL, code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC: {_meaning(library, code)}")
