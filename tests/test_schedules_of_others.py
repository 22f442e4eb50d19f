"""Schedules beside those of torch and optax: where they agree, and where they are known not to."""

import numpy as np
import pytest
from schuss import schedules


def torch_values(make, n, name="lr"):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    values = []
    for _ in range(n):
        values.append(float(optimizer.param_groups[0][name]))
        optimizer.step()
        scheduler.step()
    return values


def torch_warmup(first):
    def make(lr, o):
        parts = [first(lr, o), lr.ExponentialLR(o, 0.9)]
        return lr.SequentialLR(o, parts, milestones=[8])

    return make


TORCH = {
    "StepLR": (schedules.step(0.3, 0.7, 5), lambda lr, o: lr.StepLR(o, 5, 0.7)),
    "MultiStepLR": (
        schedules.step(0.3, 0.7, milestones=[3, 11]),
        lambda lr, o: lr.MultiStepLR(o, [3, 11], 0.7),
    ),
    "ExponentialLR": (schedules.exponential(0.3, 0.9), lambda lr, o: lr.ExponentialLR(o, 0.9)),
    "PolynomialLR": (
        schedules.polynomial(0.3, 0, 30, 1.5),
        lambda lr, o: lr.PolynomialLR(o, 30, 1.5),
    ),
    "CosineAnnealingLR": (
        schedules.cosine(0.3, 39, 0.01),
        lambda lr, o: lr.CosineAnnealingLR(o, 39, 0.01),
    ),
    "CyclicLR": (schedules.cyclic(0.1, 0.4, 3, 5), lambda lr, o: lr.CyclicLR(o, 0.1, 0.4, 3, 5)),
    "CyclicLR triangular2": (
        schedules.cyclic(0.1, 0.4, 4, mode="triangular2"),
        lambda lr, o: lr.CyclicLR(o, 0.1, 0.4, 4, mode="triangular2"),
    ),
    "CyclicLR exp_range": (
        schedules.cyclic(0.1, 0.4, 4, None, "exp_range", 0.95),
        lambda lr, o: lr.CyclicLR(o, 0.1, 0.4, 4, mode="exp_range", gamma=0.95),
    ),
    "LinearLR": (
        schedules.warmup(8, schedules.exponential(0.3, 0.9), 0.1),
        torch_warmup(lambda lr, o: lr.LinearLR(o, 1 / 3, total_iters=8)),
    ),
    "ConstantLR": (
        schedules.warmup(8, schedules.exponential(0.3, 0.9), 0.1, "constant"),
        torch_warmup(lambda lr, o: lr.ConstantLR(o, 1 / 3, total_iters=8)),
    ),
    "OneCycleLR": (schedules.one_cycle(0.3, 40), lambda lr, o: lr.OneCycleLR(o, 0.3, 40)),
    "OneCycleLR linear": (
        schedules.one_cycle(0.3, 40, 0.4, "linear", 10, 100),
        lambda lr, o: lr.OneCycleLR(
            o, 0.3, 40, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
    ),
    "OneCycleLR three phases": (
        schedules.one_cycle(0.3, 40, 0.37, three_phase=True),
        lambda lr, o: lr.OneCycleLR(o, 0.3, 40, pct_start=0.37, three_phase=True),
    ),
    "OneCycleLR without rise": (
        schedules.one_cycle(0.3, 40, 0.0),
        lambda lr, o: lr.OneCycleLR(o, 0.3, 40, pct_start=0.0),
    ),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.filterwarnings("ignore")
def test_torch_agrees(name):
    schedule, make = TORCH[name]
    np.testing.assert_allclose(schedule(range(39)), torch_values(make, 39), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("three_phase", [False, True])
def test_torch_agrees_on_the_momentum_of_one_cycle(three_phase):
    def make(lr, o):
        return lr.OneCycleLR(o, 0.3, 40, three_phase=three_phase)

    got = schedules.one_cycle_momentum(40, three_phase=three_phase)(range(39))
    np.testing.assert_allclose(got, torch_values(make, 39, "momentum"), rtol=1e-13)


def test_torch_cosine_rises_past_its_end_and_ours_holds():
    theirs = torch_values(lambda lr, o: lr.CosineAnnealingLR(o, 10, 0.01), 16)
    assert theirs[15] > 0.1
    assert schedules.cosine(0.3, 10, 0.01)(range(10, 16)).tolist() == [0.01] * 6


def optax_pairs(optax):
    cosine = optax.warmup_cosine_decay_schedule(0.1, 0.3, 10, 40, 0.01)
    return {
        "cosine": (schedules.cosine(0.3, 40, 0.03), optax.cosine_decay_schedule(0.3, 40, 0.1)),
        "exponential": (
            schedules.exponential(0.3, 0.5, 7),
            optax.exponential_decay(0.3, 7, 0.5),
        ),
        "staircase": (
            schedules.exponential(0.3, 0.5, 7, staircase=True),
            optax.exponential_decay(0.3, 7, 0.5, staircase=True),
        ),
        "polynomial": (
            schedules.polynomial(0.3, 0.01, 40, 2),
            optax.polynomial_schedule(0.3, 0.01, 2, 40),
        ),
        # The decay's length: with the warmup in it for optax, without it here.
        "warmup": (schedules.warmup(10, schedules.cosine(0.3, 30, 0.01), 0.1), cosine),
        "join": (
            schedules.join([0.1, schedules.polynomial(0.3, 0, 30)], [20]),
            optax.join_schedules([optax.constant_schedule(0.1), optax.linear_schedule(0.3, 0, 30)], [20]),
        ),
        "milestones": (
            schedules.step(0.3, 0.5, milestones=[10, 30]),
            optax.piecewise_constant_schedule(0.3, {10: 0.5, 30: 0.5}),
        ),
    }


@pytest.mark.parametrize("name", ["cosine", "exponential", "staircase", "polynomial", "warmup", "join", "milestones"])
def test_optax_agrees(name):
    schedule, theirs = optax_pairs(pytest.importorskip("optax"))[name]
    want = [float(theirs(t)) for t in range(60)]
    np.testing.assert_allclose(schedule(range(60)), want, rtol=2e-5, atol=1e-7)


def test_optax_one_cycle_peaks_one_step_later_than_ours():
    optax = pytest.importorskip("optax")
    theirs = optax.cosine_onecycle_schedule(100, 0.3)
    assert np.argmax([float(theirs(t)) for t in range(100)]) == 30
    assert np.argmax(schedules.one_cycle(0.3, 100)(range(100))) == 29
