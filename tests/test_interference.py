"""What else may happen while a step runs, or between two: each refused by name, none of it a crash or a lost update."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import schuss

N = 300_000  # large enough that a step lets other threads run


def test_gradients_dropped_by_a_schedule_are_kept_for_the_step() -> None:
    grads = {"w": np.ones(N, np.float32)}

    def lr(step: int) -> float:
        if armed:
            grads.clear()
            gc.collect()
        return 0.5

    armed = False
    w = np.zeros(N, np.float32)
    opt = schuss.SGD({"w": w}, lr=lr)
    armed = True
    opt.step(grads)
    assert not grads
    assert (w == -0.5).all()


def change_hyper(opt: schuss.Optimizer) -> None:
    opt.groups[0]["lr"] = 0.1


def add_group(opt: schuss.Optimizer) -> None:
    opt.add_group({"params": np.ones(3)})


def load(opt: schuss.Optimizer) -> None:
    opt.load_state_dict(schuss.SGD(np.ones(3), lr=0.1).state_dict())


CHANGES: dict[str, Callable[[Any], None]] = {
    "hyper": change_hyper,
    "group": add_group,
    "state": load,
    "freezing": lambda opt: opt.freeze("param"),
    "step": lambda opt: opt.step(np.ones(3)),
    "flush": lambda opt: opt.flush(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_schedule_that_changes_its_own_optimizer_is_refused(change: Callable[[Any], None]) -> None:
    made: list[schuss.Optimizer] = []

    def lr(step: int) -> float:
        if made:
            change(made[0])
        return 0.5

    w = np.ones(3)
    made.append(schuss.SGD(w, lr=lr))
    with pytest.raises(RuntimeError, match="in the middle of a step"):
        made[0].step(np.ones(3))
    assert (w == 1).all()
    assert made[0].clock == 0


def test_another_thread_can_neither_step_nor_change_an_optimizer_in_a_step() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def lr(step: int) -> float:
        if armed:
            inside.set()
            assert go_on.wait(10)
        return 0.5

    armed = False
    w = np.zeros(4)
    opt = schuss.SGD(w, lr=lr)
    armed = True
    stepping = threading.Thread(target=opt.step, args=(np.ones(4),))
    stepping.start()
    assert inside.wait(10)
    for change in (change_hyper, add_group, lambda one: one.step(np.ones(4))):
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            change(opt)
    go_on.set()
    stepping.join()
    assert (w == -0.5).all()


@pytest.mark.parametrize("change", [add_group, change_hyper, lambda opt: opt.freeze("param")])
def test_nothing_changes_while_the_parameters_stand_at_the_look_ahead_point(change: Callable[[Any], None]) -> None:
    w = np.ones(3)
    opt = schuss.Nesterov(w, lr=0.1)
    opt.step(np.ones(3))
    before = w.copy()
    with opt.lookahead(), pytest.raises(RuntimeError, match="look-ahead point"):
        change(opt)
    assert (w == before).all()


def test_a_look_ahead_left_by_an_exception_is_forgotten() -> None:
    def two_steps(interrupted: bool) -> np.ndarray:
        w = np.ones(2)
        opt = schuss.Nesterov(w, lr=0.1, beta=0.5)
        opt.step(np.ones(2))
        if interrupted:
            with pytest.raises(ZeroDivisionError), opt.lookahead():
                raise ZeroDivisionError
        opt.step(np.ones(2))
        return w

    assert (two_steps(True) == two_steps(False)).all()


def resize(w: np.ndarray) -> None:
    w.resize(2, refcheck=False)


def reshape(w: np.ndarray) -> None:
    with warnings.catch_warnings():  # newer NumPys frown on it
        warnings.simplefilter("ignore")
        w.shape = (2, 3)


@pytest.mark.parametrize(
    "change", [resize, reshape, lambda w: w.setflags(write=False)], ids=["resize", "reshape", "lock"]
)
def test_a_parameter_that_is_no_longer_what_it_was_is_noticed(change: Callable[[np.ndarray], None]) -> None:
    w = np.ones(6)
    opt = schuss.SGD({"w": w}, lr=1.0)
    change(w)
    with pytest.raises(ValueError, match=r"params\['w'\] is not as it was when the optimizer was made"):
        opt.step({"w": np.ones(6)})
    assert (w == 1).all()


@pytest.mark.parametrize("form", ["a None gradient later", "inside a look-ahead"])
def test_a_torch_parameter_given_other_memory_is_noticed(form: str) -> None:
    torch = pytest.importorskip("torch")
    p = torch.ones(4)
    if form == "inside a look-ahead":
        opt = schuss.Nesterov({"p": p}, lr=0.1)
        with pytest.raises(ValueError, match="params p is not as it was"), opt.lookahead():
            p.data = torch.zeros(4)
    else:
        opt = schuss.SGD({"p": p}, lr=0.1, accumulate=2)
        opt.step({"p": torch.ones(4)})
        p.data = torch.zeros(4)
        with pytest.raises(ValueError, match=r"params\['p'\] is not as it was"):
            opt.step({"p": None})


def test_a_rebound_tree_of_a_group_is_noticed() -> None:
    group = {"params": np.ones(3)}
    opt = schuss.SGD([group], lr=0.1)
    group["params"] = np.ones(3)
    with pytest.raises(ValueError, match=r"params\[0\]\['params'\] was bound to something else"):
        opt.step([np.ones(3)])


def test_a_container_that_holds_itself_is_refused() -> None:
    loop: list[Any] = [np.zeros(2)]
    loop.append(loop)
    with pytest.raises(ValueError, match="params: nested deeper than 200 containers, or a container that holds itself"):
        schuss.SGD(loop)


def test_a_gradient_that_empties_its_list_while_it_is_read_is_refused() -> None:
    class Emptying:
        def __dlpack_device__(self) -> tuple[int, int]:
            grads.clear()
            return 1, 0

        def __dlpack__(self, **_: Any) -> Any:
            return np.ones(3).__dlpack__()

    w = [np.ones(3), np.ones(3)]
    grads: list[Any] = [Emptying(), np.ones(3)]
    with pytest.raises(ValueError, match="grads changed while it was read"):
        schuss.SGD(w).step(grads)
    assert (w[0] == 1).all()


def test_an_optimizer_whose_schedule_is_a_method_of_its_owner_is_collected() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.opt = schuss.AdamW(np.ones(3), lr=self.rate)

        def rate(self, step: int) -> float:
            return 0.1

    trainer = Trainer()
    trainer.opt.step(np.ones(3))
    gone = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert gone() is None


def test_a_gradient_is_let_go_after_an_error() -> None:
    def lr(step: int) -> float:
        if step == 1:
            raise KeyError("late")
        return 0.1

    g = np.ones(3)
    before = sys.getrefcount(g)
    opt = schuss.SGD(np.ones(3), lr=lr)
    opt.step(g)
    with pytest.raises(KeyError):
        opt.step(g)
    assert sys.getrefcount(g) == before


FORK = """
import os, signal, numpy as np, schuss
import torch
torch.ones(2000, 2000).add_(1)  # another library's threads, before ours ever ran
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    w = np.zeros(400_000, np.float32)
    schuss.SGD(w, lr=1.0).step(np.ones_like(w))
    os._exit(0 if (w == -1).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_forked_before_the_first_step_steps() -> None:
    pytest.importorskip("torch")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_a_torch_gradient_with_its_sign_pending_is_refused() -> None:
    torch = pytest.importorskip("torch")
    g = torch.conj(torch.tensor([1 + 2j, 3 + 4j], dtype=torch.complex64)).imag
    assert g.is_neg()
    with pytest.raises(ValueError, match=r"grads\[0\]: a torch tensor whose sign is pending"):
        schuss.SGD([np.zeros(2, np.float32)]).step([g])


def test_names_are_one_to_a_leaf_over_all_groups() -> None:
    opt = schuss.AdamW({"1": {"w": np.ones(2)}})
    with pytest.raises(ValueError, match=r"would both be named '1/w'"):
        opt.add_group({"params": {"w": np.ones(2)}})
    assert opt.names == ["1/w"]


def test_shared_memory_is_clipped_once() -> None:
    g = np.array([3.0, 4.0])
    norm = schuss.clipping.by_global_norm([g, g], 1.0)
    assert norm == pytest.approx(5 * 2**0.5, rel=1e-15)
    np.testing.assert_allclose(g, np.array([3.0, 4.0]) / norm, rtol=1e-15)
    with pytest.raises(ValueError, match="whose elements overlap"):
        schuss.clipping.by_global_norm([np.lib.stride_tricks.as_strided(np.ones(1), (5,), (0,))], 1.0)
    base = np.ones(4)
    with pytest.raises(ValueError, match=r"grads\[1\] overlaps grads\[0\]"):
        schuss.clipping.by_value([base[:3], base[1:]], 0.5)


def test_a_large_float64_gradient_is_clipped_before_it_is_narrowed() -> None:
    w = np.zeros(1, np.float32)
    schuss.SGD(w, lr=1.0, clip=1.0).step(np.array([1e100]))
    assert w[0] == -1


def test_raise_finds_what_it_asks_for() -> None:
    w = np.ones(2)
    with pytest.raises(FloatingPointError, match="no parameter, slot or clock was changed"):
        schuss.SGD(w, nonfinite="raise").step(np.array([1.0, np.nan]))
    assert (w == 1).all()


def test_a_micro_step_tells_the_rate_of_the_step_it_belongs_to() -> None:
    opt = schuss.SGD(np.ones(2), lr=lambda step: 1.0 + step, accumulate=2)
    assert [opt.step(np.ones(2)).lr for _ in range(6)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("pair", ["m is v", "v is g", "m across p"])
def test_plain_functions_refuse_arrays_that_share_memory(pair: str) -> None:
    base = np.ones(6)
    p, g, m, v = base[:4], np.ones(4), np.zeros(4), np.zeros(4)
    arrays = {"m is v": (p, g, m, m), "v is g": (p, g, m, g), "m across p": (p, g, base[2:], v)}[pair]
    with pytest.raises(ValueError, match=r"adamw\(\): \w .*(same array|overlaps)"):
        schuss.ops.adamw(*arrays, lr=0.1)
    assert (base == 1).all()


def test_a_hyper_given_as_an_array_is_the_number_it_was() -> None:
    lr = np.array(0.5)
    w = np.zeros(2)
    opt = schuss.SGD(w, lr=lr)
    lr[...] = 100.0
    opt.step(np.ones(2))
    assert (w == -0.5).all()
    assert opt.groups[0]["lr"] == 0.5
