"""The text of a kernel: what it holds, what it is made for, and `schuss.kernel_source`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import schuss
from compilers import ADAMW, needs_nvrtc
from schuss._engine.cuda import builder, nvrtc, source

KERNELS: list[Any] = [(kind, None, ()) for kind in source.OF_ALL]
KERNELS += [("map", rule, [(7, "float32", "bfloat16")]) for rule in ("adam", "adamw", "rmsprop")]
KERNELS += [("point", "nesterov", [(1, "float64", "float64"), (1, "float64", "float32")])]


@pytest.mark.parametrize(("kind", "rule", "variants"), KERNELS)
def test_a_text_holds_each_header_once_and_includes_nothing(kind: str, rule: Any, variants: Any) -> None:
    lines = source.text(kind, rule, variants).splitlines()
    marks = [line for line in lines if line.startswith("// ---- schuss/")]
    assert len(marks) == len(set(marks)) > 3
    assert marks[0] == "// ---- schuss/config.hpp ----"
    assert not [line for line in lines if "#pragma once" in line or re.match(r'\s*#\s*include\s*"', line)]
    guard = lines.index("#ifdef __CUDACC_RTC__")
    outer = [at for at, line in enumerate(lines) if re.match(r"\s*#\s*include", line)]
    assert all(lines.index("#else", guard) < at < lines.index("#endif", guard) for at in outer)
    assert lines[-2].startswith(f"  schuss::{kind}_phase") or "schuss::Variant" in lines[-2]


def test_a_text_keeps_the_comments_of_the_headers() -> None:
    text = source.text(*ADAMW[:3])
    for header in ("rules/adamw.hpp", "loops/map.cuh", "config.hpp"):
        shipped = (source.include() / header).read_text()
        for line in re.findall(r"^ *//.*$", shipped, re.M):
            assert line in text


def test_a_text_names_its_instantiations() -> None:
    text = source.text("map", "adamw", [(3, "bfloat16", "float32"), (7, "float64", "float64")])
    entry = text[text.index('extern "C"') :]
    assert "schuss_kernel(const schuss::Launch launch)" in entry
    assert "schuss::AdamW" in entry
    assert "schuss::AdamWSlots" in entry
    assert "schuss::Variant<3u, schuss::bf16, float>" in entry
    assert "schuss::Variant<7u, double, double>" in entry


def test_headers_are_found_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "schuss"
    monkeypatch.setattr(source, "__file__", str(package / "_engine" / "cuda" / "source.py"))
    with pytest.raises(FileNotFoundError, match=re.escape(str(package / "include" / "schuss"))):
        source.include.__wrapped__()
    shutil.copytree(source.include(), package / "include" / "schuss")
    assert source.include.__wrapped__() == package / "include" / "schuss"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('#pragma once\nint x;\n#include "config.hpp"\n', "config.hpp is included after the first line of code"),
        ("#pragma once\n#include <vector>\n", "bad.hpp includes <vector>, which NVRTC has not"),
    ],
)
def test_a_header_that_cannot_be_flattened_is_named(
    header: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.hpp").write_text("#pragma once\n")
    (tmp_path / "bad.hpp").write_text(header)
    monkeypatch.setattr(source, "include", lambda: tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        source._flattened.__wrapped__(("bad.hpp",))


# schuss.kernel_source.


@pytest.mark.parametrize(
    ("rule", "hypers", "slots"),
    [
        ("adamw", {}, ("m", "v")),
        ("adamw", {"amsgrad": True}, ("m", "v", "v_max")),
        ("sgd", {}, ()),
        ("sgd", {"momentum": 0.9, "nesterov": True}, ("v",)),
        ("sgd", {"momentum": lambda step: 0.9}, ("v",)),
        ("rmsprop", {"centered": True, "momentum": schuss.schedules.cosine(0.9, steps=9)}, ("v", "g_avg", "m")),
    ],
)
def test_hypers_decide_which_slots_a_kernel_keeps(rule: str, hypers: dict[str, Any], slots: tuple[str, ...]) -> None:
    kernel = schuss.kernel_source(rule, **hypers)
    names = [slot.name for slot in schuss.rules()[rule].slots]
    mask = sum(1 << names.index(name) for name in slots)
    assert kernel.slots == slots
    assert f"schuss::Variant<{mask}u, float, float>" in str(kernel) == kernel.text


@pytest.mark.parametrize("dtype", ["bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)])
def test_formats_may_be_names_or_dtypes(dtype: Any) -> None:
    assert "<3u, schuss::bf16, schuss::bf16>" in schuss.kernel_source("adamw", dtype).text
    assert "<3u, double, schuss::bf16>" in schuss.kernel_source("adamw", np.float64, dtype).text


def test_kernels_of_every_rule_have_one_source() -> None:
    kernel = schuss.kernel_source(None, kind="sum", arch="sm_120")
    assert "schuss::sum_phase(launch);" in kernel.text
    assert kernel.options[0] == "--gpu-architecture=sm_120"
    assert {"--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"} < set(kernel.options)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"rule": "adamx"}, ValueError, "unknown rule 'adamx'; there are ada"),
        ({"rule": None}, ValueError, "unknown rule None"),
        ({"kind": "mop"}, ValueError, "kind is 'mop', expected 'map', 'point', 'sum'"),
        ({"kind": "point"}, ValueError, "only nesterov has a kernel 'point'"),
        ({"kind": "sum"}, ValueError, "'sum' is the same for every rule: rule is 'adamw', expected None"),
        ({"dtype": "float8"}, ValueError, "format is 'float8', expected 'float64', 'float32' or 'bfloat16'"),
        ({"grad_dtype": np.int32}, ValueError, "format is 'int32'"),
        ({"arch": "90"}, ValueError, "arch is '90', expected a name such as 'sm_90'"),
        ({"arch": 90}, ValueError, "arch is 90, expected"),
        ({"arch": "sm_90 -G"}, ValueError, "arch is 'sm_90 -G'"),
        ({"beta3": 0.5}, TypeError, "kernel_source() got an unknown hyper 'beta3'; it takes lr, beta1"),
        ({"amsgrad": "yes"}, TypeError, "amsgrad is 'yes' (str), expected"),
    ],
)
def test_a_kernel_that_there_is_not_is_refused_by_name(given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        schuss.kernel_source(**{"rule": "adamw", **given})


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([(2, "float32", "float32")], "adamw has no mask 2: its slots are m v [v_max]"),
        ([(11, "float32", "float32")], "adamw has no mask 11"),
        ([], "adamw: no variant given"),
    ],
)
def test_a_variant_that_there_is_not_is_refused(variants: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        builder.cubin("map", "adamw", variants, "sm_90")


# It compiles as it stands.

SHOWN: dict[str, dict[str, Any]] = {
    "adamw": {"rule": "adamw", "dtype": "bfloat16", "grad_dtype": "float32"},
    "nesterov point": {"rule": "nesterov", "kind": "point"},
    **{kind: {"rule": None, "kind": kind} for kind in source.OF_ALL},
}


@needs_nvrtc
@pytest.mark.parametrize("name", SHOWN)
def test_a_text_is_compiled_by_nvrtc_as_it_stands(name: str) -> None:
    kernel = schuss.kernel_source(**SHOWN[name])
    built = nvrtc.Nvrtc().build(kernel.text, kernel.options, name)
    assert built.cubin.startswith(b"\x7fELF")
    assert f".entry {kernel.entry}(" in built.ptx
    assert "warning" not in built.log


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize("name", SHOWN)
def test_a_text_is_compiled_by_nvcc_as_it_stands(name: str, tmp_path: Path) -> None:
    (tmp_path / "kernel.cu").write_text(schuss.kernel_source(**SHOWN[name]).text)
    options = ["-std=c++17", "-fmad=false", "-arch=sm_90", "-Werror", "all-warnings", "-cubin"]
    done = subprocess.run(["nvcc", *options, "kernel.cu"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "kernel.cubin").read_bytes().startswith(b"\x7fELF")
