"""What is measured on a CUDA device: networks, formats, clipping, and the arrays that all contestants share."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import CLIP, FLOAT, Rule, Shape, Target, elements, gpt2_small, gpt_1b, many_leaves

NETWORKS = {"gpt2-small": gpt2_small, "gpt-1b": gpt_1b, "10000-leaves": many_leaves}
FORMATS = {"float32": 4, "bfloat16": 2}  # bytes of a parameter and of its gradient
ALIGNMENT = 512  # bytes, as the allocator's own
RUN = 1 << 20  # elements of noise that the arrays are filled with over and over


@dataclass(frozen=True)
class Case:
    """One row: a rule on a network's leaves.

    Parameters
    ----------
    rule : Rule
        The rule and its hypers.
    network : str
        The network's name.
    shapes : tuple of shapes
        Its leaves.
    format : str
        Of parameters and gradients; Schuss's slots are float32, torch's states have the parameters' format.
    clip : float, optional
        Largest global norm; None does not clip.
    scaled : bool, default False
        A loss scale is divided out, and what overflows is skipped.
    """

    rule: Rule
    network: str
    shapes: tuple[Shape, ...]
    format: str
    clip: float | None = None
    scaled: bool = False

    @property
    def name(self) -> str:
        words = [self.network, self.format]
        return " ".join(words + ["clipped"] * (self.clip is not None) + ["scaled"] * self.scaled)

    @property
    def elements(self) -> int:
        return elements(self.shapes)

    def bytes_with(self, slot: int) -> int:
        """Bytes that a step must move, its slots of so many: each stream once, gradients once more for a norm."""
        own = FORMATS[self.format] * (3 + (self.clip is not None or self.scaled))
        return self.elements * (own + 2 * slot * self.rule.slots)

    @property
    def bytes_moved(self) -> int:
        return self.bytes_with(FLOAT)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Speeds to reach: ahead of torch fused everywhere, and AdamW in float32 at the speed of memory."""
        found = [Target("ratio", 1.0, "torch-fused")]
        if self.network == "10000-leaves":
            found = [Target("ratio", 3.0)]
        elif self.rule.name == "adamw" and self.format == "float32":
            found.append(Target("ceiling", 0.92))
        return tuple(found)


def plan(rules: Sequence[Rule], networks: Sequence[str], formats: Sequence[str]) -> list[Case]:
    """Return the rows, those that matter most first, a network and format together, since they share arrays."""
    rows = []
    for some in (rules[:1], rules[1:3], rules[3:]):
        for network in networks if some else ():
            shapes = tuple(NETWORKS[network]())
            # Of many leaves the host's work is measured, which no format changes: once is enough for most rules.
            for format_ in formats[:1] if network == "10000-leaves" and some == rules[3:] else formats:
                for rule in some:
                    rows += [Case(rule, network, shapes, format_, clip) for clip in (None, CLIP)]
                    if rule.name == "adamw" and network == "gpt2-small" and format_ == "float32":
                        rows.append(Case(rule, network, shapes, format_, CLIP, scaled=True))
    return rows


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the bits of float32 values rounded to bfloat16.

    Examples
    --------
    >>> [hex(bits) for bits in bfloat16(np.array([1.0, -2.5], np.float32))]
    ['0x3f80', '0xc020']
    """
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


class Arrays:
    """Parameters and gradients of a network in one format, in device memory; views of them for every library."""

    def __init__(self, cupy: Any, shapes: Sequence[Shape], format_: str, seed: int = 0) -> None:
        self.cupy, self.shapes, self.format = cupy, shapes, format_
        size = FORMATS[format_]
        self._kind = np.dtype(f"i{size}")  # elements as bits, which every library takes
        self.params = self._filled(seed, 0.05, size)
        self.grads = self._filled(seed + 1, 0.1, size)

    def _filled(self, seed: int, scale: float, size: int) -> list[Any]:
        starts, at = [], 0
        for shape in self.shapes:
            starts.append(at)
            at += -(-math.prod(shape) * size // ALIGNMENT) * ALIGNMENT
        cuda = self.cupy.cuda
        memory = cuda.alloc(max(1, at))
        noise = np.random.default_rng(seed).standard_normal(min(RUN, max(1, at // size)))
        noise = (noise * scale).astype(np.float32)
        bits = bfloat16(noise) if self.format == "bfloat16" else noise
        cuda.runtime.memcpy(memory.ptr, bits.ctypes.data, bits.nbytes, cuda.runtime.memcpyHostToDevice)
        done = bits.nbytes
        while done < at:  # what is there is doubled
            more = min(done, at - done)
            cuda.runtime.memcpy(memory.ptr + done, memory.ptr, more, cuda.runtime.memcpyDeviceToDevice)
            done += more
        return [
            self.cupy.ndarray(shape, self._kind, memory + start)
            for shape, start in zip(self.shapes, starts, strict=True)
        ]

    def for_cupy(self) -> tuple[list[Any], list[Any]]:
        """CuPy arrays in their own format."""
        kind = np.dtype(np.float32)
        if self.format == "bfloat16":
            kind = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return tuple(  # type: ignore[return-value]
            [self.cupy.ndarray(each.shape, kind, each.data) for each in some] for some in (self.params, self.grads)
        )

    def for_torch(self) -> tuple[list[Any], list[Any]]:
        """torch tensors in their own format, over the same memory."""
        torch = importlib.import_module("torch")
        kind = getattr(torch, self.format)
        return tuple(  # type: ignore[return-value]
            [torch.from_dlpack(each).view(kind) for each in some] for some in (self.params, self.grads)
        )

    def values(self) -> list[np.ndarray]:
        """The parameters as float32 on the host."""
        found = [np.asarray(self.cupy.asnumpy(each)) for each in self.params]
        if self.format == "bfloat16":
            return [(each.view(np.uint16).astype(np.uint32) << 16).view(np.float32) for each in found]
        return [each.view(np.float32) for each in found]
