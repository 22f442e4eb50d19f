"""What this installation is and what it found."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from schuss import _core

_OPTIONAL = ("ml_dtypes", "safetensors", "torch", "jax", "cupy", "matplotlib", "rich", "typer")


def info() -> dict[str, Any]:
    """What runs here.

    Returns
    -------
    dict
        ``version``; ``level``, the instruction set in use; ``levels``, those this processor runs, best first;
        ``threads`` and their ``runtime``; ``rules``; and ``found``, the optional packages that are installed.

    Examples
    --------
    >>> import schuss
    >>> schuss.info()["level"] in schuss.info()["levels"]
    True
    """
    return {
        "version": _core.__version__,
        "level": _core.start(),
        "levels": list(_core.levels),
        "threads": _core.get_num_threads(),
        "runtime": _core.thread_runtime,
        "rules": [facts["function"] for facts in _core.catalog()],
        "found": [name for name in _OPTIONAL if find_spec(name) is not None],
    }
