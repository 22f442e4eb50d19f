"""What is refused on a simulated device is refused by name, and the next good step is as if it never was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from bad_steps import SCHEDULES, STEPS, Row, World
from cuda_twins import Twins, make
from helpers import raw, repr_bits
from test_cuda_step import grads_of, params_of


def moved(tree: Any) -> Any:
    """To the device, whatever NumPy array there is that a device may hold."""
    import cupy

    if isinstance(tree, dict):
        return {key: moved(each) for key, each in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(moved(each) for each in tree)
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biufc" and tree.dtype.isnative:
        return cupy.asarray(tree)
    return tree


class Moving:
    """An optimizer whose gradients go to the device first."""

    def __init__(self, opt: Any) -> None:
        self._opt = opt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opt, name)

    def step(self, grads: Any) -> Any:
        return self._opt.step(moved(grads))


class DeviceWorld(World):
    def __post_init__(self) -> None:
        self.params = moved(self.params)
        self.opt = Moving(schuss.AdamW(self.params, clip=1.0))
        self.opt.step(self.grads())


def pictured(at: Any) -> Any:
    """Parameters, slots, clocks."""
    saved = at.opt.state_dict()
    params = [at.params["encoder"]["w"], at.params["encoder"]["b"], *at.params["head"]]
    return [raw(p.get()) for p in params], repr_bits(saved)


# A host array of a dtype that no device has is refused for its dtype all the same.
ROWS = [row for row in STEPS + SCHEDULES if row.name != "state of another rule"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_the_cpu_refuses_is_refused_in_the_same_words(cuda: Any, row: Row) -> None:
    at = DeviceWorld()
    before = pictured(at)
    with pytest.raises(row.error) as refused:
        row.call(at)
    assert refused.type is row.error
    for words in row.says:
        assert words in str(refused.value)
    after = pictured(at)
    if row in SCHEDULES:  # which have set a schedule first
        assert (after[0], after[1]["leaves"], after[1]["clock"]) == (before[0], before[1]["leaves"], before[1]["clock"])
        at.opt.groups[0]["lr"] = 0.1
    else:
        assert after == before
    at.opt.step(at.grads())
    assert at.opt.clock == 2


# Places.


def other_device(cupy: Any, host: np.ndarray) -> Any:
    with cupy.cuda.Device(1):
        return cupy.asarray(host)


def gone(cupy: Any, host: np.ndarray) -> Any:
    """An array whose memory was given back."""
    return cupy.ndarray(host.shape, host.dtype, cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(0, 0, None, 0), 0))


def scattered(cupy: Any, host: np.ndarray) -> Any:
    """Nine dimensions that do not merge."""
    wide = cupy.zeros((4,) * 9, host.dtype)
    return wide[(slice(0, 4, 2),) * 9]


PLACES: dict[str, tuple[Callable[..., Any], str]] = {
    "on the CPU": (lambda cupy, host: host, r"grads\['b'\]: on the CPU, expected CUDA device 0 as params\['b'\] is"),
    "on another device": (other_device, r"grads\['b'\]: on CUDA device 1, expected CUDA device 0 as params\['b'\] is"),
    "gone": (gone, r"grads\['b'\]: an? ndarray whose memory is gone, expected an array"),
}


@pytest.mark.parametrize("place", PLACES)
def test_gradients_that_are_elsewhere_are_refused_by_name(cuda: Any, cupy: Any, place: str) -> None:
    make_one, message = PLACES[place]
    twins = Twins(make(schuss.AdamW, clip=1.0), params_of())
    twins.step(grads_of(0))
    grads = {name: cupy.asarray(g) for name, g in grads_of(1).items()}
    with pytest.raises(ValueError, match=message):
        twins.device.step({**grads, "b": make_one(cupy, grads_of(1)["b"])})
    twins.check()
    twins.step(grads_of(1))
    twins.check()


def test_gradients_on_a_device_are_refused_for_parameters_on_the_cpu(cuda: Any, cupy: Any) -> None:
    twins = Twins(make(schuss.AdamW), params_of())
    twins.step(grads_of(0))
    with pytest.raises(ValueError, match=r"grads\['b'\]: on CUDA device 0, expected the CPU as params\['b'\] is"):
        twins.host.step({**grads_of(1), "b": cupy.zeros(7, np.float32)})
    twins.check()


MIXED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "CPU among CUDA": (
        lambda cupy: {"a": cupy.zeros(3), "b": np.zeros(3)},
        r"params\['b'\]: on the CPU, expected CUDA device 0",
    ),
    "CUDA among CPU": (
        lambda cupy: [np.zeros(3), {"b": cupy.zeros(3)}],
        r"params\[1\]\['b'\]: on CUDA device 0, expected the CPU",
    ),
    "two devices": (
        lambda cupy: {"a": cupy.zeros(3), "b": other_device(cupy, np.zeros(3))},
        r"params\['b'\]: on CUDA device 1, expected CUDA device 0",
    ),
    "memory gone": (lambda cupy: {"a": gone(cupy, np.zeros(3))}, r"params\['a'\]: an? ndarray whose memory is gone"),
    "too scattered": (
        lambda cupy: {"w": scattered(cupy, np.zeros(3))},
        r"params.*w.*: a view of 9 dimensions that do not merge, expected 8 at most on CUDA; pass a copy in C order",
    ),
}


@pytest.mark.parametrize("why", MIXED)
def test_parameters_that_cannot_be_are_refused_by_name(cuda: Any, cupy: Any, why: str) -> None:
    make_them, message = MIXED[why]
    with pytest.raises(ValueError, match=message):
        schuss.AdamW(make_them(cupy))


def test_a_gradient_too_scattered_is_refused_by_name(cuda: Any, cupy: Any) -> None:
    p = {"w": cupy.zeros((2,) * 9)}
    opt = schuss.AdamW(p)
    with pytest.raises(ValueError, match=r"grads.*w.*: a view of 9 dimensions that do not merge.*pass a copy"):
        opt.step({"w": scattered(cupy, np.zeros(3))})
    assert opt.clock == 0
    opt.step({"w": cupy.ones((2,) * 9)})
    host = np.zeros((2,) * 9)
    schuss.AdamW(host).step(np.ones((2,) * 9))
    assert raw(p["w"].get()) == raw(host)


@pytest.mark.parametrize("why", ["CPU", "another device", "too scattered"])
def test_a_group_that_cannot_be_is_not_added(cuda: Any, cupy: Any, why: str) -> None:
    twins = Twins(make(schuss.AdamW, clip=1.0), params_of())
    twins.step(grads_of(0))
    wrong = {
        "CPU": np.zeros(3),
        "another device": other_device(cupy, np.zeros(3)),
        "too scattered": scattered(cupy, np.zeros(3)),
    }
    with pytest.raises(ValueError, match=r"late"):
        twins.device.add_group({"params": {"late": wrong[why]}})
    assert len(twins.device.groups) == 1
    twins.check()
    twins.step(grads_of(1))
    twins.check()


# A schedule that turns bad is told of when its step comes, though numbers are made ahead of time.


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}, {"accumulate": 2}], ids=["plain", "skips", "accumulated"])
@pytest.mark.parametrize("settled", [True, False], ids=["known where it is", "not known where it is"])
@pytest.mark.parametrize("python", [True, False], ids=["python", "core"])
def test_a_schedule_is_refused_at_the_step_that_it_spoils_and_not_before(
    cuda: Any, python: bool, settled: bool, common: dict[str, Any]
) -> None:
    bad = (lambda step: 0.1 if step < 3 else -1.0) if python else schuss.schedules.polynomial(0.3, -0.1, steps=4)
    twins = Twins(make(schuss.AdamW, lr=bad, **common), params_of())
    calls = 2 if "accumulate" in common else 1
    good = 3 if python else 4
    for t in range(good * calls):
        grads = grads_of(t)
        if t == 1 and "clip" in common:
            grads["w"][0] = np.nan
        twins.step(grads)
    if "clip" in common:
        twins.step(grads_of(3))
    if settled:
        twins.check()
    for opt, grads in ((twins.host, grads_of(9)), (twins.device, moved(grads_of(9)))):
        for _ in range(2):
            with pytest.raises(ValueError, match=rf"lr at step {good} is -"):
                opt.step(grads)
    twins.check()
    twins.both(lambda opt: opt.groups[0].__setitem__("lr", 0.01))
    for t in range(3):
        twins.step(grads_of(t))
    twins.check()


# What is not there: a driver, CuPy, a compiler, memory.


def test_an_old_driver_is_named_with_the_version_that_is_expected(cuda: Any, cupy: Any) -> None:
    from schuss._engine.cuda import runtime

    p = cupy.zeros(3)
    cuda.driver_version = 11080
    runtime.forget()
    with pytest.raises(
        RuntimeError, match=r"driver is of version 11\.8, expected 12\.0 or newer; update the NVIDIA driver"
    ):
        schuss.AdamW(p)
    cuda.driver_version = 12000
    schuss.AdamW(p).step(cupy.ones(3))


def test_a_driver_that_does_not_answer_is_told_of(cuda: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from schuss._engine.cuda import runtime

    def fails() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    p = cupy.zeros(3)
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", fails)
    runtime.forget()
    with pytest.raises(RuntimeError, match="driver does not answer: cudaErrorInsufficientDriver"):
        schuss.AdamW(p)


CALLS: dict[str, Callable[[Any], Any]] = {
    "an optimizer": lambda p: schuss.AdamW({"w": p}),
    "a norm": lambda p: schuss.clipping.global_norm([p]),
    "a plain rule": lambda p: schuss.ops.sgd(p, p, None, step=1),
}


@pytest.mark.parametrize("call", CALLS)
def test_without_cupy_the_message_says_how_to_get_it(cuda: Any, cupy: Any, monkeypatch: Any, call: str) -> None:
    from schuss._engine.cuda import runtime

    told = cupy.zeros(3).__cuda_array_interface__
    other = type("Other", (), {"__cuda_array_interface__": told})()
    runtime.forget()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r'CuPy.*pip install "schuss\[cuda13\]" \(or "schuss\[cuda12\]"'):
        CALLS[call](other)


class Absent:
    version = None

    def compile(self, text: str, options: Any, name: str) -> bytes:
        raise AssertionError("nothing compiles without a compiler")


class Failing:
    """A compiler that does not take the kernel."""

    version = "sim.failing"

    def compile(self, text: str, options: Any, name: str) -> bytes:
        from schuss._engine.cuda.builder import CompileError

        raise CompileError(f"{name} for sm_90:\nkernel.cu(7): error: nonsense")


@pytest.fixture
def fresh_cache(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernel is loaded or cached."""
    from schuss._engine.cuda import runtime

    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path / "cache"))
    runtime.kernel.cache_clear()
    yield
    runtime.kernel.cache_clear()


