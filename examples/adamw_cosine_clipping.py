"""The common recipe: AdamW, a cosine schedule, and clipping of the global norm at 1.0.

The chapter's listing as it is written in torch, and beside it the same run with Schuss on NumPy.
"""

from __future__ import annotations

import numpy as np

LR, WEIGHT_DECAY, MAX_NORM, STEPS = 0.05, 0.01, 1.0, 300

# Three classes on the plane, a network of two layers.
rng = np.random.default_rng(0)
X = rng.standard_normal((300, 2)) + np.repeat([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]], 100, axis=0)
LABELS = np.repeat([0, 1, 2], 100)
START = {
    "w1": 0.5 * rng.standard_normal((2, 16)),
    "b1": np.zeros(16),
    "w2": 0.5 * rng.standard_normal((16, 3)),
    "b2": np.zeros(3),
}


def with_torch() -> dict[str, np.ndarray]:
    """The listing: backward, clip, step of the optimizer, step of the schedule."""
    import torch

    inputs, labels = torch.from_numpy(X), torch.from_numpy(LABELS)
    params = {name: torch.from_numpy(p.copy()).requires_grad_() for name, p in START.items()}
    optimizer = torch.optim.AdamW(params.values(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    for _ in range(STEPS):
        hidden = torch.tanh(inputs @ params["w1"] + params["b1"])
        loss = torch.nn.functional.cross_entropy(hidden @ params["w2"] + params["b2"], labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), MAX_NORM)
        optimizer.step()
        schedule.step()
    return {name: p.detach().numpy() for name, p in params.items()}


def gradients(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gradients of the mean cross entropy, by hand."""
    hidden = np.tanh(X @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    at_logits = (shares - np.eye(3)[LABELS]) / len(LABELS)
    at_hidden = at_logits @ params["w2"].T * (1 - hidden**2)
    return {
        "w1": X.T @ at_hidden,
        "b1": at_hidden.sum(axis=0),
        "w2": hidden.T @ at_logits,
        "b2": at_logits.sum(axis=0),
    }


def with_schuss() -> dict[str, np.ndarray]:
    """The same with Schuss: the schedule is the rate, the clip an argument."""
    import schuss

    params = {name: p.copy() for name, p in START.items()}
    opt = schuss.AdamW(
        params,
        lr=schuss.schedules.cosine(LR, steps=STEPS),
        weight_decay=WEIGHT_DECAY,
        clip=MAX_NORM,
    )
    for _ in range(STEPS):
        opt.step(gradients(params))
    return params


if __name__ == "__main__":
    for name, run in [("torch ", with_torch), ("schuss", with_schuss)]:
        found = run()
        logits = np.tanh(X @ found["w1"] + found["b1"]) @ found["w2"] + found["b2"]
        accuracy = np.mean(logits.argmax(axis=1) == LABELS)
        print(f"{name} accuracy {accuracy:.3f}  b2 {found['b2'].round(5)}")
