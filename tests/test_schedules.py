"""Schedules against their formulas, and their own promises."""

import itertools
import json
import math
import pickle

import numpy as np
import pytest
from mpmath import mp, mpf
from schuss import schedules
from schuss.schedules import Schedule

STEPS = np.r_[0:260, 999, 1000, 1001, 10**6, 10**9]


def half_cosine(x):
    return 0.5 * (1 + math.cos(math.pi * min(x, 1)))


def triangle(t, up, down):
    at = t % (up + down)
    return at / up if at <= up else (up + down - at) / down


def one_cycle_of_torch(t, values, ends, shape):
    begin = 0
    for (first, last), end in zip(itertools.pairwise(values), ends, strict=True):
        if t <= end or end == ends[-1]:
            x = min((t - begin) / (end - begin), 1)
            return last + (first - last) * shape(x)
        begin = end
    raise AssertionError


def plateau(t, left):
    if t < 20:
        return 0.1 + 0.9 * t / 20
    return 1.0 if t < 150 else 0.2 + 0.8 * left(min((t - 150) / 50, 1))


CASES = {
    "constant": (schedules.constant(0.3), lambda t: 0.3),
    "step": (schedules.step(0.3, 0.7, every=30), lambda t: 0.3 * 0.7 ** (t // 30)),
    "milestones": (
        schedules.step(0.3, 0.1, milestones=[1, 30, 100]),
        lambda t: 0.3 * 0.1 ** ((t >= 1) + (t >= 30) + (t >= 100)),
    ),
    "exponential": (schedules.exponential(0.3, 0.9, 7), lambda t: 0.3 * 0.9 ** (t / 7)),
    "growing": (schedules.exponential(0.3, 1.00000001), lambda t: 0.3 * 1.00000001**t),
    "staircase": (
        schedules.exponential(0.3, 0.9, 7, staircase=True),
        lambda t: 0.3 * 0.9 ** (t // 7),
    ),
    "polynomial": (
        schedules.polynomial(0.3, 0.01, 200, 1.7),
        lambda t: 0.01 + 0.29 * (1 - min(t, 200) / 200) ** 1.7,
    ),
    "cosine": (
        schedules.cosine(0.3, 200, 0.01),
        lambda t: 0.01 + 0.29 * half_cosine(t / 200),
    ),
    "inverse_sqrt": (schedules.inverse_sqrt(0.3, 40), lambda t: 0.3 * math.sqrt(40 / (40 + t))),
    "triangular": (
        schedules.cyclic(0.1, 0.4, 7, 13),
        lambda t: 0.1 + 0.3 * triangle(t, 7, 13),
    ),
    "triangular2": (
        schedules.cyclic(0.1, 0.4, 9, mode="triangular2"),
        lambda t: 0.1 + 0.3 * triangle(t, 9, 9) * 0.5 ** (t // 18),
    ),
    "exp_range": (
        schedules.cyclic(0.1, 0.4, 7, 13, "exp_range", 0.99),
        lambda t: 0.1 + 0.3 * triangle(t, 7, 13) * 0.99**t,
    ),
    "warmup": (
        schedules.warmup(50, schedules.exponential(0.3, 0.99), 0.1),
        lambda t: 0.1 + 0.2 * t / 50 if t < 50 else 0.3 * 0.99 ** (t - 50),
    ),
    "warmup shift": (
        schedules.warmup(50, schedules.exponential(0.3, 0.99), shift=1),
        lambda t: 0.3 * (t + 1) / 50 if t < 50 else 0.3 * 0.99 ** (t - 50),
    ),
    "warmup constant": (
        schedules.warmup(50, schedules.exponential(0.3, 0.99), 0.1, "constant"),
        lambda t: 0.1 if t < 50 else 0.3 * 0.99 ** (t - 50),
    ),
    # DeepSpeed's WarmupLR: min + (max - min) log(t + 1) / log(w)
    "warmup logarithmic": (
        schedules.warmup(50, 0.3, 0.1, "logarithmic"),
        lambda t: 0.1 + 0.2 * math.log(t + 1) / math.log(50) if t < 50 else 0.3,
    ),
    "warmup without restart": (
        schedules.warmup(50, schedules.exponential(0.3, 0.99), restart=False),
        lambda t: min(t / 50, 1) * 0.3 * 0.99**t,
    ),
    "join": (
        schedules.join([0.1, schedules.exponential(1, 0.9), lambda t: t / 7], [20, 90]),
        lambda t: 0.1 if t < 20 else 0.9 ** (t - 20) if t < 90 else (t - 90) / 7,
    ),
    "one_cycle": (
        schedules.one_cycle(0.3, 200),
        lambda t: one_cycle_of_torch(t, [0.012, 0.3, 1.2e-6], [59, 199], half_cosine),
    ),
    "one_cycle three phases": (
        schedules.one_cycle(0.3, 200, 0.25, "linear", 10, 100, True),
        lambda t: one_cycle_of_torch(t, [0.03, 0.3, 0.03, 3e-4], [49, 98, 199], lambda x: 1 - x),
    ),
    "one_cycle_momentum": (
        schedules.one_cycle_momentum(200),
        lambda t: one_cycle_of_torch(t, [0.95, 0.85, 0.95], [59, 199], half_cosine),
    ),
    "warmup_stable_decay": (
        schedules.warmup_stable_decay(1.0, 200, 20, 50, 0.2, 0.1),
        lambda t: plateau(t, lambda x: 1 - x),
    ),
    "warmup_stable_decay cosine": (
        schedules.warmup_stable_decay(1.0, 200, 20, 50, 0.2, 0.1, "cosine"),
        lambda t: plateau(t, half_cosine),
    ),
    "warmup_stable_decay sqrt": (
        schedules.warmup_stable_decay(1.0, 200, 20, 50, 0.2, 0.1, "sqrt"),
        lambda t: plateau(t, lambda x: 1 - math.sqrt(x)),
    ),
    "per_epoch": (
        schedules.per_epoch(schedules.exponential(0.3, 0.9), 25),
        lambda t: 0.3 * 0.9 ** (t // 25),
    ),
    "function": (Schedule(lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
}
WRITABLE = {name: case[0] for name, case in CASES.items() if not case[0].holds_function}


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_formula(name):
    schedule, formula = CASES[name]
    want = [formula(t) for t in STEPS.tolist()]
    np.testing.assert_allclose(schedule(STEPS), want, rtol=3e-14, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_an_array_of_steps_gives_the_same_bits_as_one_at_a_time(name):
    schedule = CASES[name][0]
    array = schedule(STEPS.reshape(5, -1))
    assert array.dtype == np.float64
    assert array.shape == (5, STEPS.size // 5)
    assert array.ravel().tolist() == [schedule(t) for t in STEPS.tolist()]
    assert schedule(STEPS.astype(np.uint32)).tolist() == array.ravel().tolist()
    assert schedule(STEPS[::-2]).tolist() == array.ravel()[::-2].tolist()


def test_every_function_is_under_test():
    made = set(schedules.__all__) - {"Schedule", "ScheduleLike"}
    assert made == {schedule.kind for schedule in WRITABLE.values()} | {"join"}


def test_steps_may_be_numpy_integers_lists_and_empty_arrays():
    schedule = schedules.exponential(1.0, 0.5)
    assert schedule(np.int32(2)) == 0.25
    assert type(schedule(np.int32(2))) is float
    assert schedule([0, 1]).tolist() == [1.0, 0.5]
    assert schedule(np.array(1)).shape == ()
    assert schedule([]).shape == (0,)


def test_cosine_is_the_exact_formula_to_the_last_places():
    with mp.workdps(40):
        for high, low, total in [(3e-4, 0.0, 1000), (0.3, 0.01, 977), (1.0, 0.0, 10**9)]:
            schedule = schedules.cosine(high, total, low)
            for t in [*range(0, 977, 61), total // 2, total - 1, total]:
                exact = (1 + mp.cos(mp.pi * min(t, total) / total)) / 2
                want = mpf(low) + (mpf(high) - mpf(low)) * exact
                assert abs(mpf(schedule(t)) - want) <= abs(want) * mpf(2) ** -50


def test_first_and_last_values_are_exact():
    for value in [0.1, 3e-4, 1 / 3]:
        assert schedules.cosine(value, 77, 0.01)(0) == value
        assert schedules.cosine(value, 77, 0.01)(77) == 0.01
        assert schedules.polynomial(value, 0.01, 77, 2)(0) == value
        assert schedules.polynomial(value, 0.01, 77, 2)(77) == 0.01
        assert schedules.warmup(77, value, 0.01)(0) == 0.01
        assert schedules.warmup(77, value, 0.01)(77) == value
        assert schedules.warmup(77, value, shift=1)(76) == value
        assert schedules.one_cycle(value, 100)(29) == value
        assert schedules.exponential(value, 0.9)(0) == value


def test_warmup_of_no_steps_is_the_schedule_itself():
    inner = schedules.cosine(0.3, 10)
    assert schedules.warmup(0, inner)(range(20)).tolist() == inner(range(20)).tolist()
    assert schedules.warmup(1, 1.0, kind="logarithmic")(range(3)).tolist() == [0, 1, 1]


def test_transformer_schedule_is_warmup_before_inverse_sqrt():
    width, w = 512, 400
    t = np.arange(1, 5000)
    want = width**-0.5 * np.minimum(t**-0.5, t * w**-1.5)
    got = schedules.warmup(w, schedules.inverse_sqrt(width**-0.5 * w**-0.5, w))(t)
    np.testing.assert_allclose(got, want, rtol=1e-14)


# ---- composition, and Python functions ----


def test_python_functions_and_numbers_stand_where_schedules_do():
    def rate(t):
        return np.float32(2.0**-t)

    assert schedules.warmup(2, rate)(range(4)).tolist() == [0, 0.5, 1, 0.5]
    assert schedules.per_epoch(rate, 2)(range(4)).tolist() == [1, 1, 0.5, 0.5]
    assert schedules.join([1, 2, rate], [1, 2])(range(4)).tolist() == [1, 2, 1, 0.5]
    assert Schedule(3)(5) == 3
    assert Schedule(Schedule(3)) == schedules.constant(3.0)


def test_python_function_is_given_an_int_and_must_return_a_number():
    seen = []
    Schedule(lambda t: seen.append(t) or 1.0)(np.arange(3))
    assert seen == [0, 1, 2]
    assert all(type(t) is int for t in seen)
    for bad in ("a", None, True, [1.0, 2.0]):
        with pytest.raises(TypeError, match=r"at step 3 is .*, expected a number"):
            Schedule(lambda t, bad=bad: bad)(3)


def test_error_in_a_python_function_comes_through():
    with pytest.raises(ZeroDivisionError):
        schedules.warmup(2, lambda t: 1 / (t - 1))(3)


# ---- specs ----


@pytest.mark.parametrize("name", WRITABLE)
def test_schedule_goes_through_json_pickle_and_its_own_repr(name):
    schedule = WRITABLE[name]
    plain = json.loads(json.dumps(schedule.to_dict()))
    again = [
        Schedule.from_dict(plain),
        pickle.loads(pickle.dumps(schedule)),
        eval(repr(schedule), vars(schedules)),
    ]
    for other in again:
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert other.to_dict() == schedule.to_dict()
        assert other(STEPS).tolist() == schedule(STEPS).tolist()


def test_schedules_are_equal_only_if_every_argument_is():
    made = [*WRITABLE.values(), schedules.cosine(0.3, 200, 0.02), schedules.cosine(0.3, 201, 0.01)]
    for i, a in enumerate(made):
        for j, b in enumerate(made):
            assert (a == b) == (i == j)
    assert schedules.constant(1.0) != 1.0
    assert schedules.warmup(3, math.sqrt) == schedules.warmup(3, math.sqrt)
    assert schedules.warmup(3, math.sqrt) != schedules.warmup(3, math.exp)


def test_repr_is_the_call():
    schedule = schedules.warmup(3, schedules.cosine(3e-4, 10))
    assert repr(schedule) == (
        "warmup(steps=3, schedule=cosine(max=0.0003, steps=10, min=0.0), start=0.0, "
        "kind='linear', shift=0, restart=True)"
    )
    assert repr(Schedule(math.sqrt)) == "Schedule(sqrt)"


def test_python_function_is_refused_or_written_as_null():
    schedule = schedules.join([math.sqrt, 1.0], [4])
    assert schedule.holds_function
    with pytest.raises(TypeError, match="schedule holds the function sqrt, which has no plain"):
        schedule.to_dict()
    plain = schedule.to_dict(functions="null")
    assert plain["arguments"]["schedules"][0] is None
    with pytest.raises(TypeError, match=r"schedules\[0\] is None, expected a schedule"):
        Schedule.from_dict(plain)
    assert Schedule(math.sqrt).to_dict(functions="null") is None
    assert pickle.loads(pickle.dumps(schedule)) == schedule


# ---- errors ----

BAD = [
    (lambda: schedules.constant("1"), TypeError, "constant(): value is '1', expected a number"),
    (lambda: schedules.constant(True), TypeError, "constant(): value is True, expected a number"),
    (lambda: schedules.constant(1j), TypeError, "constant(): value is 1j, expected a number"),
    (lambda: schedules.constant(math.nan), ValueError, "value is nan, expected a finite number"),
    (lambda: schedules.constant(None), TypeError, "value is missing, expected a number"),
    (lambda: schedules.step(1, 0.1), ValueError, "step(): every and milestones are both given or"),
    (lambda: schedules.step(1, 0.1, 0), ValueError, "every is 0, expected an integer of at least"),
    (
        lambda: schedules.step(1, 0.1, milestones=[3, 3]),
        ValueError,
        "step(): milestones[1] is 3, expected more than the one before",
    ),
    (lambda: schedules.step(1, 0.1, milestones=[0]), ValueError, "milestones[0] is 0, expected"),
    (lambda: schedules.step(1, 0.1, milestones=[1.5]), TypeError, "milestones is a list of num"),
    (lambda: schedules.exponential(1, 0), ValueError, "rate is 0, expected a positive number"),
    (lambda: schedules.exponential(1, 0.9, 1, 1), TypeError, "staircase is 1, expected True or"),
    (lambda: schedules.polynomial(1, 0, 9, -1), ValueError, "power is -1, expected a positive"),
    (lambda: schedules.polynomial(1, math.inf, 9), ValueError, "end is inf, expected a finite"),
    (lambda: schedules.cosine(1, 0), ValueError, "cosine(): steps is 0, expected an integer of"),
    (lambda: schedules.cosine(1, 1.5), TypeError, "cosine(): steps is 1.5, expected an integer"),
    (lambda: schedules.cosine(1, 2**70), ValueError, "expected an integer of 64 bits"),
    (lambda: schedules.inverse_sqrt(1, 0), ValueError, "timescale is 0, expected an integer of"),
    (lambda: schedules.cyclic(0, 1, 0), ValueError, "steps_up is 0, expected an integer of at"),
    (lambda: schedules.cyclic(0, 1, 1, 0), ValueError, "steps_down is 0, expected an integer of"),
    (lambda: schedules.cyclic(0, 1, 1, mode="up"), ValueError, "mode is 'up', expected 'triang"),
    (lambda: schedules.cyclic(0, 1, 1, gamma=0), ValueError, "gamma is 0, expected a positive"),
    (lambda: schedules.warmup(-1, 1), ValueError, "steps is -1, expected an integer of at least"),
    (lambda: schedules.warmup(1, "x"), TypeError, "schedule is 'x', expected a schedule, a number"),
    (lambda: schedules.warmup(1, 1, kind="x"), ValueError, "kind is 'x', expected 'linear', 'con"),
    (lambda: schedules.warmup(1, 1, kind="constant"), ValueError, "start is missing, expected"),
    (lambda: schedules.warmup(1, 1, shift=2), ValueError, "shift is 2, expected 0, or 1 with"),
    (lambda: schedules.warmup(1, 1, 0, "constant", shift=1), ValueError, "shift is 1, expected 0"),
    (lambda: schedules.join([], []), ValueError, "schedules is empty, expected at least one"),
    (lambda: schedules.join([1, 2], []), ValueError, "boundaries has 0 steps, expected 1, one"),
    (lambda: schedules.join([1, "x"], [1]), TypeError, "schedules[1] is 'x', expected a schedule"),
    (lambda: schedules.join([1, 2, 3], [2, 1]), ValueError, "boundaries[1] is 1, expected more"),
    (lambda: schedules.one_cycle(1, 9, 1.5), ValueError, "pct_start is 1.5, expected a number fr"),
    (lambda: schedules.one_cycle(1, 9, anneal="x"), ValueError, "anneal is 'x', expected 'cos'"),
    (lambda: schedules.one_cycle(1, 9, div_factor=0), ValueError, "div_factor is 0, expected a p"),
    (lambda: schedules.one_cycle_momentum(0), ValueError, "one_cycle_momentum(): steps is 0"),
    (
        lambda: schedules.warmup_stable_decay(1, 10, 6, 5),
        ValueError,
        "warmup_stable_decay(): decay is 5, expected at most steps - warmup",
    ),
    (
        lambda: schedules.warmup_stable_decay(1, 10, 1, 1, shape="x"),
        ValueError,
        "shape is 'x', expected 'linear', 'cosine' or 'sqrt'",
    ),
    (lambda: schedules.per_epoch(1, 0), ValueError, "steps_per_epoch is 0, expected an integer"),
    (lambda: Schedule("x"), TypeError, "value is 'x', expected a schedule, a number or a func"),
    (lambda: Schedule(math.inf), ValueError, "value is inf, expected a finite number"),
    (lambda: Schedule(1)(-1), ValueError, "schedule(): step is -1, expected an integer of at le"),
    (lambda: Schedule(1)([3, -1]), ValueError, "schedule(): step is -1, expected an integer"),
    (lambda: Schedule(1)(1.0), TypeError, "schedule(): step is 1.0, expected an integer or an"),
    (lambda: Schedule(1)(True), TypeError, "schedule(): step is True, expected an integer or"),
    (lambda: Schedule(1)("1"), TypeError, "schedule(): step is '1', expected an integer or an"),
    (lambda: Schedule(1)([0.5]), TypeError, "step is an array of float64, expected an integer"),
    (lambda: Schedule.from_dict({"kind": "x"}), ValueError, "expected {'kind': a string, 'argum"),
    (
        lambda: Schedule.from_dict({"kind": "x", "arguments": {}}),
        ValueError,
        "schedule kind is 'x', expected one of constant, step,",
    ),
    (
        lambda: Schedule.from_dict({"kind": "cosine", "arguments": {"max": 1, "stepz": 1}}),
        TypeError,
        "cosine() got an unknown argument 'stepz'; it takes max, steps, min",
    ),
    (lambda: Schedule.from_dict(None), TypeError, "the schedule is None, expected a dict; None"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
