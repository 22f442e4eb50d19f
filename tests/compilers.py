"""What stands in NVRTC's place in tests of what is around it, and whether it is here itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from schuss._engine.cuda import nvrtc

needs_nvrtc = pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not here: pip install nvidia-cuda-nvrtc")

ADAMW = ("map", "adamw", ((3, "float32", "float32"),), "sm_90")  # a kernel, as the builder is asked for it


class Pretender:
    """Stands in for NVRTC: its cubin is a digest of what it was given."""

    def __init__(self, version: str | None = "13.0") -> None:
        self.version = version
        self.named: list[str] = []

    def compile(self, text: str, options: Sequence[str], name: str) -> bytes:
        self.named.append(name)
        return hashlib.sha256("\n".join([text, *options]).encode()).digest() * 100


class Refuser(Pretender):
    """A compiler that nobody may use."""

    def compile(self, text: str, options: Sequence[str], name: str) -> bytes:
        raise AssertionError(f"{name} was compiled")
