"""torch's CUDA tensors, on torch's streams and in torch's graphs; arrays of other libraries by their protocols."""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from gpu_twins import FORMATS, Twins, gradient, normal, plain, same, trees

pytestmark = pytest.mark.gpu
BITS = {2: "int16", 4: "int32", 8: "int64"}  # by which elements travel: torch takes no bfloat16 from NumPy


class TorchArrays:
    """How a twin's arrays become torch's, and NumPy's again."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def put(self, host: Any, offset: int = 0) -> Any:
        host = np.array(host, order="C")
        size = host.dtype.itemsize
        bits = self.torch.from_numpy(host.reshape(-1).view(f"i{size}"))
        whole = self.torch.empty(host.size + offset // size, dtype=bits.dtype, device="cuda")[offset // size :]
        whole.copy_(bits)
        return whole.view(getattr(self.torch, host.dtype.name)).reshape(host.shape)

    def get(self, tensor: Any) -> np.ndarray:
        self.torch.cuda.synchronize()
        tensor = tensor.detach()
        name = str(tensor.dtype).removeprefix("torch.")
        bits = tensor.contiguous().view(getattr(self.torch, BITS[tensor.element_size()])).cpu().numpy()
        return bits.view(FORMATS[name]).reshape(tuple(tensor.shape))

    def like(self, host: Any, look: Callable[[Any], Any]) -> Any:
        return look(self.put(host))


@pytest.fixture
def tensors(torch: Any) -> TorchArrays:
    return TorchArrays(torch)


def scaled() -> dict[str, Any]:
    return {"scaler": schuss.LossScaler(scale=64.0, growth_interval=3), "clip": 1.0}


# Tensors.


@pytest.mark.parametrize("p", FORMATS)
@pytest.mark.parametrize("g", FORMATS)
def test_tensors_of_every_format(tensors: TorchArrays, p: str, g: str) -> None:
    params, grads = trees(1, {"a": ((40, 67), p, g), "b": ((5000,), p, g), "c": ((), p, g)})
    twins = Twins(tensors, schuss.AdamW, params, {"clip": 1.0, "lr": schuss.schedules.cosine(0.1, steps=5)})
    for step in range(4):
        twins.step(grads(step))
    twins.check()


@pytest.mark.parametrize("format_", FORMATS)
def test_transposed_and_misaligned_tensors(tensors: TorchArrays, format_: str) -> None:
    dtype = FORMATS[format_]
    params = {"w": normal(2, (66, 67), dtype), "b": normal(3, 500, dtype)}

    def look(x: Any) -> Any:
        return x.T[1::2]

    offsets = {"b": dtype.itemsize}
    twins = Twins(tensors, schuss.AdamW, params, {"clip": 1.0}, looks={"w": look}, offsets=offsets)
    for step in range(3):
        w, b = gradient(4 + step, (66, 67), dtype), gradient(9 + step, 500, dtype)
        twins.step({"w": look(w), "b": b}, {"w": tensors.like(w, look), "b": tensors.put(b, dtype.itemsize)})
    twins.check()


def test_steps_run_on_torch_s_current_stream_and_wait_for_nothing(gpu: Any, torch: Any, tensors: TorchArrays) -> None:
    params, grads = trees(5, plain())
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        twins = Twins(tensors, schuss.AdamW, params, scaled)
        there = [twins.to_device(grads(step)) for step in range(20)]
        for step in range(3):
            twins.step(grads(step), there[step])
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        with gpu.held(gpu.foreign(int(side.cuda_stream))):
            for step in range(3, 20):
                twins.step(grads(step), there[step])
            assert not side.query(), "the steps did not run on the side stream"
            assert torch.cuda.current_stream() == side
        assert torch.cuda.memory_allocated() == before
        twins.check()


def test_a_step_gives_no_warning(tensors: TorchArrays) -> None:
    params, grads = trees(6, plain())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twins = Twins(tensors, schuss.AdamW, params, scaled)
        for step in range(3):
            twins.step(grads(step))
        twins.check()


def test_two_optimizers_on_two_streams_of_torch(torch: Any, tensors: TorchArrays) -> None:
    streams = [torch.cuda.Stream() for _ in range(2)]
    runs = []
    for seed, stream in enumerate(streams):
        with torch.cuda.stream(stream):
            params, grads = trees(seed, plain(sizes=(300_000, 37)))
            runs.append((Twins(tensors, schuss.AdamW, params, scaled), grads, stream))
    for step in range(10):
        for twins, grads, stream in runs:
            with torch.cuda.stream(stream):
                twins.step(grads(step))
    for twins, _, _ in runs:
        twins.check()


# Autograd.


def test_autograd_notices_that_a_parameter_moved(torch: Any) -> None:
    w = torch.ones(10, device="cuda", requires_grad=True)
    opt = schuss.SGD({"w": w}, lr=0.1)
    version = w._version
    opt.step({"w": torch.ones(10, device="cuda")})
    assert w._version > version
    loss = (w * w).sum()  # keeps w
    opt.step({"w": torch.ones(10, device="cuda")})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_model_is_trained(torch: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).cuda()
    weights = dict(model.named_parameters())
    opt = schuss.AdamW(weights, lr=0.02, clip=1.0)
    inputs = torch.randn(256, 8, device="cuda")
    target = inputs.sum(1, keepdim=True).sin()
    losses = []
    for _ in range(200):
        loss = ((model(inputs) - target) ** 2).mean()
        model.zero_grad()
        loss.backward()
        opt.step({name: p.grad for name, p in weights.items()})
        losses.append(loss.detach())
    assert float(losses[-1]) < 0.1 * float(losses[0])
    assert opt.clock == 200


# Graphs.


class Network:
    """A small model whose whole step is captured; its gradients are read after each replay, for the CPU's twin."""

    def __init__(self, torch: Any, tensors: TorchArrays, settings: Callable[[], dict[str, Any]]) -> None:
        torch.manual_seed(1)
        self.torch, self.tensors = torch, tensors
        self.model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)).cuda()
        self.weights = dict(self.model.named_parameters())
        self.opt = schuss.AdamW(self.weights, **settings())
        self.on_host = {name: tensors.get(p).copy() for name, p in self.weights.items()}
        self.want = schuss.AdamW(self.on_host, **settings())
        self.x, self.y = torch.zeros(32, 16, device="cuda"), torch.zeros(32, 4, device="cuda")

    def feed(self, step: int) -> None:
        self.x.copy_(self.torch.from_numpy(normal(100 + step, (32, 16))))
        self.y.copy_(self.torch.from_numpy(normal(200 + step, (32, 4))))

    def train(self) -> Any:
        loss = ((self.model(self.x) - self.y) ** 2).mean()
        loss.backward()
        return self.opt.step({name: p.grad for name, p in self.weights.items()})

    def follow(self) -> Any:
        """The twin takes the step that the device has taken."""
        return self.want.step({name: self.tensors.get(p.grad) for name, p in self.weights.items()})

    def check(self) -> None:
        for name, p in self.weights.items():
            same(self.tensors.get(p), self.on_host[name], name)


