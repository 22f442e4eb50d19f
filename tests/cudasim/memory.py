"""Device memory that a host program cannot touch by mistake, and pinned memory that it can.

A device's memory is one file in memory mapped twice: at the addresses that the program under test sees, closed but
while a kernel runs, and at others by which the simulation itself reads and writes. New memory is filled with junk,
freed memory with poison, and between allocations lie guards that must not change.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

SIZE = 64 << 30  # addresses of a device, nearly all of them without memory behind
ALIGNMENT = 512
GUARD = 256  # bytes, and what follows up to the next multiple of ALIGNMENT
JUNK, POISON, FENCE = 0x5A, 0xA5, 0xC7
QUARANTINE = 64 << 20  # bytes of freed memory that are not given out again
WHOLE = 64 << 20  # a larger allocation gets its junk at both ends only

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NONE, _BOTH = 0, mmap.PROT_READ | mmap.PROT_WRITE


class Fault(RuntimeError):
    """What a device would answer with an error, or with wrong numbers in silence."""


class Block:
    """An allocation, its place in a device's memory or among the pinned."""

    __slots__ = ("at", "freed", "size")

    def __init__(self, at: int, size: int) -> None:
        self.at, self.size, self.freed = at, size, False


class Blocks:
    """Allocations by address."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._blocks: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        bisect.insort(self._starts, block.at)
        self._blocks[block.at] = block

    def remove(self, block: Block) -> None:
        del self._starts[bisect.bisect_left(self._starts, block.at)]
        del self._blocks[block.at]

    def find(self, at: int) -> Block | None:
        """The block that holds the byte at this address, freed or not."""
        index = bisect.bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        block = self._blocks[self._starts[index]]
        return block if at < block.at + max(block.size, 1) else None

    def __iter__(self) -> Iterator[Block]:
        return iter(list(self._blocks.values()))


def _map(file: int, protection: int) -> int:
    at = _libc.mmap(None, SIZE, protection, mmap.MAP_SHARED | 0x4000, file, 0)  # MAP_NORESERVE
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "the simulated device got no addresses")
    return int(at)


class Arena:
    """One device's memory."""

    def __init__(self, device: int) -> None:
        self.device = device
        file = os.memfd_create(f"cudasim-{device}")
        os.ftruncate(file, SIZE)
        self.base, self._inside = _map(file, _NONE), _map(file, _BOTH)
        self._bytes = host_bytes(self._inside, SIZE)
        os.close(file)
        self.blocks = Blocks()
        self._used = ALIGNMENT
        self._free: dict[int, list[int]] = {}
        self._quarantine: deque[Block] = deque()
        self._quarantined = 0
        self._open = 0
        self.closed = False

    def close(self) -> None:
        self.closed = True
        _libc.munmap(self.base, SIZE)
        _libc.munmap(self._inside, SIZE)

    def __contains__(self, at: int) -> bool:
        return self.base <= at < self.base + SIZE

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The addresses that programs see can be read and written: a kernel runs."""
        _libc.mprotect(self.base, self._used, _BOTH)
        try:
            yield
        finally:
            _libc.mprotect(self.base, self._used, _NONE)

    def inside(self, at: int, size: int) -> np.ndarray[Any, Any]:
        """The bytes at an address of the device, for the simulation itself."""
        return self._bytes[at - self.base : at - self.base + size]

    def allocate(self, size: int) -> Block:
        room = _room(size)
        spare = self._free.get(room)
        at = spare.pop() if spare else self.base + self._used
        if not spare and at == self.base + self._used:
            self._used += -(-room // mmap.PAGESIZE) * mmap.PAGESIZE if room > WHOLE else room
            if self._used > SIZE:
                raise MemoryError("the simulated device is full")
        block = Block(at + ALIGNMENT, size)
        self._fill(block, JUNK)
        self.inside(at, ALIGNMENT)[:] = FENCE
        self.inside(block.at + size, room - ALIGNMENT - size)[:] = FENCE
        self.blocks.add(block)
        return block

    def free(self, block: Block) -> None:
        """Poison it; nothing else lies there for a while."""
        self.check_fences(block)
        block.freed = True
        self._fill(block, POISON)
        self._quarantine.append(block)
        self._quarantined += block.size
        while self._quarantined > QUARANTINE:
            oldest = self._quarantine.popleft()
            self._quarantined -= oldest.size
            self.check_poison(oldest)
            self.blocks.remove(oldest)
            self._free.setdefault(_room(oldest.size), []).append(oldest.at - ALIGNMENT)

    def _fill(self, block: Block, value: int) -> None:
        if block.size <= WHOLE:
            self.inside(block.at, block.size)[:] = value
        else:
            for at in (block.at, block.at + block.size - (1 << 20)):
                self.inside(at, 1 << 20)[:] = value

    def check_fences(self, block: Block) -> None:
        room = _room(block.size) - ALIGNMENT - block.size
        for at, size, side in ((block.at - GUARD, GUARD, "before"), (block.at + block.size, room, "past")):
            if (self.inside(at, size) != FENCE).any():
                raise Fault(f"{block.size} bytes of device {self.device} at {block.at:#x}: something wrote {side} them")

    def check_poison(self, block: Block) -> None:
        size = block.size if block.size <= WHOLE else 1 << 20
        if (self.inside(block.at, size) != POISON).any():
            raise Fault(
                f"{block.size} bytes of device {self.device} at {block.at:#x} were written after they were freed"
            )

    def check(self) -> None:
        """Nothing wrote where nothing is."""
        for block in self.blocks:
            if block.freed:
                self.check_poison(block)
            else:
                self.check_fences(block)


def _room(size: int) -> int:
    return ALIGNMENT + -(-(size + GUARD) // ALIGNMENT) * ALIGNMENT


class PinnedPool:
    """Host memory that copies may read while the program goes on."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._kept: dict[int, Any] = {}

    def allocate(self, size: int) -> Block:
        memory = np.full(size + 64, JUNK, np.uint8)
        block = Block(-(-memory.ctypes.data // 64) * 64, size)
        self._kept[block.at] = memory
        self.blocks.add(block)
        return block

    def free(self, block: Block) -> None:
        """It stays, poisoned, as long as the simulation does."""
        block.freed = True
        host_bytes(block.at, block.size)[:] = POISON


def host_bytes(at: int, size: int) -> np.ndarray[Any, Any]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(at))
