"""From a kernel's name to its cubin on disk: the one place where text, options, cache and compiler meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from schuss import _core
from schuss._engine.cuda import cache, driver, nvrtc, source
from schuss._engine.cuda.nvrtc import CompileError
from schuss._engine.cuda.source import Variant

__all__ = ["CompileError", "Compiler", "Made", "compiler", "cubin", "make"]


class Compiler(Protocol):
    """What compiles: NVRTC, or who stands in for it."""

    @property
    def version(self) -> str | None: ...

    def compile(self, text: str, options: Sequence[str], name: str) -> bytes: ...


class Made(NamedTuple):
    """A kernel on disk, and whether it had to be compiled."""

    path: Path
    compiled: bool


compiler: Compiler = nvrtc.Nvrtc()


def cubin(kind: str, rule: str | None, variants: Sequence[Variant], arch: str) -> Path:
    """A kernel's cubin: out of the cache, else compiled and kept.

    Without a compiler, an entry that any NVRTC made of the same text serves. Raises `CompileError` with the log, an
    ImportError where there is neither entry nor compiler, a RuntimeError where the only entry is damaged.
    """
    return make(kind, rule, variants, arch).path


def make(kind: str, rule: str | None, variants: Sequence[Variant], arch: str, folder: Path | None = None) -> Made:
    """`cubin`, saying whether it compiled; into `folder` where one is named."""
    text, options = source.text(kind, rule, variants), source.options(arch)
    what = {"kind": kind, "rule": rule, "variants": [list(each) for each in variants], "arch": arch}
    request = {**what, "options": options, "text": text}
    name, version = cache.digest(request), compiler.version
    path, damaged = cache.find(name, version, folder, newest=None if version else driver.major())
    if path is not None:
        return Made(path, False)
    if version is None:
        title = f"{source.title(kind, rule, variants)} for {arch}"
        if damaged:
            raise RuntimeError(f"{damaged[0]}, the kernel {title}, is damaged. {nvrtc.missing()}")
        raise ImportError(f"no compiled kernel {title}. {nvrtc.missing()}")
    made = compiler.compile(text, options, source.title(kind, rule, variants))
    facts = {**what, "options": options, "entry": source.ENTRY, "schuss": _core.__version__}
    return Made(cache.put(name, version, made, facts, folder), True)
