"""Saving and resuming: bit for bit, by name, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import CASES, CLASSES, DTYPES, case_id, normal, run_python, snapshot, tree_bits


def params_of(seed: int = 1, dtype: Any = np.float32) -> dict[str, Any]:
    return {
        "w": normal(seed, (30, 20), dtype),
        "deep": [{"b": normal(seed + 1, 7, dtype)}, normal(seed + 2, (), dtype)],
        "none": np.zeros((0, 3), dtype),
    }


def grads_of(t: int, dtype: Any = np.float32) -> dict[str, Any]:
    return params_of(100 + 10 * t, dtype)


def schedule() -> Any:
    return schuss.schedules.warmup(3, schuss.schedules.cosine(0.05, steps=10))


def copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: copied(each) for key, each in tree.items()}
    if isinstance(tree, list):
        return [copied(each) for each in tree]
    return tree.copy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "setting"), CASES, ids=case_id)
def test_a_resumed_run_continues_bit_for_bit(rule: str, setting: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    hypers = {**setting, "lr": schedule()}
    params = params_of(dtype=DTYPES[dtype])
    straight = CLASSES[rule](params, clip=1.0, **hypers)
    for t in range(4):
        straight.step(grads_of(t, DTYPES[dtype]))
    schuss.save(tmp_path / "run.safetensors", straight)
    stopped = copied(params)
    infos = [straight.step(grads_of(t, DTYPES[dtype])) for t in range(4, 8)]

    resumed = CLASSES[rule](stopped, clip=1.0, **hypers)
    schuss.load(tmp_path / "run.safetensors", resumed)
    assert resumed.clock == 4
    for t, want in zip(range(4, 8), infos, strict=True):
        got = resumed.step(grads_of(t, DTYPES[dtype]))
        assert (got.step, got.lr, got.grad_norm) == (want.step, want.lr, want.grad_norm)
    assert tree_bits(stopped) == tree_bits(params)
    assert tree_bits(resumed.state) == tree_bits(straight.state)


def test_state_dict_round_trip_in_memory() -> None:
    params = params_of()
    one = schuss.AdamW(params, lr=schedule(), amsgrad=True)
    for t in range(3):
        one.step(grads_of(t))
    saved, stopped = one.state_dict(), copied(params)
    one.step(grads_of(3))  # what was saved does not move with the run
    other = schuss.AdamW(stopped, lr=schedule(), amsgrad=True)
    other.load_state_dict(saved)
    other.step(grads_of(3))
    assert snapshot(one, params) == snapshot(other, stopped)


def test_hypers_and_schedule_come_back_from_the_file(tmp_path: Path) -> None:
    """The file knows the run's settings: a fresh optimizer of the rule need not repeat them."""
    params = params_of()
    one = schuss.AdamW(params, lr=schedule(), beta1=0.8, weight_decay=0.3)
    for t in range(4):
        one.step(grads_of(t))
    schuss.save(tmp_path / "run.safetensors", one)
    stopped = copied(params)
    want = [one.step(grads_of(t)).lr for t in range(4, 7)]
    other = schuss.AdamW(stopped)
    schuss.load(tmp_path / "run.safetensors", other)
    assert other.groups[0]["beta1"] == 0.8
    assert [other.step(grads_of(t)).lr for t in range(4, 7)] == want
    assert tree_bits(stopped) == tree_bits(params)


def test_scaler_and_accumulation_in_flight_are_saved(tmp_path: Path) -> None:
    def build(tree: Any) -> Any:
        scaler = schuss.LossScaler(2.0**8, growth_interval=3)
        opt = schuss.AdamW(tree, lr=schedule(), clip=1.0, accumulate=3, scaler=scaler)
        return opt, scaler

    def feed(opt: Any, scaler: Any, t: int) -> Any:
        scale = np.float32(scaler.scale)
        grads = grads_of(t)
        grads["w"] *= scale
        grads["deep"] = [{"b": grads["deep"][0]["b"] * scale}, np.asarray(grads["deep"][1] * scale)]
        return opt.step(grads)

    params = params_of()
    one, scaler = build(params)
    infos = [feed(one, scaler, t) for t in range(8)]
    assert (infos[-1].step, infos[-1].pending) == (2, 2), "two micro-gradients of the third step"
    schuss.save(tmp_path / "run.safetensors", one)
    stopped = copied(params)
    want = [feed(one, scaler, t) for t in range(8, 16)]

    other, their_scaler = build(stopped)
    schuss.load(tmp_path / "run.safetensors", other)
    assert their_scaler.good_steps == 2
    got = [feed(other, their_scaler, t) for t in range(8, 16)]
    for mine, theirs in zip(got, want, strict=True):
        assert (mine.step, mine.grad_norm) == (theirs.step, theirs.grad_norm)
        assert (mine.skipped, mine.pending) == (theirs.skipped, theirs.pending)
    assert (their_scaler.scale, their_scaler.good_steps) == (scaler.scale, scaler.good_steps)
    assert scaler.scale == 2.0**9
    assert tree_bits(stopped) == tree_bits(params)


