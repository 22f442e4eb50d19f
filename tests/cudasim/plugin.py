"""Fixtures: ``cuda`` is a simulation, ``cupy`` its CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cudasim


@pytest.fixture(scope="session")
def cudasim_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """One for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent
    return base / "cudasim"


@pytest.fixture
def cuda(cudasim_folder: Path) -> Iterator[cudasim.Simulation]:
    """Two simulated devices."""
    if not cudasim.available:
        pytest.skip("simulating CUDA needs g++ on 64-bit Linux")
    with cudasim.simulated(cudasim_folder) as simulation:
        yield simulation


@pytest.fixture
def cupy(cuda: cudasim.Simulation) -> Any:
    import cupy as module

    return module
