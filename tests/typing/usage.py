"""What a type checker must understand, and what it must refuse. Checked by tests/test_stubs.py, never run."""

import numpy as np
import schuss
from numpy.typing import NDArray
from schuss import LossScaler, StepInfo
from schuss.schedules import Schedule, cosine, warmup
from typing_extensions import assert_type

params = {"w": np.zeros((64, 10), np.float32)}
grads = {"w": np.ones((64, 10), np.float32)}
rate = warmup(100, cosine(3e-4, steps=10_000))

# What is right.
opt = schuss.AdamW(params, lr=rate, beta1=0.9, weight_decay=lambda step: 0.01, amsgrad=True, clip=1.0)
info = opt.step(grads)
assert_type(opt, schuss.AdamW)
assert_type(info, StepInfo)
assert_type(info.step, int)
assert_type(info.grad_norm, float | None)
assert_type(info.skipped, bool)
assert_type(opt.flush(), StepInfo | None)
assert_type(opt.clock, int)
assert_type(opt.names, list[str])
assert_type(opt.cost()["bytes_moved"], int)
assert_type(schuss.Adagrad.textbook(params, lr=0.1), schuss.Adagrad)
assert_type(rate, Schedule)
assert_type(rate(7), float)
assert_type(rate(np.arange(7)), NDArray[np.float64])
assert_type(schuss.clipping.by_global_norm(grads, 1.0), float)
assert_type(schuss.clipping.by_leaf_norm(grads, 1.0), dict[str, float])
assert_type(LossScaler(2.0**10).scale, float)
assert_type(LossScaler.static(8.0), LossScaler)
assert_type(schuss.get_num_threads(), int)
assert_type(schuss.rules()["adamw"].hypers[0].name, str)
schuss.SGD([np.zeros(3)], momentum=0.9, nesterov=True, clip=schuss.clipping.LeafNorm(1.0), nonfinite="raise")
schuss.Adam(np.zeros(3), accumulate=4, scaler=LossScaler(), grad_norm=True)
nesterov = schuss.Nesterov(params)
with nesterov.lookahead():
    nesterov.add_group({"params": np.zeros(2), "lr": 0.1}, name="head")["lr"] = 0.2
schuss.ops.adamw(np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3), step=1, lr=1e-3)
schuss.save("opt.safetensors", opt)

# What is wrong: each of these lines must be an error, or the comment that expects it is one.
schuss.AdamW(params, betas=(0.9, 0.999))  # pyright: ignore[reportCallIssue]
schuss.AdamW(params, lr="0.1")  # pyright: ignore[reportArgumentType]
schuss.AdamW(params, 1e-3)  # pyright: ignore[reportCallIssue]
schuss.AdamW()  # pyright: ignore[reportCallIssue]
schuss.SGD(params, nesterov=rate)  # pyright: ignore[reportArgumentType]
schuss.SGD(params, nonfinite="ignore")  # pyright: ignore[reportArgumentType]
schuss.RMSprop.textbook(params, rho=0.9)  # pyright: ignore[reportCallIssue]
schuss.Adam(params).lookahead()  # pyright: ignore[reportAttributeAccessIssue]
schuss.ops.adam(np.zeros(3), np.ones(3))  # pyright: ignore[reportCallIssue]
schuss.ops.sgd(np.zeros(3), np.ones(3), beta1=0.9)  # pyright: ignore[reportCallIssue]
schuss.AdamX(params)  # pyright: ignore[reportAttributeAccessIssue]
print(info.grad_norm + 1.0)  # pyright: ignore[reportOptionalOperand]
info.step = 3  # pyright: ignore[reportAttributeAccessIssue]
cosine(0.1)  # pyright: ignore[reportCallIssue]
