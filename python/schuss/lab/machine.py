"""What the numbers were measured on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .needs import PACKAGES
from .training import Results
from .workers import processors


def processor() -> str:
    """The processor's name as the system gives it, or the architecture's."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> Results:
    """Processor, processors usable, system and engine level."""
    import schuss

    return {
        "processor": processor(),
        "processors": processors(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "level": schuss.info()["level"],
    }


def versions() -> dict[str, str | None]:
    """Versions of Python, schuss and what the lab uses; None where one is not known."""
    import schuss

    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "schuss": str(schuss.info()["version"]),
    }
    found.update((name, _version(name)) for name in ("numpy", *PACKAGES))
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
