"""A leaf of more than 2^31 elements: indices of 64 bits, on the way there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from gpu_device import ON_DEVICE, TO_HOST
from gpu_twins import FORMATS, normal, same

pytestmark = pytest.mark.gpu
PERIOD = 1 << 20  # elements of which the arrays are repetitions
LEAST = 12 << 30  # bytes free


def repeated(gpu: Any, run: np.ndarray, count: int) -> Any:
    """An array of so many elements, the run over and over."""
    array = gpu.cupy.ndarray((count,), run.dtype, gpu.cuda.alloc(count * run.dtype.itemsize))
    size, total = run.nbytes, count * run.dtype.itemsize
    gpu.write(gpu.cupy.ndarray(run.shape, run.dtype, array.data), run)
    while size < total:  # what is there is doubled
        more = min(size, total - size)
        gpu.runtime.memcpyAsync(array.data.ptr + size, array.data.ptr, more, ON_DEVICE, 0)
        size += more
    return array


@pytest.mark.parametrize("clip", [None, 1e9])
def test_a_leaf_of_more_than_two_to_the_31_elements(gpu: Any, clip: float | None) -> None:
    if "bfloat16" not in FORMATS:
        pytest.skip("bfloat16 needs ml_dtypes")
    count = (1 << 31) + 5000 if not gpu.simulated else 3 * PERIOD + 5000
    if gpu.free_memory() < LEAST and not gpu.simulated:
        pytest.skip(f"less than {LEAST >> 30} GiB of the device's memory are free")
    p, g = normal(1, PERIOD, FORMATS["bfloat16"]), normal(2, PERIOD, FORMATS["bfloat16"])
    there, given = repeated(gpu, p, count), repeated(gpu, g, count)
    want, got = schuss.SGD(p, lr=0.1), schuss.SGD(there, lr=0.1, clip=clip)
    for _ in range(3):
        want.step(g)
        info = got.step(given)
    if clip is not None:
        assert info.grad_norm == pytest.approx(np.sqrt(count / PERIOD * np.sum(g.astype(np.float64) ** 2)), rel=1e-4)
    gpu.runtime.deviceSynchronize()
    host = np.empty(PERIOD, p.dtype)
    for first in range(0, count, PERIOD):
        some = min(PERIOD, count - first)
        gpu.runtime.memcpy(host.ctypes.data, there.data.ptr + 2 * first, 2 * some, TO_HOST)
        same(host[:some], p[:some], f"from element {first} on")
