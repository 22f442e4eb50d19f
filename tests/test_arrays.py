"""Arrays of every kind: layouts, dtypes, torch tensors, the array interface, DLPack, JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, CLASSES, DTYPES, RULES, normal, same_bits

SHAPE = (23, 19)


def home(dtype: Any) -> np.ndarray:
    return np.zeros((2 * 23 + 5, 3 * 19 + 5), dtype)


LAYOUTS: dict[str, Any] = {
    "fortran": lambda dtype: np.zeros(SHAPE, dtype, order="F"),
    "every second row, third column": lambda dtype: home(dtype)[0 : 2 * 23 : 2, 1 : 3 * 19 : 3],
    "rows backwards": lambda dtype: np.zeros(SHAPE, dtype)[::-1],
    "both backwards, strided": lambda dtype: home(dtype)[2 * 23 - 1 :: -2, 3 * 19 - 1 :: -3],
    "columns of a wider array": lambda dtype: np.zeros((23, 40), dtype)[:, 10:29],
    "transposed": lambda dtype: np.zeros(SHAPE[::-1], dtype).T,
    "unaligned to a cache line": lambda dtype: np.zeros(23 * 19 + 1, dtype)[1:].reshape(SHAPE),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", RULES)
def test_layout_of_the_parameter_does_not_matter(rule: str, layout: str, dtype: str) -> None:
    p = LAYOUTS[layout](DTYPES[dtype])
    p[...] = normal(1, SHAPE, DTYPES[dtype])
    assert p.shape == SHAPE
    want = p.copy(order="C")
    one, other = CLASSES[rule]({"w": p}), CLASSES[rule]({"w": want})
    for t in range(3):
        g = normal(2 + t, SHAPE, DTYPES[dtype])
        one.step({"w": g})
        other.step({"w": g})
    assert same_bits(p, want)
    for name, slot in other.state["w"].items():
        assert same_bits(one.state["w"][name], slot), "a slot lies under its own element"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_of_the_gradient_does_not_matter(layout: str, dtype: str) -> None:
    p, want = normal(1, SHAPE, DTYPES[dtype]), normal(1, SHAPE, DTYPES[dtype])
    g = LAYOUTS[layout](DTYPES[dtype])
    g[...] = normal(2, SHAPE, DTYPES[dtype])
    one, other = schuss.AdamW({"w": p}, clip=1.0), schuss.AdamW({"w": want}, clip=1.0)
    for _ in range(2):
        assert one.step({"w": g}).grad_norm == other.step({"w": g.copy(order="C")}).grad_norm
    assert same_bits(p, want)


def test_gradient_may_be_broadcast_from_one_number() -> None:
    """Strides of zero: read-only and overlapping, which for a gradient is no harm."""
    p = np.zeros((4, 3))
    schuss.SGD({"w": p}, lr=1.0).step({"w": np.broadcast_to(np.array(2.0), (4, 3))})
    np.testing.assert_array_equal(p, -2.0)


def test_read_only_gradient_is_read() -> None:
    g = np.ones(3)
    g.flags.writeable = False
    p = np.zeros(3)
    schuss.SGD({"w": p}, lr=1.0).step({"w": g})
    np.testing.assert_array_equal(p, -1.0)


def test_five_dimensions_and_a_transposition_of_them() -> None:
    p = normal(3, (2, 3, 4, 5, 6)).transpose(3, 0, 4, 2, 1)
    want = p.copy(order="C")
    g = normal(4, p.shape)
    schuss.SGD({"w": p}, lr=0.1).step({"w": g})
    schuss.SGD({"w": want}, lr=0.1).step({"w": g})
    assert same_bits(p, want)


def test_subclass_of_ndarray_is_taken_as_its_array() -> None:
    class Named(np.ndarray):
        pass

    p = np.zeros(3).view(Named)
    schuss.SGD({"w": p}, lr=1.0).step({"w": np.ones(3).view(Named)})
    np.testing.assert_array_equal(np.asarray(p), -1.0)


# Dtypes, mixed.


@pytest.mark.parametrize("grad_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_gradient_of_another_dtype_is_read_in_the_parameters_arithmetic(rule: str, dtype: str, grad_dtype: str) -> None:
    arithmetic = np.float64 if dtype == "float64" else np.float32
    p, want = normal(5, 5_000, DTYPES[dtype]), normal(5, 5_000, DTYPES[dtype])
    one, other = CLASSES[rule]({"w": p}), CLASSES[rule]({"w": want})
    for t in range(3):
        g = normal(6 + t, 5_000, DTYPES[grad_dtype])
        one.step({"w": g})
        other.step({"w": g.astype(arithmetic)})
    assert same_bits(p, want)
    assert p.dtype == DTYPES[dtype]


def test_leaves_of_different_dtypes_share_an_optimizer() -> None:
    params = {name: normal(7, 100, dtype) for name, dtype in DTYPES.items()}
    alone = {name: p.copy() for name, p in params.items()}
    grads = {name: normal(8, 100, dtype) for name, dtype in DTYPES.items()}
    schuss.AdamW(params, lr=0.01).step(grads)
    for name, p in alone.items():
        schuss.AdamW(p, lr=0.01).step(grads[name])
        assert same_bits(params[name], p)


def test_the_dtype_of_a_gradient_may_change_between_steps() -> None:
    p = np.zeros(4, np.float32)
    opt = schuss.SGD({"w": p}, lr=1.0)
    for dtype in DTYPES.values():
        opt.step({"w": np.ones(4, dtype)})
    np.testing.assert_array_equal(p, -3.0)


def test_bfloat16_small_steps_stop_moving_and_say_nothing_false() -> None:
    """What rounding to nearest does to bfloat16: 1 - 0.001 is 1. The slot still learns."""
    p = np.ones(4, BFLOAT16)
    opt = schuss.Momentum({"w": p}, lr=1e-3)
    for _ in range(10):
        opt.step({"w": np.ones(4, BFLOAT16)})
    np.testing.assert_array_equal(p.astype(float), 1.0)
    assert np.all(opt.state["w"]["v"] > 0.6)


# torch.


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="these tests are about torch tensors")


def test_torch_parameters_are_stepped_where_they_lie(torch: Any) -> None:
    model = torch.nn.Linear(5, 3)
    params = dict(model.named_parameters())
    want = {name: p.detach().numpy().copy() for name, p in params.items()}
    one, other = schuss.AdamW(params, lr=0.1), schuss.AdamW(want, lr=0.1)
    for _ in range(3):
        model.zero_grad()
        model(torch.ones(2, 5)).square().sum().backward()
        grads = {name: p.grad for name, p in params.items()}
        one.step(grads)
        other.step({name: g.numpy() for name, g in grads.items()})
    for name, p in params.items():
        assert same_bits(p.detach().numpy(), want[name])


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
def test_torch_dtypes(torch: Any, name: str) -> None:
    dtype = getattr(torch, name)
    p = torch.nn.Parameter(torch.linspace(-1, 1, 1_000, dtype=dtype))
    g = torch.linspace(2, 3, 1_000, dtype=dtype)
    want = p.detach().double().numpy().astype(DTYPES[name])
    schuss.SGD([p], lr=0.25).step([g])
    schuss.SGD([want], lr=0.25).step([g.double().numpy().astype(DTYPES[name])])
    np.testing.assert_array_equal(p.detach().double().numpy(), want.astype(np.float64))


def test_a_step_raises_torchs_version_counter(torch: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    before = w._version
    schuss.SGD([w]).step([torch.ones(3)])
    assert w._version > before


def test_autograd_notices_a_step_between_forward_and_backward(torch: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    loss = (w * w).sum()
    schuss.SGD([w], lr=0.1).step([torch.ones(3)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_refused_step_leaves_torchs_version_counter(torch: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    opt = schuss.SGD([w])
    before = w._version
    with pytest.raises(ValueError, match=r"grads\[0\]"):
        opt.step([torch.ones(4)])
    assert w._version == before


def test_strided_torch_tensors(torch: Any) -> None:
    w = torch.zeros(6, 8)[::2, 1::2]
    g = torch.arange(12.0).reshape(4, 3).T
    schuss.SGD([w], lr=1.0).step([g])
    np.testing.assert_array_equal(w.numpy(), -g.numpy())


def test_torch_and_numpy_leaves_may_be_mixed(torch: Any) -> None:
    params = {"t": torch.zeros(3), "n": np.zeros(3, np.float32)}
    schuss.SGD(params, lr=1.0).step({"t": np.ones(3, np.float32), "n": torch.ones(3)})
    np.testing.assert_array_equal(params["t"].numpy(), -1.0)
    np.testing.assert_array_equal(params["n"], -1.0)


def test_a_torch_gradient_of_none_is_none(torch: Any) -> None:
    w = torch.nn.Parameter(torch.ones(3))
    assert w.grad is None
    schuss.SGD([w]).step([w.grad])
    np.testing.assert_array_equal(w.detach().numpy(), 1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda torch: torch.ones(3, dtype=torch.int64), "int64"),
        (lambda torch: torch.ones(3, dtype=torch.complex64), "complex64"),
        (lambda torch: torch.ones(3, device="meta"), "meta"),
        (lambda torch: torch.eye(3).to_sparse(), "sparse"),
    ],
    ids=["int", "complex", "meta", "sparse"],
)
def test_torch_tensors_that_cannot_be_stepped_are_refused(torch: Any, make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"params\['w'\].*{words}"):
        schuss.SGD({"w": make(torch)})


def test_torch_tensors_that_share_memory_with_numpy_are_tied_to_it(torch: Any) -> None:
    a = np.zeros(4, np.float32)
    schuss.SGD({"a": a, "t": torch.from_numpy(a)}, lr=1.0).step({"a": np.ones(4, np.float32), "t": torch.ones(4)})
    np.testing.assert_array_equal(a, -2.0)


# Protocols.


class Interface:
    """An array that is known only by ``__array_interface__``."""

    def __init__(self, array: np.ndarray, writable: bool = True) -> None:
        self.array = array
        self.writable = writable

    @property
    def __array_interface__(self) -> dict[str, Any]:
        described = dict(self.array.__array_interface__)
        described["data"] = (described["data"][0], not self.writable)
        return described


class Packed:
    """An array that is known only by DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("kind", [Interface, Packed])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_protocols_share_the_memory_of_parameters_and_gradients(kind: Any, dtype: str) -> None:
    p, want = normal(9, 700, dtype), normal(9, 700, dtype)
    one, other = schuss.AdamW({"w": kind(p)}), schuss.AdamW({"w": want})
    for t in range(3):
        g = normal(10 + t, 700, dtype)
        one.step({"w": kind(g)})
        other.step({"w": g})
    assert same_bits(p, want)


