"""Means and intervals over seeds, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The 97.5 % points of Student's t for 1, 2, … degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
      2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
      2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `half` is zero-width only if all values are equal."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def t_point(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 0.002 (by the Cornish-Fisher series above 30).

    Examples
    --------
    >>> t_point(4), round(t_point(60), 2)
    (2.776, 2.0)
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom)


def t_interval(values: Sequence[float]) -> Interval:
    """95 % t interval for the mean of two values or more.

    Examples
    --------
    >>> interval = t_interval([1.0, 2.0, 3.0])
    >>> interval.mean, round(interval.low, 3), round(interval.high, 3)
    (2.0, -0.484, 4.484)
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"values: {n}, expected at least 2")
    mean = float(np.mean(values))
    half = t_point(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def wilson(share: float, n: int) -> Interval:
    """95 % Wilson score interval for a share seen in n trials.

    Examples
    --------
    >>> interval = wilson(0.94, 1000)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.9235, 0.9531)
    """
    z2 = 1.959964**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(share, middle - half, middle + half)
