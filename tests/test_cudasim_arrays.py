"""Arrays of the stand-in for CuPy: views as NumPy's, and what they show to other libraries."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import cudasim
import numpy as np
import pytest
from cudasim import dlpack
from helpers import BFLOAT16

pytestmark = pytest.mark.skipif(not cudasim.available, reason="simulating CUDA needs g++ on 64-bit Linux")

VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "row": lambda x: x[1],
    "column": lambda x: x[:, 2],
    "steps": lambda x: x[::2, 1::2],
    "backwards": lambda x: x[::-1, ::-2],
    "transposed": lambda x: x.T,
    "reshaped": lambda x: x.reshape(2, 2, 6),
    "new axis": lambda x: x[None, :, 0:1],
    "one element": lambda x: x[2, 3],
    "empty": lambda x: x[2:2],
    "flat": lambda x: x.ravel(),
    "a copy of a view": lambda x: x.T.copy(),
    "reshaped where no view will do": lambda x: x.T.reshape(-1),
    "another type": lambda x: x.astype(np.float64),
    "as bits": lambda x: x.view(np.int32),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_numpy_s(cupy: Any, name: str) -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    whole = cupy.asarray(host)
    got, want = VIEWS[name](whole), VIEWS[name](host)
    assert (got.shape, got.dtype, got.size, got.nbytes) == (want.shape, want.dtype, want.size, want.nbytes)
    assert got.get().tolist() == want.tolist()
    assert got._c_contiguous == got.flags.c_contiguous == want.flags.c_contiguous
    told = got.__cuda_array_interface__
    assert told["strides"] == (None if want.flags.c_contiguous else want.strides)
    if want.base is not None and got.base is not None:
        assert got.strides == want.strides
        assert got.data.ptr - whole.data.ptr == want.ctypes.data - host.ctypes.data
    again = cupy.asarray(type("Other", (), {"__cuda_array_interface__": told})())
    assert again.get().tolist() == want.tolist()


def test_arrays_are_filled_and_changed_in_the_streams_order(cuda: Any, cupy: Any) -> None:
    a = cupy.asarray(np.arange(4, dtype=np.float32), dtype=BFLOAT16)
    assert (a.dtype, a.get().dtype, a.itemsize) == (BFLOAT16, BFLOAT16, 2)
    b = cupy.zeros((2, 4), np.float32)
    b[1] = np.arange(4)
    b += b
    b *= 2
    b -= 1
    assert cuda.waiting()
    assert b.get().tolist() == [[-1] * 4, [-1, 3, 7, 11]]
    assert float(b[1, 1]) == 3
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(b)


def test_a_misaligned_array_lies_where_it_was_asked_to(cupy: Any) -> None:
    a = cudasim.misaligned(cupy.asarray(np.arange(3, dtype=np.float32)))
    assert a.data.ptr % 16 == 4
    assert a._c_contiguous
    assert a.get().tolist() == [0, 1, 2]


@pytest.mark.parametrize("versioned", [False, True])
def test_a_capsule_tells_where_the_array_lies(cupy: Any, versioned: bool) -> None:
    a = cupy.zeros((3, 4), BFLOAT16)[:, ::2]
    assert a.__dlpack_device__() == (2, 0)
    before = dlpack.held()
    capsule = a.__dlpack__(max_version=(1, 0) if versioned else None)
    name = b"dltensor_versioned" if versioned else b"dltensor"
    kind = dlpack._Versioned if versioned else dlpack._Managed
    at = dlpack._api.PyCapsule_GetPointer(ctypes.c_void_p(id(capsule)), name)
    struct = kind.from_address(at)
    tensor = struct.tensor
    assert (tensor.data, tensor.device_type, tensor.device_id, tensor.ndim) == (a.data.ptr, 2, 0, 2)
    assert (tensor.code, tensor.bits, tensor.lanes, tensor.byte_offset) == (4, 16, 1, 0)
    assert (tensor.shape[:2], tensor.strides[:2]) == ([3, 2], [4, 2])
    references = sys.getrefcount(a)
    if versioned:  # taken: renamed, and deleted by whoever took it
        assert (struct.major, struct.flags) == (1, 0)
        ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), b"used_dltensor_versioned")
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(struct.deleter)(at)
    del capsule
    assert sys.getrefcount(a) == references - 1
    assert dlpack.held() == before


def test_the_stream_of_a_capsule_waits_for_the_current_one(cuda: Any, cupy: Any) -> None:
    a, other = cupy.ones(3), cupy.cuda.Stream(non_blocking=True)
    a.__dlpack__(stream=other.ptr)
    other.synchronize()
    assert a._shadow().tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="valid stream"):
        a.__dlpack__(stream=0)
