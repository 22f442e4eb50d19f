"""The network under test: 784-128-10, rectified linear, in NumPy; autograd gives its gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

SIZES = (784, 128, 10)

Params = dict[str, np.ndarray]
ValueAndGrad = Callable[[Params, np.ndarray, np.ndarray], tuple[Any, Params]]


def init(seed: int, sizes: tuple[int, ...] = SIZES, dtype: Any = np.float32) -> Params:
    """Draw the first parameters: weights normal with variance 2 / fan-in, biases zero.

    Parameters
    ----------
    seed : int
        The same seed gives the same parameters.
    sizes : tuple of int, default (784, 128, 10)
        Units of each layer, input first.
    dtype : dtype, default float32
        Of every array.

    Returns
    -------
    dict of ndarray
        "w1" (784, 128), "b1" (128,), "w2" (128, 10), "b2" (10,).

    Examples
    --------
    >>> {name: p.shape for name, p in init(0).items()}
    {'w1': (784, 128), 'b1': (128,), 'w2': (128, 10), 'b2': (10,)}
    """
    rng = np.random.default_rng([seed, 0])
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        spread = np.sqrt(2 / fan_in)
        params[f"w{i}"] = (spread * rng.standard_normal((fan_in, fan_out))).astype(dtype)
        params[f"b{i}"] = np.zeros(fan_out, dtype)
    return params


def logits(params: Params, images: Any) -> Any:
    """The network's ten outputs, (n, 10), for images (n, 784)."""
    layers = len(params) // 2
    x = images
    for i in range(1, layers + 1):
        x = x @ params[f"w{i}"] + params[f"b{i}"]
        if i < layers:
            # autograd's own gradient of maximum() is float64; a product with a mask stays float32.
            x = x * (x > 0)
    return x


def loss(params: Params, images: Any, targets: Any) -> Any:
    """Mean cross-entropy in nats of the softmax of `logits` against one-hot targets (n, 10)."""
    import autograd.numpy

    anp: Any = autograd.numpy  # its functions are made at run time: a type checker sees none
    z = logits(params, images)
    z = z - anp.max(z, axis=1, keepdims=True)
    log_total = anp.log(anp.sum(anp.exp(z), axis=1))
    # By a float32: NumPy before 2 gives float64 for a float32 number over an int.
    return anp.sum(log_total - anp.sum(z * targets, axis=1)) / np.float32(len(images))


def value_and_grad() -> ValueAndGrad:
    """The function (params, images, targets) -> (loss, gradients), by autograd.

    Examples
    --------
    >>> params = init(0)
    >>> x, y = np.ones((2, 784), np.float32), np.eye(10, dtype=np.float32)[[3, 7]]
    >>> value, grads = value_and_grad()(params, x, y)
    >>> grads["w1"].shape, grads["w1"].dtype
    ((784, 128), dtype('float32'))
    """
    import autograd

    of: Any = autograd.value_and_grad
    return of(loss)


def evaluate(params: Params, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (a fraction) on images (n, 784), labels (n,)."""
    with np.errstate(all="ignore"):  # a run that blew up is a result: its loss reads as not finite
        z = logits(params, images).astype(np.float64)
        top = z.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0]
        mean_loss = float((log_total - z[np.arange(len(labels)), labels]).mean())
    right = float((z.argmax(axis=1) == labels).mean())
    return mean_loss, right