def test_clocks_of_single_leaves_are_saved(tmp_path: Path) -> None:
    params = {"a": normal(1, 9), "b": normal(2, 9)}
    one = schuss.Adam(params)
    for t in range(3):
        one.step({"a": normal(10 + t, 9), "b": None})
    schuss.save(tmp_path / "run.safetensors", one)
    stopped = copied(params)
    other = schuss.Adam(stopped)
    schuss.load(tmp_path / "run.safetensors", other)
    for opt in (one, other):
        opt.step({"a": normal(20, 9), "b": normal(21, 9)})
    assert tree_bits(stopped) == tree_bits(params)
    fresh = {"b": normal(2, 9)}
    schuss.Adam(fresh).step({"b": normal(21, 9)})
    assert tree_bits(fresh)["b"] == tree_bits(params)["b"], "b's first step has b's bias correction"


def test_groups_and_frozen_leaves_are_saved(tmp_path: Path) -> None:
    def build(tree: Any) -> Any:
        return schuss.AdamW([{"params": tree["w"], "lr": 0.1}, {"params": tree["deep"]}], lr=0.01)

    params = params_of()
    one = build(params)
    one.groups[0].frozen = True
    one.groups[1]["lr"] = 0.02
    grads = [grads_of(0)["w"], grads_of(0)["deep"]]
    one.step(grads)
    schuss.save(tmp_path / "run.safetensors", one)
    stopped = copied(params)
    other = build(stopped)
    schuss.load(tmp_path / "run.safetensors", other)
    assert other.groups[0].frozen
    assert other.groups[1]["lr"] == 0.02
    one.step(grads)
    other.step(grads)
    assert tree_bits(stopped) == tree_bits(params)


def test_slots_are_matched_by_name_not_by_order(tmp_path: Path) -> None:
    params = {"a": normal(1, 5), "b": normal(2, 5)}
    one = schuss.Adam(params)
    one.step({"a": normal(3, 5), "b": normal(4, 5)})
    schuss.save(tmp_path / "run.safetensors", one)
    turned = {"b": params["b"].copy(), "a": params["a"].copy()}
    other = schuss.Adam(turned)
    schuss.load(tmp_path / "run.safetensors", other)
    for name in ("a", "b"):
        np.testing.assert_array_equal(other.state[name]["m"], one.state[name]["m"])
    assert not np.array_equal(other.state["a"]["m"], other.state["b"]["m"])


def test_a_layout_of_memory_is_no_part_of_the_state(tmp_path: Path) -> None:
    p = normal(5, (6, 4))
    one = schuss.Adam({"w": p})
    one.step({"w": normal(6, (6, 4))})
    schuss.save(tmp_path / "run.safetensors", one)
    turned = {"w": np.asfortranarray(p)}
    other = schuss.Adam(turned)
    schuss.load(tmp_path / "run.safetensors", other)
    for opt in (one, other):
        opt.step({"w": normal(7, (6, 4))})
    np.testing.assert_array_equal(turned["w"], p)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept(dtype: str, tmp_path: Path) -> None:
    """Float32 slots of bfloat16 parameters come back as float32, not cast to the parameter."""
    params = {"w": normal(8, 100, DTYPES[dtype])}
    one = schuss.Adam(params)
    one.step({"w": normal(9, 100, DTYPES[dtype])})
    schuss.save(tmp_path / "run.safetensors", one)
    other = schuss.Adam(copied(params))
    schuss.load(tmp_path / "run.safetensors", other)
    want = np.float64 if dtype == "float64" else np.float32
    assert other.state["w"]["m"].dtype == want
    assert tree_bits(other.state) == tree_bits(one.state)


def test_the_file_is_safetensors_keyed_by_leaf_name(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="the witness of the format")
    params = params_of()
    one = schuss.AdamW(params, lr=schedule())
    one.step(grads_of(0))
    path = tmp_path / "run.safetensors"
    schuss.save(path, one)
    with safetensors.safe_open(path, framework="numpy") as file:
        keys = list(file.keys())
        metadata = file.metadata()
        m_key = next(key for key in keys if "deep/0/b" in key and key.endswith("m"))
        np.testing.assert_array_equal(file.get_tensor(m_key), one.state["deep"][0]["b"]["m"])
    assert all(isinstance(value, str) for value in metadata.values())
    assert any("adamw" in value.lower() for value in metadata.values())


def test_saving_does_not_change_the_run(tmp_path: Path) -> None:
    params = params_of()
    opt = schuss.AdamW(params)
    opt.step(grads_of(0))
    before = snapshot(opt, params)
    schuss.save(tmp_path / "run.safetensors", opt)
    assert snapshot(opt, params) == before


def test_path_may_be_a_string_and_the_folder_holds_one_file(tmp_path: Path) -> None:
    opt = schuss.AdamW(params_of())
    schuss.save(str(tmp_path / "run.safetensors"), opt)
    schuss.save(str(tmp_path / "run.safetensors"), opt)
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]
    schuss.load(str(tmp_path / "run.safetensors"), opt)


