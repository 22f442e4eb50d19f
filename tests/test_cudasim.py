"""The simulated device: right kernels are right in every order, and wrong ones are found out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import REPOSITORY, run_python

if not (REPOSITORY / "cpp").exists():
    pytest.skip("these tests build the source tree", allow_module_level=True)

import cudasim
from cudasim.compiler import EXPECTED_OPTIONS, GXX

pytestmark = pytest.mark.skipif(not cudasim.available, reason="simulating CUDA needs g++ on 64-bit Linux")

INCLUDE = REPOSITORY / "cpp" / "include" / "schuss"
ORDERS = ["forward", "reverse", "random"]
HEAD = "namespace schuss { struct Launch { double* out; const double* in; unsigned* counter; long long n; }; }\n"
ENTRY = 'extern "C" __global__ void __launch_bounds__(256) schuss_kernel(const schuss::Launch a)'
LAUNCH = np.dtype([("out", "u8"), ("in", "u8"), ("counter", "u8"), ("n", "i8")])
N = 10_000


class Bench:
    """A kernel text, run on integers as doubles, whose sums are exact in every order."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self.values = np.arange(N, dtype=np.float64)
        self.out, self.input = cupy.zeros(512), cupy.asarray(self.values)
        self.counter = cupy.zeros(4, np.uint32)

    def kernel(self, body: str, folder: Path) -> Any:
        path = folder / "kernel.cubin"
        path.write_bytes(cudasim.compiler().compile(f"{HEAD}{ENTRY} {{\n{body}\n}}\n", EXPECTED_OPTIONS, "test"))
        return self.cupy.RawModule(path=str(path)).get_function("schuss_kernel")

    def launch(self, kernel: Any, grid: int = 3, block: int = 256, **changed: Any) -> np.ndarray:
        """The launch's output, queued and waited for."""
        struct = np.zeros((), LAUNCH)
        struct["out"], struct["in"] = self.out.data.ptr, self.input.data.ptr
        struct["counter"], struct["n"] = self.counter.data.ptr, N
        for name, value in changed.items():
            struct[name] = value
        kernel((grid,), (block,), (struct,))
        return self.out.get()


@pytest.fixture
def bench(cupy: Any) -> Bench:
    return Bench(cupy)


THREADS = "const int t = threadIdx.x; const int all = gridDim.x * 256;\n"
SUM = f"""
  {THREADS}
  __shared__ double x[256];
  double sum = 0;
  for (int i = blockIdx.x * 256 + t; i < a.n; i += all) sum += a.in[i];
  x[t] = sum;
  __syncthreads();
  for (int half = 128; half >= 32; half /= 2) {{
    if (t < half) x[t] += x[t + half];
    __syncthreads();
  }}
  if (t >= 32) return;
  sum = x[t];
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (t == 0) atomicAdd(a.out, sum);
  unsigned odd = __ballot_sync(0xffffffffu, t & 1);
  if (t == 0) atomicOr(a.counter, odd), atomicAdd(a.counter + 1, 1u), atomicMax(a.counter + 2, blockIdx.x);
"""


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_shuffles_and_atomics_do_what_they_do_on_a_device(bench: Bench, tmp_path: Path, order: str) -> None:
    cudasim.set_order(order, seed=7)
    assert bench.launch(bench.kernel(SUM, tmp_path), grid=5)[0] == bench.values.sum()
    assert bench.counter.get().tolist() == [0xAAAAAAAA, 5, 4, 0]


