"""The benchmark of a CUDA device, on the simulated one: every line of it runs, peers absent; the peers by the CPU."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import schuss

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY))

from bench import cases, cuda, cuda_cases, cuda_measure, cuda_peers, cuda_picture, peers, report, run  # noqa: E402

TINY = {"gpt2-small": lambda: [(40, 9), (33,)], "gpt-1b": lambda: [(70, 50)], "10000-leaves": lambda: [(3,)] * 5}


@pytest.fixture
def tiny(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks on the simulated device, where no peer has kernels."""
    monkeypatch.setattr(cuda_cases, "NETWORKS", TINY)
    monkeypatch.setattr(cuda_measure, "COPY", 1 << 20)


def test_every_row_is_measured_and_peers_are_told_absent(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cuda", "--rules", "adamw,sgd,rmsprop,nesterov", "--quick", "--repeats", "2"]
    assert run.main([*options, "--no-first-step", "--out", str(tmp_path), "--name", "it"]) == 0
    result = json.loads((tmp_path / "it.json").read_text(encoding="utf-8"))
    rows = {(row["rule"], row["case"]): row for row in result["rows"]}
    assert len(rows) == len(result["rows"]) == 4 * 3 * 2 * 2 - 2 + 1
    assert result["left_out"] == []
    for row in result["rows"]:
        ours = row["results"]["schuss"]
        assert set(row["absent"]) >= {"torch-fused", "torch-foreach", "cupy", "bitsandbytes", "apex"}
        assert ours["seconds"]["samples"] == 2
        assert ours["ratio"] == 1.0
        assert ours["host_seconds"] > 0
        assert ours["bytes_moved"] == row["bytes_moved"]
        assert [target["met"] for target in row["targets"] if target["what"] == "ratio"] == [None]
    graphs = [key for key, row in rows.items() if "schuss-graph" in row["ways"]]
    assert len(graphs) == 8
    assert rows["adamw", "gpt2-small float32 clipped scaled"]["scaled"]
    assert {"name", "driver", "driver_cuda", "runtime_cuda", "cupy", "memory_gb"} <= set(result["device"])
    assert {"commit", "date", "versions"} <= set(result["machine"])
    ElementTree.parse(tmp_path / "it.svg")
    printed = capsys.readouterr().out
    assert "adamw" in printed
    assert "of ceiling" in printed
    assert "torch-fused is absent" in printed
    assert "The ceiling: a copy on the device moves" in printed


def test_the_time_runs_out(tiny: None) -> None:
    rows, names = cuda.plan(cuda.parser().parse_args(["--rules", "sgd"]))
    result = cuda.run(rows, names, cuda_measure.QUICK, seconds=0.0, with_first_steps=False)
    assert result["rows"] == []
    assert len(result["left_out"]) == len(rows) == 12
    assert "Nothing was measured" in cuda_picture.draw(result)
    assert "Left out: sgd gpt2-small float32: the time was up" in report.beside(result)


def test_a_row_that_fails_leaves_the_others(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = cuda_measure.row_of

    def row_of(case: cuda_cases.Case, *rest: Any) -> dict[str, Any]:
        if case.clip is not None:
            raise RuntimeError("the card fell off")
        return measured(case, *rest)

    monkeypatch.setattr(cuda_measure, "row_of", row_of)
    rows, names = cuda.plan(cuda.parser().parse_args(["--rules", "sgd", "--shapes", "gpt-1b"]))
    kept: list[int] = []
    result = cuda.run(rows, names, cuda_measure.QUICK, 60, False, lambda grown: kept.append(len(grown["rows"])))
    assert [row["case"] for row in result["rows"]] == ["gpt-1b float32", "gpt-1b bfloat16"]
    assert result["left_out"][0] == "sgd gpt-1b float32 clipped: RuntimeError: the card fell off"
    assert kept == [1, 2]


def test_rows_count_the_bytes_of_each_format() -> None:
    adamw = cases.KNOWN["adamw"]
    for clip, format_, want in (
        (None, "float32", 28),
        (1.0, "float32", 32),
        (None, "bfloat16", 22),
        (1.0, "bfloat16", 24),
    ):
        case = cuda_cases.Case(adamw, "one", ((1000,),), format_, clip)
        assert case.bytes_moved == 1000 * want
    assert cuda_cases.Case(adamw, "one", ((1000,),), "bfloat16").bytes_with(2) == 14_000


def test_targets_are_those_that_were_set() -> None:
    rows, _ = cuda.plan(cuda.parser().parse_args([]))
    for row in rows:
        found = {(target.what, target.at_least, target.peer) for target in row.targets}
        if row.network == "10000-leaves":
            assert found == {("ratio", 3.0, None)}
        elif (row.rule.name, row.format) == ("adamw", "float32"):
            assert found == {("ceiling", 0.92, None), ("ratio", 1.0, "torch-fused")}
        else:
            assert found == {("ratio", 1.0, "torch-fused")}
    assert {row.elements for row in rows if row.network == "gpt-1b"} == {1_017_302_272}
    assert rows[0].rule.name == "adamw"


def test_bfloat16_is_rounded_to_nearest_and_even() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    values[:3] = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], np.float32)
    want = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(cuda_cases.bfloat16(values), want)


