"""Compiled kernels: `cupy.RawModule` and what its functions are."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cudasim.memory import Fault
from cudasim.simulation import CUDADriverError, CUDARuntimeError, Operation
from cudasim.state import now
from cudasim.streams import queue_of

SEAL = b"cudasim-sha256:"  # with the digest of what stands before it: a library that is cut short cannot be loaded
_loaded: dict[bytes, ctypes.CDLL] = {}  # by digest
_runtimes: dict[Path, ctypes.CDLL] = {}


def sealed(library: bytes) -> bytes:
    return library + SEAL + hashlib.sha256(library).digest()


def runtime_library(path: Path) -> ctypes.CDLL:
    """The simulator's own library, against which kernels are bound."""
    if path not in _runtimes:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        library.cudasim_message.restype = ctypes.c_char_p
        library.cudasim_order.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64]
        _runtimes[path] = library
    return _runtimes[path]


def set_order(threads: str = "forward", blocks: str | None = None, seed: int = 0) -> None:
    """In which order threads and blocks run: "forward", "reverse" or "random"."""
    for library in _runtimes.values():
        library.cudasim_order(threads.encode(), (blocks or threads).encode(), seed)


def load(path: str | os.PathLike[str]) -> ctypes.CDLL:
    """A library by what it holds: the loader itself goes by names, and keeps what an earlier file of that name was."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CUDADriverError("CUDA_ERROR_FILE_NOT_FOUND: file not found") from error
    library, seal, digest = content.rpartition(SEAL)
    if not seal or hashlib.sha256(library).digest() != digest:
        raise CUDADriverError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
    if digest not in _loaded:
        with tempfile.NamedTemporaryFile(suffix=".so") as copy:
            copy.write(library)
            copy.flush()
            _loaded[digest] = ctypes.CDLL(copy.name)
        _loaded[digest].run.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        _loaded[digest].cudasim_argument_size.restype = ctypes.c_size_t
    return _loaded[digest]


class RawModule:
    def __init__(self, *, code: str | None = None, path: str | None = None) -> None:
        if code is not None or path is None:
            raise NotImplementedError("only RawModule(path=…) is simulated: nothing is to be compiled by CuPy")
        self.file_path = path

    def get_function(self, name: str) -> RawKernel:
        library = load(self.file_path)
        if name != "schuss_kernel":
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return RawKernel(library, name, _title(Path(self.file_path)))


def _title(path: Path) -> str:
    """A kernel's name in the log: "sum", "map adamw"."""
    try:
        told = json.loads(path.with_suffix(".json").read_text())
        return " ".join(filter(None, (told["kind"], told["rule"])))
    except (OSError, LookupError, ValueError):
        return path.stem


class RawKernel:
    num_regs = 64
    max_threads_per_block = 256

    def __init__(self, library: ctypes.CDLL, name: str, title: str) -> None:
        self._library, self.name, self.title = library, name, title

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, *, shared_mem: int = 0, stream: Any = None
    ) -> None:
        (struct,) = args
        if not isinstance(struct, np.ndarray) or struct.size != 1:
            raise TypeError(f"kernel arguments are {type(struct).__name__}, expected one array of size one")
        expected = self._library.cudasim_argument_size()
        if struct.nbytes != expected:
            raise Fault(f"the kernel's argument has {struct.nbytes} bytes, expected {expected}")
        queue = queue_of(stream)
        if queue.device != now().device:
            raise CUDARuntimeError(400)
        if any(each > 1 for each in (*grid[1:], *block[1:])) or shared_mem:
            raise NotImplementedError("grids and blocks of one dimension without dynamic memory are simulated")
        arguments = struct.tobytes()  # the launch takes a copy

        def run() -> None:
            now().check_arguments(arguments, queue.device)
            with now().arenas[queue.device].opened():
                code = self._library.run(arguments, grid[0], block[0])
            if code:
                message = next(iter(_runtimes.values())).cudasim_message().decode()
                raise Fault(f"{self.title}: {message}{_place(message)}")

        now().enqueue(queue, Operation("launch", self.title, lambda: run))


def _place(message: str) -> str:
    """Whose memory it was that a kernel could not reach."""
    if "illegal memory access at" not in message:
        return ""
    at = int(message.rsplit(" ", 1)[1], 16) if "0x" in message else 0
    arena = now().arena_of(at)
    return f", memory of device {arena.device}" if arena else ""
