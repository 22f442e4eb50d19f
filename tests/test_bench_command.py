"""The benchmark's command: a file with every number, a picture, tables, errors with names."""

from __future__ import annotations

import doctest
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY))

from bench import cases, cuda_cases, cuda_peers, machine, measure, memory, peers, picture, report, run  # noqa: E402


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("bench") / "new"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(memory, "SIZE", 100_000)
    options = ["--rules", "adamw,sgd", "--sizes", "1e2,10^3", "--shapes", "six-leaf", "--quick"]
    options += ["--peers", "torch-fused,numpy"]
    try:
        assert run.main([*options, "--repeats", "2", "--out", str(folder), "--name", "it"]) == 0
    finally:
        monkeypatch.undo()
    return json.loads((folder / "it.json").read_text(encoding="utf-8")), folder / "it.svg"


def check(value: Any, form: Any, where: str = "") -> None:
    """Hold a value against a form: types, tuples of types, a dict of forms, a list of one form."""
    if isinstance(form, dict):
        assert set(form) <= set(value), f"{where} lacks {set(form) - set(value)}"
        for key, inner in form.items():
            check(value[key], inner, f"{where}.{key}")
    elif isinstance(form, list):
        for index, entry in enumerate(value):
            check(entry, form[0], f"{where}[{index}]")
    else:
        assert isinstance(value, form), f"{where} is {value!r}"


NONE = type(None)
SECONDS = dict.fromkeys(("min", "q1", "median", "q3", "max"), float) | {
    "samples": int,
    "calls": int,
}
ENTRY = {
    "seconds": SECONDS,
    "gb_per_s": float,
    "ceiling_fraction": float,
    "ratio": float,
    "deviation": float,
}
ROW = {
    "rule": str,
    "case": str,
    "hypers": dict,
    "elements": int,
    "leaves": int,
    "clip": (float, NONE),
    "bytes_moved": int,
    "shared_arrays": bool,
    "ceiling": SECONDS,
    "results": {"schuss": ENTRY, "numpy": ENTRY},
    "absent": dict,
    "best_peer": str,
    "ratio": float,
    "targets": [{"what": str, "at_least": float, "got": (float, NONE), "met": (bool, NONE)}],
}
FORM = {
    "schema": int,
    "machine": {
        "processor": str,
        "processors": int,
        "threads": int,
        "level": str,
        "caches": dict,
        "environment": dict,
        "versions": {"python": str, "schuss": str, "numpy": str, "torch": (str, NONE)},
        "commit": (str, NONE),
        "date": str,
    },
    "method": {"text": str, "statistic": str, "rounds": int, "seconds": dict},
    "rows": [ROW],
    "memory": {"slot_bytes": int, "results": {"schuss": {"array_bytes": int, "traced_peak": int}}},
}


def test_the_json_file_has_every_number_with_its_quartiles(result: tuple[Any, Path]) -> None:
    found, _ = result
    check(found, FORM)
    names = [(row["rule"], row["case"]) for row in found["rows"]]
    assert names == [(r, c) for r in ("adamw", "sgd") for c in ("10^2", "10^3")] + [
        (r, "six-leaf") for r in ("adamw", "sgd")
    ]
    for row in found["rows"]:
        for entry in row["results"].values():
            seconds = entry["seconds"]
            ordered = [seconds[key] for key in ("min", "q1", "median", "q3", "max")]
            assert ordered == sorted(ordered)
            assert entry["deviation"] <= 1e-6


def test_the_picture_is_valid_svg_and_names_everybody(result: tuple[Any, Path]) -> None:
    found, drawing = result
    root = ElementTree.fromstring(drawing.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(root.itertext())
    for name in found["rows"][0]["results"]:
        assert picture.NAMES[name] in words
    assert "six-leaf" in words
    assert not {"script", "image"} & {element.tag.rpartition("}")[2] for element in root.iter()}


@pytest.mark.parametrize("keep", ["sizes", "networks", "nothing", "no ceiling, no Schuss"])
def test_a_partial_result_has_a_picture_and_tables_too(
    result: tuple[dict[str, Any], Path], keep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(json.dumps(result[0]))
    if keep == "no ceiling, no Schuss":
        for row in found["rows"]:
            row["ceiling"], row["ratio"] = None, None
            del row["results"]["schuss"]
    else:
        kept: dict[str, Callable[[Any], bool]] = {
            "sizes": lambda row: row["clip"] is None,
            "networks": lambda row: row["clip"] is not None,
            "nothing": lambda row: False,
        }
        found["rows"] = [row for row in found["rows"] if kept[keep](row)]
        found["memory"] = None
    ElementTree.fromstring(picture.draw(found))
    if keep != "no ceiling, no Schuss":
        report.show(found)
        assert found["machine"]["processor"] in capsys.readouterr().out


def test_every_contestant_has_a_colour_a_mark_and_a_name_of_its_own() -> None:
    pictures = (set(peers.BUILDERS), {*cuda_peers.BUILDERS, *cuda_peers.WAYS})
    assert set(picture.LOOKS) == set(picture.NAMES) == set.union(*pictures)
    assert len(set(picture.NAMES.values())) == len(picture.NAMES)
    for names in pictures:
        for looks in zip(*(picture.LOOKS[name] for name in names), strict=True):
            assert len(set(looks)) == len(looks)


def test_tables_are_plain_text_without_rich(
    result: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("rich", "rich.console", "rich.table"):
        monkeypatch.setitem(sys.modules, name, None)
    report.show(result[0])
    out = capsys.readouterr().out
    assert "best peer" in out
    assert "six-leaf" in out
    assert "┃" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rules", "adamx"], "--rules: unknown rule 'adamx'; it is one of adamw, adam, sgd"),
        (["--sizes", "big"], "--sizes: 'big' is not a positive whole number"),
        (["--sizes", "0"], "--sizes: '0' is not"),
        (["--sizes", "1e3,1.5"], "--sizes: '1.5' is not"),
        (["--sizes", "1e400"], "--sizes: '1e400' is not"),
        (["--shapes", "vgg"], "--shapes: unknown 'vgg'; it is all, none or of gpt2-small"),
        (["--peers", "keras"], "--peers: unknown 'keras'; it is all, none or of torch-fused"),
        (["--threads", "0"], "--threads: 0 is not from 1 to"),
        (["--threads", "100000"], "--threads: 100000 is not from 1 to"),
        (["--repeats", "0"], "--repeats: 0 is not a positive number"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run.main([*options, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", [[str(REPOSITORY / "bench" / "run.py")], ["-m", "schuss.bench.run"]])
def test_it_runs_as_a_file_and_as_part_of_the_package(command: list[str], tmp_path: Path) -> None:
    if "-m" in command and importlib.util.find_spec("schuss.bench") is None:
        pytest.skip("this build of schuss has no bench")
    done = subprocess.run([sys.executable, *command, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--rules", "--sizes", "--shapes", "--threads", "--peers", "--quick", "--out"):
        assert option in done.stdout


def test_importing_the_benchmark_imports_no_peer() -> None:
    code = "import sys, bench.run; print(sorted({'torch', 'jax', 'optax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [cases, cuda_cases, machine, measure, memory, peers, picture, report, run])
def test_examples_in_docstrings_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
