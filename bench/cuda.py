"""``schuss bench --device cuda``: a CUDA device, its copy bandwidth, every installed peer."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from . import cuda_cases, cuda_measure, cuda_peers, cuda_picture, machine, measure, peers, report
from .run import SCHEMA, chosen, listed

RULES = ("adamw", "sgd", "rmsprop", "adam", "adagrad", "momentum", "nesterov")
PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "bitsandbytes", "apex")
METHOD = """
All contestants of a row step the same parameters and gradients in device memory in turn, each with slots of its own;
Schuss's slots are float32, torch's states have the parameters' format, so that with bfloat16 they move fewer bytes
(bytes_moved of each). A sample is the mean of consecutive steps that last about {block:g} ms, between two CUDA events
on their stream, while earlier steps keep the device busy. A round takes one sample of everybody, in an order drawn
anew. Times are medians over rounds, the spread is the interquartile range (q1 to q3), ratios divide medians, the
peer's by Schuss's. host_seconds is what a call takes of the host while nothing waits. The ceiling is the time in which
a copy on the device, its bytes counted where read and where written, moves the bytes that Schuss's step must move.
Targets: float32 AdamW at 0.92 of the ceiling, ahead of torch fused in every row, 10,000 leaves three times as fast as
the best peer.
"""

# Run in a process of its own, with an empty cache and then with a full one.
FIRST_STEPS = """
import json, time
begun = time.perf_counter()
import cupy, numpy, schuss
p, g = cupy.asarray(numpy.zeros(1000, numpy.float32)), cupy.asarray(numpy.ones(1000, numpy.float32))
cupy.cuda.runtime.deviceSynchronize()
told = {"imports_and_context": time.perf_counter() - begun}
begun = time.perf_counter()
opt = schuss.AdamW(p)
for name in ("first_step", "second_step"):
    opt.step(g)
    cupy.cuda.runtime.deviceSynchronize()
    told[name] = time.perf_counter() - begun
    begun = time.perf_counter()
print(json.dumps(told))
"""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the command's options."""
    result = argparse.ArgumentParser(
        prog=f"{prog or 'schuss bench'} --device cuda",
        description="Run Schuss and every installed peer on a CUDA device; write JSON and SVG.",
    )
    add = result.add_argument
    add("--rules", default="all", help=f"rules, by commas, or all ({', '.join(RULES)})")
    add("--shapes", default="all", help=f"networks: all, none or of {', '.join(cuda_cases.NETWORKS)}")
    add("--formats", default="all", help=f"all or of {', '.join(cuda_cases.FORMATS)}")
    add("--peers", default="all", help=f"all, none or of {', '.join(cuda_peers.PEERS)}")
    add("--repeats", type=int, help=f"samples of each contestant in a row ({cuda_measure.EFFORT.rounds})")
    add("--seconds", type=float, default=240.0, help="after which no further row is begun (240)")
    add("--quick", action="store_true", help="few and short samples: to see that it works")
    add("--no-first-step", action="store_true", help="leave out the first steps of a new process")
    add("--out", type=Path, default=Path("bench-results"), help="folder (bench-results)")
    add("--name", help="name of the files (the device's)")
    return result


def plan(options: argparse.Namespace) -> tuple[list[cuda_cases.Case], list[str]]:
    """Return the rows and the contestants that the options ask for.

    Raises
    ------
    ValueError
        If an option names what there is not; the message says what there is.
    """
    names = list(RULES) if options.rules == "all" else listed(options.rules)
    networks = chosen("--shapes", options.shapes, tuple(cuda_cases.NETWORKS))
    formats = chosen("--formats", options.formats, tuple(cuda_cases.FORMATS))
    contestants = [peers.OURS, *chosen("--peers", options.peers, cuda_peers.PEERS)]
    if options.repeats is not None and options.repeats < 1:
        raise ValueError(f"--repeats: {options.repeats} is not a positive number")
    try:
        rules = [peers.catalog_rule(name) for name in names]
    except ValueError as error:
        raise ValueError(f"--rules: {error}") from None
    return cuda_cases.plan(rules, networks, formats), contestants


def driver() -> str | None:
    """Return the driver's version, or None where nobody tells."""
    try:
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    except (OSError, subprocess.TimeoutExpired):
        pass
    told = machine.read("/proc/driver/nvidia/version")
    return told.split("Kernel Module")[1].split()[0] if "Kernel Module" in told else None


