"""What the CUDA driver says of itself and its devices, without CuPy."""

from __future__ import annotations

import ctypes
from functools import cache

_MAJOR, _MINOR = 75, 76  # attributes of a device: its compute capability


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def major() -> int | None:
    """The CUDA that the driver is for, 12 or 13; None where there is no driver."""
    number = ctypes.c_int()
    library = _library()
    if library is None or library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000


def architectures() -> tuple[str, ...]:
    """Those of the devices here, each once: ``("sm_90",)``."""
    library, count = _library(), ctypes.c_int()
    if library is None or library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    found = set()
    for index in range(count.value):
        device, high, low = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceGetAttribute(ctypes.byref(high), _MAJOR, device)
        library.cuDeviceGetAttribute(ctypes.byref(low), _MINOR, device)
        found.add(f"sm_{high.value}{low.value}")
    return tuple(sorted(found))
