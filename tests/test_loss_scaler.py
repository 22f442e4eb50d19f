"""The loss scaler against a plain reference, and its errors."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schuss.scaling import LossScaler


class Reference:
    """torch's GradScaler, with a floor, a ceiling, and DeepSpeed's hysteresis."""

    def __init__(self, scale, growth, backoff, interval, floor, ceiling, hysteresis):
        self.scale, self.tracker, self.left = scale, 0, hysteresis
        self.growth, self.backoff, self.interval = growth, backoff, interval
        self.floor, self.ceiling, self.hysteresis = floor, ceiling, hysteresis

    def update(self, overflow):
        if overflow:
            self.tracker = 0
            if self.left == 1:
                self.scale = max(self.scale * self.backoff, self.floor)
            else:
                self.left -= 1
        else:
            self.left = self.hysteresis
            self.tracker += 1
            if self.tracker == self.interval:
                self.scale = min(self.scale * self.growth, self.ceiling)
                self.tracker = 0


@given(
    scale=st.sampled_from([1.0, 4.0, 1024.0]),
    growth=st.sampled_from([1.0, 2.0, 3.0]),
    backoff=st.sampled_from([0.5, 0.3]),
    interval=st.integers(1, 4),
    hysteresis=st.integers(1, 4),
    overflows=st.lists(st.booleans(), max_size=60),
)
def test_every_history_moves_the_scale_as_the_reference(scale, growth, backoff, interval, hysteresis, overflows):
    scaler = LossScaler(scale, growth, backoff, interval, 1.0, 2048.0, hysteresis)
    want = Reference(scale, growth, backoff, interval, 1.0, 2048.0, hysteresis)
    for overflow in overflows:
        scaler.update(overflow)
        want.update(overflow)
        assert scaler.scale == want.scale
        assert (scaler.good_steps, scaler.hysteresis_left) == (want.tracker, want.left)


def test_history_without_floor_or_hysteresis_is_that_of_torch():
    torch = pytest.importorskip("torch")
    scaler = LossScaler(2.0**16, growth_interval=3, floor=2.0**-60, ceiling=2.0**60)
    scale, tracker = torch.full((1,), 2.0**16), torch.zeros(1, dtype=torch.int32)
    for step in range(200):
        overflow = step % 7 in (0, 1) or 50 < step < 60
        found = torch.full((1,), float(overflow))
        torch._amp_update_scale_(scale, tracker, found, 2.0, 0.5, 3)
        scaler.update(overflow)
        assert (scaler.scale, scaler.good_steps) == (scale.item(), tracker.item())


def test_defaults_are_those_of_the_documentation():
    scaler = LossScaler()
    for _ in range(1999):
        scaler.update(False)
    assert (scaler.scale, scaler.good_steps) == (65536, 1999)
    scaler.update(False)
    assert (scaler.scale, scaler.good_steps) == (131072, 0)
    scaler.update(True)
    assert scaler.scale == 65536


def test_scale_stays_between_floor_and_ceiling():
    scaler = LossScaler(16.0, growth_interval=1, floor=8.0, ceiling=24.0)
    scaler.update(False)
    assert scaler.scale == 24
    for _ in range(5):
        scaler.update(True)
    assert scaler.scale == 8


def test_hysteresis_lets_overflows_in_a_row_pass():
    scaler = LossScaler(1024.0, hysteresis=3)
    scales = []
    for overflow in [True, True, False, True, True, True, True]:
        scaler.update(overflow)
        scales.append(scaler.scale)
    assert scales == [1024, 1024, 1024, 1024, 1024, 512, 256]


def test_static_scale_never_changes():
    scaler = LossScaler.static(2.0**30)
    for overflow in [True, False] * 3000:
        scaler.update(overflow)
    assert scaler.state_dict() == LossScaler.static(2.0**30).state_dict()


@pytest.mark.parametrize("history", [[False, False, True], [True, False, False]])
def test_state_goes_on_where_it_was(history):
    scaler = LossScaler(1024.0, growth_interval=5, hysteresis=2)
    for overflow in history:
        scaler.update(overflow)
    other = LossScaler()
    other.load_state_dict(scaler.state_dict())
    copy = pickle.loads(pickle.dumps(scaler))
    for overflow in [False, False, False, True, True, False]:
        for each in (scaler, other, copy):
            each.update(overflow)
        assert scaler.state_dict() == other.state_dict() == copy.state_dict()
    assert type(copy) is LossScaler


def test_repr_is_the_call_that_makes_it():
    for scaler in (LossScaler(1024.0, hysteresis=2), LossScaler.static(128.0)):
        assert eval(repr(scaler)).state_dict() == scaler.state_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scale": "1"}, TypeError, "scale is '1', expected a number"),
        ({"scale": True}, TypeError, "scale is True, expected a number"),
        ({"scale": 0.0}, ValueError, "scale is 0.0, expected a positive number"),
        ({"scale": float("nan")}, ValueError, "scale is nan, expected a positive number"),
        ({"scale": float("inf")}, ValueError, "scale is inf, expected a positive number"),
        ({"scale": 2.0**25}, ValueError, "scale is 33554432.0, expected a number from floor to"),
        ({"scale": 0.5}, ValueError, "scale is 0.5, expected a number from floor to ceiling"),
        ({"growth": 0.9}, ValueError, "growth is 0.9, expected a number of at least 1"),
        ({"backoff": 1.0}, ValueError, "backoff is 1.0, expected a number between 0 and 1"),
        ({"growth_interval": 0}, ValueError, "growth_interval is 0, expected an integer of at"),
        ({"growth_interval": 2.0}, TypeError, "growth_interval is 2.0, expected an integer"),
        ({"floor": 0}, ValueError, "floor is 0, expected a positive number"),
        ({"ceiling": 0.5}, ValueError, "ceiling is 0.5, expected a number of at least floor, 1.0"),
        ({"hysteresis": 0}, ValueError, "hysteresis is 0, expected an integer of at least 1"),
        ({"dynamic": 1}, TypeError, "dynamic is 1, expected True or False"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error) as caught:
        LossScaler(**arguments)
    assert f"LossScaler(): {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scale": None}, TypeError, "scale is None, expected a number"),
        ({"good_steps": -1}, ValueError, "good_steps is -1, expected an integer of at least 0"),
        ({"hysteresis_left": 2}, ValueError, "hysteresis_left is 2, expected an integer from 1"),
        ({"skale": 1}, ValueError, "state has 'skale', expected only the names"),
    ],
)
def test_bad_state_is_named_and_changes_nothing(change, error, message):
    scaler = LossScaler(512.0)
    before = scaler.state_dict()
    with pytest.raises(error) as caught:
        scaler.load_state_dict({**LossScaler(2048.0).state_dict(), **change})
    assert message in str(caught.value)
    assert scaler.state_dict() == before


def test_missing_state_is_named():
    state = LossScaler().state_dict()
    del state["floor"]
    with pytest.raises(ValueError, match="floor is missing"):
        LossScaler().load_state_dict(state)
    with pytest.raises(TypeError, match="state is 3, expected a dict"):
        LossScaler().load_state_dict(3)  # pyright: ignore[reportArgumentType]


def test_update_takes_a_bool():
    with pytest.raises(TypeError, match="overflow is 1, expected True or False"):
        LossScaler().update(1)  # pyright: ignore[reportArgumentType]