def device(cupy: Any) -> dict[str, Any]:
    """Return what the current device is."""
    runtime = cupy.cuda.runtime
    told = runtime.getDeviceProperties(0) if hasattr(runtime, "getDeviceProperties") else {}
    name = told.get("name", "unknown device")
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": cupy.cuda.Device(0).compute_capability,
        "multiprocessors": cupy.cuda.Device(0).attributes["MultiProcessorCount"],
        "memory_gb": round(told.get("totalGlobalMem", 0) / 1e9, 1),
        "l2_mb": round(told.get("l2CacheSize", 0) / 1e6, 1),
        "driver": driver(),
        "driver_cuda": runtime.driverGetVersion(),
        "runtime_cuda": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def first_steps() -> dict[str, Any]:
    """Time the first steps of new processes: kernels compiled, and kernels found."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_STEPS],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                env={**os.environ, "SCHUSS_CACHE_DIR": folder},
            )
            if done.returncode != 0:
                return {**result, "error": done.stderr.strip()[-500:]}
            result[name] = json.loads(done.stdout)
    return result


def run(
    rows: Sequence[cuda_cases.Case],
    contestants: Sequence[str],
    effort: measure.Effort,
    seconds: float = 240.0,
    with_first_steps: bool = True,
    keep: Callable[[dict[str, Any]], Any] = lambda _: None,
) -> dict[str, Any]:
    """Measure the rows and return the result, ready for JSON; `keep` is given it whenever it has grown."""
    from schuss._engine.cuda import runtime

    started = time.perf_counter()
    cupy = runtime.cupy()
    described = machine.describe(machine.processors(), PACKAGES)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "device": device(cupy),
        "machine": described,
        "method": {
            "text": " ".join(METHOD.split()).format(block=1e3 * effort.block),
            "statistic": "median, interquartile range",
            "rounds": effort.rounds,
        },
        "first_steps": None,
        "copy": cuda_measure.copy_bandwidth(cupy, 5 * effort.rounds),
        "checks": [],
        "rows": [],
        "left_out": [],
        "memory": None,
    }
    bandwidth = 1e9 * result["copy"]["gb_per_s"]
    say(f"a copy moves {result['copy']['gb_per_s']:,.0f} GB/s")
    if with_first_steps:
        result["first_steps"] = first_steps()
    rules = list(dict.fromkeys(row.rule.name for row in rows))
    result["checks"] = cuda_measure.checks(cupy, rules, contestants) if seconds > 0 else []
    for _, some in groupby(rows, lambda row: (row.network, row.format)):
        arrays = None
        for row in some:
            name, begun = f"{row.rule.name} {row.name}", time.perf_counter()
            if begun - started > seconds:
                result["left_out"].append(f"{name}: the time was up")
                continue
            try:
                arrays = arrays or cuda_cases.Arrays(cupy, row.shapes, row.format)
                result["rows"].append(cuda_measure.row_of(row, contestants, arrays, bandwidth, effort))
            except Exception as error:  # the other rows are worth having
                traceback.print_exc()
                result["left_out"].append(f"{name}: {type(error).__name__}: {error}")
            cuda_measure.tidy(cupy)
            say(f"{name}: {time.perf_counter() - begun:.1f} s")
        keep(result)
    result["seconds"] = time.perf_counter() - started
    return result


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main(argv: Sequence[str], prog: str | None = None) -> int:
    """Run the benchmark on the current CUDA device; return 0, 1 where there is none, 2 for options without sense."""
    options = parser(prog).parse_args(argv)
    try:
        rows, contestants = plan(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    effort = cuda_measure.QUICK if options.quick else cuda_measure.EFFORT
    if options.repeats is not None:
        effort = replace(effort, rounds=options.repeats, least=min(effort.least, options.repeats))
    options.out.mkdir(parents=True, exist_ok=True)

    def path(result: dict[str, Any], suffix: str) -> Path:
        return options.out / f"{options.name or machine.slug(result['device']['name'])}{suffix}"

    def keep(result: dict[str, Any]) -> None:
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        path(result, ".json").write_text(text, encoding="utf-8")

    try:
        result = run(rows, contestants, effort, options.seconds, not options.no_first_step, keep)
    except (ImportError, RuntimeError) as error:  # no CuPy, no driver, no device
        print(f"error: {error}", file=sys.stderr)
        return 1
    keep(result)
    data, drawing = path(result, ".json"), path(result, ".svg")
    drawing.write_text(cuda_picture.draw(result), encoding="utf-8")
    report.show(result)
    print(f"\n{data}\n{drawing}")
    return 0
