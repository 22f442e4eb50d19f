"""Momentum by hand: the heavy ball in the averaging form, v = beta v + (1 - beta) g.

The chapter's listing as it is written in torch, and beside it the same run with Schuss on NumPy.
"""

from __future__ import annotations

import numpy as np

LR, BETA, STEPS = 0.05, 0.9, 200

# A least-squares problem: find w from y = X w.
rng = np.random.default_rng(0)
X = rng.standard_normal((256, 8))
y = X @ np.arange(1.0, 9.0) + 0.1 * rng.standard_normal(256)


def with_torch() -> np.ndarray:
    """The listing: a velocity for each parameter, moved and applied by hand."""
    import torch

    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    w = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    velocity = torch.zeros_like(w)
    for _ in range(STEPS):
        loss = ((inputs @ w - targets) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            velocity = BETA * velocity + (1 - BETA) * gradient
            w -= LR * velocity
    return w.detach().numpy()


def with_schuss() -> np.ndarray:
    """The same with Schuss: the velocity is a slot of the optimizer."""
    import schuss

    params = {"w": np.zeros(8)}
    opt = schuss.Momentum(params, lr=LR, beta=BETA)
    for _ in range(STEPS):
        grads = {"w": 2 / len(y) * X.T @ (X @ params["w"] - y)}
        opt.step(grads)
    return params["w"]


if __name__ == "__main__":
    print("torch ", with_torch().round(4))
    print("schuss", with_schuss().round(4))
