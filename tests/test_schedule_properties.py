"""What holds for schedules of any arguments and any nesting."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from schuss import schedules
from schuss.schedules import Schedule

numbers = st.floats(-1e3, 1e3).map(lambda x: 0.0 if abs(x) < 1e-9 else x)
counts = st.integers(1, 1000)


@given(high=numbers, low=numbers, steps=counts)
def test_cosine_and_polynomial_stay_between_their_ends(high, low, steps):
    for schedule in (schedules.cosine(high, steps, low), schedules.polynomial(high, low, steps, 3)):
        values = schedule(np.arange(steps + 3))
        slack = 1e-12 * (abs(high) + abs(low))
        assert values.min() >= min(high, low) - slack
        assert values.max() <= max(high, low) + slack
        falls = np.diff(values) * np.sign(low - high)
        assert (falls >= -slack).all()


@given(base=numbers, high=numbers, up=counts, down=counts)
def test_cyclic_is_periodic_and_reaches_both_ends(base, high, up, down):
    values = schedules.cyclic(base, high, up, down)(np.arange(2 * (up + down)))
    assert np.array_equal(values[: up + down], values[up + down :])
    assert (values[0], values[up]) == (base, high)


simple = st.one_of(
    st.builds(schedules.constant, numbers),
    st.builds(schedules.cosine, numbers, counts, numbers),
    st.builds(schedules.step, numbers, numbers, counts),
    st.builds(schedules.exponential, numbers, st.floats(0.5, 1.5), counts, st.booleans()),
    st.builds(schedules.inverse_sqrt, numbers, counts),
)
nested = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(schedules.warmup, st.integers(0, 50), inner, numbers, st.just("linear")),
        st.builds(lambda a, b, at: schedules.join([a, b], [at]), inner, inner, counts),
        st.builds(schedules.per_epoch, inner, counts),
    ),
    max_leaves=6,
)


@given(schedule=nested, steps=st.lists(st.integers(0, 2000), max_size=20))
def test_any_nesting_keeps_its_values_through_json_and_arrays(schedule, steps):
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule
    values = [schedule(t) for t in steps]
    assert schedule(np.array(steps, dtype=np.int64)).tolist() == values
    assert again(np.array(steps, dtype=np.int64)).tolist() == values


@given(schedule=nested, steps=st.integers(1, 60), t=st.integers(0, 500))
def test_warmup_hands_over_to_the_schedule_at_its_own_step_zero(schedule, steps, t):
    assert schedules.warmup(steps, schedule)(steps + t) == schedule(t)
    assert schedules.warmup(steps, schedule, restart=False)(steps + t) == schedule(steps + t)
    assert schedules.join([1.0, schedule], [steps])(steps + t) == schedule(t)
