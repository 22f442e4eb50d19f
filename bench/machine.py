"""Where a result was measured."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "torch", "jax", "jaxlib", "optax")
ENVIRONMENT = (
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "GOMP_SPINCOUNT",
    "THP_MEM_ALLOC_ENABLE",
    "XLA_FLAGS",
    "SCHUSS_NUM_THREADS",
    "SCHUSS_CPU_LEVEL",
)


def read(path: str) -> str:
    """Return a file's text, empty where it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def processor() -> str:
    """Return the processor's name; with family and model where a virtual machine hides the rest."""
    fields = dict(re.findall(r"^([^\t:]+)\s*:[ \t]*(.*)$", read("/proc/cpuinfo"), re.MULTILINE))
    name = fields.get("model name") or fields.get("Hardware") or platform.processor()
    name = " ".join(re.sub(r"\((R|TM)\)", "", name or platform.machine()).split())
    if re.search(r"\d", name) or "cpu family" not in fields:
        return name
    return f"{name} family {fields['cpu family']} model {fields['model']}"


def slug(text: str) -> str:
    """Return text as a file name.

    Examples
    --------
    >>> slug("AMD EPYC 9B14 (Zen 4)")
    'amd-epyc-9b14-zen-4'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def caches() -> dict[str, str]:
    """Return the first processor's caches by name, as Linux gives them: ``{"L2": "1024K"}``."""
    result = {}
    for index in range(6):
        base = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        kind, size = read(f"{base}/type").strip(), read(f"{base}/size").strip()
        if size and kind != "Instruction":
            result["L" + read(f"{base}/level").strip()] = size
    return result


def commit() -> str | None:
    """Return the checkout's commit, ``+`` behind it if sources differ from it, else None.

    ``SCHUSS_COMMIT`` tells it where the sources are no checkout.
    """
    if os.environ.get("SCHUSS_COMMIT"):
        return os.environ["SCHUSS_COMMIT"]
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        call = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True)
        return call.stdout.strip() if call.returncode == 0 else ""

    try:
        top, head = git("rev-parse", "--show-toplevel"), git("rev-parse", "HEAD")
        if not head or Path(top) != here:
            return None
        changed = git("status", "--porcelain", "--", "cpp", "python", "bench/*.py")
        return head + ("+" if changed else "")
    except OSError:
        return None


def versions(more: Sequence[str] = ()) -> dict[str, str | None]:
    """Return versions of Python and of everything measured, and of `more`; None for what is not installed."""

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    found = {package: version(package) for package in ("schuss", *PACKAGES, *more)}
    return {"python": platform.python_version(), **found}


def describe(threads: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return the machine, everything's version, `packages` among it, and the settings a timing depends on."""
    try:
        schuss = plain(dict(importlib.import_module("schuss").info()))
    except ImportError:
        schuss = {}
    found = versions(packages)
    found["schuss"] = found["schuss"] or schuss.get("version")
    return {
        "processor": processor(),
        "processors": processors(),
        "threads": threads,
        "level": schuss.get("level"),
        "caches": caches(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "memory_gb": round(memory_bytes() / 1e9, 1),
        "huge_pages": bracketed(read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "versions": found,
        "schuss": schuss,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def memory_bytes() -> int:
    """Return the machine's memory in bytes, 0 if unknown."""
    found = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def bracketed(text: str) -> str | None:
    """Return the chosen word of a kernel setting.

    Examples
    --------
    >>> bracketed("always [madvise] never")
    'madvise'
    """
    found = re.search(r"\[(\w+)\]", text)
    return found.group(1) if found else None
