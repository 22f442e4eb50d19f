"""What several test files need: rules by name, seeded arrays, trees, snapshots, subprocesses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import schuss
from oracles import SETTINGS, Walk

REPOSITORY = Path(__file__).resolve().parent.parent
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {"float64": np.dtype(np.float64), "float32": np.dtype(np.float32), "bfloat16": BFLOAT16}
SIZES = [0, 1, 31, 32, 33, 4095, 4096, 4097, 70_001]

CLASSES: dict[str, Any] = {
    each.__name__.lower(): each
    for each in vars(schuss).values()
    if isinstance(each, type) and issubclass(each, schuss.Optimizer) and each is not schuss.Optimizer
}
RULES = sorted(CLASSES)

# Every rule under every setting that its oracle names: ("adam", {"amsgrad": True}), …
CASES = [(rule, setting) for rule in RULES for setting in SETTINGS.get(rule, [{}])]

# Those whose elements step each by itself, and those that CUDA kernels step.
MEASURING = {name for name, rule in schuss.rules().items() if rule.sums}
POINTWISE_CASES = [case for case in CASES if case[0] not in MEASURING]
ON_DEVICE = [rule for rule in RULES if rule not in MEASURING and not schuss.rules()[rule].scalars]


def case_id(value: Any) -> str | None:
    """A readable test id for a setting; everything else keeps pytest's own."""
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items()) or "defaults"
    return None


def normal(seed: int, shape: int | tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Seeded normal numbers, rounded to ``dtype``."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gradients(seed: int, shape: int | tuple[int, ...], steps: int, dtype: Any) -> list[np.ndarray]:
    """Gradients of several magnitudes, with exact zeros among them, one array a step."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-1, 1, shape)
    grads = []
    for _ in range(steps):
        g = rng.standard_normal(shape) * scale
        grads.append(np.where(rng.random(shape) < 0.05, 0.0, g).astype(dtype))
    return grads


def flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nesting of dict, list and tuple, with their names."""
    if isinstance(tree, dict):
        for key, each in tree.items():
            yield from flat(each, f"{path}/{key}" if path else str(key))
    elif isinstance(tree, (list, tuple)):
        for index, each in enumerate(tree):
            yield from flat(each, f"{path}/{index}" if path else str(index))
    else:
        yield path, tree


def raw(array: Any) -> bytes:
    """An array's elements as bytes, in row-major order: equal bytes are equal bits."""
    return np.ascontiguousarray(np.asarray(array)).tobytes()


def same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same bits. (``==`` would let -0.0 pass and NaN fail.)"""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and raw(a) == raw(b)


def tree_bits(tree: Any) -> dict[str, bytes]:
    """Every leaf's bytes by name. ``None`` leaves count as empty."""
    return {name: b"" if leaf is None else raw(leaf) for name, leaf in flat(tree)}


def snapshot(opt: Any, params: Any) -> tuple[Any, ...]:
    """All that a refused or skipped step must leave alone: parameters, slots, clocks."""
    saved = opt.state_dict()
    return tree_bits(params), tree_bits(opt.state), opt.clock, repr_bits(saved)


def repr_bits(value: Any) -> Any:
    """A comparable picture of a state dict: arrays as bytes, everything else as it prints."""
    if isinstance(value, dict):
        return {key: repr_bits(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [repr_bits(each) for each in value]
    if hasattr(value, "__array__"):
        return (str(np.asarray(value).dtype), np.shape(value), raw(value))
    return repr(value)


def digest(*trees: Any) -> str:
    """One short word for all bits of several trees."""
    hashed = hashlib.sha256()
    for tree in trees:
        for name, leaf in sorted(flat(tree), key=lambda pair: pair[0]):
            hashed.update(name.encode())
            hashed.update(str(np.asarray(leaf).dtype).encode())
            hashed.update(raw(leaf))
    return hashed.hexdigest()[:16]


def run_python(
    code: str, *args: str, timeout: float = 120, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter. The caller judges its return code."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        cwd=REPOSITORY / "tests",
        check=False,
    )


def output_of(code: str, *args: str, **kwargs: Any) -> str:
    """What code printed in a fresh interpreter, which must have ended well."""
    done = run_python(code, *args, **kwargs)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def assert_close(got: Any, want: Any, largest: Any, rtol: float) -> None:
    """Each element within ``rtol`` of the largest value that it took on its way."""
    got = np.asarray(got).astype(np.float64)
    assert got.shape == np.shape(want)
    error = np.abs(got - want)
    allowed = rtol * np.asarray(largest)
    bad = ~(error <= allowed)  # a NaN is bad
    if np.any(bad):
        at = np.unravel_index(np.argmax(np.where(bad, error - allowed, -np.inf)), got.shape)
        place, most = tuple(map(int, at)), np.broadcast_to(allowed, got.shape)[at]
        raise AssertionError(
            f"{int(bad.sum())} of {got.size} elements off; the worst, at {place}: "
            f"{got[at]!r}, expected {np.asarray(want)[at]!r} within {most:.3g}"
        )


def assert_walks(pairs: Mapping[str, tuple[np.ndarray, Walk]], rtol: float) -> None:
    """Arrays against the oracles that walked beside them."""
    for got, there in pairs.values():
        assert_close(got, there.p, there.largest, rtol)


def ulp(x: np.ndarray, dtype: Any) -> np.ndarray:
    """The spacing of ``dtype`` at each value of ``x``."""
    bits = {"float64": 52, "float32": 23, "bfloat16": 7}[np.dtype(dtype).name]
    smallest = np.float64(2.0**-1022 if np.dtype(dtype).itemsize == 8 else 2.0**-126)
    exponent = np.floor(np.log2(np.maximum(np.abs(x), smallest)))
    return 2.0 ** (exponent - bits)


def python_files(folder: Path) -> Sequence[Path]:
    """The Python sources under a folder, sorted."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