@pytest.mark.parametrize("kind", [Interface, Packed])
def test_protocols_with_strides(kind: Any) -> None:
    p = np.zeros((6, 8))
    schuss.SGD([kind(p[::2, ::-2])], lr=1.0).step([kind(np.arange(12.0).reshape(3, 4))])
    np.testing.assert_array_equal(p[::2, ::-2], -np.arange(12.0).reshape(3, 4))


def test_read_only_array_interface_is_refused_as_a_parameter() -> None:
    p = np.ones(3)
    with pytest.raises(ValueError, match=r"params\['w'\].*read-only"):
        schuss.SGD({"w": Interface(p, writable=False)})
    opt = schuss.SGD([p], lr=1.0)
    opt.step([Interface(np.ones(3), writable=False)])
    np.testing.assert_array_equal(p, 0.0)


def test_jax_parameters_are_refused_with_the_reason() -> None:
    jax = pytest.importorskip("jax", reason="this test is about JAX arrays")
    p = jax.numpy.ones(3)
    with pytest.raises(TypeError, match=r"params\['w'\].*(JAX|jax).*immutable"):
        schuss.SGD({"w": p})
    np.testing.assert_array_equal(np.asarray(p), 1.0)


def test_jax_gradients_are_read() -> None:
    """A gradient is only read: JAX computes it, and the parameters are NumPy's."""
    jax = pytest.importorskip("jax", reason="this test is about JAX arrays")
    params = {"w": np.array([1.0, 2.0, 3.0], np.float32)}
    grads = jax.grad(lambda tree: (tree["w"] ** 2).sum())(params)
    schuss.SGD(params, lr=0.5).step(grads)
    np.testing.assert_array_equal(params["w"], 0.0)