LACKING: dict[str, tuple[Any, type[Exception], str]] = {
    "no compiler": (Absent(), ImportError, r"(?s)no compiled kernel .* for sm_90.*NVRTC.*schuss compile"),
    "a compiler that fails": (Failing(), RuntimeError, r"(?s)for sm_90:.*error: nonsense"),
}


@pytest.mark.parametrize("common", [{}, {"clip": 1.0}, {"accumulate": 2}], ids=["plain", "clipped", "accumulated"])
@pytest.mark.parametrize("lacking", LACKING)
def test_a_step_whose_kernel_cannot_be_had_changes_nothing(
    cuda: Any, fresh_cache: None, monkeypatch: pytest.MonkeyPatch, lacking: str, common: dict[str, Any]
) -> None:
    from schuss._engine.cuda import builder

    compiler, error, message = LACKING[lacking]
    twins = Twins(make(schuss.AdamW, **common), params_of())
    with monkeypatch.context() as without:
        without.setattr(builder, "compiler", compiler)
        for _ in range(2):
            with pytest.raises(error, match=message):
                twins.device.step(moved(grads_of(5)))
        twins.check()
    for t in range(4):
        twins.step(grads_of(t))
    twins.check()


LAUNCHES = {"plain": (None, 1), "clipped": (1.0, 3), "each leaf clipped": (schuss.clipping.LeafNorm(1.0), 3)}


