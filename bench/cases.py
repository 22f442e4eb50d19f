"""What is measured: rules, sizes, networks and the speeds to reach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

Shape = tuple[int, ...]
FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Rule:
    """An update rule as the benchmark runs it.

    Parameters
    ----------
    name : str
        Lower-case name, as in ``schuss.rules()``.
    hypers : mapping
        Hypers other than the defaults, by Schuss's names.
    slots : int
        State arrays a parameter has under these hypers.
    """

    name: str
    hypers: Mapping[str, float] = field(default_factory=dict)
    slots: int = 1

    @property
    def reads(self) -> int:
        """Streams read: parameter, gradient and every slot."""
        return 2 + self.slots

    @property
    def writes(self) -> int:
        """Streams written: parameter and every slot."""
        return 1 + self.slots


# Rules that a peer has too; any other rule of the catalog runs against the ceiling alone.
KNOWN = {
    rule.name: rule
    for rule in (
        Rule("adamw", {"lr": 1e-3, "weight_decay": 0.01}, slots=2),
        Rule("adam", {"lr": 1e-3}, slots=2),
        Rule("sgd", {"lr": 1e-3, "momentum": 0.9}),
        Rule("rmsprop", {"lr": 1e-3}),
        Rule("adagrad", {"lr": 1e-2}),
    )
}

# The same rules by the names of their classes, here and in torch.
TITLES = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
}

SIZES = tuple(10**k for k in range(3, 9))
CLIP = 1.0  # global norm of the rows that clip


def gpt(width: int, blocks: int, vocabulary: int = 50257, context: int = 1024) -> list[Shape]:
    """Return the shapes of a GPT-2 of so many blocks, its output tied to the embedding."""
    norm: list[Shape] = [(width,), (width,)]

    def dense(fan_in: int, fan_out: int) -> list[Shape]:
        return [(fan_in, fan_out), (fan_out,)]

    attention = dense(width, 3 * width) + dense(width, width)
    feedforward = dense(width, 4 * width) + dense(4 * width, width)
    block = norm + attention + norm + feedforward
    return [(vocabulary, width), (context, width), *block * blocks, *norm]


def gpt2_small() -> list[Shape]:
    """Return the 148 shapes of GPT-2 small: 124,439,808 elements.

    Examples
    --------
    >>> len(gpt2_small()), elements(gpt2_small())
    (148, 124439808)
    """
    return gpt(width=768, blocks=12)


def gpt_1b() -> list[Shape]:
    """Return the 292 shapes of a GPT-2 of 24 blocks, 1,792 wide: 1,017,302,272 elements.

    Examples
    --------
    >>> len(gpt_1b()), elements(gpt_1b())
    (292, 1017302272)
    """
    return gpt(width=1792, blocks=24)


def resnet50() -> list[Shape]:
    """Return the 161 shapes of ResNet-50 with 1,000 classes: 25,557,032 elements.

    Examples
    --------
    >>> len(resnet50()), elements(resnet50())
    (161, 25557032)
    """

    def convolution(fan_in: int, fan_out: int, kernel: int) -> list[Shape]:
        return [(fan_out, fan_in, kernel, kernel), (fan_out,), (fan_out,)]  # and its batch norm

    shapes = convolution(3, 64, 7)
    fan_in = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(fan_in, width, 1) + convolution(width, width, 3)
            shapes += convolution(width, 4 * width, 1)
            if block == 0:
                shapes += convolution(fan_in, 4 * width, 1)  # the shortcut changes width
            fan_in = 4 * width
    return [*shapes, (1000, fan_in), (1000,)]


def six_leaf() -> list[Shape]:
    """Return a 20-64-40-16 network: six leaves, 4,600 elements.

    Examples
    --------
    >>> len(six_leaf()), elements(six_leaf())
    (6, 4600)
    """
    widths = (20, 64, 40, 16)
    layers = pairwise(widths)
    return [shape for fan_in, fan_out in layers for shape in ((fan_in, fan_out), (fan_out,))]


def many_leaves() -> list[Shape]:
    """Return 10,000 leaves of 100 elements."""
    return [(100,)] * 10_000


NETWORKS = {
    "gpt2-small": gpt2_small,
    "resnet-50": resnet50,
    "six-leaf": six_leaf,
    "10000-leaves": many_leaves,
}


def elements(shapes: Iterable[Shape]) -> int:
    """Return how many elements arrays of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes)