def test_a_python_callable_is_no_part_of_the_file_and_must_be_given_again(tmp_path: Path) -> None:
    params = params_of()
    one = schuss.AdamW(params, lr=lambda step: 0.1 / (step + 1))
    one.step(grads_of(0))
    schuss.save(tmp_path / "run.safetensors", one)
    given = schuss.AdamW(copied(params), lr=lambda step: 0.1 / (step + 1))
    schuss.load(tmp_path / "run.safetensors", given)
    assert given.step(grads_of(1)).lr == one.step(grads_of(1)).lr == 0.05
    lacking = schuss.AdamW(copied(params), lr=0.1)
    with pytest.raises(ValueError, match=r"lr.*callable"):
        schuss.load(tmp_path / "run.safetensors", lacking)
    assert lacking.clock == 0


# What does not match: an error that names it, with nothing loaded.


def another(kind: str) -> tuple[Any, Any]:
    """An optimizer that the saved AdamW of ``params_of()`` does not fit, and its parameters."""
    params = params_of()
    if kind == "shape":
        params["w"] = params["w"].T.copy()
    elif kind == "missing":
        del params["w"]
    elif kind == "extra":
        params["late"] = np.zeros(3, np.float32)
    elif kind == "renamed":
        params["weight"] = params.pop("w")
    elif kind == "dtype":
        params["w"] = params["w"].astype(np.float64)
    cls = {"rule": schuss.Adam, "fewer slots": schuss.SGD}.get(kind, schuss.AdamW)
    return cls(params, **({"amsgrad": True} if kind == "slots" else {})), params


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("shape", [r"w", r"(30, 20)", r"(20, 30)"]),
        ("missing", ["w"]),
        ("extra", ["late"]),
        ("renamed", ["w", "weight"]),
        ("dtype", ["w", "float32", "float64"]),
        ("rule", ["'adamw'", "'adam'"]),
        ("fewer slots", ["'adamw'", "'sgd'"]),
    ],
)
def test_what_does_not_match_is_named_and_nothing_is_loaded(kind: str, words: list[str], tmp_path: Path) -> None:
    params = params_of()
    saved = schuss.AdamW(params)
    for t in range(3):
        saved.step(grads_of(t))
    schuss.save(tmp_path / "run.safetensors", saved)
    other, theirs = another(kind)
    before = snapshot(other, theirs)
    with pytest.raises((ValueError, TypeError)) as refused:
        schuss.load(tmp_path / "run.safetensors", other)
    for word in words:
        assert word in str(refused.value)
    assert snapshot(other, theirs) == before
    with pytest.raises((ValueError, TypeError)):
        other.load_state_dict(saved.state_dict())
    assert snapshot(other, theirs) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"not a checkpoint at all",
        lambda data: (2**60).to_bytes(8, "little") + data[8:],
        lambda data: data[:8] + b"x" * 50 + data[58:],
        lambda data: data[:-1],
    ],
    ids=["empty", "half", "text", "huge header", "header spoiled", "one byte short"],
)
def test_a_damaged_file_is_refused_whole(damage: Any, tmp_path: Path) -> None:
    params = params_of()
    opt = schuss.AdamW(params)
    opt.step(grads_of(0))
    path = tmp_path / "run.safetensors"
    schuss.save(path, opt)
    path.write_bytes(damage(path.read_bytes()))
    opt.step(grads_of(1))
    before = snapshot(opt, params)
    with pytest.raises(ValueError, match=r"run\.safetensors"):
        schuss.load(path, opt)
    assert snapshot(opt, params) == before


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    opt = schuss.AdamW(params_of())
    with pytest.raises(ValueError, match=r"weights\.safetensors"):
        schuss.load(path, opt)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        schuss.load(tmp_path / "nowhere.safetensors", schuss.AdamW(params_of()))


# A file is whole, or the old one is still there.


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_litter(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    opt = schuss.AdamW(params_of())
    opt.step(grads_of(0))
    schuss.save(path, opt)
    old = path.read_bytes()
    opt.step(grads_of(1))
    calls: list[str] = []

    def fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(failing)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fails)
    with pytest.raises(OSError, match="No space left"):
        schuss.save(path, opt)
    monkeypatch.undo()
    assert calls
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The real thing: the process may write no file larger than 4 KiB."""
    path = tmp_path / "run.safetensors"
    small = schuss.AdamW({"w": np.ones(4)})
    schuss.save(path, small)
    old = path.read_bytes()
    code = """
import resource, signal, sys
import numpy as np, schuss
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
opt = schuss.AdamW({"w": np.ones(100_000)})
try:
    schuss.save(sys.argv[1], opt)
except OSError:
    print("refused")
"""
    done = run_python(code, str(path))
    assert done.stdout.strip() == "refused", done.stderr
    assert path.read_bytes() == old
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]
    schuss.load(path, small)


def test_saving_into_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        schuss.save(tmp_path / "no" / "run.safetensors", schuss.AdamW(params_of()))
