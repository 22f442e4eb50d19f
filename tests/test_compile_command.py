"""``schuss compile``: kernels made ahead are those that runs ask for; what is wrong is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import schuss
from compilers import Pretender, Refuser
from schuss import cli, compiling
from schuss._engine.catalog import device_rules
from schuss._engine.cuda import builder, cache, driver, source


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, no device, and a compiler that pretends."""
    monkeypatch.setenv("SCHUSS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_private", None)
    monkeypatch.setattr(driver, "architectures", tuple)
    monkeypatch.setattr(builder, "compiler", Pretender())
    return tmp_path / "cache"


def kernels(folder: Path) -> set[tuple[str, str, str]]:
    """Architecture, kind and rule of what lies in a folder."""
    return {(told["arch"], told["kind"], told["rule"] or "") for _, told in cache.entries(folder)}


def test_it_fills_the_cache_with_what_runs_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["compile", "--arch", "sm_90,sm_80", "--rules", "adamw,nesterov", "--set", "amsgrad=True"]) == 0
    monkeypatch.setattr(builder, "compiler", Refuser())
    f32, bf16 = "float32", "bfloat16"
    for arch in ("sm_80", "sm_90"):
        for kind in ("sum", "finish", "take", "scale", "restore"):
            builder.cubin(kind, None, (), arch)
        for mask in (3, 7):
            for p in (f32, bf16):
                builder.cubin("map", "adamw", ((mask, p, p),), arch)
            builder.cubin("map", "adamw", ((mask, bf16, bf16), (mask, f32, f32)), arch)
        for kind in ("map", "point"):
            builder.cubin(kind, "nesterov", ((1, f32, f32),), arch)
            builder.cubin(kind, "nesterov", ((1, bf16, bf16), (1, f32, f32)), arch)
    with pytest.raises(AssertionError, match="float32 by bfloat16"):
        builder.cubin("map", "adamw", ((3, f32, bf16),), "sm_90")


def test_formats_and_mixed_widen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = ["float32", "bfloat16", "float64"]
    assert compiling.main(["--arch", "sm_90", "--rules", "sgd", "--formats", ",".join(formats), "--mixed"]) == 0
    assert compiling.main(["--arch", "sm_80", "--rules", "sgd", "--formats", "float64"]) == 0
    monkeypatch.setattr(builder, "compiler", Refuser())
    for p in formats:
        for g in formats:
            builder.cubin("map", "sgd", ((0, p, g),), "sm_90")
    builder.cubin("map", "sgd", tuple((0, each, each) for each in sorted(formats)), "sm_90")
    builder.cubin("map", "sgd", ((0, "float64", "float64"),), "sm_80")
    with pytest.raises(AssertionError, match="float32"):
        builder.cubin("map", "sgd", ((0, "float32", "float32"),), "sm_80")


def test_all_rules(folder: Path) -> None:
    assert compiling.main(["--arch", "sm_90", "--rules", "all", "--formats", "float32"]) == 0
    of_rules = {(kind, rule) for _, kind, rule in kernels(folder) if rule}
    assert of_rules == {("map", rule) for rule in device_rules()} | {
        ("point", rule) for rule, each in device_rules().items() if each.has_point
    }


def test_a_setting_goes_to_the_rules_that_have_it(folder: Path) -> None:
    settings = ["--set", "amsgrad=True", "--set", "momentum=0.9,centered=True", "--set", "centered=True"]
    assert compiling.main(["--arch", "sm_90", "--rules", "adam,rmsprop,sgd", "--formats", "float32", *settings]) == 0
    masks = {(told["rule"], told["variants"][0][0]) for _, told in cache.entries(folder) if told["rule"]}
    assert masks == {("adam", 3), ("adam", 7), ("rmsprop", 1), ("rmsprop", 3), ("rmsprop", 7), ("sgd", 0)}


def test_native_is_the_devices_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "architectures", lambda: ("sm_75", "sm_90"))
    assert compiling.main(["--formats", "float32"]) == 0
    assert {arch for arch, *_ in kernels(folder)} == {"sm_75", "sm_90"}


