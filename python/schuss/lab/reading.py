"""Results read back as tables: what the pictures draw and the sentences say."""

from __future__ import annotations

from typing import Any

import numpy as np

from .stats import Interval, t_interval, wilson


class Reading:
    """The results of a comparison, by optimizer.

    Parameters
    ----------
    results : dict
        What `compare.compare` returned, or the same read back from `results.json`.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.config = results["config"]
        self.names = [entry["name"] for entry in results["optimizers"]]
        self.label = {entry["name"]: entry["label"] for entry in results["optimizers"]}
        self.lr = {entry["name"]: entry["lr"] for entry in results["optimizers"]}
        self.call = {entry["name"]: entry["call"] for entry in results["optimizers"]}
        self.clip = float(self.config["clip"])
        self.seeds = len(self.config["seeds"])
        self.tests = int(results["data"]["test"])
        # Equal means keep the table's order, in the pictures as in the sentences.
        self.ranked = sorted(self.names, key=lambda name: -self.interval(name).mean)

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of an optimizer, by seed."""
        return [run for run in self.results["runs"] if run["optimizer"] == name]

    def curve(self, name: str, kind: str, what: str) -> np.ndarray:
        """A curve of every seed, (seeds, points) float64; NaN where a number was not finite."""
        rows = [run[kind][what] for run in self.runs(name)]
        return np.array([[np.nan if v is None else v for v in row] for row in rows], float)

    def mean(self, name: str, what: str) -> np.ndarray:
        """The mean over seeds of an epochs curve; NaN where any seed's was not finite."""
        return self.curve(name, "epochs", what).mean(axis=0)

    def accuracies(self, name: str) -> list[float]:
        """Final test accuracy of every seed, in per cent."""
        return [100 * run["test"]["accuracy"] for run in self.runs(name)]

    def interval(self, name: str) -> Interval:
        """Mean test accuracy with its 95 % interval, in per cent.

        Over seeds by Student's t; for a single seed the Wilson interval over test digits.
        """
        values = self.accuracies(name)
        if len(values) > 1:
            span = t_interval(values)
            return Interval(span.mean, max(span.low, 0.0), min(span.high, 100.0))
        alone = wilson(values[0] / 100, self.tests)
        return Interval(values[0], 100 * alone.low, 100 * alone.high)

    def lead(self, name: str, other: str) -> Interval:
        """How far one is ahead of another: mean difference in points, paired by seed."""
        pairs = zip(self.accuracies(name), self.accuracies(other), strict=True)
        return t_interval([a - b for a, b in pairs])

    def clipped_share(self, name: str) -> float:
        """Share of steps, over all seeds, whose norm was above the limit."""
        norms = self.curve(name, "steps", "grad_norm")
        return float((norms > self.clip).sum() / max(np.isfinite(norms).sum(), 1))

    def time(self, name: str, what: str) -> dict[str, float]:
        """Median and quartiles in microseconds of "gradient", "optimizer" or "total"."""
        times = self.results["step_time"]["optimizers"][name][what]
        return {key: 1e6 * value for key, value in times.items()}

    def time_reach(self) -> float:
        """Where the axis of times ends: on a busy machine short of the longest whiskers."""
        total = [self.time(name, "total") for name in self.names]
        return 1.04 * max(min(t["upper"], 1.8 * t["median"]) for t in total)

    def share(self, name: str) -> float:
        """The optimizer's share of a step, in per cent, by medians."""
        own = self.time(name, "optimizer")["median"]
        return 100 * own / (own + self.time(name, "gradient")["median"])