# Overlap.


OVERLAPS: dict[str, Any] = {
    "shifted by one": lambda a: (a[:-1], a[1:]),
    "a row and its array": lambda a: (a, a[3:10]),
    "two strides that meet": lambda a: (a[::2], a[::3]),
    "backwards over itself": lambda a: (a, a[::-1]),
    "another shape": lambda a: (a, a.reshape(4, -1)),
    "another dtype": lambda a: (a, a.view(np.float32)),
}


@pytest.mark.parametrize("kind", OVERLAPS)
def test_overlapping_views_are_refused_by_name(kind: str) -> None:
    a = np.ones(24)
    one, other = OVERLAPS[kind](a)
    with pytest.raises(ValueError, match="overlap") as refused:
        schuss.SGD({"left": one, "right": other})
    assert "left" in str(refused.value)
    assert "right" in str(refused.value)
    np.testing.assert_array_equal(a, 1.0)


def test_interleaved_views_do_not_overlap() -> None:
    """Same extent of memory, no element in common: a real layout, of packed weights."""
    a = np.zeros(24)
    schuss.SGD({"even": a[::2], "odd": a[1::2]}, lr=1.0).step({"even": np.ones(12), "odd": np.full(12, 2.0)})
    np.testing.assert_array_equal(a, np.tile([-1.0, -2.0], 12))


