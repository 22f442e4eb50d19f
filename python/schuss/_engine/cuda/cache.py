"""The cache of compiled kernels: a folder of ``<digest>-<NVRTC version>.cubin``, each beside a ``.json`` about it.

The folder is ``SCHUSS_CACHE_DIR``, else ``$XDG_CACHE_HOME/schuss``, else ``~/.cache/schuss``. It may be emptied at any
time, as may any pair of files in it: what is missing is compiled again. ``schuss compile --clear`` empties it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_private: Path | None = None  # where kernels go when the folder takes none


def folder() -> Path:
    """Where kernels are kept; it need not exist yet."""
    chosen = os.environ.get("SCHUSS_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # any other is to be ignored, says its specification
        return Path(base) / "schuss"
    return Path("/", os.path.expanduser("~"), ".cache", "schuss")  # "~" itself where nobody has a home


def digest(request: Mapping[str, Any]) -> str:
    """A name for a request: equal for equal ones, and for no others."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:40]


def find(
    name: str, version: str | None, where: Path | None = None, newest: int | None = None
) -> tuple[Path | None, list[Path]]:
    """The kernel of this name that this NVRTC made; or any, newest first, where None is named.

    `newest` is the highest major version that will do. With the kernel come the entries found damaged.
    """
    damaged = []
    for place in _places(where):
        for path in [place / f"{name}-{version}.cubin"] if version else _of_any_version(place, name, newest):
            if is_whole(path):
                return path, damaged
            if os.path.exists(path):
                damaged.append(path)
    return None, damaged


def put(name: str, version: str, cubin: bytes, facts: Mapping[str, Any], where: Path | None = None) -> Path:
    """Keep a kernel; returns where.

    Where the folder cannot be written, a private one takes it that lives as long as the process, and a warning says
    so once. A folder named by `where` is not replaced: its OSError is the caller's.
    """
    told = {**facts, "nvrtc": version, "bytes": len(cubin), "sha256": hashlib.sha256(cubin).hexdigest()}
    if where is not None or _private is None:
        place = where or folder()
        try:
            return _write(place, f"{name}-{version}", cubin, told)
        except OSError as error:
            if where is not None:
                raise
            _fall_back(place, error)
    assert _private is not None
    return _write(_private, f"{name}-{version}", cubin, told)


def is_whole(path: Path) -> bool:
    """Whether a kernel is the one that the file beside it tells of."""
    try:
        told = json.loads(path.with_suffix(".json").read_bytes())
        return hashlib.sha256(path.read_bytes()).hexdigest() == told["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def entries(where: Path | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every whole kernel of the folder with what is told of it."""
    place = where or folder()
    for path in sorted(place.glob("*.cubin")) if place.is_dir() else ():
        if is_whole(path):
            yield path, json.loads(path.with_suffix(".json").read_bytes())


def clear(where: Path | None = None) -> int:
    """Take every kernel away, and nothing else; returns how many there were."""
    place = where or folder()
    count = 0
    for path in list(place.glob("*")) if place.is_dir() else ():
        if _is_ours(path.name):
            count += path.suffix == ".cubin"
            path.unlink(missing_ok=True)
    return count


def _is_ours(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    start = stem.lstrip(".").partition("-")[0]
    return suffix in ("cubin", "json", "part") and len(start) == 40 and not set(start) - set("0123456789abcdef")


def _places(where: Path | None) -> list[Path]:
    if where is not None:
        return [where]
    return [folder(), _private] if _private is not None else [folder()]


def _of_any_version(place: Path, name: str, newest: int | None) -> list[Path]:
    try:
        found = [(_version(path), path) for path in place.glob(f"{name}-*.cubin")]
    except OSError:
        return []
    return [path for version, path in sorted(found, reverse=True) if newest is None or version[0] <= newest]


def _version(path: Path) -> list[int]:
    """Of ``…-13.0.cubin``: [13, 0]."""
    numbers = path.stem.rpartition("-")[2].split(".")
    return [int(number) if number.isdigit() else 0 for number in numbers]


def _write(place: Path, stem: str, cubin: bytes, told: Mapping[str, Any]) -> Path:
    """Both files, each whole from the moment that it has its name; the kernel counts once its digest is there too."""
    place.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2).encode() + b"\n"
    for suffix, content in ((".cubin", cubin), (".json", text)):
        part = place / f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.part"
        try:
            part.write_bytes(content)
            os.replace(part, place / f"{stem}{suffix}")
        finally:
            part.unlink(missing_ok=True)
    return place / f"{stem}.cubin"


def _fall_back(place: Path, error: OSError) -> None:
    global _private
    _private = Path(tempfile.mkdtemp(prefix="schuss-"))
    atexit.register(_forget, _private, os.getpid())
    warnings.warn(
        f"compiled kernels cannot be kept in {place} ({error.strerror or error}), so that every process compiles them "
        "again; name a folder that can be written in SCHUSS_CACHE_DIR",
        RuntimeWarning,
        stacklevel=2,
    )


def _forget(private: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a child by fork
        shutil.rmtree(private, ignore_errors=True)