@pytest.mark.parametrize(
    "settings",
    [
        dict,
        lambda: {"lr": schuss.schedules.warmup(2, schuss.schedules.cosine(0.05, steps=30)), "clip": 0.5},
        scaled,
    ],
    ids=["plain", "clipped and scheduled", "scaled"],
)
def test_a_whole_training_step_in_torch_s_graph(
    torch: Any, tensors: TorchArrays, settings: Callable[[], dict[str, Any]]
) -> None:
    network = Network(torch, tensors, settings)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in range(3):
            network.model.zero_grad(set_to_none=True)
            network.feed(step)
            network.train()
            network.follow()
        network.opt.renew()
    torch.cuda.current_stream().wait_stream(side)
    network.model.zero_grad(set_to_none=True)  # captured gradients lie in the graph's own memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        info = network.train()
    for step in range(3, 15):
        network.feed(step)
        graph.replay()
        want = network.follow()
        assert (info.step, info.lr, info.skipped) == (want.step, want.lr, want.skipped)
        assert info.grad_norm == want.grad_norm
        network.check()
    network.model.zero_grad(set_to_none=True)
    network.feed(15)
    network.train()
    network.follow()
    network.check()
    assert network.opt.clock == network.want.clock == 16


def test_the_example_of_a_graph_learns_as_it_does_on_the_cpu(torch: Any) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "cuda_graph.py"))
    want = example["step_by_step"]()
    got = example["in_a_graph"]()
    assert len(got) == len(want)
    # The gradients are torch's own, of two devices whose products round in other orders; each step carries that on.
    np.testing.assert_allclose(got[:20], want[:20], rtol=0.02)
    assert np.mean(got[-20:]) == pytest.approx(np.mean(want[-20:]), rel=0.3)


