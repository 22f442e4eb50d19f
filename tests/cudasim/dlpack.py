"""DLPack capsules over device memory, old and versioned."""

from __future__ import annotations

import ctypes
from typing import Any

CUDA = 2
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_BFLOAT = 4
_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_api.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_alive: dict[int, Any] = {}  # what capsules hold, by the address of their struct


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(struct: int) -> None:
    _alive.pop(struct, None)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _drop(capsule: int) -> None:
    """Nobody took what the capsule holds."""
    for name in (b"dltensor", b"dltensor_versioned"):
        if _api.PyCapsule_IsValid(capsule, name):
            _delete(_api.PyCapsule_GetPointer(capsule, name))


def capsule(array: Any, versioned: bool, device_type: int = CUDA) -> Any:
    """A capsule that keeps the array alive until its taker calls the deleter."""
    name = array.dtype.name
    struct = _Versioned() if versioned else _Managed()
    count = max(1, array.ndim)
    shape = (ctypes.c_int64 * count)(*array.shape)
    strides = (ctypes.c_int64 * count)(*(each // array.dtype.itemsize for each in array.strides))
    tensor = struct.tensor
    tensor.data = array.data.ptr if array.size else None
    tensor.device_type, tensor.device_id = device_type, array.data.device_id
    tensor.ndim, tensor.lanes = array.ndim, 1
    tensor.code = _BFLOAT if name == "bfloat16" else _CODES[array.dtype.kind]
    tensor.bits = array.dtype.itemsize * 8
    tensor.shape, tensor.strides = shape, strides
    struct.deleter = ctypes.cast(_delete, ctypes.c_void_p)
    if versioned:
        struct.major = 1
    at = ctypes.addressof(struct)
    _alive[at] = (struct, shape, strides, array)
    return _api.PyCapsule_New(
        at, b"dltensor_versioned" if versioned else b"dltensor", ctypes.cast(_drop, ctypes.c_void_p)
    )


def held() -> int:
    """How many capsules' structs are alive."""
    return len(_alive)
