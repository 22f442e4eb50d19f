"""The simulation of the moment: CuPy's functions are module functions, and have to find it somewhere."""

from __future__ import annotations

from cudasim.simulation import Simulation

_now: Simulation | None = None


def now() -> Simulation:
    assert _now is not None, "CUDA is not simulated here: use `with cudasim.simulated()` or the fixture `cuda`"
    return _now


def put(simulation: Simulation | None) -> None:
    global _now
    _now = simulation