def test_blocks_of_one_array_do_not_overlap() -> None:
    a = np.zeros((6, 6))
    params = {"top": a[:3], "left": a[3:, :2], "right": a[3:, 2:]}
    schuss.SGD(params, lr=1.0).step({name: np.ones(p.shape) for name, p in params.items()})
    np.testing.assert_array_equal(a, -1.0)


def test_a_view_that_overlaps_itself_is_refused() -> None:
    a = np.ones(10)
    windows = np.lib.stride_tricks.sliding_window_view(a, 3, writeable=True)
    with pytest.raises(ValueError, match=r"params\['w'\].*overlap"):
        schuss.SGD({"w": windows})
    np.testing.assert_array_equal(a, 1.0)


def test_gradient_that_is_the_parameter_itself() -> None:
    """Weight decay by hand: the gradient of half the squared norm is the parameter."""
    p = np.full(5_000, 2.0)
    schuss.SGD([p], lr=0.25).step([p])
    np.testing.assert_array_equal(p, 1.5)


@pytest.mark.parametrize("shift", [1, 100, 5_000])
def test_gradient_that_overlaps_its_parameter_askew_is_refused(shift: int) -> None:
    """Some of it would be read after it was written."""
    a = np.arange(9_000.0)
    before = a.copy()
    opt = schuss.SGD([a[shift:]], lr=0.5)
    with pytest.raises(ValueError, match=r"grads\[0\].*overlap") as refused:
        opt.step([a[:-shift]] if shift < 5_000 else [a[2_000:6_000]])
    assert "params[0]" in str(refused.value)
    assert same_bits(a, before)
    assert opt.clock == 0
