"""What an experiment can be told, checked before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

CLIP = 1.0
WARMUP_SHARE = 0.1


class BadSetting(ValueError):
    """A setting the user gave: its name, what it is and what was expected."""


@dataclass(frozen=True)
class Settings:
    """The settings that every run of an experiment shares.

    Parameters
    ----------
    epochs : int, default 20
        Passes over the training digits.
    seeds : int, default 5
        Runs an optimizer, seeds 0, 1, …; a seed fixes the first weights and the batches.
    batch : int, default 64
        Digits a step, at most the 3,000 there are to train on.
    lr : float, optional
        One peak rate for all, in place of the committed ones.
    examples : int, default 3000
        Train on the first so many digits only.

    Raises
    ------
    BadSetting
        Naming the setting, what it is and what was expected.

    Examples
    --------
    >>> Settings(epochs=2).steps, Settings(epochs=2).warmup
    (92, 9)
    >>> Settings(epochs=0)
    Traceback (most recent call last):
        ...
    schuss.lab.settings.BadSetting: epochs: 0, expected a whole number of at least 1
    """

    epochs: int = 20
    seeds: int = 5
    batch: int = 64
    lr: float | None = None
    examples: int = 3000

    def __post_init__(self) -> None:
        for name in ("epochs", "seeds", "batch", "examples"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadSetting(f"{name}: {value!r}, expected a whole number of at least 1")
        if self.examples > 3000:
            raise BadSetting(f"examples: {self.examples}, expected at most 3000")
        if self.batch > self.examples:
            raise BadSetting(f"batch: {self.batch}, expected at most the {self.examples} digits to train on")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise BadSetting(f"lr: {self.lr:g}, expected a finite number above 0")

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches an epoch; what is left over waits for the next shuffle."""
        return self.examples // self.batch

    @property
    def steps(self) -> int:
        """Steps of one run."""
        return self.epochs * self.steps_per_epoch

    @property
    def warmup(self) -> int:
        """Steps of linear warmup: a tenth of the run, at least one, never the whole."""
        return min(max(1, round(WARMUP_SHARE * self.steps)), max(0, self.steps - 1))


def writable(folder: Path) -> Path:
    """Make the folder and try to write in it, so that a bad one is known before the work.

    Raises
    ------
    BadSetting
        Naming the folder and the system's reason.
    """
    probe = folder / ".schuss-lab-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise BadSetting(f"out: {str(folder)!r} cannot be written ({error.strerror}), expected a folder") from None
    return folder