# Other libraries, by their protocols.


class OnlyDlpack:
    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **asked: Any) -> Any:
        return self._array.__dlpack__(**asked)


class OnlyInterface:
    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._array.__cuda_array_interface__


@pytest.mark.parametrize("kind", [OnlyDlpack, OnlyInterface])
@pytest.mark.parametrize("format_", ["float64", "float32"])
def test_arrays_by_their_protocols(gpu: Any, arrays: Any, kind: Any, format_: str) -> None:
    params, grads = trees(7, plain(format_))
    stream = gpu.stream()
    with stream:
        twins = Twins(arrays, schuss.AdamW, params, {"clip": 1.0})
        wrapped = {name: kind(each) for name, each in twins.on_device.items()}
        twins.got = schuss.AdamW(wrapped, clip=1.0)
        for step in range(3):
            given = grads(step)
            twins.step(given, {name: kind(arrays.put(each)) for name, each in given.items()})
        twins.check()


def test_tensors_by_dlpack(torch: Any, tensors: TorchArrays, arrays: Any) -> None:
    """Gradients of torch, bfloat16 among them, for parameters of CuPy."""
    shapes = {f"{g}": ((5000,), "float32", g) for g in FORMATS}
    params, grads = trees(8, shapes)
    twins = Twins(arrays, schuss.AdamW, params)
    for step in range(3):
        given = grads(step)
        torch.cuda.synchronize()
        twins.step(given, {name: OnlyDlpack(tensors.put(each)) for name, each in given.items()})
        torch.cuda.synchronize()
    twins.check()


def test_tensors_are_gradients_of_cupy_s_arrays(torch: Any, tensors: TorchArrays, arrays: Any) -> None:
    params, grads = trees(9, plain())
    twins = Twins(arrays, schuss.AdamW, params)
    for step in range(3):
        given = grads(step)
        twins.step(given, {name: tensors.put(each) for name, each in given.items()})
    twins.check()


JAX = """
import numpy as np, sys
try:
    import jax, jax.numpy as jnp
    if jax.default_backend() != "gpu": raise RuntimeError(f"its backend is {jax.default_backend()}")
except Exception as error:
    print("no JAX on the device:", error); sys.exit(3)
import cupy, schuss
host, device = np.zeros(1000, np.float32), cupy.zeros(1000, np.float32)
want, got = schuss.Adam(host, lr=0.1), schuss.Adam(device, lr=0.1)
goal = jnp.arange(1000, dtype=jnp.float32)
for step in range(5):
    g = jax.grad(lambda p: jnp.sum((p - goal) ** 2))(jnp.asarray(host))
    want.step(np.asarray(g))
    got.step(g)
    cupy.cuda.runtime.deviceSynchronize()  # before JAX takes the memory of g back
assert cupy.asnumpy(device).tobytes() == host.tobytes()
"""


def test_gradients_of_jax(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.simulated:
        pytest.skip("JAX's own CUDA is not simulated")
    pytest.importorskip("jax", reason="JAX is not installed")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    done = subprocess.run([sys.executable, "-c", JAX], capture_output=True, text=True, timeout=180, check=False)
    if done.returncode == 3:
        pytest.skip(done.stdout.strip()[-300:])
    assert done.returncode == 0, done.stderr[-3000:]