@pytest.mark.parametrize(("clip", "after"), [(kind, k) for kind, (_, many) in LAUNCHES.items() for k in range(many)])
def test_a_step_that_is_interrupted_between_its_launches_has_not_happened(
    cuda: Any, monkeypatch: pytest.MonkeyPatch, clip: str, after: int
) -> None:
    from schuss._engine.cuda import runtime

    twins = Twins(make(schuss.AdamW, clip=LAUNCHES[clip][0]), params_of())
    twins.step(grads_of(0))
    real, done = runtime.launch, []

    def launch(*arguments: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(real(*arguments))

    with monkeypatch.context() as patched:
        patched.setattr(runtime, "launch", launch)
        with pytest.raises(KeyboardInterrupt):
            twins.device.step(moved(grads_of(9)))
    twins.check()
    for t in range(1, 4):
        twins.step(grads_of(t))
    twins.check()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"slots": "bfloat16"}, "slots='bfloat16' .*slots='float32'"),
        ({"slots": "8bit"}, "slots='8bit' .*slots='float32'"),
        ({"rounding": "stochastic"}, "rounding='stochastic' .*rounding='nearest'"),
        ({"master": True}, "master=True .*float32 parameters"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_ways_to_store_that_only_the_cpu_has_are_refused_by_name(
    cuda: Any, cupy: Any, keywords: dict[str, Any], words: str
) -> None:
    w = cupy.asarray(np.ones(5_000, np.float32))
    with pytest.raises(ValueError, match=words):
        schuss.AdamW({"w": w}, **keywords)
    assert schuss.AdamW({"w": w}).step({"w": w}).step == 1


def test_float16_gradients_are_refused_on_a_device_by_name(cuda: Any, cupy: Any) -> None:
    w = cupy.asarray(np.ones(5, np.float32))
    opt = schuss.SGD({"w": w})
    with pytest.raises(TypeError, match=r"grads\['w'\]: float16 on a CUDA device"):
        opt.step({"w": cupy.asarray(np.ones(5, np.float16))})
    assert opt.clock == 0
