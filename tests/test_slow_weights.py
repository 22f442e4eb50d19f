"""Lookahead's slow weights, around any optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CLASSES, DTYPES, RULES, normal, output_of, same_bits, tree_bits

SHAPES: dict[str, tuple[int, ...]] = {"w": (170, 41), "b": (7,), "s": (), "none": (0, 3)}


def params_of(seed: int = 1, dtype: Any = np.float64) -> dict[str, Any]:
    return {name: normal(seed + i, shape, dtype) for i, (name, shape) in enumerate(SHAPES.items())}


def grads_of(t: int, dtype: Any = np.float64) -> dict[str, Any]:
    return params_of(100 + 10 * t, dtype)


def copied(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: leaf.copy() for name, leaf in tree.items()}


def pulled(p: np.ndarray, slow: np.ndarray, alpha: float) -> np.ndarray:
    """slow + alpha (p - slow), in the arithmetic type."""
    arithmetic = slow.dtype.type
    return slow + arithmetic(alpha) * (p.astype(slow.dtype) - slow)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_every_k_steps_the_parameters_return_to_the_slow_weights(rule: str, dtype: str) -> None:
    params, alone = params_of(dtype=DTYPES[dtype]), params_of(dtype=DTYPES[dtype])
    ahead = schuss.Lookahead(CLASSES[rule](params), k=3, alpha=0.4)
    opt = CLASSES[rule](alone)
    wide = np.float64 if dtype == "float64" else np.float32
    slow = {name: p.astype(wide) for name, p in params.items()}
    for t in range(7):
        ahead.step(grads_of(t, DTYPES[dtype]))
        opt.step(grads_of(t, DTYPES[dtype]))
        if t % 3 == 2:
            for name, p in alone.items():
                slow[name] = pulled(p, slow[name], 0.4)
                p[...] = slow[name].astype(DTYPES[dtype])
        assert tree_bits(params) == tree_bits(alone)
    assert ahead.since == 1
    assert tree_bits(ahead.optimizer.state) == tree_bits(opt.state)


def test_bfloat16_parameters_have_slow_weights_of_float32() -> None:
    """Pulls too small for bfloat16 add up in them."""
    p = np.full(3, 256.0, DTYPES["bfloat16"])
    ahead = schuss.Lookahead(schuss.SGD(p, lr=1.0), k=1, alpha=0.125)
    moved = [p[0].item()]
    for _ in range(12):
        ahead.step(np.full(3, -4.0, DTYPES["bfloat16"]))
        moved.append(p[0].item())
    assert moved[1] == 256.0
    assert moved[-1] > 260.0


@pytest.mark.parametrize("other", ["pytorch_optimizer", "optax"])
def test_the_walk_is_that_of_other_libraries(other: str) -> None:
    start = normal(3, 40, np.float32)
    grads = [normal(50 + t, 40, np.float32) for t in range(11)]
    p = start.copy()
    ahead = schuss.Lookahead(schuss.AdamW(p, lr=0.05, weight_decay=0.0), k=4, alpha=0.3)
    for g in grads:
        ahead.step(g)
    if other == "pytorch_optimizer":
        theirs = pytest.importorskip("pytorch_optimizer")
        torch = pytest.importorskip("torch")
        want = torch.nn.Parameter(torch.from_numpy(start.copy()))
        opt = theirs.Lookahead(torch.optim.Adam([want], lr=0.05), k=4, alpha=0.3, pullback_momentum="none")
        for g in grads:
            want.grad = torch.from_numpy(g.copy())
            opt.step()
        got = want.detach().numpy()
    else:
        optax = pytest.importorskip("optax")
        opt = optax.lookahead(optax.adam(0.05), sync_period=4, slow_step_size=0.3)
        both = optax.LookaheadParams.init_synced(start.copy())
        kept = opt.init(both)
        for g in grads:
            updates, kept = opt.update(g, kept, both)
            both = optax.apply_updates(both, updates)
        got = np.asarray(both.fast)
    np.testing.assert_allclose(p, got, rtol=2e-5, atol=1e-6)


def test_skipped_steps_and_micro_gradients_do_not_count() -> None:
    p = np.zeros(2)
    scaler = schuss.LossScaler(scale=4.0)
    ahead = schuss.Lookahead(schuss.SGD(p, lr=1.0, accumulate=2, scaler=scaler, clip=100.0), k=2)
    bad = np.array([np.inf, 1.0])
    for g in (np.full(2, -4.0), np.full(2, -4.0), bad, bad):
        ahead.step(g)
    assert (ahead.since, ahead.optimizer.clock, p.tolist()) == (1, 1, [1.0, 1.0])
    ahead.step(np.full(2, -scaler.scale))
    assert ahead.since == 1
    assert ahead.flush() is not None
    assert ahead.since == 0
    assert p.tolist() == [1.0, 1.0], "half of the way to 2"


def test_slow_weights_are_shown_and_the_parameters_come_back() -> None:
    for dtype in DTYPES.values():
        params = params_of(dtype=dtype)
        start = copied(params)
        ahead = schuss.Lookahead(schuss.Adam(params, lr=0.1))
        ahead.step(grads_of(0, dtype))
        before = tree_bits(params)
        with ahead.slow():
            assert tree_bits(params) == tree_bits(start)
            with pytest.raises(RuntimeError, match="leave the `with` block first"):
                ahead.step(grads_of(1, dtype))
        assert tree_bits(params) == before


def test_strided_parameters_are_pulled_as_dense_ones() -> None:
    home, dense = normal(5, (60, 90)), normal(5, (60, 90))[:, ::2].copy()
    around = home.copy()
    one = schuss.Lookahead(schuss.Adam(home[:, ::2]), k=2)
    other = schuss.Lookahead(schuss.Adam(dense), k=2)
    for t in range(4):
        g = normal(60 + t, (60, 45))
        one.step(g)
        other.step(g)
        with one.slow(), other.slow():
            assert same_bits(home[:, ::2], dense)
    assert same_bits(home[:, ::2], dense)
    assert same_bits(home[:, 1::2], around[:, 1::2])


def test_groups_added_later_begin_where_they_are() -> None:
    a, b = np.zeros(1), np.zeros(1)
    ahead = schuss.Lookahead(schuss.SGD([{"params": a}], lr=1.0), k=2)
    ahead.step([-np.ones(1)])
    b += 10
    ahead.optimizer.add_group({"params": b})
    ahead.step([-np.ones(1), -np.ones(1)])
    assert (a[0], b[0]) == (1.0, 10.5)


def test_torch_parameters_are_pulled_and_autograd_notices() -> None:
    torch = pytest.importorskip("torch")
    p = torch.zeros(3)
    ahead = schuss.Lookahead(schuss.SGD(p, lr=1.0), k=1)
    version = p._version
    ahead.step(-torch.ones(3))
    assert p.tolist() == [0.5] * 3
    assert p._version > version + 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["file", "dict"])
def test_a_resumed_run_continues_bit_for_bit(dtype: str, how: str, tmp_path: Path) -> None:
    params = params_of(dtype=DTYPES[dtype])
    straight = schuss.Lookahead(schuss.AdamW(params, clip=1.0), k=3, alpha=0.25)
    for t in range(5):
        straight.step(grads_of(t, DTYPES[dtype]))
    stopped = copied(params)
    resumed = schuss.Lookahead(schuss.AdamW(stopped, clip=1.0))
    if how == "file":
        schuss.save(tmp_path / "run.safetensors", straight)
        schuss.load(tmp_path / "run.safetensors", resumed)
    else:
        saved = straight.state_dict()
        resumed.load_state_dict(saved)
    for t in range(5, 12):
        straight.step(grads_of(t, DTYPES[dtype]))
        resumed.step(grads_of(t, DTYPES[dtype]))
    assert tree_bits(params) == tree_bits(stopped)
    assert (resumed.k, resumed.alpha, resumed.since) == (3, 0.25, 0)


def bad_states() -> list[tuple[Any, str]]:
    def no_lookahead(saved: dict[str, Any]) -> None:
        del saved["lookahead"]

    def no_slow(saved: dict[str, Any]) -> None:
        del saved["leaves"]["b"]["slots"]["lookahead.slow"]

    def other_shape(saved: dict[str, Any]) -> None:
        saved["leaves"]["b"]["slots"]["lookahead.slow"] = np.zeros(8)

    def other_type(saved: dict[str, Any]) -> None:
        saved["leaves"]["b"]["slots"]["lookahead.slow"] = np.zeros(7, np.float32)

    def too_late(saved: dict[str, Any]) -> None:
        saved["lookahead"]["since"] = 5

    return [
        (no_lookahead, "the state holds no slow weights, expected a dict from Lookahead"),
        (no_slow, "b: the state has no slow weights"),
        (other_shape, r"b: the slow weights have shape \(8,\) in the state, expected \(7,\)"),
        (other_type, "b: the slow weights are float32 in the state, expected float64"),
        (too_late, "since is 5 in the state, expected a whole number below k=5"),
    ]


@pytest.mark.parametrize(("spoil", "message"), bad_states())
def test_a_bad_state_is_refused_with_nothing_written(spoil: Any, message: str) -> None:
    ahead = schuss.Lookahead(schuss.Adam(params_of()))
    ahead.step(grads_of(0))
    saved = ahead.state_dict()
    spoil(saved)
    saved["clock"] = 9
    before = repr_of(ahead)
    with pytest.raises((TypeError, ValueError), match=message):
        ahead.load_state_dict(saved)
    assert repr_of(ahead) == before


def repr_of(ahead: Any) -> list[Any]:
    saved = ahead.state_dict()
    leaves = saved["leaves"].items()
    return [saved["clock"], saved["lookahead"], [(name, tree_bits(leaf["slots"])) for name, leaf in leaves]]


def test_the_state_of_a_lookahead_is_not_loaded_by_a_plain_optimizer() -> None:
    ahead = schuss.Lookahead(schuss.Adam(params_of()))
    with pytest.raises(ValueError, match=r"w: the state has slots \['lookahead.slow', 'm', 'v'\]"):
        schuss.Adam(params_of()).load_state_dict(ahead.state_dict())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "k is 0, expected 1 or more"),
        ({"k": 2.5}, r"k is 2.5 \(float\), expected a whole number"),
        ({"alpha": 0.0}, "alpha is 0.0, expected a finite number above 0"),
        ({"alpha": 1.5}, "alpha is 1.5, expected a number above 0 and at most 1"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        schuss.Lookahead(schuss.SGD(np.zeros(2)), **given)


def test_masters_are_refused() -> None:
    opt = schuss.SGD(np.zeros(2, DTYPES["bfloat16"]), master=True)
    with pytest.raises(ValueError, match="has float32 masters, which Lookahead does not pull"):
        schuss.Lookahead(opt)


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"optimizer is array\(.*ndarray\), expected one as schuss.AdamW"):
        schuss.Lookahead(np.zeros(2))  # type: ignore[arg-type]


def test_parameters_on_a_device_are_refused(cuda: Any, cupy: Any) -> None:
    with pytest.raises(TypeError, match="the parameters lie on a CUDA device; interpolate there"):
        schuss.Lookahead(schuss.SGD(cupy.zeros(3, np.float32)))


CODE = """
import sys, numpy as np, schuss
from helpers import normal, raw
import hashlib
schuss.set_num_threads(int(sys.argv[1]))
found = hashlib.sha256()
for dtype in ("float64", "float32", "bfloat16"):
    from helpers import DTYPES
    params = {"a": normal(1, 150_001, DTYPES[dtype]), "b": normal(2, (300, 7), DTYPES[dtype])}
    ahead = schuss.Lookahead(schuss.Adam(params), k=2, alpha=0.3)
    for t in range(5):
        ahead.step({"a": normal(3 + t, 150_001, DTYPES[dtype]), "b": normal(9 + t, (300, 7), DTYPES[dtype])})
    found.update(raw(params["a"]) + raw(params["b"]))
print(found.hexdigest())
"""


def test_levels_and_threads_agree_bit_for_bit() -> None:
    from schuss import _core

    found = {output_of(CODE, threads, env={"SCHUSS_CPU_LEVEL": level}) for level in _core.levels for threads in "13"}
    assert len(found) == 1
