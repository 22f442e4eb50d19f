"""One training run, from the first weights to the last accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import network
from .data import Digits
from .entries import Entry
from .settings import CLIP, Settings

Results = dict[str, Any]


def schedule(lr: float, settings: Settings) -> Any:
    """Linear warmup to `lr`, then a cosine to zero at the last step."""
    from schuss import schedules

    # Warmup's first step is already a step: the cosine has what is left.
    falling = schedules.cosine(lr, steps=settings.steps - settings.warmup)
    return schedules.warmup(settings.warmup, falling) if settings.warmup else falling


def batches(seed: int, settings: Settings) -> Iterator[np.ndarray]:
    """Places of each batch's digits in the training part: shuffled anew every epoch."""
    rng = np.random.default_rng([seed, 1])
    for _ in range(settings.epochs):
        order = rng.permutation(settings.examples)
        for i in range(settings.steps_per_epoch):
            yield order[i * settings.batch : (i + 1) * settings.batch]


def train(
    entry: Entry,
    lr: float,
    seed: int,
    settings: Settings,
    digits: Digits,
    tick: Callable[[int], None] = lambda epoch: None,
) -> Results:
    """Train one network and keep its curves.

    Parameters
    ----------
    entry : Entry
        The optimizer.
    lr : float
        Peak rate of the schedule.
    seed : int
        Fixes the first weights and the batches, whatever the optimizer.
    settings : Settings
        Epochs, batch and the like.
    digits : Digits
        If the test part is withheld the result's "test" is None.
    tick : callable, optional
        Called with the number of epochs done after each of them.

    Returns
    -------
    dict
        "optimizer", "seed", "lr", "seconds"; "epochs" with lists one longer than the epochs
        (train_loss, validation_loss, validation_accuracy), the first value before any step;
        "steps" with a value a step (lr, loss, grad_norm before clipping, clipped_norm after);
        "skipped", the steps refused for a gradient that was not finite; "test" with loss and
        accuracy, measured once, after the last step. Numbers that are not finite are None.
    """
    started = time.perf_counter()
    part = digits.train.first(settings.examples)
    images, targets = part.images(), part.targets()
    seen = (images, part.labels)
    held = (digits.validation.images(), digits.validation.labels)
    params = network.init(seed)
    opt = entry.make(params, lr=schedule(lr, settings), clip=CLIP)
    gradient = network.value_and_grad()
    epochs: dict[str, list[float | None]] = {}
    steps: dict[str, list[float | None]] = {}
    skipped = 0

    def look() -> None:
        train_loss, _ = network.evaluate(params, *seen)
        loss, accuracy = network.evaluate(params, *held)
        _add(epochs, train_loss=train_loss, validation_loss=loss, validation_accuracy=accuracy)

    look()
    with np.errstate(all="ignore"):
        for done, rows in enumerate(batches(seed, settings), start=1):
            loss, grads = gradient(params, images[rows], targets[rows])
            info = opt.step(grads)
            skipped += info.skipped
            norm = info.grad_norm
            _add(steps, lr=info.lr, loss=loss, grad_norm=norm, clipped_norm=norm * info.clip_coef)
            if done % settings.steps_per_epoch == 0:
                look()
                tick(done // settings.steps_per_epoch)
    test = None
    if digits.test is not None:
        loss, accuracy = network.evaluate(params, digits.test.images(), digits.test.labels)
        test = {"loss": finite(loss), "accuracy": accuracy}
    seconds = round(time.perf_counter() - started, 3)
    return {"optimizer": entry.name, "seed": seed, "lr": lr, "seconds": seconds, "test": test,
            "skipped": int(skipped), "epochs": epochs, "steps": steps}  # fmt: skip


def finite(value: Any) -> float | None:
    """A number to six digits, or None: JSON has no word for infinity."""
    return float(f"{float(value):.6g}") if np.isfinite(value) else None


def _add(table: dict[str, list[float | None]], **values: Any) -> None:
    for name, value in values.items():
        table.setdefault(name, []).append(finite(value))