@dataclass(frozen=True)
class Target:
    """A speed to reach.

    Parameters
    ----------
    what : {"ratio", "ceiling"}
        Time of a peer over ours, or the fraction of the machine's ceiling.
    at_least : float
        The value to reach.
    peer : str, optional
        The peer meant; the best one by default.
    """

    what: str
    at_least: float
    peer: str | None = None


# float32 AdamW through opt.step(grads), in one run
TARGETS: Mapping[str, tuple[Target, ...]] = {
    "10^3": (Target("ratio", 12.0),),
    "10^4": (Target("ratio", 6.0),),
    "10^5": (Target("ratio", 2.2),),
    "10^6": (Target("ratio", 1.5),),
    "10^7": (Target("ceiling", 0.95),),
    "10^8": (Target("ceiling", 0.95),),
    "gpt2-small": (Target("ratio", 1.25),),
    "resnet-50": (Target("ratio", 1.25),),
    "six-leaf": (Target("ratio", 20.0), Target("ratio", 50.0, "torch-fused")),
    "10000-leaves": (Target("ratio", 60.0),),
}


@dataclass(frozen=True)
class Case:
    """One row: a rule on some leaves, with or without clipping.

    Parameters
    ----------
    name : str
        ``10^6``, or a network's name.
    rule : Rule
        The rule and its hypers.
    shapes : tuple of shapes
        Shapes of the leaves.
    clip : float, optional
        Largest global norm; None does not clip.
    single : bool, default False
        The parameters are a bare array, not a list of them.
    """

    name: str
    rule: Rule
    shapes: tuple[Shape, ...]
    clip: float | None = None
    single: bool = False

    @property
    def elements(self) -> int:
        """Elements over all leaves."""
        return elements(self.shapes)

    @property
    def bytes_moved(self) -> int:
        """Bytes that the step must move: each stream once, gradients once more for their norm."""
        streams = self.rule.reads + self.rule.writes + (self.clip is not None)
        return streams * self.elements * FLOAT

    @property
    def targets(self) -> tuple[Target, ...]:
        """Speeds to reach; the project has set them for AdamW."""
        return TARGETS.get(self.name, ()) if self.rule.name == "adamw" else ()

    def arrays(self, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return fresh parameters and gradients, float32, the same for a given seed.

        Examples
        --------
        >>> params, grads = size_case(KNOWN["adamw"], 1000).arrays()
        >>> params[0].dtype.name, grads[0].shape
        ('float32', (1000,))
        """
        # One short random run is repeated: drawing 10^8 numbers would take longer than the row.
        random = np.random.default_rng(seed)
        run = 99_991
        noise = random.standard_normal(2 * run).astype(np.float32)
        params = [fill(shape, noise[:run], 0.05) for shape in self.shapes]
        grads = [fill(shape, noise[run:], 0.1) for shape in self.shapes]
        return params, grads


def size_case(rule: Rule, size: int) -> Case:
    """Return the row of one array with `size` elements, without clipping."""
    power = round(math.log10(size)) if size > 0 else 0
    name = f"10^{power}" if 10**power == size else f"{size:,}"
    return Case(name, rule, ((size,),), single=True)


def network_case(rule: Rule, name: str) -> Case:
    """Return the row of a network: clip to global norm 1, then step."""
    return Case(name, rule, tuple(NETWORKS[name]()), clip=CLIP)


def aligned(shape: Shape) -> np.ndarray:
    """Return an uninitialised float32 array on a 64-byte boundary, the best start for everybody."""
    size = math.prod(shape) * FLOAT
    block = np.empty(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size].view(np.float32).reshape(shape)


def zeros(shape: Shape) -> np.ndarray:
    """Return aligned zeros, every page of them touched."""
    result = aligned(shape)
    result.fill(0)
    return result


def copy(array: np.ndarray) -> np.ndarray:
    """Return an aligned copy."""
    result = aligned(array.shape)
    np.copyto(result, array)
    return result


def fill(shape: Shape, noise: np.ndarray, scale: float) -> np.ndarray:
    """Return an aligned array of `noise` over and over, times `scale`."""
    result = aligned(shape)
    flat = result.reshape(-1)
    for start in range(0, flat.size, noise.size):
        part = flat[start : start + noise.size]
        np.multiply(noise[: part.size], np.float32(scale), out=part)
    return result
