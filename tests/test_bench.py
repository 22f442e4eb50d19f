"""The benchmark measures what it says: same arrays, same updates, whole reports."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY))

from bench import cases, measure, memory, peers, run  # noqa: E402

TINY = measure.Effort(rounds=2, block=1e-5, row=1.0, least=1)
NEEDLESS = {("rmsprop", "torch-fused"), ("adagrad", "optax")}  # no such form, another formula


def small_case(rule: str, clip: float | None = None) -> cases.Case:
    return cases.Case("small", cases.KNOWN[rule], ((300, 70), (5,), (), (2, 3, 4)), clip)


def contestant(name: str, case: cases.Case) -> peers.Contestant:
    return peers.build(name, case, *case.arrays())


# Rows.


@pytest.mark.parametrize(
    ("name", "leaves", "elements"),
    [
        ("gpt2-small", 148, 124_439_808),
        ("resnet-50", 161, 25_557_032),
        ("six-leaf", 6, 4_600),
        ("10000-leaves", 10_000, 1_000_000),
    ],
)
def test_networks_have_their_published_sizes(name: str, leaves: int, elements: int) -> None:
    case = cases.network_case(cases.KNOWN["adamw"], name)
    assert (len(case.shapes), case.elements, case.clip) == (leaves, elements, 1.0)


def test_every_row_with_a_target_is_a_row() -> None:
    adamw = cases.KNOWN["adamw"]
    names = {cases.size_case(adamw, size).name for size in cases.SIZES} | set(cases.NETWORKS)
    assert set(cases.TARGETS) == names
    assert cases.size_case(cases.KNOWN["sgd"], 1000).targets == ()


def test_a_row_counts_each_stream_once_and_the_gradients_of_a_norm_twice() -> None:
    adamw = cases.KNOWN["adamw"]
    assert (adamw.reads, adamw.writes) == (4, 3)
    assert cases.size_case(adamw, 1000).bytes_moved == 28_000
    assert replace(cases.size_case(adamw, 1000), clip=1.0).bytes_moved == 32_000


def test_arrays_are_aligned_apart_and_the_same_every_time() -> None:
    case = small_case("adamw")
    params, grads = case.arrays()
    again, _ = case.arrays()
    for array in (*params, *grads, *again):
        assert array.dtype == np.float32
        assert array.ctypes.data % 64 == 0
    assert all(np.array_equal(a, b) for a, b in zip(params, again, strict=True))
    assert not any(np.shares_memory(a, b) for a, b in zip(params, again, strict=True))
    assert np.linalg.norm(grads[0]) > cases.CLIP


# Contestants.


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", peers.PEERS)
@pytest.mark.parametrize("rule", cases.KNOWN)
def test_peers_take_the_same_steps_as_schuss(rule: str, name: str, clip: float | None) -> None:
    if peers.missing(name):
        pytest.skip(str(peers.missing(name)))
    case = small_case(rule, clip)
    if (rule, name) in NEEDLESS:
        with pytest.raises(peers.Absent):
            contestant(name, case)
        return
    ours, theirs = contestant(peers.OURS, case), contestant(name, case)
    scale = 0.0
    for _ in range(5):
        ours.run(1)
        scale = max(scale, *(float(np.max(np.abs(p))) for p in ours.params()))
    theirs.run(5)
    for mine, other in zip(ours.params(), theirs.params(), strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(other, mine, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("name", peers.BUILDERS)
def test_a_single_array_is_stepped_as_it_is(name: str) -> None:
    if peers.missing(name):
        pytest.skip(str(peers.missing(name)))
    case = cases.size_case(cases.KNOWN["adamw"], 1000)
    params, grads = case.arrays()
    before = params[0].copy()
    built = peers.build(name, case, params, grads)
    built.run(2)
    (after,) = built.params()
    assert after.shape == (1000,)
    assert np.all(after != before)


def test_handwritten_blocks_cover_a_leaf_to_its_end() -> None:
    case = cases.size_case(cases.KNOWN["adamw"], 40_001)
    careful, naive = contestant("numpy", case), contestant("numpy-naive", case)
    careful.run(3)
    naive.run(3)
    np.testing.assert_allclose(careful.params()[0], naive.params()[0], rtol=0, atol=1e-6)


def test_a_rule_that_no_peer_has_runs_alone() -> None:
    rule = peers.catalog_rule("nesterov")
    row = measure.measure(cases.size_case(rule, 100), list(peers.BUILDERS), TINY)
    assert set(row["results"]) == {peers.OURS}
    assert set(row["absent"]) == set(peers.PEERS)
    assert (row["best_peer"], row["ratio"]) == (None, None)


def test_a_missing_peer_is_reported_not_fatal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    gone = ("torch", "optax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else found(name))
    options = ["--sizes", "100", "--shapes", "none", "--quick", "--repeats", "1", "--no-memory"]
    assert run.main([*options, "--out", str(tmp_path), "--name", "it"]) == 0
    (row,) = json.loads((tmp_path / "it.json").read_text())["rows"]
    assert row["absent"]["torch-fused"] == "torch is not installed"
    assert set(row["results"]) == {"schuss", "numpy", "numpy-naive"}
    assert "torch-fused is absent: torch is not installed" in capsys.readouterr().out


# Timing, without a look at the clock.


class Scripted:
    """Gives the numbers it was told, and notes its turn."""

    def __init__(self, name: str, turns: list[str]):
        self.name, self.turns, self.calls = name, turns, 1

    def sample(self) -> float:
        assert not gc.isenabled()
        self.turns.append(self.name)
        return float(len(self.turns))


def test_rounds_take_one_sample_of_everybody_in_changing_order() -> None:
    turns: list[str] = []
    names = ("a", "b", "c", "d")
    samples = measure.interleave({n: Scripted(n, turns) for n in names}, measure.Effort(rounds=9))
    rounds = [turns[i : i + 4] for i in range(0, 36, 4)]
    assert all(sorted(each) == list(names) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 3
    assert {len(each) for each in samples.values()} == {9}
    assert gc.isenabled()


def test_a_sample_is_the_mean_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def work(calls: int) -> None:
        clock[0] += 0.5 * calls

    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)
    timed = measure.Timed(work, block=100.0)
    assert timed.calls == 200
    assert timed.sample() == 0.5


def test_the_ceiling_reads_a_norm_s_stream_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)
    seconds = {(4, 3): 7.0, (1, 0): 1.0}

    def stream(reads: int, writes: int, elements: int, repeats: int) -> list[float]:
        assert elements == 1000
        return [seconds[reads, writes]] * repeats

    case = cases.size_case(cases.KNOWN["adamw"], 1000)
    assert measure.Ceiling(stream, case, 0.01).sample() == 7.0
    assert measure.Ceiling(stream, replace(case, clip=1.0), 0.01).sample() == 8.0


def test_the_core_has_the_bare_loop() -> None:
    stream = measure.core_stream()
    assert stream is not None
    for reads, writes in ((4, 3), (3, 2), (1, 0)):
        seconds = list(stream(reads, writes, 10_000, 3))
        assert len(seconds) == 3
        assert all(each > 0 for each in seconds)


def row_of(name: str) -> tuple[cases.Case, dict[str, Any]]:
    row = {"ceiling": {"median": 0.9e-6}, "results": {}, "best_peer": None, "targets": []}
    case = cases.size_case(cases.KNOWN["adamw"], 1000)
    return replace(case, name=name), row


def test_ratios_are_peer_over_ours_and_targets_are_judged_by_the_best_peer() -> None:
    case, row = row_of("six-leaf")
    medians = {"schuss": 1e-6, "numpy": 30e-6, "torch-fused": 40e-6}
    measure.judge(row, {name: {"median": median} for name, median in medians.items()}, case)
    assert row["best_peer"] == "numpy"
    assert row["ratio"] == pytest.approx(30)
    assert row["results"]["torch-fused"]["ratio"] == pytest.approx(40)
    assert row["results"]["schuss"]["gb_per_s"] == pytest.approx(28)
    assert row["results"]["schuss"]["ceiling_fraction"] == pytest.approx(0.9)
    assert [target["met"] for target in row["targets"]] == [True, False]


def test_a_target_is_open_where_nobody_could_judge() -> None:
    case, row = row_of("six-leaf")
    measure.judge(row, {"schuss": {"median": 1e-6}}, case)
    assert [target["met"] for target in row["targets"]] == [None, None]
    case, row = row_of("10^7")
    measure.judge(row, {"numpy": {"median": 1e-6}}, case)
    assert [target["met"] for target in row["targets"]] == [None]


def test_contestants_share_arrays_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    case, names = cases.size_case(cases.KNOWN["adamw"], 1000), ["schuss", "numpy", "numpy-naive"]
    monkeypatch.setattr(measure, "available_memory", lambda: 1e9)
    built, _, shared = measure.assemble(case, names)
    assert not shared
    assert not np.shares_memory(built["schuss"].params()[0], built["numpy"].params()[0])
    monkeypatch.setattr(measure, "available_memory", lambda: 4000 * (7 + 10) / 0.75)
    built, _, shared = measure.assemble(case, names)
    assert shared
    assert np.shares_memory(built["schuss"].params()[0], built["numpy"].params()[0])
    monkeypatch.setattr(measure, "available_memory", lambda: 4000.0)
    row = measure.measure(case, names, TINY)
    assert row["results"] == {}
    assert "not enough memory" in row["absent"]["schuss"]


# Memory.


def test_a_step_allocates_no_array_and_naive_numpy_does() -> None:
    row = memory.measure(["schuss", "numpy", "numpy-naive"], size=1_000_000)
    assert row["results"]["schuss"]["array_bytes"] == 0
    assert row["results"]["numpy"]["traced_peak"] < memory.SMALL
    assert row["results"]["numpy-naive"]["array_bytes"] > 4_000_000
