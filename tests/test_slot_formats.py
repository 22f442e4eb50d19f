"""Slots in bfloat16 and in blocks of 8 bits: what is stored, what it weighs, how it is saved and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, CASES, CLASSES, case_id, gradients, normal, same_bits, snapshot, tree_bits

BLOCK = 256


def dynamic_map(signed: bool) -> np.ndarray:
    """The code maps of bitsandbytes (create_dynamic_map with 7 exponent bits), in float64 and ascending."""
    values = [0.0, 1.0]
    for i in range(7):
        edges = np.linspace(0.1, 1, 2 ** (i if signed else i + 1) + 1)
        means = 10.0 ** (i - 6) * (edges[:-1] + edges[1:]) / 2
        values += [*means, *(-means if signed else [])]
    assert len(values) == 256
    return np.sort(values)


PLAIN, SIGNED = dynamic_map(False), dynamic_map(True)


def scales_of(x: np.ndarray) -> np.ndarray:
    """A scale a block: its largest magnitude, below zero where the block has values of both signs, NaN where one is."""
    scales = []
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        largest = np.abs(block).max()
        scales.append(np.float32(np.nan) if not np.isfinite(largest) else -largest if (block < 0).any() else largest)
    return np.array(scales, np.float32)


def decoded(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    scale = np.repeat(scales, BLOCK)[: codes.size]
    return np.where(scale < 0, SIGNED.astype(np.float32)[codes], PLAIN.astype(np.float32)[codes]) * np.abs(scale)


def assert_nearest(codes: np.ndarray, scales: np.ndarray, x: np.ndarray) -> None:
    """Every code is that of the value nearest to x: in float64, with room for the rounding of float32."""
    assert np.array_equal(scales, scales_of(x), equal_nan=True)
    for k, scale in enumerate(scales.astype(np.float64)):
        block, own = x[k * BLOCK : (k + 1) * BLOCK].astype(np.float64), codes[k * BLOCK : (k + 1) * BLOCK]
        if scale == 0 or np.isnan(scale):
            assert not own.any()
            continue
        scaled, table = block / abs(scale), SIGNED if scale < 0 else PLAIN
        error = np.abs(table[own] - scaled)
        least = np.abs(table[None, :] - scaled[:, None]).min(1)
        assert np.all(error <= least + 1e-5 * np.abs(scaled))


def momentum_of(x: np.ndarray) -> Any:
    """An optimizer whose slot v became x, by way of 8 bits."""
    opt = schuss.SGD({"w": np.zeros_like(x)}, momentum=0.5, slots="8bit")
    opt.step({"w": x})
    return opt


def blocks() -> np.ndarray:
    """Blocks of many kinds: of one sign and both, tiny and huge, values on the middles between codes, a rest."""
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal(BLOCK), rng.random(BLOCK), 10 ** rng.uniform(-9, 0, BLOCK)]
    rows += [10 ** rng.uniform(-9, 0, BLOCK) * rng.choice([-1, 1], BLOCK) for _ in range(20)]
    for table in (PLAIN, SIGNED):
        middles = ((table[:-1] + table[1:]) / 2).astype(np.float32)
        for toward in (-2, 0, 2):
            values = np.nextafter(middles, np.float32(toward)) if toward else middles
            rows += [np.append(values, np.float32(1)), np.append(table.astype(np.float32)[1:], np.float32(1))]
    rows += [
        np.full(BLOCK, 0.0),
        np.full(BLOCK, 3.0),
        np.full(BLOCK, -3.0),
        np.full(BLOCK, 1e-37),
        np.full(BLOCK, 3e38),
    ]
    rows += [np.eye(1, BLOCK, 7)[0], -np.eye(1, BLOCK, 7)[0], rng.standard_normal(77)]
    return np.concatenate(rows).astype(np.float32)


def test_codes_are_the_nearest_of_the_dynamic_maps() -> None:
    x = blocks()
    assert x.size >= 4096
    stored = momentum_of(x).state_dict()["leaves"]["w"]["slots"]
    assert stored["v"].dtype == np.uint8
    assert_nearest(stored["v"], stored["v.scale"], x)
    assert len(np.unique(stored["v"])) == 256


def test_state_shows_a_decoded_copy() -> None:
    x = blocks()
    opt = momentum_of(x)
    shown, stored = opt.state["w"]["v"], opt.state_dict()["leaves"]["w"]["slots"]
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, decoded(stored["v"], stored["v.scale"]), rtol=2e-7)
    shown[:] = 0
    assert opt.state["w"]["v"].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_none_spoils_its_block_and_no_other(bad: float) -> None:
    x = normal(1, 5_000, np.float32)
    x[300] = bad
    opt = schuss.SGD({"w": np.zeros_like(x)}, momentum=0.5, slots="8bit", nonfinite="apply")
    opt.step({"w": x})
    spoilt = np.isnan(opt.state["w"]["v"])
    assert np.flatnonzero(spoilt).tolist() == list(range(256, 512))


def test_small_values_of_v_do_not_vanish() -> None:
    """What a linear map would do to Adam: a second moment of zero beside a first that is none."""
    g = np.concatenate([np.full(2_048, 1.0), np.full(2_048, 1e-3)]).astype(np.float32)
    g = g[np.random.default_rng(1).permutation(g.size)]
    p = np.zeros_like(g)
    schuss.Adam(p, lr=0.1, slots="8bit").step(g)
    np.testing.assert_allclose(p, -0.1, rtol=1e-3)  # the first step reads nothing stored
    opt = schuss.Adam(np.zeros_like(g), lr=0.1, slots="8bit")
    opt.step(g)
    assert (opt.state["v"] > 0).all()


@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
@pytest.mark.parametrize("slots", ["bfloat16", "8bit"])
def test_a_step_is_that_of_the_stored_slots_and_stores_what_comes_of_it(
    rule: str, setting: dict[str, Any], slots: Any
) -> None:
    """A float32 optimizer given the decoded slots takes the same step; its new slots, stored, are the new state."""
    p = normal(1, (70, 80), np.float32)
    small = CLASSES[rule]({"w": p}, slots=slots, **setting)
    grads = gradients(2, (70, 80), 4, np.float32)
    for g in grads[:3]:
        small.step({"w": g})
    want = {"w": p.copy()}
    exact = CLASSES[rule](want, **setting)
    exact.step({"w": grads[0]})  # the clock, and slots that are made at a step
    saved = exact.state_dict()
    saved["clock"] = saved["leaves"]["w"]["clock"] = 3
    for name, array in small.state["w"].items():
        saved["leaves"]["w"]["slots"][name] = array.astype(np.float32) if array.shape else array.copy()
    exact.load_state_dict(saved)
    want["w"][:] = p
    small.step({"w": grads[3]})
    exact.step({"w": grads[3]})
    assert same_bits(p, want["w"])
    for name, array in exact.state["w"].items():
        stored = small.state_dict()["leaves"]["w"]["slots"]
        if stored[name].dtype != np.uint8:  # an average of the parameters stays in float32
            assert same_bits(stored[name], array.astype(stored[name].dtype))
        elif name + ".scale" in stored:
            assert_nearest(stored[name].ravel(), stored[name + ".scale"], array.ravel())


def test_bfloat16_slots_are_arrays_over_the_memory() -> None:
    opt = schuss.AdamW({"w": np.ones(100, np.float32)}, slots="bfloat16")
    opt.step({"w": np.ones(100, np.float32)})
    m = opt.state["w"]["m"]
    assert m.dtype == BFLOAT16
    assert float(m[0]) == pytest.approx(0.1, rel=2**-8)
    m[:] = 0
    assert not opt.state["w"]["m"].any()


def test_copies_of_the_parameters_stay_in_float32() -> None:
    for slots in ("bfloat16", "8bit"):
        opt = schuss.ASGD(np.ones(5_000, np.float32), slots=slots)
        assert opt.state["ax"].dtype == np.float32
        assert opt._session.slot_format(0, "ax") == "float32"


def test_small_leaves_and_float64_keep_their_slots_as_they_are() -> None:
    params = {"small": np.ones(4_095, np.float32), "large": np.ones(4_096, np.float32), "wide": np.ones(9_000)}
    ways: Any = {"8bit": ["float32", "8bit", "float64"], "bfloat16": ["bfloat16", "bfloat16", "float64"]}
    for slots, want in ways.items():
        session = schuss.AdamW(params, slots=slots)._session
        assert [session.slot_format(leaf, "m") for leaf in range(3)] == want


def test_eight_bits_weigh_at_most_2_1_bytes_a_parameter_in_adamw() -> None:
    n = 100_000
    p = np.ones(n, np.float32)
    kept = {slots: schuss.AdamW(p, slots=slots).cost()["bytes_kept"] / n for slots in ("float32", "bfloat16", "8bit")}
    assert kept["float32"] == 8
    assert kept["bfloat16"] == 4
    assert 2 < kept["8bit"] <= 2.1
    moved = schuss.AdamW(p, slots="8bit").cost()["bytes_moved"] / n
    assert moved == pytest.approx(12 + 2 * kept["8bit"])


@pytest.mark.parametrize("slots", ["bfloat16", "8bit"])
def test_training_ends_about_where_float32_slots_end(slots: Any) -> None:
    """AdamW on a quadratic of many scales."""
    scale = 10.0 ** np.random.default_rng(1).uniform(-1, 1, 8_000)

    def loss_after(**keywords: Any) -> float:
        p = normal(2, 8_000, np.float32)
        opt = schuss.AdamW(p, lr=schuss.schedules.cosine(0.05, steps=300), weight_decay=0, **keywords)
        for t in range(300):
            opt.step((scale * p + 0.1 * normal(100 + t, 8_000)).astype(np.float32))
        return float(np.mean(scale * p.astype(np.float64) ** 2))

    assert loss_after(slots=slots) < 1.5 * loss_after()


@pytest.mark.parametrize("slots", ["bfloat16", "8bit"])
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_resumed_run_continues_bit_for_bit(rule: str, setting: dict[str, Any], slots: Any, tmp_path: Path) -> None:
    params = {"w": normal(1, (70, 80), np.float32), "b": normal(2, 33, np.float32)}
    grads = [{"w": normal(10 + t, (70, 80), np.float32), "b": normal(90 + t, 33, np.float32)} for t in range(6)]
    straight = CLASSES[rule](params, slots=slots, **setting)
    for g in grads[:3]:
        straight.step(g)
    schuss.save(tmp_path / "run.safetensors", straight)
    stopped = {name: array.copy() for name, array in params.items()}
    resumed = CLASSES[rule](stopped, slots=slots, **setting)
    schuss.load(tmp_path / "run.safetensors", resumed)
    for g in grads[3:]:
        straight.step(g)
        resumed.step(g)
    assert tree_bits(stopped) == tree_bits(params)
    assert snapshot(resumed, stopped) == snapshot(straight, params)


@pytest.mark.parametrize("own", ["float32", "bfloat16", "8bit"])
@pytest.mark.parametrize("other", ["float32", "bfloat16", "8bit"])
def test_a_state_stored_in_another_way_is_refused_by_name(own: str, other: str) -> None:
    def made(slots: Any) -> tuple[Any, Any]:
        params = {"w": normal(1, 5_000, np.float32)}
        opt = schuss.AdamW(params, slots=slots)
        opt.step({"w": normal(2, 5_000, np.float32)})
        return params, opt

    (params, opt), (_, saved) = made(own), made(other)
    before = snapshot(opt, params)
    if own == other:
        opt.load_state_dict(saved.state_dict())
        return
    with pytest.raises(TypeError, match=f"w: slot m is stored as {other} in the state, expected {own}; .*slots="):
        opt.load_state_dict(saved.state_dict())
    assert snapshot(opt, params) == before


def test_scales_of_a_wrong_length_are_refused_by_name() -> None:
    params = {"w": normal(1, 5_000, np.float32)}
    opt = schuss.AdamW(params, slots="8bit")
    saved = opt.state_dict()
    saved["leaves"]["w"]["slots"]["m.scale"] = np.zeros(19, np.float32)
    before = snapshot(opt, params)
    with pytest.raises(ValueError, match=r"w: slot m.scale has shape \(19,\) in the state, expected \(20,\)"):
        opt.load_state_dict(saved)
    assert snapshot(opt, params) == before


def test_slots_that_a_setting_adds_later_are_stored_alike() -> None:
    p = normal(1, 5_000, np.float32)
    opt = schuss.AdamW(p, slots="8bit")
    opt.step(p.copy())
    saved = opt.state_dict()
    saved["groups"][0]["hypers"]["amsgrad"] = True
    zeros = {"v_max": np.zeros(5_000, np.uint8), "v_max.scale": np.zeros(20, np.float32)}
    saved["leaves"]["param"]["slots"] |= zeros
    opt.load_state_dict(saved)
    opt.step(p.copy())
    assert opt.state["v_max"].any()


def test_a_slot_that_begins_above_zero_begins_so_in_every_format() -> None:
    for slots in ("float32", "bfloat16", "8bit"):
        opt = schuss.Adagrad(np.ones(5_000, np.float32), initial_accumulator=0.5, slots=slots)
        assert (opt.state["sum"].astype(np.float32) == 0.5).all()


@pytest.mark.parametrize("slots", ["float16", "float8", 8, None, ""])
def test_other_ways_to_store_slots_are_refused(slots: Any) -> None:
    with pytest.raises(ValueError, match=r"slots is .*, expected one of 'float32', 'bfloat16', '8bit'"):
        schuss.AdamW(np.ones(3), slots=slots)


@pytest.mark.parametrize("slots", ["bfloat16", "8bit"])
def test_the_lookahead_point_reads_stored_slots_and_writes_none(slots: Any) -> None:
    p = normal(1, 5_000, np.float32)
    opt = schuss.Nesterov(p, lr=0.1, slots=slots)
    opt.step(normal(2, 5_000, np.float32))
    before, slot = p.copy(), snapshot(opt, p)

    def leave_early() -> None:
        with opt.lookahead():
            assert not same_bits(p, before)
            raise KeyError

    with pytest.raises(KeyError):
        leave_early()
    assert snapshot(opt, p) == slot


def test_a_skipped_step_writes_no_slot() -> None:
    params = {"w": normal(1, 5_000, np.float32)}
    opt = schuss.AdamW(params, slots="8bit", clip=1.0)
    opt.step({"w": normal(2, 5_000, np.float32)})
    before = snapshot(opt, params)
    assert opt.step({"w": np.full(5_000, np.inf, np.float32)}).skipped
    assert snapshot(opt, params) == before