def test_another_folder_is_filled_listed_and_cleared(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    order = ["--arch", "sm_90", "--formats", "float32", *out]
    assert compiling.main(order) == 0
    assert "[6/6] adamw map (float32 by float32, slots m v) for sm_90: 0." in capsys.readouterr().out
    assert compiling.main(order) == 0
    said = capsys.readouterr().out
    assert "[6/6] adamw map (float32 by float32, slots m v) for sm_90: there already" in said
    assert f"6 there already, in {tmp_path / 'out'}" in said
    assert compiling.main(["--list", *out]) == 0
    said = capsys.readouterr().out
    assert "sm_90  NVRTC 13.0    3,200 bytes  adamw map (float32 by float32, slots m v)" in said
    assert "6 kernels of 19,200 bytes" in said
    assert compiling.main(["--clear", *out]) == 0
    assert list((tmp_path / "out").iterdir()) == []
    assert not folder.exists()


def test_a_list_shows_kernels_of_rules_that_this_version_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"kind": "map", "rule": "madgrad", "variants": [[3, "float32", "float32"]], "arch": "sm_90"}
    cache.put("0" * 40, "13.0", b"cubin", facts)
    assert compiling.main(["--list"]) == 0
    assert "madgrad map" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["--list", "--clear"])
def test_a_folder_that_is_not_there_holds_nothing(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compiling.main([command]) == 0
    assert "0 kernels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--arch: there is no CUDA device here to be native to"),
        (["--arch", "90"], "arch is '90', expected a name such as 'sm_90'"),
        (["--arch", ","], "--arch: none given"),
        (["--arch", "sm_90", "--rules", "adamx"], "--rules: unknown rule 'adamx'; there are ada"),
        (["--arch", "sm_90", "--rules", ""], "--rules: none given"),
        (
            ["--arch", "sm_90", "--formats", "float8"],
            "--formats: unknown 'float8'; there are float64, float32, bfloat16",
        ),
        (["--arch", "sm_90", "--formats", ""], "--formats: none given"),
        (["--arch", "sm_90", "--set", "momentum=0.9"], "--set: none of adamw has the hypers momentum"),
        (["--arch", "sm_90", "--set", "amsgrad=maybe"], "--set: 'amsgrad=maybe', expected the like of amsgrad=True"),
        (["--arch", "sm_90", "--set", "amsgrad"], "--set: 'amsgrad', expected the like of"),
        (["--arch", "sm_90", "--set", "lr=-1"], "lr is -1, expected a finite number of 0 or more"),
    ],
)
def test_bad_options_are_named_and_nothing_is_compiled(
    options: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compiling.main(options) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_a_kernel_that_does_not_compile_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Failing(Pretender):
        def compile(self, text: str, options: Sequence[str], name: str) -> bytes:
            if "adamw" in name:
                raise builder.CompileError("the log")
            return super().compile(text, options, name)

    monkeypatch.setattr(builder, "compiler", Failing())
    assert compiling.main(["--arch", "sm_80,sm_90", "--formats", "float32"]) == 1
    error = capsys.readouterr().err
    assert "schuss compile: adamw map (float32 by float32, slots m v) for sm_80: the log" in error


def test_without_nvrtc_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(builder, "compiler", Pretender(None))
    assert compiling.main(["--arch", "sm_90"]) == 1
    assert 'pip install "schuss[cuda13]"' in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_cannot_be_written_is_an_error_here(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "below")
    monkeypatch.setenv("SCHUSS_CACHE_DIR", below)
    assert compiling.main(["--arch", "sm_90", *(["--out", below] if named else [])]) == 1
    assert below in capsys.readouterr().err


def test_lines_stand_in_for_the_bar_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert compiling.main(["--arch", "sm_90", "--formats", "float32"]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]) == 6


def test_a_bar_is_drawn_for_who_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich", reason="the bar is rich's")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert compiling.main(["--arch", "sm_90", "--formats", "float32"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("6 kernels compiled in ")


def test_help_tells_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["compile", "--help"])
    said = capsys.readouterr().out
    for option in (
        "--arch",
        "--rules",
        "--formats",
        "--mixed",
        "--set",
        "--out",
        "--list",
        "--clear",
        "SCHUSS_CACHE_DIR",
    ):
        assert option in said


def test_what_it_makes_without_options_is_small() -> None:
    """A few kernels for the device here: the general ones, and AdamW in float32 and bfloat16."""
    work = compiling._kernels([schuss.rules()["adamw"]], ["bfloat16", "float32"], False, [])
    assert len(work) == len(source.OF_ALL) + 3
