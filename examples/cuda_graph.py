"""A whole training step in a CUDA graph: forward, backward and Schuss's step are captured once and replayed.

With torch on a CUDA device the network below is trained that way. Without one the same run is made by NumPy on the
CPU, step by step, so that the script shows what it is about anywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STEPS, BATCH = 300, 256

# A noisy sine to be learned by one hidden layer.
rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, (STEPS, BATCH, 1)).astype(np.float32)
Y = (np.sin(2 * X) + 0.05 * rng.standard_normal(X.shape)).astype(np.float32)
PARAMS = {
    "w1": rng.standard_normal((1, 64)).astype(np.float32),
    "b1": rng.standard_normal(64).astype(np.float32),
    "w2": (rng.standard_normal((64, 1)) / 8).astype(np.float32),
    "b2": np.zeros(1, np.float32),
}


def optimizer(params: Any) -> Any:
    """The same optimizer for both: its schedule and its clipping are part of the captured step."""
    import schuss

    rate = schuss.schedules.warmup(20, schuss.schedules.cosine(0.02, steps=STEPS - 20))
    return schuss.AdamW(params, lr=rate, clip=1.0)


def in_a_graph() -> list[float]:
    """On the device: what changes between replays is written into the arrays that were captured."""
    import torch

    params = {name: torch.from_numpy(p).cuda().requires_grad_() for name, p in PARAMS.items()}
    x, y = (torch.from_numpy(each[0]).cuda() for each in (X, Y))
    opt = optimizer(params)

    def train() -> tuple[Any, Any]:
        hidden = torch.tanh(x @ params["w1"] + params["b1"])
        loss = ((hidden @ params["w2"] + params["b2"] - y) ** 2).mean()
        loss.backward()
        info = opt.step({name: p.grad for name, p in params.items()})
        return loss.detach(), info

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        loss, _ = train()  # an ordinary step first: everything is compiled and made
        opt.renew()  # the numbers of the next 4,096 steps
        losses = [float(loss)]
    torch.cuda.current_stream().wait_stream(side)

    for p in params.values():
        p.grad = None  # the graph has gradients of its own
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        loss, info = train()

    for step in range(1, STEPS):
        x.copy_(torch.from_numpy(X[step]))
        y.copy_(torch.from_numpy(Y[step]))
        graph.replay()
        losses.append(float(loss))
    print(f"{info.step} steps, the last at a rate of {info.lr:.2g}")
    return losses


def step_by_step() -> list[float]:
    """On the CPU, with the gradients by hand."""
    params = {name: p.copy() for name, p in PARAMS.items()}
    opt = optimizer(params)
    losses = []
    for x, y in zip(X, Y, strict=True):
        hidden = np.tanh(x @ params["w1"] + params["b1"])
        error = hidden @ params["w2"] + params["b2"] - y
        losses.append(float((error**2).mean()))
        error *= 2 / BATCH
        back = (error @ params["w2"].T) * (1 - hidden**2)
        info = opt.step({"w1": x.T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum(0)})
    print(f"{info.step} steps, the last at a rate of {info.lr:.2g}")
    return losses


def has_device() -> bool:
    try:
        import cupy  # noqa: F401
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


if __name__ == "__main__":
    losses = in_a_graph() if has_device() else step_by_step()
    print(f"loss {losses[0]:.3f} -> {np.mean(losses[-20:]):.3f}")
