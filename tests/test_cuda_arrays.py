"""Arrays on CUDA devices as the binding reads them: every kind, every refusal. What steps them is a stand-in."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import schuss
from cuda_stand_ins import KINDS, Array, Cuda, Interface, OldPacked, Packed, engine, installed
from helpers import BFLOAT16, DTYPES
from schuss import _core


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    yield from installed(monkeypatch)


def ones(*shape: int, dtype: Any = np.float32, **where: Any) -> Array:
    return Array(np.ones(shape, dtype), **where)


def facts(opt: Any) -> list[Any]:
    return opt._session.leaf_facts()


FORMATS = {"float64": 0, "float32": 1, "bfloat16": 2}


# What is read.


# NumPy's own bfloat16 arrays speak neither protocol.
SPOKEN = [(kind, dtype) for kind in KINDS for dtype in DTYPES if kind == "cupy" or dtype != "bfloat16"]


@pytest.mark.parametrize(("kind", "dtype"), SPOKEN)
def test_parameters_and_gradients_are_read_where_they_lie(kind: str, dtype: str) -> None:
    p, g = KINDS[kind](np.ones((4, 3), DTYPES[dtype])), KINDS[kind](np.ones((4, 3), DTYPES[dtype]))
    opt = schuss.SGD({"w": p})
    assert opt._session.device == 0
    assert facts(opt) == [(p.host.ctypes.data, FORMATS[dtype], (4, 3), None, 0, 1, False, 0)]
    opt.step({"w": g})
    assert opt._session.gradient_pointers.tolist() == [g.host.ctypes.data]
    assert opt._session.gradient_formats.tolist() == [FORMATS[dtype]]


LAYOUTS: dict[str, Any] = {
    "transposed": lambda a: a.T,
    "every second": lambda a: a[::2, 1::2],
    "backwards": lambda a: a[::-1],
    "columns of a wider array": lambda a: a[:, 2:5],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_strides_are_read_in_bytes(kind: str, layout: str) -> None:
    p = LAYOUTS[layout](np.ones((6, 8)))
    g = LAYOUTS[layout](np.ones((6, 8), np.float32))
    opt = schuss.SGD([KINDS[kind](p)])
    assert facts(opt)[0][:4] == (p.ctypes.data, 0, p.shape, p.strides)
    opt.step([KINDS[kind](g)])
    assert opt._session.strided_sources == [0]
    assert opt._session.gradient_strides(0) == g.strides


def test_a_gradient_may_be_broadcast() -> None:
    opt = schuss.SGD([ones(4, 3)])
    opt.step([Array(np.broadcast_to(np.float32(1), (4, 3)))])
    assert opt._session.gradient_strides(0) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_no_element_may_have_no_address(kind: str) -> None:
    def empty() -> Any:
        if kind == "interface":
            return Interface(np.ones((0, 3)), data=(0, False))
        return Array(np.ones((0, 3)), ptr=0) if kind == "cupy" else Packed(np.ones((0, 3)))

    opt = schuss.SGD({"none": empty(), "some": KINDS[kind](np.ones(3))})
    opt.step({"none": empty(), "some": KINDS[kind](np.ones(3))})
    assert opt._session.gradient_formats.tolist() == [0, 0], "both were given"
    opt.step({"none": None, "some": KINDS[kind](np.ones(3))})
    assert opt._session.gradient_formats.tolist() == [-1, 0]


def test_single_numbers_and_subclasses_are_arrays() -> None:
    class Named(Array):
        pass

    opt = schuss.SGD({"n": Array(np.array(1.0)), "s": Named(np.ones(2))})
    assert [fact[2] for fact in facts(opt)] == [(), (2,)]
    opt.step({"n": Named(np.array(1.0)), "s": Array(np.ones(2))})


def test_a_strange_cupy_without_the_private_flag_is_read_by_its_flags() -> None:
    class Plain(Array):
        def __init__(self, array: Any) -> None:
            super().__init__(array)
            del self._c_contiguous
            self.flags = array.flags

    opt = schuss.SGD([Plain(np.ones((2, 3))), Plain(np.ones((2, 3)).T)])
    assert [fact[3] for fact in facts(opt)] == [None, (8, 24)]


def test_cupy_is_known_by_its_module_and_not_before() -> None:
    sys.modules["cupy"] = ModuleType("cupy")  # as while it is being imported
    with pytest.raises(TypeError, match=r"params\[0\]: an Array, expected an array"):
        schuss.SGD([ones(2)])


def test_a_tied_array_is_one_leaf_with_two_gradients() -> None:
    p = np.ones(3)
    opt = schuss.SGD({"a": Array(p), "b": Array(p), "c": Array(np.ones(2))})
    assert [fact[5] for fact in facts(opt)] == [2, 1]
    g = [np.ones(3), np.ones(3), np.ones(2)]
    opt.step({"a": Array(g[0]), "b": Array(g[1]), "c": Array(g[2])})
    assert opt._session.gradient_pointers.tolist() == [each.ctypes.data for each in g]


# Protocols.


@pytest.mark.parametrize(("stream", "asked"), [(0, 1), (1, 1), (2, 2), (0x7F00, 0x7F00)])
def test_dlpack_is_asked_for_the_current_stream(cuda: Cuda, stream: int, asked: int) -> None:
    """By the protocol 1 is the legacy default stream: 0 could mean another, too."""
    cuda.stream = stream
    g = Packed(np.ones(2))
    schuss.SGD([ones(2, dtype=float)]).step([g])
    assert g.asked == [{"stream": asked, "max_version": (1, 0)}]


def test_managed_memory_is_cudas_and_old_producers_are_read() -> None:
    opt = schuss.SGD([Packed(np.ones(2), kind=13, device=3)])
    assert opt._session.device == 3
    g = OldPacked(np.ones(2), device=3)
    opt.step([g])
    assert g.asked == [{"stream": 1}]


@pytest.mark.parametrize(
    ("current", "given", "waited"),
    [(0, None, []), (0, 1, []), (5, 5, []), (5, 1, [(0, 1)]), (0, 7, [(0, 7)])],
)
def test_the_stream_of_an_interface_is_waited_for(cuda: Cuda, current: int, given: Any, waited: Any) -> None:
    cuda.stream = current
    schuss.SGD([ones(2, dtype=float)]).step([Interface(np.ones(2), stream=given)])
    assert cuda.waited == waited


def test_the_device_of_an_interface_is_asked_for(cuda: Cuda) -> None:
    cuda.device = 1
    assert schuss.SGD([Interface(np.ones(2))])._session.device == 1


def test_what_is_not_installed_says_so_itself(cuda: Cuda) -> None:
    cuda.fails = ImportError("no CuPy")
    with pytest.raises(ImportError, match=r"^no CuPy$"):
        schuss.SGD([Packed(np.ones(2))])
    cuda.fails = RuntimeError("the driver does not answer")
    with pytest.raises((TypeError, ValueError), match=r"params\[0\]: .*the driver does not answer"):
        schuss.SGD([Packed(np.ones(2))])


# What is refused, by name and before anything else.

Make = Callable[[], Any]
REFUSED: dict[str, tuple[Make, type[Exception], str]] = {
    "integers": (lambda: Array(np.ones(3, int)), TypeError, "dtype int64, expected float64, float32"),
    "half": (
        lambda: Interface(np.ones(3, np.float16)),
        TypeError,
        "float16 on a CUDA device.*float64, float32 and bfloat16",
    ),
    "half in CuPy": (lambda: Array(np.ones(3, np.float16)), TypeError, "float16 on a CUDA device"),
    "byte-swapped": (lambda: Array(np.ones(3, ">f8")), TypeError, "byte order"),
    "complex": (lambda: Packed(np.ones(3, complex)), TypeError, "DLPack type code"),
    "gone": (lambda: Array(np.ones(3), ptr=0), ValueError, "whose memory is gone"),
    "misaligned": (
        lambda: Array(np.ones(3), ptr=4_100),
        ValueError,
        "do not lie at multiples of their 8 bytes.*pass a copy",
    ),
    "misaligned strides": (
        lambda: Array(np.zeros(3, [("a", "i2"), ("b", "f4")])["b"][:2], ptr=4_096),
        ValueError,
        "do not lie at multiples of their 4 bytes",
    ),
    "masked": (lambda: Interface(np.ones(3), mask=np.ones(3, bool)), TypeError, "mask"),
    "ROCm": (lambda: Packed(np.ones(3), kind=10), ValueError, "on a device that is neither the CPU nor CUDA"),
    "Metal": (lambda: Packed(np.ones(3), kind=8), ValueError, "on a device that is neither the CPU nor CUDA"),
    "no pointer": (lambda: Interface(np.ones(3), data=None), TypeError, "gives no memory to read"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arrays_that_cannot_be_stepped_are_refused_by_name(what: str) -> None:
    make, error, words = REFUSED[what]
    with pytest.raises(error, match=rf"params\['w'\].*{words}"):
        schuss.SGD({"w": make()})
    opt = schuss.SGD({"w": ones(2 if what == "misaligned strides" else 3, dtype=float)})
    with pytest.raises(error, match=rf"grads\['w'\].*{words}"):
        opt.step({"w": make()})
    assert [call[0] for call in engine().calls] == ["Engine", "added"], "no step was taken"


def test_a_read_only_interface_is_a_gradient_and_no_parameter() -> None:
    with pytest.raises(ValueError, match=r"params\['w'\]: read-only"):
        schuss.SGD({"w": Interface(np.ones(3), data=(4_096, True))})
    schuss.SGD({"w": ones(3)}).step({"w": Interface(np.ones(3), data=(4_096, True))})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (lambda: {"a": np.ones(2), "b": ones(2)}, "params['b']: on CUDA device 0, expected the CPU as params['a'] is"),
        (lambda: {"a": ones(2), "b": np.ones(2)}, "params['b']: on the CPU, expected CUDA device 0 as params['a'] is"),
        (
            lambda: [ones(2), [ones(2, device=1)]],
            "params[1][0]: on CUDA device 1, expected CUDA device 0 as params[0] is",
        ),
        (
            lambda: [{"params": ones(2)}, {"params": [np.ones(2)]}],
            "params[1][0]: on the CPU, expected CUDA device 0 as params[0] is",
        ),
    ],
)
def test_parameters_on_several_devices_are_refused(params: Make, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        schuss.SGD(params())


@pytest.mark.parametrize(
    ("param", "grad", "words"),
    [
        (ones(2), np.ones(2), "on the CPU, expected CUDA device 0"),
        (np.ones(2), ones(2), "on CUDA device 0, expected the CPU"),
        (np.ones(2), Packed(np.ones(2)), "on CUDA device 0, expected the CPU"),
        (ones(2), ones(2, device=1), "on CUDA device 1, expected CUDA device 0"),
    ],
)
def test_gradients_on_another_device_are_refused(param: Any, grad: Any, words: str) -> None:
    opt = schuss.SGD({"w": param})
    with pytest.raises(ValueError, match=rf"^grads\['w'\]: {words} as params\['w'\] is$"):
        opt.step({"w": grad})
    assert opt.clock == 0


def test_a_group_on_another_device_is_not_added() -> None:
    opt = schuss.SGD([ones(2)])
    with pytest.raises(ValueError, match=r"on the CPU, expected CUDA device 0 as params\[0\] is"):
        opt.add_group({"params": [np.ones(2)]})
    assert len(facts(opt)) == len(opt.groups) == 1
    opt.step([ones(2)])


# What is checked of parameters holds there, too.


def test_overlaps_are_refused_and_interleaved_views_are_not() -> None:
    a = np.ones(24)
    with pytest.raises(ValueError, match=r"params\['right'\] overlaps params\['left'\] in memory"):
        schuss.SGD({"left": Array(a[:13]), "right": Array(a[12:])})
    with pytest.raises(ValueError, match="whose elements overlap"):
        schuss.SGD([Array(np.broadcast_to(a, (2, 24)))])
    assert len(facts(schuss.SGD([Array(a[::2]), Array(a[1::2])]))) == 2
    opt = schuss.SGD([Array(a[1:])])
    with pytest.raises(ValueError, match=r"grads\[0\] overlaps params\[0\] in memory"):
        opt.step([Array(a[:-1])])


def test_a_parameter_that_moved_or_was_bound_anew_is_noticed() -> None:
    params = {"w": ones(6), "b": ones(2)}
    opt = schuss.SGD(params)
    grads = {"w": ones(6), "b": ones(2)}
    params["w"].shape = (2, 3)
    with pytest.raises(ValueError, match=r"params\['w'\] is not as it was"):
        opt.step(grads)
    params["w"].shape = (6,)
    opt.step(grads)
    before, params["w"].data = params["w"].data, ones(6).data
    with pytest.raises(ValueError, match=r"params\['w'\] is not as it was"):
        opt.step(grads)
    params["w"].data = before
    params["b"] = ones(2)
    with pytest.raises(ValueError, match=r"params\['b'\] was bound to another array"):
        opt.step(grads)


# The plain functions, handed on.


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the device's functions were called with."""
    calls: list[Any] = []
    module = ModuleType("schuss._engine.cuda.arrays")
    answers = {"global_norm": 5.0, "clip_global_norm": 5.0, "clip_leaf_norm": [("w", 5.0)]}
    for name in ("global_norm", "clip_global_norm", "clip_leaf_norm", "clip_value", "apply"):
        setattr(module, name, lambda *given, name=name: calls.append((name, *given)) or answers.get(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_clipping_is_handed_on_with_each_memory_marked_once(handed: list[Any]) -> None:
    g, h = np.ones((2, 3)), np.ones((3, 2), np.float32).T
    tree = {"w": Array(g), "tie": Array(g), "skip": None, "deep": [Array(h)]}
    rows = [
        (g.ctypes.data, 0, (2, 3), None, 0, "w", True, False),
        (g.ctypes.data, 0, (2, 3), None, 0, "tie", False, False),
        (h.ctypes.data, 1, (2, 3), (4, 8), 0, "deep/0", True, False),
    ]
    assert schuss.clipping.global_norm(tree) == 5.0
    assert schuss.clipping.by_global_norm(tree, 2.0) == 5.0
    assert schuss.clipping.by_leaf_norm(tree, 3.0) == {"w": 5.0}
    schuss.clipping.by_value(tree, 4.0)
    unmarked = [(*row[:6], True, False) for row in rows]  # what is only read has no ties
    assert handed == [
        ("global_norm", unmarked),
        ("clip_global_norm", rows, 2.0),
        ("clip_leaf_norm", rows, 3.0),
        ("clip_value", rows, 4.0),
    ]


def test_a_plain_rule_is_handed_on_with_its_numbers(handed: list[Any]) -> None:
    p, g, m = np.ones(3, BFLOAT16), np.ones(3), np.zeros(3, np.float32)
    schuss.ops.momentum(Array(p), Array(g), Array(m), step=7, lr=0.25, beta=0.5)
    ((name, rule, leaves, step, values),) = handed
    assert (name, rule, step, values) == ("apply", "momentum", 7, [0.25, 0.5, 0.0])
    assert [(leaf[0], leaf[1], leaf[5]) for leaf in leaves] == [
        (p.ctypes.data, 2, "p"),
        (g.ctypes.data, 0, "g"),
        (m.ctypes.data, 1, "v"),
    ]
    schuss.ops.sgd(Array(p), Array(g))
    assert handed[1][2][2] is None, "no slot is kept"


def test_plain_functions_refuse_mixed_devices_by_name(handed: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"grads\[1\]: on the CPU, expected CUDA device 0 as grads\[0\] is"):
        schuss.clipping.global_norm([ones(2), np.ones(2)])
    with pytest.raises(ValueError, match=r"grads\[1\]: on CUDA device 0, expected the CPU as grads\[0\] is"):
        schuss.clipping.by_value([np.ones(2), ones(2)], 1.0)
    with pytest.raises(ValueError, match=r"sgd\(\): g: on CUDA device 0, expected the CPU as sgd\(\): p is"):
        schuss.ops.sgd(np.ones(2), ones(2))
    with pytest.raises(ValueError, match=r"momentum\(\): v: on CUDA device 1, expected CUDA device 0"):
        schuss.ops.momentum(ones(2), ones(2), ones(2, device=1))
    assert handed == []


def test_the_norm_of_sums_is_rounded_once() -> None:
    assert _core.exact_root(np.array([1e300, 9.0, -1e300])) == 3.0


# torch's tensors: as if on a device, since none is here. What torch really says there, only a device can tell.


@pytest.fixture
def on_cuda() -> Callable[[Any], Any]:
    torch = pytest.importorskip("torch", reason="these tests are about torch tensors")

    class Tensor(torch.Tensor):
        is_cpu, is_cuda = False, True

        def get_device(self) -> int:
            return 2

    return lambda tensor: tensor.as_subclass(Tensor)


def test_torch_tensors_are_read_on_their_device(on_cuda: Callable[[Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    p, g = on_cuda(torch.zeros(4, 3)), on_cuda(torch.ones(3, 4, dtype=torch.bfloat16).T)
    opt = schuss.SGD({"w": p})
    assert (opt._session.device, opt._session.has_torch) == (2, True)
    assert facts(opt) == [(p.data_ptr(), 1, (4, 3), None, 0, 1, False, 0)]
    before = p._version
    opt.step({"w": g})
    assert opt._session.gradient_strides(0) == (2, 8)
    assert p._version > before, "autograd is told"
    before = p._version
    opt.step({"w": None})
    assert p._version == before


def test_torch_tensors_elsewhere_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"params\['w'\]: on device meta, expected the CPU or CUDA"):
        schuss.SGD({"w": torch.ones(3, device="meta")})
