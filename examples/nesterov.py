"""Nesterov's momentum by hand, looking ahead: the gradient is taken where v would carry us.

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
    """The listing: look ahead, take the gradient there, step from where we were."""
    import torch

    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    w = torch.zeros(8, dtype=torch.float64)
    velocity = torch.zeros_like(w)
    for _ in range(STEPS):
        ahead = (w - LR * BETA * velocity).requires_grad_()
        loss = ((inputs @ ahead - targets) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, ahead)
        velocity = BETA * velocity + (1 - BETA) * gradient
        w = w - LR * velocity
    return w.numpy()


def with_schuss() -> np.ndarray:
    """The same with Schuss: inside ``lookahead`` the parameters stand at w - lr beta v."""
    import schuss

    params = {"w": np.zeros(8)}
    opt = schuss.Nesterov(params, lr=LR, beta=BETA, lookahead=True)
    for _ in range(STEPS):
        with opt.lookahead():
            grads = {"w": 2 / len(y) * X.T @ (X @ params["w"] - y)}
        opt.step(grads)
    return params["w"]


if __name__ == "__main__":
    print("torch ", with_torch().round(4))
    print("schuss", with_schuss().round(4))
