"""Saving an optimizer to a file and going on from it, bit for bit."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from schuss._engine.optimizer import Optimizer
from schuss.slow_weights import Lookahead

__all__ = ["load", "save"]

_KEY = "schuss"


def save(path: str | os.PathLike[str], opt: Optimizer | Lookahead) -> None:
    """Write an optimizer's state as a safetensors file.

    The file appears whole or not at all: it is written beside its place, flushed to the disk and renamed.
    Arrays are keyed by leaf and slot (``"encoder/w:m"``); rule, hypers, schedules, clocks and the loss scaler stand in
    the metadata. The parameters are yours to save.

    Parameters
    ----------
    path : path-like
    opt : Optimizer or Lookahead

    Raises
    ------
    OSError
        Where the file cannot be written; an earlier file at `path` stays as it was.
    ImportError
        Without the package safetensors.

    Examples
    --------
    >>> import os, tempfile, numpy as np, schuss
    >>> path = os.path.join(tempfile.mkdtemp(), "opt.safetensors")
    >>> opt = schuss.AdamW({"w": np.zeros(3)})
    >>> info = opt.step({"w": np.ones(3)})
    >>> schuss.save(path, opt)
    >>> other = schuss.AdamW({"w": np.zeros(3)})
    >>> schuss.load(path, other)
    >>> other.clock
    1
    """
    if not isinstance(opt, (Optimizer, Lookahead)):
        raise TypeError(f"opt is {opt!r} ({type(opt).__name__}), expected an optimizer: save(path, opt)")
    safetensors = _safetensors()
    saved = opt._take_state(copy=False)
    arrays: dict[str, Any] = {}
    for name, leaf in saved["leaves"].items():
        arrays |= {f"{name}:{slot}": array for slot, array in leaf.pop("slots").items()}
        accumulator = leaf.pop("accumulator")
        if accumulator is not None:
            arrays[f"{name}:accumulator"] = accumulator
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=".part")
    os.close(handle)
    try:
        safetensors.save_file(arrays, temporary, metadata={_KEY: json.dumps(saved)})
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if type(error).__name__ == "SafetensorError":  # it is no OSError, but what it met is one
            raise OSError(f"{os.fspath(path)}: cannot be written: {error}") from error
        raise
    _flush(path.parent)


def load(path: str | os.PathLike[str], opt: Optimizer | Lookahead) -> None:
    """Take over the state in a file that `save` wrote.

    Parameters
    ----------
    path : path-like
    opt : Optimizer or Lookahead
        Made with the same rule over parameters of the same names and shapes.

    Raises
    ------
    TypeError, ValueError
        Where rule, names, shapes or types do not match, naming them; nothing is loaded then.
    OSError, ImportError
        Where the file cannot be read, or without the package safetensors.

    Examples
    --------
    >>> import os, tempfile, numpy as np, schuss
    >>> path = os.path.join(tempfile.mkdtemp(), "opt.safetensors")
    >>> schuss.save(path, schuss.AdamW({"w": np.zeros(3)}))
    >>> schuss.load(path, schuss.AdamW({"b": np.zeros(3)}))
    Traceback (most recent call last):
      ...
    ValueError: the state lacks leaf 'b'; the state has leaf 'w', which the optimizer lacks
    """
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ValueError(f"{os.fspath(path)}: holds no optimizer state of Schuss")
            saved = json.loads(metadata[_KEY])
            for leaf in saved["leaves"].values():
                leaf["slots"] = {}
                leaf["accumulator"] = None
            for key in file.keys():  # noqa: SIM118  the file is no mapping
                name, _, slot = key.rpartition(":")
                leaf = saved["leaves"][name]
                if slot == "accumulator":
                    leaf["accumulator"] = file.get_tensor(key)
                else:
                    leaf["slots"][slot] = file.get_tensor(key)
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: not a safetensors file: {error}") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{os.fspath(path)}: its optimizer state is damaged: {error!r}") from error
    opt.load_state_dict(saved)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError('saving and loading needs safetensors: pip install "schuss[checkpoint]"') from error
    return safetensors.numpy


def _flush(path: str | os.PathLike[str]) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
