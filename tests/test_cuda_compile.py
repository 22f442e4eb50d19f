"""Every CUDA kernel that a run can ask for, compiled by NVRTC for every architecture; no device is needed.

For sm_75, 80, 86, 89, 90, 100 and 120:

- the map kernel of every rule, for every mask of slots: for the nine pairs of formats of p and g, each by itself,
  for sm_90 and of three rules for all; of the others one pair, in turn another, for the other architectures;
- the point kernels of rules that have one, for every mask, the three gradients of a parameter's format in one kernel;
- the kernels that serve every rule.

Of each, ptxas reports no spill and no stack frame, and few enough registers for a block to be resident, and PTX has
no contracted, flushing or approximate operation; of the map kernels, it has the vector accesses that every stream
needs. In one kernel for trees of several formats: every rule and mask for sm_90, adamw for the others. What the
machine runs is read where nvdisasm is found (the pip wheel of the test extra, or on PATH): 16-byte loads and stores
for every stream, of every rule and mask in three pairs of formats for sm_90, of adamw for the others. A table of
registers and seconds: ``pytest -rP tests/test_cuda_compile.py``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest
import schuss
from compilers import needs_nvrtc
from schuss._engine.catalog import device_rules
from schuss._engine.cuda import nvrtc, source

pytestmark = [needs_nvrtc, pytest.mark.slow]

ARCHS = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
SIZES = {"float64": 8, "float32": 4, "bfloat16": 2}
PAIRS = [(p, g) for p in SIZES for g in SIZES]
WHOLE = ("sgd", "adamw", "rmsprop")  # few streams, the common case, many


class Compiled(NamedTuple):
    """What NVRTC and ptxas say of a kernel."""

    title: str
    registers: int
    stack: int
    spills: int
    seconds: float
    cubin: bytes
    ptx: str


@cache
def compiler() -> nvrtc.Nvrtc:
    return nvrtc.Nvrtc()


def compiled(kind: str, rule: str | None, variants: list[source.Variant], arch: str) -> Compiled:
    title = f"{source.title(kind, rule, variants)} for {arch}"
    start = perf_counter()
    options = [*source.options(arch), "--ptxas-options=-v"]
    built = compiler().build(source.text(kind, rule, variants), options, title)
    seconds = perf_counter() - start
    registers = re.findall(r"Used (\d+) registers", built.log)
    memory = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", built.log)
    assert len(registers) == len(memory) == 1, built.log
    assert "warning" not in built.log, built.log
    # Each operation rounds as IEEE 754 says; only a sum of exact squares is fused.
    inexact = re.findall(r"\S*(?:\.ftz|\.approx|div\.full)\S*", built.ptx)
    fused = [] if kind == "sum" else re.findall(r"fma\.\S+", built.ptx)
    assert inexact + fused == [], title
    stack, *spills = map(int, memory[0])
    made = Compiled(title, int(registers[0]), stack, sum(spills), seconds, built.cubin, built.ptx)
    print(f"{made.registers:4} registers  {made.seconds:5.2f} s  {title}")
    return made


def check(made: list[Compiled]) -> None:
    assert [each.title for each in made if each.spills or each.stack] == []
    crowded = [f"{each.title}: {each.registers}" for each in made if each.registers * source.BLOCK > 65536]
    assert crowded == []


def masks(rule: str) -> list[int]:
    """Those that the hypers can give: the slots always kept, with any of the others."""
    slots = schuss.rules()[rule].slots
    always = sum(1 << index for index, slot in enumerate(slots) if slot.always)
    return [mask for mask in range(1 << len(slots)) if mask & always == always]


def accesses(rule: str, variant: source.Variant) -> tuple[int, int]:
    """16-byte loads and stores of one turn of the loop: every stream moves as many elements as its narrowest fills."""
    mask, p, g = variant
    slot = max(4, SIZES[p])
    elements = 16 // min(SIZES[p], SIZES[g], slot)
    of_p, of_g, of_slots = (elements * size // 16 for size in (SIZES[p], SIZES[g], slot * bin(mask).count("1")))
    return of_p + of_g + of_slots, of_p + of_slots


def pairs(rule: str, arch: str, mask: int) -> list[tuple[str, str]]:
    """The whole matrix of all rules would take an hour; what differs between architectures is not the rule."""
    if arch == "sm_90" or rule in WHOLE:
        return PAIRS
    turn = list(device_rules()).index(rule) + ARCHS.index(arch) + mask
    return [PAIRS[turn % len(PAIRS)]]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("rule", device_rules())
def test_every_map_kernel_compiles_without_a_spill(rule: str, arch: str) -> None:
    made = []
    for mask in masks(rule):
        for p, g in pairs(rule, arch, mask):
            variant = (mask, p, g)
            kernel = compiled("map", rule, [variant], arch)
            found = tuple(len(re.findall(rf"\b{way}\.global\.cs\.v4", kernel.ptx)) for way in ("ld", "st"))
            assert found == accesses(rule, variant), kernel.title
            made.append(kernel)
    check(made)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_other_kernel_compiles_without_a_spill(arch: str) -> None:
    made = [compiled(kind, None, [], arch) for kind in source.OF_ALL]
    for name, rule in device_rules().items():
        if rule.has_point:
            for mask in masks(name):
                made += [compiled("point", name, [(mask, p, g) for g in sorted(SIZES)], arch) for p in SIZES]
    check(made)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_kernel_for_several_formats_compiles_without_a_spill(arch: str) -> None:
    rules = list(device_rules()) if arch == "sm_90" else ["adamw"]
    check(
        [
            compiled("map", rule, [(mask, each, each) for each in sorted(SIZES)], arch)
            for rule in rules
            for mask in masks(rule)
        ]
    )


# What the machine runs.


@cache
def disassembler() -> str | None:
    spec = find_spec("nvidia")
    folders = [Path(each) / "cu13" / "bin" for each in (spec and spec.submodule_search_locations) or ()]
    here = [str(folder / "nvdisasm") for folder in folders if (folder / "nvdisasm").is_file()]
    return here[0] if here else shutil.which("nvdisasm")


@pytest.mark.skipif(disassembler() is None, reason="nvdisasm is not here: pip install nvidia-cuda-nvdisasm")
@pytest.mark.parametrize("arch", ARCHS)
def test_every_stream_moves_in_accesses_of_16_bytes(arch: str, tmp_path: Path) -> None:
    pairs = [("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")]
    for rule in device_rules() if arch == "sm_90" else ["adamw"]:
        for mask in masks(rule):
            for p, g in pairs:
                kernel = compiled("map", rule, [(mask, p, g)], arch)
                (tmp_path / "kernel.cubin").write_bytes(kernel.cubin)
                command = [str(disassembler()), "-c", "-ndf", str(tmp_path / "kernel.cubin")]
                sass = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                loads, stores = (len(re.findall(rf"\b{way}\.[\w.]*\b128\b", sass)) for way in ("LDG", "STG"))
                needed = accesses(rule, (mask, p, g))
                assert (loads >= needed[0], stores >= needed[1]) == (True, True), f"{kernel.title}: {loads}, {stores}"
                assert not re.search(r"\b(LDL|STL)\b", sass), kernel.title  # local memory: what spills go to


def test_the_gates_see_what_they_look_for() -> None:
    """A kernel that spills, and one that has no vector access, would be seen."""
    text = source.text("map", "adamw", [(7, "float64", "bfloat16")])
    squeezed = compiler().build(
        text.replace("__launch_bounds__(256, 1)", "__launch_bounds__(256, 8)"),
        [*source.options("sm_90"), "--ptxas-options=-v"],
        "squeezed",
    )
    assert re.search(r"Used 32 registers", squeezed.log)
    assert not re.search(r"\b0 bytes stack frame, 0 bytes spill stores", squeezed.log)
    scalar = compiler().build(
        re.sub(r"bool is_aligned\(.*\n", "bool is_aligned(const void*) { return false; }\n", text),
        source.options("sm_90"),
        "scalar",
    )
    assert "is_aligned" in text
    assert ".cs.v4" not in scalar.ptx