SHUFFLES = {
    "__shfl_down_sync(~0u, t, 3)": lambda t: np.where(t % 32 < 29, t + 3, t),
    "__shfl_up_sync(~0u, t, 5)": lambda t: np.where(t % 32 >= 5, t - 5, t),
    "__shfl_xor_sync(~0u, t, 9)": lambda t: t ^ 9,
    "__shfl_sync(~0u, t, 37)": lambda t: t // 32 * 32 + 5,
    "__shfl_down_sync(~0u, t, 3, 8)": lambda t: np.where(t % 8 < 5, t + 3, t),
    "__shfl_xor_sync(~0u, t, 12, 8)": lambda t: np.where((t ^ 12) < t // 8 * 8 + 8, t ^ 12, t),
    "__shfl_sync(~0u, t, 3, 4)": lambda t: t // 4 * 4 + 3,
    "__all_sync(~0u, t < 40)": lambda t: t < 32,
    "__any_sync(~0u, t == 40)": lambda t: t // 32 == 1,
}


@pytest.mark.parametrize("call", SHUFFLES)
def test_lanes_get_what_they_would_on_a_device(bench: Bench, tmp_path: Path, call: str) -> None:
    body = f"const int t = threadIdx.x; a.out[t] = {call};"
    for order in ORDERS:
        cudasim.set_order(order)
        got = bench.launch(bench.kernel(body, tmp_path), grid=1)[:256]
        assert got.tolist() == SHUFFLES[call](np.arange(256)).tolist()


def test_orders_are_what_they_say(bench: Bench, tmp_path: Path) -> None:
    kernel = bench.kernel(f"{THREADS} a.out[atomicAdd(a.counter, 1u)] = blockIdx.x * 256 + t;", tmp_path)
    for order, want in (("forward", np.arange(512)), ("reverse", np.arange(512)[::-1])):
        cudasim.set_order(order)
        bench.counter.fill(0)
        assert bench.launch(kernel, grid=2).tolist() == want.tolist()
    cudasim.set_order("forward", "reverse")
    bench.counter.fill(0)
    assert bench.launch(kernel, grid=2).tolist() == [*range(256, 512), *range(256)]


# What one order hides, another shows.

ORDER_MATTERS = {
    "no barrier": "__shared__ double x[256]; x[t] = t; a.out[t] = x[255 - t];",
    "no barrier in a loop": """
      __shared__ double x[256];
      x[t] = t;
      for (int k = 0; k < 3; ++k) { __syncthreads(); x[t] += x[255 - t]; }
      a.out[t] = x[t];""",
    "lanes out of step": "__shared__ double x[256]; x[t] = t; if (t % 2) x[t] = -t; a.out[t] = x[t ^ 1];",
    "two writers": "a.out[t / 2] = t;",
    "the last block's word": "if (t == 0) a.out[0] = blockIdx.x;",
    "the first come": "a.out[t] = atomicAdd(a.counter, 1u);",
}


@pytest.mark.parametrize("fault", ORDER_MATTERS)
def test_a_race_gives_other_results_in_another_order(bench: Bench, tmp_path: Path, fault: str) -> None:
    kernel, seen = bench.kernel(THREADS + ORDER_MATTERS[fault], tmp_path), set()
    for order in ORDERS:
        cudasim.set_order(order, seed=3)
        bench.counter.fill(0)
        seen.add(bench.launch(kernel).tobytes())
    assert len(seen) > 1


def test_random_orders_repeat_by_their_seed(bench: Bench, tmp_path: Path) -> None:
    kernel, seen = bench.kernel(THREADS + ORDER_MATTERS["the first come"], tmp_path), []
    for seed in (1, 2, 1):
        cudasim.set_order("random", seed=seed)
        bench.counter.fill(0)
        seen.append(bench.launch(kernel).tobytes())
    assert seen[0] == seen[2] != seen[1]


def test_shared_memory_is_never_zero_by_luck(bench: Bench, tmp_path: Path) -> None:
    """Nor does a block find what the one before has left."""
    body = THREADS + "__shared__ double x[2]; if (t == 0) a.out[blockIdx.x] = x[1], x[1] = 1;"
    junk = np.full(8, 0xA5, np.uint8).view(np.float64)[0]
    assert (bench.launch(bench.kernel(body, tmp_path), grid=3)[:3] == junk).all()


# What a device would answer with an error, with wrong numbers or not at all.

FAULTS = {
    "a barrier in a branch": ("if (t < 100) __syncthreads();", r"waits at the barrier of line 4, thread 100 has ended"),
    "two barriers": (
        "if (t < 100)\n __syncthreads();\n else\n __syncthreads();",
        "barrier of line 7, thread 0 at that of line 5",
    ),
    "a lane that returned": (
        "if (t == 5) return;\n a.out[t] = __shfl_down_sync(~0u, t, 1);",
        "waits at what lanes do together of line 5, thread 5 has ended",
    ),
    "a lane elsewhere": ("if (t != 5)\n __syncwarp();\n __syncthreads();", "lines? 5, thread 5 at line 6"),
    "a lane out of its mask": (
        "a.out[t] = __shfl_sync(0xffu, t, 0);",
        "lane 8 takes part in line 4, but its mask is 0xff",
    ),
    "two masks": ("__syncwarp(t % 32 ? ~0u : 3u);", "for mask 0x3"),
    "two operations": ("if (t % 2)\n __syncwarp();\n else\n __syncwarp();", "lane 1 waits at line 5"),
    "a null pointer": ("if (t == 9) *(volatile double*)nullptr = 1;", "block 0, thread 9: illegal memory access at"),
    "far out of bounds": ("a.out[(1l << 40) + t] = 1;", "illegal memory access"),
    "16 bytes at 8": (
        "if (t == 3) a.out[0] = __ldcs((const uint4*)(a.in + 1)).x;",
        "thread 3: misaligned address, line 4",
    ),
    "8 bytes at 4": ("a.out[0] = *(const double*)((const char*)a.in + 4);", "misaligned address, .*:4"),
    "an atomic at 4": ("atomicAdd((double*)((char*)a.out + 4), 1.0);", "misaligned address, line 4"),
    "past shared memory": ("__shared__ int x[8]; x[t] = t;", "thread 8: an index out of an array's bounds, .*:4"),
    "an overflow": ("a.counter[0] = 2147483647 - 100 + t;", "thread 101: an overflow of signed integers"),
    "a division by zero": ("a.counter[0] = 7 / (t - 20);", "thread 20: an integer division by zero"),
    "a stack that runs over": ("volatile char x[1 << 17]; x[t] = 0; a.out[0] = x[t];", "illegal memory access"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_launch_and_says_where(cuda: Any, bench: Bench, tmp_path: Path, fault: str) -> None:
    body, message = FAULTS[fault]
    kernel = bench.kernel(f"const int t = threadIdx.x;\n{body}", tmp_path)
    with pytest.raises(cudasim.Fault, match=message):
        bench.launch(kernel)
    assert len(cuda.faults) == 1
    cuda.faults.clear()
    assert bench.launch(bench.kernel(SUM, tmp_path))[0] >= 0  # the next one runs


def test_a_fault_that_nobody_waits_for_is_raised_in_the_end(tmp_path: Path, cudasim_folder: Path) -> None:
    def program() -> None:
        with cudasim.simulated(cudasim_folder):
            bench = Bench(sys.modules["cupy"])
            kernel = bench.kernel("a.out[1l << 40] = 1;", tmp_path)
            kernel((1,), (1,), (np.array((bench.out.data.ptr, 0, 0, 0), LAUNCH),))

    with pytest.raises(cudasim.Fault, match="illegal memory access"):
        program()


def test_a_launch_must_fit_the_kernel(bench: Bench, tmp_path: Path) -> None:
    kernel = bench.kernel(SUM, tmp_path)
    with pytest.raises(cudasim.Fault, match="has 24 bytes, expected 32"):
        kernel((1,), (256,), (np.zeros((), "V24"),))


# The compiler.


def test_a_kernel_that_does_not_compile_shows_the_log(bench: Bench, tmp_path: Path) -> None:
    from schuss._engine.cuda.builder import CompileError

    with pytest.raises(CompileError, match=r"(?s)test did not compile.*'nonsense' was not declared"):
        bench.kernel("nonsense();", tmp_path)


@pytest.mark.parametrize("type_", ["long long*", "float*"])
def test_only_the_atomics_of_a_device_compile(bench: Bench, tmp_path: Path, type_: str) -> None:
    from schuss._engine.cuda.builder import CompileError

    with pytest.raises(CompileError, match="the device has no such atomic operation on this type"):
        bench.kernel(f"atomicMin(({type_})a.out, 1);", tmp_path)


def test_options_that_keep_the_bits_are_asked_for(tmp_path: Path) -> None:
    for option in EXPECTED_OPTIONS:
        with pytest.raises(AssertionError, match=re.escape(option)):
            cudasim.Compiler(tmp_path).compile("", [each for each in EXPECTED_OPTIONS if each != option], "k")


# Layouts.


def structs() -> dict[str, list[str]]:
    """The structs of tables.hpp and of what it holds, with their fields."""
    found = {}
    for name in ("loops/tables.hpp", "control/loss_scale.hpp"):
        for struct, body in re.findall(r"^struct (\w+) \{(.*?)^\};", (INCLUDE / name).read_text(), re.M | re.S):
            lines = [re.sub(r"//.*", "", line) for line in body.splitlines() if not line.startswith("   ")]
            fields = [re.sub(r"\s*=[^,;]*", "", line).strip() for line in lines if line.rstrip().endswith(";")]
            names = [re.findall(r"(\w+)(?:\[\w+(?:::\w+)?\])?\s*[,;]", field) for field in fields]
            found[struct] = [each for line in names for each in line]
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """(offset, size) of every field, and (0, size) of every struct, as g++ has it."""
    folder = tmp_path_factory.mktemp("layout")
    lines = []
    for struct, fields in structs().items():
        lines.append(f'printf("{struct} 0 %zu\\n", sizeof(schuss::{struct}));')
        place = f"offsetof(schuss::{struct}, {{0}}), sizeof(schuss::{struct}::{{0}})"
        lines += [f'printf("{struct}.{field} %zu %zu\\n", {place.format(field)});' for field in fields]
    text = f'#include "loops/tables.hpp"\n#include <cstddef>\n#include <cstdio>\nint main() {{ {" ".join(lines)} }}\n'
    (folder / "layout.cpp").write_text(text)
    subprocess.run([str(GXX), "-std=c++17", f"-I{INCLUDE}", "layout.cpp", "-o", "layout"], cwd=folder, check=True)
    done = subprocess.run([folder / "layout"], capture_output=True, text=True, check=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return {name: (int(offset), int(size)) for name, offset, size in rows}


def test_numpy_lays_the_structs_out_as_the_compiler_does(measured: dict[str, tuple[int, int]]) -> None:
    from schuss._engine.cuda import layout

    assert {"Launch", "State", "LeafRow", "LossScale"} <= set(structs())
    for struct, fields in structs().items():
        dtype = getattr(layout, struct)
        assert list(dtype.names) == fields, struct
        assert dtype.itemsize == measured[struct][1], struct
        for field in fields:
            its_dtype, offset = dtype.fields[field][:2]
            assert (offset, its_dtype.itemsize) == measured[f"{struct}.{field}"], f"{struct}.{field}"


# A process of its own.


def test_a_program_that_touches_device_memory_dies(cudasim_folder: Path) -> None:
    code = """
import ctypes, signal, sys, pathlib, cudasim
signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no handler that would report it
with cudasim.simulated(pathlib.Path(sys.argv[1])) as cuda:
    import cupy
    a = cupy.ones(4)
    assert a.get()[0] == 1
    with cuda.arenas[0].opened():  # as while a kernel runs
        assert ctypes.c_double.from_address(a.data.ptr).value == 1
    print("so far", flush=True)
    print(ctypes.c_double.from_address(a.data.ptr).value)
"""
    done = run_python(code, str(cudasim_folder), env={"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout == "so far\n"
    assert done.returncode == -signal.SIGSEGV


def test_the_simulation_leaves_everything_as_it_was(cudasim_folder: Path) -> None:
    from schuss._engine.cuda import builder

    before = (builder.compiler, os.environ.get("SCHUSS_CACHE_DIR"), sys.modules.get("cupy"))
    assert before[0] is not cudasim.compiler(cudasim_folder)
    assert before[2] is not cudasim.fake_cupy.MODULES["cupy"]
    assert not str(before[1]).startswith(str(cudasim.compiler().folder))
    with cudasim.simulated(cudasim_folder):
        assert sys.modules["cupy"].__version__
        assert builder.compiler is cudasim.compiler()
        assert Path(os.environ["SCHUSS_CACHE_DIR"]).is_relative_to(cudasim.compiler().folder)
    assert (builder.compiler, os.environ.get("SCHUSS_CACHE_DIR"), sys.modules.get("cupy")) == before


# Sanitizers.

PLANTED = {
    "address": {
        "past-the-end": "heap-buffer-overflow",
        "past-shared": "global-buffer-overflow",
        "past-local": "stack-buffer-overflow",
        "after-free": "heap-use-after-free",
    },
    "thread": dict.fromkeys(("no-barrier", "same-element", "no-fence", "no-warp-sync"), "data race"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED)
def test_a_sanitizer_finds_what_was_planted_and_nothing_in_the_kernels(kind: str, tmp_path: Path) -> None:
    """Threads and blocks are threads to the detector, which know of one another by barriers and fences alone."""
    short = {"address": "asan", "thread": "tsan"}[kind]
    library = subprocess.run([str(GXX), f"-print-file-name=lib{short}.so"], capture_output=True, text=True, check=True)
    if not Path(library.stdout.strip()).is_absolute():
        pytest.skip(f"lib{short} is not installed here")
    done = subprocess.run(
        [REPOSITORY / ".ci" / "sanitize", f"cudasim-{kind}"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "BUILD": str(tmp_path)},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert found.pop("driver random") == found.pop("planted clean") == "clean"
    assert found.keys() == {f"planted {fault}" for fault in PLANTED[kind]}
    for fault, what in PLANTED[kind].items():
        assert what in found[f"planted {fault}"]
