"""A CUDA device without one: the kernels built by g++ over a shim, behind a stand-in for CuPy.

`simulated` puts it in place for a while. What a test can see and choose is on the `Simulation` that it gives.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cudasim import fake_cupy, modules, state
from cudasim.arrays import misaligned
from cudasim.compiler import GXX, Compiler
from cudasim.memory import Fault
from cudasim.modules import set_order
from cudasim.simulation import CUDADriverError, CUDARuntimeError, Simulation
from cudasim.streams import foreign_stream

__all__ = [
    "CUDADriverError",
    "CUDARuntimeError",
    "Compiler",
    "Fault",
    "Simulation",
    "available",
    "compiler",
    "foreign_stream",
    "misaligned",
    "set_order",
    "simulated",
]

available = GXX is not None and sys.platform == "linux" and sys.maxsize > 2**32
_compiler: Compiler | None = None


def compiler(folder: Path | None = None) -> Compiler:
    """The compiler of this process. What it makes stays in ``SCHUSS_CUDASIM_DIR``, else in ``folder``."""
    global _compiler
    if _compiler is None:
        chosen = os.environ.get("SCHUSS_CUDASIM_DIR")
        where = Path(chosen) if chosen else folder or Path(tempfile.mkdtemp(prefix="cudasim-"))
        _compiler = Compiler(where)
    return _compiler


@contextmanager
def simulated(folder: Path | None = None, devices: int = 2) -> Iterator[Simulation]:
    """CUDA is simulated inside. On leaving, all queued work is run; what went wrong unseen is raised."""
    from schuss._engine.cuda import builder, runtime

    its_compiler = compiler(folder)
    modules.runtime_library(its_compiler.runtime)
    set_order(os.environ.get("SCHUSS_CUDASIM_ORDER", "forward"))
    simulation = Simulation(devices)
    places: list[tuple[Any, Any, Any]] = [(sys.modules, name, module) for name, module in fake_cupy.MODULES.items()]
    before = [(place, name, place.get(name)) for place, name, _ in places]
    cache = os.environ.get("SCHUSS_CACHE_DIR")
    compiled_by = builder.compiler
    state.put(simulation)
    try:
        for place, name, module in places:
            place[name] = module
        os.environ["SCHUSS_CACHE_DIR"] = str(its_compiler.folder / "cache")
        builder.compiler = its_compiler
        runtime.forget()
        yield simulation
        simulation.check()
        if simulation.faults:
            raise simulation.faults[0]
    finally:
        runtime.forget()
        builder.compiler = compiled_by
        _restore(os.environ, "SCHUSS_CACHE_DIR", cache)
        for place, name, module in before:
            _restore(place, name, module)
        state.put(None)
        simulation.close()


def _restore(place: Any, name: str, value: Any) -> None:
    if value is None:
        place.pop(name, None)
    else:
        place[name] = value
