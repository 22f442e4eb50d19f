"""Accumulation: four micro-batches of 32 make one step of a batch of 128.

The chapter's listing as it is written in torch, and beside it the same run with Schuss on NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LR, MICRO, ACCUMULATE, EPOCHS = 0.05, 32, 4, 10

# A logistic regression.
rng = np.random.default_rng(0)
X = rng.standard_normal((512, 6))
LABELS = (X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0]) > 0).astype(np.float64)


def micro_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every epoch in the same order, cut into micro-batches."""
    for _ in range(EPOCHS):
        for start in range(0, len(X), MICRO):
            yield X[start : start + MICRO], LABELS[start : start + MICRO]


def with_torch() -> np.ndarray:
    """The listing: each loss is divided by k, gradients add up, every k-th batch steps."""
    import torch

    w = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=LR, weight_decay=0.01)
    for i, (inputs, labels) in enumerate(micro_batches(), start=1):
        logits = torch.from_numpy(inputs) @ w
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels))
        (loss / ACCUMULATE).backward()
        if i % ACCUMULATE == 0:
            optimizer.step()
            optimizer.zero_grad()
    return w.detach().numpy()


def with_schuss() -> np.ndarray:
    """The same with Schuss: give it every micro-gradient; it keeps their mean and steps in time."""
    import schuss

    params = {"w": np.zeros(6)}
    opt = schuss.AdamW(params, lr=LR, weight_decay=0.01, accumulate=ACCUMULATE)
    for inputs, labels in micro_batches():
        shares = 1 / (1 + np.exp(-(inputs @ params["w"])))
        opt.step({"w": inputs.T @ (shares - labels) / len(labels)})
    opt.flush()  # the last partial batch, if there is one
    return params["w"]


if __name__ == "__main__":
    print("torch ", with_torch().round(5))
    print("schuss", with_schuss().round(5))