def test_arrays_are_filled_to_their_ends(cupy: Any) -> None:
    shapes = ((3, 5), (), (2000,))
    for format_ in cuda_cases.FORMATS:
        arrays = cuda_cases.Arrays(cupy, shapes, format_)
        for params in (arrays.params, arrays.grads):
            for array, shape in zip(params, shapes, strict=True):
                assert array.shape == shape
                assert array.data.ptr % cuda_cases.ALIGNMENT == 0
        values = arrays.values()
        assert all(np.abs(value).max() > 0 for value in values)
        assert float(np.abs(values[2]).max()) < 1


def test_a_graph_is_renewed_before_its_numbers_run_out(tiny: None, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = cuda_cases.Arrays(cupy, ((9,),), "float32")
    case = cuda_cases.Case(cases.KNOWN["adamw"], "one", ((9,),), "float32")
    graph = cuda_peers.build("schuss-graph", case, arrays)
    renewed: list[int] = []
    monkeypatch.setattr(type(graph.optimizer), "renew", lambda _: renewed.append(1))
    for _ in range(3):
        graph.refresh(1500)
    assert len(renewed) == 1


class HostArrays:
    """Stands in for `cuda_cases.Arrays`, so that torch's contestants can be held against Schuss on the CPU."""

    def __init__(self, shapes: tuple[cases.Shape, ...]) -> None:
        random = np.random.default_rng(0)
        self.params, self.grads = ([random.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(2))

    def for_torch(self) -> Any:
        torch = importlib.import_module("torch")
        return tuple([torch.from_numpy(each) for each in some] for some in (self.params, self.grads))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", ["torch-fused", "torch-foreach"])
@pytest.mark.parametrize("rule", cases.KNOWN)
def test_torch_takes_the_same_steps_as_schuss(
    rule: str, name: str, clip: float | None, scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="the peer is torch")
    monkeypatch.setattr(cuda_peers, "torch_module", lambda: torch)
    monkeypatch.setattr(cuda_peers, "DEVICE", "cpu")
    case = cuda_cases.Case(cases.KNOWN[rule], "small", ((30, 7), (5,), ()), "float32", clip, scaled)
    ours, theirs = HostArrays(case.shapes), HostArrays(case.shapes)
    if (rule, name) == ("rmsprop", "torch-fused"):
        with pytest.raises(peers.Absent, match="no fused RMSprop"):
            cuda_peers.BUILDERS[name](case, theirs)
        return
    cuda_peers.BUILDERS[name](case, theirs).run(4)
    settings = {"scaler": schuss.LossScaler(scale=cuda_peers.SCALE)} if scaled else {}
    opt = peers.schuss_class(rule)(ours.params, clip=clip, **case.rule.hypers, **settings)
    grads = [each.copy() for each in ours.grads]
    for _ in range(4):
        opt.step(grads)
    for mine, other in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_allclose(other, mine, rtol=0, atol=3e-6)


def test_options_without_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--rules", "adamx"], "--rules: unknown rule 'adamx'"),
        (["--shapes", "gpt3"], "--shapes: unknown 'gpt3'"),
        (["--formats", "float16"], "--formats: unknown 'float16'"),
        (["--peers", "tensorflow"], "--peers: unknown 'tensorflow'"),
        (["--repeats", "0"], "--repeats: 0 is not a positive number"),
    ):
        assert run.main(["--device", "cuda", *words]) == 2
        assert said in capsys.readouterr().err


def test_without_cupy_the_command_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from schuss._engine.cuda import runtime

    monkeypatch.setitem(sys.modules, "cupy", None)
    runtime.forget()
    assert run.main(["--device", "cuda", "--quick"]) == 1
    assert "arrays on a CUDA device need CuPy" in capsys.readouterr().err
