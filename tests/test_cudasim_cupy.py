"""The stand-in for CuPy: work is queued, memory is watched, and what CuPy refuses it refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cudasim
import numpy as np
import pytest
from cudasim.compiler import EXPECTED_OPTIONS

pytestmark = pytest.mark.skipif(not cudasim.available, reason="simulating CUDA needs g++ on 64-bit Linux")

TO_DEVICE, TO_HOST, ON_DEVICE = 1, 2, 3
TEXT = """
namespace schuss { struct Launch { double* to; const double* from; long long n; }; }
extern "C" __global__ void __launch_bounds__(256) schuss_kernel(const schuss::Launch a) {
  for (long long i = blockIdx.x * 256 + threadIdx.x; i < a.n; i += gridDim.x * 256) a.to[i] = FORMULA;
}
"""
LAUNCH = np.dtype([("to", "u8"), ("from", "u8"), ("n", "i8")])


def kernel_file(path: Path, formula: str) -> Path:
    path.write_bytes(cudasim.compiler().compile(TEXT.replace("FORMULA", formula), EXPECTED_OPTIONS, formula))
    return path


@pytest.fixture
def add_one(cupy: Any, tmp_path: Path) -> Callable[..., None]:
    """Queues to[i] = from[i] + 1."""
    module = cupy.RawModule(path=str(kernel_file(tmp_path / "add.cubin", "a.from[i] + 1")))
    kernel = module.get_function("schuss_kernel")

    def launch(to: Any, source: Any, stream: Any = None, n: int | None = None) -> None:
        struct = np.array((to.data.ptr, source.data.ptr, source.size if n is None else n), LAUNCH)
        kernel((2,), (256,), (struct,), stream=stream)
        struct["n"] = -1  # the launch took a copy

    return launch


def pinned(cupy: Any, values: np.ndarray) -> tuple[Any, np.ndarray]:
    memory = cupy.cuda.alloc_pinned_memory(values.nbytes)
    view = np.frombuffer(memory, values.dtype, values.size)
    view[:] = values
    return memory, view


# Work is queued.


def test_nothing_runs_until_somebody_waits(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, b = cupy.asarray(np.arange(5.0)), cupy.zeros(5)
    cuda.drain()
    with cuda.counting() as asked:
        add_one(b, a)
        add_one(a, b)
    assert asked == {"launch": 2}
    assert cuda.waiting() == [("launch", "add"), ("launch", "add")]
    assert b._shadow().tolist() == [0] * 5
    with cuda.counting() as asked:
        assert cupy.asnumpy(a).tolist() == [2, 3, 4, 5, 6]
    assert asked == {"synchronize": 1}
    assert cuda.waiting() == []
    cuda.eager = True
    add_one(b, a)
    assert b._shadow().tolist() == [3, 4, 5, 6, 7]


def test_the_device_may_be_anywhere_in_its_work(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, seen = cupy.zeros(1), set()
    cuda.drain()
    for _ in range(3):
        add_one(a, a)
    for done in (0, 1, 2):
        assert a._shadow()[0] == done
        cuda.advance()
    for seed in range(5):
        cuda.restless = random.Random(seed)
        a[...] = 0
        for _ in range(5):
            add_one(a, a)
        seen.add(float(a._shadow()[0]))
        assert a.get() == 5
    assert len(seen) > 1


WAITS = {
    "stream": lambda cupy, a: cupy.cuda.get_current_stream().synchronize(),
    "device": lambda cupy, a: cupy.cuda.Device().synchronize(),
    "runtime": lambda cupy, a: cupy.cuda.runtime.deviceSynchronize(),
    "event": lambda cupy, a: cupy.cuda.get_current_stream().record().synchronize(),
    "memset": lambda cupy, a: cupy.cuda.runtime.memset(a.data.ptr, 0, 8),
    "get": lambda cupy, a: a.get(),
    "item": lambda cupy, a: float(a[0]),
}


@pytest.mark.parametrize("how", WAITS)
def test_what_waits_is_counted(cuda: Any, cupy: Any, how: str) -> None:
    a = cupy.ones(3)
    assert cuda.waiting()
    with cuda.counting() as asked:
        WAITS[how](cupy, a)
    assert asked["synchronize"] == 1
    assert not cuda.waiting()


def test_a_copy_to_memory_that_is_not_pinned_waits(cuda: Any, cupy: Any) -> None:
    a, host = cupy.ones(3), np.zeros(3)
    memory, view = pinned(cupy, np.zeros(3))
    with cuda.counting() as asked:
        cupy.cuda.runtime.memcpyAsync(memory.ptr, a.data.ptr, 24, TO_HOST, 0)
    assert asked == {"copy": 1}
    assert view.tolist() == [0, 0, 0]
    with cuda.counting() as asked:
        cupy.cuda.runtime.memcpyAsync(host.ctypes.data, a.data.ptr, 24, TO_HOST, 0)
    assert asked == {"copy": 1, "synchronize": 1}
    assert view.tolist() == host.tolist() == [1, 1, 1]


def test_a_staging_buffer_must_keep_until_its_copy_runs(cuda: Any, cupy: Any) -> None:
    memory, view = pinned(cupy, np.arange(4.0))
    a = cupy.zeros(4)
    cupy.cuda.runtime.memcpyAsync(a.data.ptr, memory.ptr, 32, TO_DEVICE, 0)
    assert a.get().tolist() == [0, 1, 2, 3]
    cupy.cuda.runtime.memcpyAsync(a.data.ptr, memory.ptr, 32, TO_DEVICE, 0)
    view[2] = 7
    with pytest.raises(cudasim.Fault, match=r"pinned memory at .* overwritten before their copy ran"):
        a.get()
    cuda.faults.clear()


def test_other_host_memory_is_read_at_once(cupy: Any) -> None:
    host, a = np.arange(4.0), cupy.zeros(4)
    cupy.cuda.runtime.memcpyAsync(a.data.ptr, host.ctypes.data, 32, TO_DEVICE, 0)
    b = cupy.asarray(host)
    host[:] = 9
    assert a.get().tolist() == b.get().tolist() == [0, 1, 2, 3]


# Streams.


def test_streams_that_do_not_block_have_no_order(cuda: Any, cupy: Any, add_one: Any) -> None:
    first, second = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    a, b = cupy.zeros(3), cupy.zeros(3)
    cuda.drain()
    add_one(a, a, first)
    add_one(b, a, second)
    cuda.drain()
    assert b.get().tolist() == [1, 1, 1]  # the second ran first
    add_one(a, a, first)
    second.wait_event(first.record())
    add_one(b, a, second)
    second.synchronize()
    assert b.get().tolist() == [3, 3, 3]


def test_blocking_streams_and_the_null_stream_are_in_order(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, b, c = cupy.zeros(3), cupy.zeros(3), cupy.zeros(3)
    cuda.drain()
    pointer = cudasim.foreign_stream(0)
    other = type("Other", (), {"__cuda_stream__": lambda _: (0, pointer)})()
    stream = cupy.cuda.Stream.from_external(other)
    add_one(a, a, stream)
    add_one(b, a)
    add_one(c, b, stream)
    cuda.drain()
    assert [x.get()[0] for x in (a, b, c)] == [1, 2, 3]


def test_the_current_stream_is_the_one_entered(cuda: Any, cupy: Any) -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        assert cupy.cuda.get_current_stream() == stream
        with cupy.cuda.Device(1):
            assert cupy.cuda.get_current_stream().ptr == 0
            with pytest.raises(RuntimeError, match="does not match with the current device"):
                stream.__enter__()
        a = cupy.ones(2)
        assert a.__cuda_array_interface__["stream"] == stream.ptr
    assert cupy.cuda.get_current_stream().ptr == 0
    assert a._shadow().tolist() != [1, 1]
    cupy.cuda.get_current_stream().synchronize()  # of the null stream: the other does not block it
    assert a._shadow().tolist() != [1, 1]
    stream.synchronize()
    assert a._shadow().tolist() == [1, 1]


# Graphs.


def test_a_graph_repeats_what_was_captured(cuda: Any, cupy: Any, add_one: Any) -> None:
    memory, view = pinned(cupy, np.array([5.0, 6.0]))
    a, b = cupy.zeros(2), cupy.zeros(2)
    cuda.drain()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, cuda.counting() as asked:
        stream.begin_capture()
        assert cupy.cuda.runtime.streamIsCapturing(stream.ptr)
        cupy.cuda.runtime.memcpyAsync(a.data.ptr, memory.ptr, 16, TO_DEVICE, stream.ptr)
        add_one(b, a)
        cupy.cuda.runtime.memsetAsync(a.data.ptr, 0, 8, stream.ptr)
        graph = stream.end_capture()
    assert asked == {}
    assert not stream.is_capturing()
    assert not cuda.waiting()
    for values in ([5, 6], [8, 9]):
        view[:] = values  # pinned memory is read at each replay
        graph.launch(stream)
        stream.synchronize()
        assert b.get().tolist() == [value + 1 for value in values]
        assert a.get().tolist() == [0, values[1]]
    assert cuda.counts["graph"] == 2
    graph.launch(stream)
    view[0] = 3
    with pytest.raises(cudasim.Fault, match="overwritten before their copy ran"):
        stream.synchronize()
    cuda.faults.clear()


REFUSED = {
    "synchronize": lambda cupy, stream, a: stream.synchronize(),
    "deviceSynchronize": lambda cupy, stream, a: cupy.cuda.runtime.deviceSynchronize(),
    "memcpy": lambda cupy, stream, a: cupy.cuda.runtime.memcpy(a.data.ptr, a.data.ptr + 8, 8, ON_DEVICE),
    "memset": lambda cupy, stream, a: cupy.cuda.runtime.memset(a.data.ptr, 0, 8),
    "get": lambda cupy, stream, a: a.get(),
    "alloc": lambda cupy, stream, a: cupy.cuda.alloc(8),
    "alloc_pinned_memory": lambda cupy, stream, a: cupy.cuda.alloc_pinned_memory(8),
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_a_capture_does_not_allow_is_refused(cupy: Any, call: str) -> None:
    a, stream = cupy.zeros(4), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(cudasim.CUDARuntimeError, match="not permitted when stream is capturing"):
            REFUSED[call](cupy, stream, a)
        with pytest.raises(RuntimeError, match="invalidated the capture"):
            cupy.cuda.runtime.streamIsCapturing(stream.ptr)
        with pytest.raises(cudasim.CUDARuntimeError, match="previous error during capture"):
            stream.end_capture()
    assert a.get().tolist() == [0, 0, 0, 0]


def test_the_null_stream_is_not_captured_and_what_was_not_captured_not_waited_for(cupy: Any) -> None:
    with pytest.raises(RuntimeError, match="legacy"):
        cupy.cuda.Stream.null.begin_capture()
    event, stream = cupy.cuda.Stream.null.record(), cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    with pytest.raises(cudasim.CUDARuntimeError, match="uncaptured work in another stream"):
        stream.wait_event(event)
    stream.end_capture()


# Memory.


def test_new_memory_is_junk_and_allocations_are_counted(cuda: Any, cupy: Any) -> None:
    with cuda.counting() as asked:
        a = cupy.empty(3, np.uint8)
        memory = cupy.cuda.alloc_pinned_memory(3)
        assert cupy.cuda.alloc(0).ptr == 0
    assert asked == {"alloc": 1, "alloc_pinned": 1}
    assert a.get().tolist() == list(bytes(memory)) == [0x5A] * 3
    assert a.data.ptr % 512 == memory.ptr % 64 == 0


def test_freed_memory_serves_what_was_queued_before_and_nothing_after(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, b = cupy.asarray(np.arange(3.0)), cupy.zeros(3)
    pointer = a.data.ptr
    add_one(b, a)
    del a
    assert b.get().tolist() == [1, 2, 3]
    for use in (
        lambda: cupy.cuda.runtime.memcpy(b.data.ptr, pointer, 24, ON_DEVICE),
        lambda: cupy.cuda.runtime.memset(pointer, 0, 24),
        lambda: (add_one(b, type("A", (), {"data": type("D", (), {"ptr": pointer}), "size": 3})), cuda.drain()),
    ):
        with pytest.raises(cudasim.Fault, match=r"after it was freed|memory that was freed"):
            use()
    cuda.faults.clear()


def test_memory_goes_back_in_the_order_of_the_stream_that_it_was_taken_on(cuda: Any, cupy: Any, add_one: Any) -> None:
    """As CuPy's pool has it: work on another stream may find it used again."""
    a, b, stream = cupy.asarray(np.arange(3.0)), cupy.zeros(3), cupy.cuda.Stream(non_blocking=True)
    cuda.drain()
    add_one(b, a, stream)
    del a
    cupy.cuda.Stream.null.synchronize()
    with pytest.raises(cudasim.Fault, match="memory that was freed"):
        stream.synchronize()
    cuda.faults.clear()


