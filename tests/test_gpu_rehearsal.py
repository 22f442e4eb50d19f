"""The tests of a CUDA device, rehearsed: they skip where there is none, and pass on the simulated one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cudasim
import pytest
from helpers import REPOSITORY

GPU = REPOSITORY / "tests" / "gpu"
# Of the many cases of one sentence a few: all of them are other tests' on the simulator.
SOME = "defaults or adagrad or extremes or clipping or scaling or plain_functions"


def pytest_on(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `.ci/gpu` runs it: with the folder's own conftest alone."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--confcutdir={GPU}", "-q", "-rs", *words]
    kept = {name: value for name, value in os.environ.items() if name not in ("SCHUSS_GPU", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=REPOSITORY,
        env={**kept, **environment},
    )


def test_without_a_device_they_skip_and_import_no_cupy(tmp_path: Path) -> None:
    """A CuPy that must not be imported is in the way, and is not met."""
    (tmp_path / "cupy.py").write_text("raise AssertionError('CuPy was imported')\n")
    done = pytest_on(str(GPU), PYTHONPATH=str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout[-3000:]
    summary = done.stdout.strip().splitlines()[-1]
    assert re.match(r"\d+ skipped", summary), summary
    assert "passed" not in summary
    assert "there is no CUDA device" in done.stdout


def test_an_ordinary_run_skips_them() -> None:
    command = [sys.executable, "-m", "pytest", str(GPU / "test_gpu_large.py"), "-q", "-rs", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if name not in ("SCHUSS_GPU", "PYTEST_ADDOPTS")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY, env=kept)
    assert "a CUDA device is tested by pytest -m gpu" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not cudasim.available, reason="simulating CUDA needs g++ on 64-bit Linux")
@pytest.mark.parametrize("path", sorted(GPU.glob("test_*.py")), ids=lambda path: path.stem)
def test_they_pass_on_the_simulated_device(path: Path, cudasim_folder: Path) -> None:
    words = [str(path), *(["-k", SOME] if path.stem == "test_gpu_bits" else [])]
    done = pytest_on(*words, SCHUSS_GPU="simulated", SCHUSS_CUDASIM_DIR=str(cudasim.compiler(cudasim_folder).folder))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
