"""The C++ interface, as an outsider meets it: configured, built, installed, found, used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import schuss
from helpers import DTYPES, REPOSITORY, raw
from schuss.schedules import (
    constant,
    cosine,
    cyclic,
    exponential,
    inverse_sqrt,
    join,
    one_cycle,
    one_cycle_momentum,
    per_epoch,
    polynomial,
    step,
    warmup,
    warmup_stable_decay,
)

TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
CMAKE = shutil.which("cmake", path=TOOLS)
SHAPES: list[tuple[int, ...]] = [(3, 5), (4099,), ()]
STEPS = 5
SETTINGS = {
    "sgd": ["", "momentum=0.9 nesterov=1 weight_decay=0.1"],
    "rmsprop": ["", "momentum=0.9 centered=1"],
    "adam": ["", "amsgrad=1 weight_decay=0.1"],
    "adamw": ["", "amsgrad=1"],
}
CLIPS = {
    "none": lambda limit: None,
    "global": schuss.clipping.GlobalNorm,
    "leaf": schuss.clipping.LeafNorm,
    "value": schuss.clipping.Value,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cpp"),
    pytest.mark.skipif(not (REPOSITORY / "cpp").exists(), reason="this test builds the source tree"),
    pytest.mark.skipif(CMAKE is None, reason="building needs CMake"),
]


class Programs(NamedTuple):
    """Folders of what was built against the installed package."""

    examples: Path
    tests: Path
    prefix: Path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    root = tmp_path_factory.mktemp("cpp")
    prefix, examples, tests = root / "prefix", root / "examples", root / "tests"
    build(REPOSITORY, root / "library", "-DSCHUSS_PYTHON=OFF", f"-DCMAKE_INSTALL_PREFIX={prefix}", target="install")
    build(REPOSITORY / "examples" / "cpp", examples, f"-DCMAKE_PREFIX_PATH={prefix}")
    documented = ";".join(str(path) for path in written_programs(root))
    build(REPOSITORY / "tests" / "cpp", tests, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPROGRAMS={documented}")
    return Programs(examples, tests, prefix)


def build(source: Path, folder: Path, *definitions: str, target: str = "all") -> None:
    ninja = shutil.which("ninja", path=TOOLS)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    run(CMAKE, "-S", source, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", *generator, *definitions)
    run(CMAKE, "--build", folder, "--parallel", "2", "--target", target)


def run(*command: Any, stdin: str | None = None) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PATH": TOOLS},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


# Whole programs in the documentation.


def documented() -> dict[str, str]:
    """C++ blocks of the pages that are programs, by page and number."""
    found = {}
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        blocks = re.findall(r"```cpp\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        whole = [block for block in blocks if "int main(" in block]
        found |= {f"{page.stem.replace('-', '_')}_{index}": block for index, block in enumerate(whole)}
    return found


def written_programs(root: Path) -> Iterator[Path]:
    for name, text in documented().items():
        path = root / f"{name}.cpp"
        path.write_text(text, encoding="utf-8")
        yield path


def test_the_programs_in_the_documentation_print_what_they_say(programs: Programs) -> None:
    assert documented()
    for name, text in documented().items():
        said = re.findall(r"// prints: (.*)", text)
        assert said, f"{name} says nothing of what it prints"
        assert run(programs.tests / name).splitlines() == said, name


# The example.


def test_the_example_learns_and_ends_with_the_bits_of_the_python_engine(programs: Programs) -> None:
    lines = run(programs.examples / "train").splitlines()
    losses = [float(re.findall(r"loss ([\d.]+)", line)[0]) for line in lines if line.startswith("step")]
    assert len(losses) == 8
    assert losses[-1] < 0.65 * losses[0]
    assert lines[-1].split()[1:] == [shown(value) for value in trained_by_python()]


def shown(value: np.floating[Any]) -> str:
    """As C writes it: 0x1.8p+1."""
    mantissa, exponent = float(value).hex().split("p")
    whole, _, digits = mantissa.partition(".")
    digits = digits.rstrip("0")
    return f"{whole}.{digits}p{exponent}" if digits else f"{whole}p{exponent}"


def trained_by_python() -> list[np.floating[Any]]:
    """examples/cpp/train.cpp once more, its sums in the same order."""
    state, numbers = 1, []
    for _ in range(512 * 8):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        numbers.append(np.int32((state >> 32) - (2**32 if state >> 63 else 0)))
    x = np.array(numbers, np.int32).astype(np.float32).reshape(512, 8) * np.float32(2.0**-31)
    side = np.full(512, 0.25, np.float32)
    for k in range(8):
        side += np.float32(k % 3 - 1) * x[:, k]
    label = ((side > 0) != (np.arange(512) % 16 == 0)).astype(np.float64)
    wide = x.astype(np.float64)

    w, b = np.zeros(8, np.float32), np.zeros(1, np.float32)
    opt = schuss.AdamW({"w": w, "b": b}, lr=warmup(40, cosine(0.05, 360), 0.001), weight_decay=0.01, clip=1.0)
    for turn in range(400):
        batch = slice(turn * 64 % 512, turn * 64 % 512 + 64)
        score = np.full(64, np.float64(b[0]))
        for k in range(8):
            score += np.float64(w[k]) * wide[batch, k]
        error = 1 / (1 + schuss._core.elementary.exp(-score)) - label[batch]
        sum_w, sum_b = np.zeros(8), np.zeros(1)
        for i in range(64):
            sum_w += error[i] * wide[batch][i]
            sum_b += error[i]
        opt.step({"w": (sum_w / 64).astype(np.float32), "b": (sum_b / 64).astype(np.float32)})
    return [*w, *b]


# Every rule and every schedule.


def cases() -> list[str]:
    return [
        f"{rule} {dtype} {clip} 0.5 {accumulate} {setting}".strip()
        for rule in schuss.rules()
        for dtype in DTYPES
        for clip, accumulate in (("none", 1), ("global", 2), ("leaf", 1), ("value", 1))
        for setting in SETTINGS.get(rule, [""])
    ]


def number(stream: int, count: int) -> np.ndarray:
    """The first numbers of a stream of SplitMix64, in [-1, 1)."""
    with np.errstate(over="ignore"):
        z = np.uint64(stream << 32) + np.arange(count, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    high = ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return high.astype(np.float32) * np.float32(2.0**-31)


def bits_of_case(line: str) -> bytes:
    rule, dtype, clip, limit, accumulate, *settings = line.split()
    hypers: dict[str, Any] = {}
    for setting in settings:
        name, value = setting.split("=")
        hypers[name] = float(value)
    arrays = [number(k, int(np.prod(shape))).astype(DTYPES[dtype]).reshape(shape) for k, shape in enumerate(SHAPES)]
    make = next(each for each in vars(schuss).values() if getattr(each, "__name__", "").lower() == rule)
    rate = warmup(2, cosine(0.1, 7), 0.01)
    opt = make(arrays, lr=rate, clip=CLIPS[clip](float(limit)), accumulate=int(accumulate), **hypers)
    for turn in range(STEPS):
        grads: list[Any] = [
            number(100 + 10 * turn + k, int(np.prod(shape))).astype(DTYPES[dtype]).reshape(shape)
            for k, shape in enumerate(SHAPES)
        ]
        opt.step([None if turn == 2 and k == 0 else g for k, g in enumerate(grads)])
    opt.flush()
    scalars = {scalar.name for scalar in schuss.rules()[rule].scalars}
    return b"".join(
        raw(array) + b"".join(raw(slot) for name, slot in slots.items() if name not in scalars)
        for array, slots in zip(arrays, opt.state, strict=True)
    )


def schedules() -> list[schuss.schedules.Schedule]:
    """As tests/cpp/agree.cpp lists them."""
    return [
        constant(0.3),
        step(0.1, 0.3, 7),
        step(0.1, 0.3, milestones=[5, 11]),
        exponential(0.1, 0.97, 3),
        exponential(0.1, 0.97, 3, True),
        polynomial(0.1, 0.001, 31, 1.7),
        cosine(0.3, 37, 1e-4),
        inverse_sqrt(0.1, 5),
        cyclic(0.01, 0.1, 5, 8, "exp_range", 0.99),
        cyclic(0.01, 0.1, 5, None, "triangular2"),
        warmup(9, cosine(0.3, 31), 0.01),
        warmup(9, exponential(0.1, 0.97), kind="logarithmic"),
        warmup(9, exponential(0.1, 0.97), shift=1, restart=False),
        join([0.1, exponential(1, 0.9)], [6]),
        one_cycle(0.1, 40),
        one_cycle(0.1, 40, 0.25, "linear", 20, 100, True),
        one_cycle_momentum(40),
        warmup_stable_decay(0.1, 40, 5, 12, 0.001, 0, "cosine"),
        warmup_stable_decay(0.1, 40, 5, 12, 0.001, 0, "sqrt"),
        per_epoch(exponential(0.1, 0.9), 6),
        schuss.schedules.Schedule(lambda t: 1 / (1 + t)),
    ]


@pytest.fixture(scope="module")
def agreed(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[str]]:
    """(the bits that the C++ interface came to, what it printed)."""
    path = tmp_path_factory.mktemp("bits") / "bits"
    printed = run(programs.tests / "agree", path, stdin="\n".join(cases()) + "\n")
    return path.read_bytes(), printed.splitlines()


def test_every_rule_gives_the_bits_of_the_python_engine(agreed: tuple[bytes, list[str]]) -> None:
    bits, _ = agreed
    start = 0
    for line in cases():
        want = bits_of_case(line)
        assert bits[start : start + len(want)] == want, line
        start += len(want)
    assert len(bits) - start == len(schedules()) * 50 * 8


def test_every_schedule_gives_the_bits_of_the_python_one(agreed: tuple[bytes, list[str]]) -> None:
    values = np.frombuffer(agreed[0][-len(schedules()) * 50 * 8 :]).reshape(-1, 50)
    for schedule, there in zip(schedules(), values, strict=True):
        assert raw(schedule(np.arange(50))) == raw(there), schedule
    names = {each for each in schuss.schedules.__all__ if each[0].islower()}
    assert names <= {each.kind for each in schedules()}


def test_what_is_wrong_is_named_and_what_is_right_works(agreed: tuple[bytes, list[str]]) -> None:
    assert agreed[1] == [
        f"no rule is named 'nonesuch'; the catalog has {', '.join(schuss.rules())}",
        f"Adam() got an unknown hyper 'beta3'; it takes {schuss.rules()['adam'].hyper_names}",
        "Adam(): beta1 is 1, expected a number in [0, 1)",
        "add(): there is a 'w' already",
        "add(): 'u' has an extent of -1",
        "step() got 0 gradients, expected 1, one a parameter",
        "slot(): those of 'w' are float32",
        "Momentum has no slot 'm'",
        "no parameter is named 'b'; there are w",
        "domain: the norm of the gradients is not finite; no parameter, slot or clock was changed",
        "0.75 1.75 1 0.5 0.5",  # stepped once, by lr (1 - beta)
        "0.75 2",  # frozen: the clock goes on, the leaf does not
        "0",  # 0.75 - lr (beta v + g) with v = 0.5, to 0.125; the point is lr beta v below it
        "-0.25 0.75 2",  # and nothing was left to flush
    ]


def test_the_sources_serve_as_a_subdirectory(tmp_path: Path) -> None:
    """Only configured: what would be built is what the other tests build."""
    ninja = shutil.which("ninja", path=TOOLS)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    run(
        CMAKE,
        *["-S", REPOSITORY / "examples" / "cpp", "-B", tmp_path, *generator],
        *["-DCMAKE_DISABLE_FIND_PACKAGE_schuss=ON"],
    )
    if ninja:
        assert "libschuss.a" in run(CMAKE, "--build", tmp_path, "--target", "train", "--", "-n")


def test_the_installed_package_names_no_folder_of_this_machine(programs: Programs) -> None:
    for path in programs.prefix.rglob("*.cmake"):
        text = path.read_text()
        assert str(REPOSITORY) not in text, path.name
        assert "libgomp" not in text, path.name