def test_copies_stay_within_their_memory(cuda: Any, cupy: Any) -> None:
    a, b = cupy.zeros(3), cupy.zeros(4)
    with pytest.raises(cudasim.Fault, match="past its end: 24 bytes"):
        cupy.cuda.runtime.memcpy(a.data.ptr, b.data.ptr, 32, ON_DEVICE)
    with pytest.raises(cudasim.CUDARuntimeError, match="invalid argument"):
        cupy.cuda.runtime.memcpy(a.data.ptr, b.data.ptr, 8, TO_DEVICE)
    cuda.faults.clear()


def test_a_kernel_that_writes_past_the_end_is_found_out(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, b = cupy.zeros(4), cupy.zeros(3)
    add_one(b, a)
    with pytest.raises(cudasim.Fault, match=r"24 bytes of device 0 at .*: something wrote past them"):
        cuda.check()
    b._shadow()  # still held
    cuda.faults.clear()
    cuda.arenas[0].inside(b.data.ptr + 24, 8)[:] = 0xC7


def test_a_kernel_that_writes_freed_memory_is_found_out(cuda: Any, cupy: Any, add_one: Any) -> None:
    """By way of a table, where no argument shows it."""
    a = cupy.zeros(3)
    pointer = a.data.ptr
    cuda.drain()
    del a
    cuda.drain()
    cuda.arenas[0].inside(pointer, 8)[:] = 0
    with pytest.raises(cudasim.Fault, match="written after they were freed"):
        cuda.check()
    cuda.faults.clear()
    cuda.arenas[0].inside(pointer, 8)[:] = 0xA5


# Devices.


def test_memory_belongs_to_the_device_that_was_current(cuda: Any, cupy: Any) -> None:
    with cupy.cuda.Device(1):
        a = cupy.ones(2)
        assert cupy.cuda.runtime.getDevice() == 1
    assert (a.device.id, a.data.device_id, cupy.cuda.runtime.getDevice()) == (1, 1, 0)
    assert a.get().tolist() == [1, 1]
    assert cupy.cuda.runtime.getDeviceCount() == 2
    with pytest.raises(cudasim.CUDARuntimeError, match="invalid device"):
        cupy.cuda.runtime.setDevice(2)
    assert cupy.cuda.Device(1).compute_capability == "90"
    assert cupy.cuda.Device(1).attributes["MultiProcessorCount"] == cuda.multiprocessors


def test_a_kernel_runs_on_the_current_device_with_memory_of_its_own(cuda: Any, cupy: Any, add_one: Any) -> None:
    a, stream = cupy.zeros(3), cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.Device(1):
        b = cupy.zeros(3)
        with pytest.raises(cudasim.CUDARuntimeError, match="invalid resource handle"):
            add_one(b, b, stream)
        add_one(b, b)
        assert b.get().tolist() == [1, 1, 1]
        add_one(b, a)
        with pytest.raises(cudasim.Fault, match="memory of device 0; it runs on device 1"):
            cuda.drain()
    cuda.faults.clear()


# Modules.


def test_modules_are_known_by_what_they_hold(cuda: Any, cupy: Any, tmp_path: Path) -> None:
    a, got = cupy.zeros(2), []
    for formula in ("1", "2"):
        path = kernel_file(tmp_path / "k.cubin", formula)
        kernel = cupy.RawModule(path=str(path)).get_function("schuss_kernel")
        kernel((1,), (256,), (np.array((a.data.ptr, a.data.ptr, 2), LAUNCH),))
        got.append(a.get()[0])
    assert got == [1, 2]
    with pytest.raises(cudasim.CUDADriverError, match="NOT_FOUND"):
        cupy.RawModule(path=str(path)).get_function("other")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" + b[1:]]
)
def test_a_damaged_module_is_not_loaded(cupy: Any, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = kernel_file(tmp_path / "k.cubin", "1")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(cudasim.CUDADriverError, match="INVALID_IMAGE"):
        cupy.RawModule(path=str(path)).get_function("schuss_kernel")
