"""Kernels: compiled once, kept, found without a compiler; what the device makes of them; compute-sanitizer's word."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schuss
from gpu_twins import PAIRS
from schuss._engine.catalog import device_rules

pytestmark = pytest.mark.gpu
HERE = Path(__file__).resolve().parent
LONGEST = 2.0  # seconds that a kernel may take to compile


def first_steps(*words: str) -> subprocess.CompletedProcess[str]:
    script = str(HERE / "first_steps.py")
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=180, check=False)


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def words_of(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g} s" for name, value in seconds.items())


def test_a_cold_start_compiles_what_it_needs_and_a_warm_one_nothing(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    if gpu.simulated:
        pytest.skip("the simulation has a cache of its own")
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path))
    cold = answer(first_steps())
    figure(f"cold: {words_of(cold['seconds'])}; compiled {words_of(cold['compiled'])}")
    assert sorted(name.split()[0] for name in cold["compiled"]) == ["adamw", "finish", "sum"]
    assert max(cold["compiled"].values()) < LONGEST
    warm = answer(first_steps("--without-nvrtc"))
    figure(f"warm, without NVRTC: {words_of(warm['seconds'])}")
    assert warm["compiled"] == {}
    assert warm["bits"] == cold["bits"]
    for path in tmp_path.glob("*.cubin"):
        path.unlink()
    none = first_steps("--without-nvrtc")
    assert none.returncode == 1
    assert "ImportError: no compiled kernel" in none.stderr
    for path in tmp_path.glob("*"):
        path.unlink()
    assert answer(first_steps())["bits"] == cold["bits"]


def test_a_damaged_kernel_is_compiled_again(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.simulated:
        pytest.skip("the simulation has a cache of its own")
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path))
    whole = answer(first_steps())
    for path in tmp_path.glob("*.cubin"):
        path.write_bytes(path.read_bytes()[:-100])
    mended = answer(first_steps())
    assert mended["bits"] == whole["bits"]
    assert set(mended["compiled"]) == set(whole["compiled"])


def test_the_scripts_of_these_tests_run(gpu: Any) -> None:
    """As they do under compute-sanitizer, and by themselves."""
    assert answer(first_steps())["bits"]
    run = sanitized()
    said, _ = run.communicate(timeout=180)
    assert run.returncode == 0, said[-3000:]
    assert "every kernel has run" in said


@pytest.mark.parametrize("rule", sorted(device_rules()))
def test_the_device_finds_room_for_a_kernel_in_registers(gpu: Any, rule: str, figure: Callable[[str], None]) -> None:
    if gpu.simulated:
        pytest.skip("registers are not simulated")
    from schuss import _core
    from schuss._engine.cuda import runtime

    known = schuss.rules()[rule]
    kept = _core.slots_kept(rule, known.defaults, 1)
    mask = sum(1 << k for k, slot in enumerate(known.slots) if slot.name in kept)
    found = []
    for p, g in PAIRS:
        kernel = runtime.kernel(0, "map", rule, ((mask, p, g),))
        assert kernel.local_size_bytes == 0, f"{p} by {g} spills"
        assert kernel.max_threads_per_block >= 256
        found.append(f"{p}/{g} {kernel.num_regs}, {runtime.resident_blocks(kernel, 0)} blocks")
    figure("; ".join(found))


# compute-sanitizer.


def sanitized(*command: str) -> subprocess.Popen[str]:
    words = [*command, sys.executable, str(HERE / "sanitized.py")]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


@pytest.fixture(scope="module")
def runs(gpu: Any) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The script under each tool, all at once."""
    found = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if found is None or gpu.simulated:
        pytest.skip("there is no compute-sanitizer")
    compiled = sanitized()  # whose kernels the others find
    said, _ = compiled.communicate(timeout=180)
    assert compiled.returncode == 0, said[-3000:]
    started = {tool: sanitized(found, "--tool", tool, "--error-exitcode", "9") for tool in TOOLS}
    yield started
    for run in started.values():
        run.kill()
        run.wait()


@pytest.mark.parametrize("tool", TOOLS)
def test_compute_sanitizer_finds_nothing(runs: dict[str, subprocess.Popen[str]], tool: str) -> None:
    said, _ = runs[tool].communicate(timeout=240)
    if "not supported" in said and "every kernel has run" not in said:
        pytest.skip("compute-sanitizer does not take this device")
    assert runs[tool].returncode == 0, said[-6000:]
    assert "every kernel has run" in said
