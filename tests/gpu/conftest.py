"""What these tests need: a CUDA device, or word of why there is none.

They run by ``pytest -m gpu`` and skip otherwise, so that an ordinary run imports nothing of CUDA. Where NumPy lacks
bfloat16 (the package ml_dtypes) or there is no torch, what needs them skips. ``SCHUSS_GPU=simulated`` rehearses them
on the simulator.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
for _folder in (str(HERE), str(HERE.parent)):  # helpers here; the oracles' settings and the simulator there
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from gpu_device import is_rehearsal, opened  # noqa: E402

_figures: list[str] = []


def _reason(config: pytest.Config) -> str | None:
    """Why there is no device to test on."""
    if is_rehearsal():
        import cudasim

        return None if cudasim.available else "simulating CUDA needs g++ on 64-bit Linux"
    if "gpu" not in (config.getoption("markexpr") or ""):
        return "a CUDA device is tested by pytest -m gpu"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    from schuss._engine.cuda import driver

    return None if driver.architectures() else "there is no CUDA device"


@pytest.fixture(scope="session")
def gpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The device, kernels in a cache of this session's own."""
    reason = _reason(request.config)
    if reason:
        pytest.skip(reason)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SCHUSS_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        found = stack.enter_context(opened(tmp_path_factory.mktemp("cudasim")))
        if not found.simulated:
            _compile_ahead()
        yield found


def _compile_ahead() -> None:
    """The larger kernels of these tests at once, on all processors, rather than one after another."""
    import schuss
    from gpu_twins import CASES, PAIRS
    from schuss import _core
    from schuss._engine.cuda import builder, runtime

    kernels: list[tuple[str, str | None, tuple[Any, ...]]] = [(kind, None, ()) for kind in ("sum", "finish", "take")]
    for name, setting in CASES:
        rule = schuss.rules()[name]
        kept = _core.slots_kept(name, rule.defaults | setting, 1)
        mask = sum(1 << k for k, slot in enumerate(rule.slots) if slot.name in kept)
        # As the engine lists them: by mask, then the formats' numbers.
        kernels.append(("map", name, tuple((mask, p, g) for p, g in PAIRS)))
        kernels.append(("map", name, ((mask, "float32", "float32"),)))
    arch = runtime.Device.at(0).arch
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda kernel: builder.cubin(*kernel, arch), dict.fromkeys(kernels)))


@pytest.fixture
def arrays(gpu: Any) -> Any:
    from gpu_twins import CupyArrays

    return CupyArrays(gpu)


@pytest.fixture
def torch(gpu: Any) -> Iterator[Any]:
    """torch with the device, where it is installed."""
    module = pytest.importorskip("torch", reason="torch is not installed")
    if gpu.simulated:
        from simulated_torch import simulated

        with simulated(gpu):
            yield module
        return
    if not module.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    yield module


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line for the end of the report."""
    return lambda line: _figures.append(f"{request.node.name}: {line}")


@pytest.fixture(scope="session", autouse=True)
def _device_told(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cupy" in sys.modules and not is_rehearsal():
        cupy = sys.modules["cupy"]
        properties = cupy.cuda.runtime.getDeviceProperties(0)
        name = properties["name"].decode() if isinstance(properties["name"], bytes) else properties["name"]
        _figures.append(
            f"{name}, compute capability {properties['major']}.{properties['minor']}, "
            f"driver for CUDA {cupy.cuda.runtime.driverGetVersion()}, CuPy {cupy.__version__}"
        )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _figures:
        terminalreporter.section("on the device")
        for line in _figures:
            terminalreporter.write_line(line)
