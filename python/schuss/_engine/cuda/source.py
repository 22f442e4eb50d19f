"""The text of a kernel: the shipped headers in one piece, then the entry that names what is instantiated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from schuss._engine.catalog import Rule, device_rules, named, rules
from schuss._engine.own.header import STRUCT

Variant = tuple[int, str, str]  # the mask of slots kept, how p is stored, how g is

ENTRY = "schuss_kernel"
BLOCK = 256  # threads, by __launch_bounds__
FORMATS = {"float64": "double", "float32": "float", "bfloat16": "schuss::bf16"}
OF_A_RULE = {"map": "loops/map.cuh", "point": "loops/point.cuh"}
OF_ALL = {
    "sum": "loops/sum.cuh",
    "finish": "loops/finish.cuh",
    "take": "loops/move.cuh",
    "scale": "loops/move.cuh",
    "restore": "loops/point.cuh",
}
KINDS = OF_A_RULE | OF_ALL

_PLAIN = {"cstddef", "cstdint"}  # what config.hpp stands in for


def options(arch: str) -> tuple[str, ...]:
    """What NVRTC is given beside the text: no contraction, no flush to zero, IEEE division and root."""
    if not isinstance(arch, str) or not re.fullmatch(r"sm_\d{2,3}[af]?", arch):
        raise ValueError(f"arch is {arch!r}, expected a name such as 'sm_90'")
    return (
        f"--gpu-architecture={arch}",
        "--std=c++17",
        "--fmad=false",
        "--ftz=false",
        "--prec-div=true",
        "--prec-sqrt=true",
        "--device-as-default-execution-space",
    )


def text(kind: str, rule: str | None = None, variants: Sequence[Variant] = ()) -> str:
    """The whole text of a kernel; it includes nothing."""
    check(kind, rule, variants)
    headers = [KINDS[kind]]
    call = f"{kind}_phase"
    own = ""
    if rule is not None:
        known = named(rule)
        name = STRUCT if known.header else known.name
        headers.append("rules/rule.hpp" if known.header else f"rules/{rule}.hpp")
        own = known.header
        arguments = [f"schuss::{name}", f"schuss::{name}Slots"]
        arguments += [f"schuss::Variant<{mask}u, {FORMATS[p]}, {FORMATS[g]}>" for mask, p, g in variants]
        call += f"<{', '.join(arguments)}>" if len(variants) == 1 else "<\n      " + ",\n      ".join(arguments) + ">"
    head = f"// Schuss, Apache License 2.0. {title(kind, rule, variants)}: the headers, then the entry.\n"
    # One resident block at least: with no number there, ptxas spills to make room for more.
    entry = f'extern "C" __global__ void __launch_bounds__({BLOCK}, 1) {ENTRY}(const schuss::Launch launch)'
    body = f"{_flattened(tuple(headers))}\n{own}"
    return f"{head}\n{body}// ---- the entry ----\n{entry} {{\n  schuss::{call}(launch);\n}}\n"


def title(kind: str, rule: str | None = None, variants: Sequence[Variant] = ()) -> str:
    """A kernel's name for people: ``adamw map (float32 by bfloat16, slots m v)``."""
    if rule is None:
        return kind
    known = named(rule)
    return f"{known.function} {kind} ({'; '.join(_words(known, variant) for variant in variants)})"


def kept(rule: Rule, mask: int) -> tuple[str, ...]:
    """Names of the slots that a mask keeps."""
    return tuple(slot.name for index, slot in enumerate(rule.slots) if mask >> index & 1)


def _words(rule: Rule, variant: Variant) -> str:
    mask, p, g = variant
    return f"{p} by {g}, slots {' '.join(kept(rule, mask)) or 'none'}"


def check(kind: str, rule: str | None, variants: Sequence[Variant]) -> None:
    """A ValueError where there is no such kernel; it says which there are."""
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected {_either(KINDS)}")
    if kind in OF_ALL:
        if rule is not None or variants:
            raise ValueError(f"the kernel {kind!r} is the same for every rule and format; it takes none")
        return
    try:
        known = named(rule or "")
    except KeyError:
        raise ValueError(f"unknown rule {rule!r}; there are {', '.join(sorted(rules()))}") from None
    if not known.on_device:
        raise ValueError(f"{known.name} has no CUDA kernel yet: it measures whole leaves before it steps")
    if kind == "point" and not known.has_point:
        having = ", ".join(name for name, each in device_rules().items() if each.has_point)
        raise ValueError(f"{rule} takes its gradients where the parameters are: only {having} has a kernel 'point'")
    if not variants:
        raise ValueError(f"{rule}: no variant given, expected at least one (mask, format of p, format of g)")
    always = sum(1 << index for index, slot in enumerate(known.slots) if slot.always)
    for mask, *formats in variants:
        for format_ in formats:
            if format_ not in FORMATS:
                raise ValueError(f"format is {format_!r}, expected {_either(FORMATS)}")
        if mask & always != always or mask >> len(known.slots):
            names = " ".join(slot.name if slot.always else f"[{slot.name}]" for slot in known.slots)
            raise ValueError(f"{rule} has no mask {mask}: its slots are {names or 'none'}")


def _either(names: Sequence[str] | dict[str, str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}"


@cache
def include() -> Path:
    """The folder of the shipped headers: in the package, or in the source tree that it is linked from."""
    here = Path(__file__)
    folders = [here.parents[2] / "include" / "schuss"]
    folders += [source / "cpp" / "include" / "schuss" for source in here.resolve().parents[4:5]]
    for folder in folders:
        if (folder / "config.hpp").is_file():
            return folder.resolve()
    raise FileNotFoundError(f"the headers of Schuss were looked for in vain in {', '.join(map(str, folders))}")


@cache
def _flattened(headers: tuple[str, ...]) -> str:
    """The headers and all that they include, each once, after what it needs."""
    done: set[Path] = set()
    return "\n".join(part for header in headers for part in _parts(include() / header, done))


def _parts(path: Path, done: set[Path]) -> list[str]:
    if path in done:
        return []
    done.add(path)
    parts: list[str] = []
    own: list[str] = []
    guards: list[bool] = []  # of the conditions around a line: whether it asks for NVRTC
    for line in path.read_text(encoding="utf-8").splitlines():
        directive = re.match(r"\s*#\s*(\w+)", line)
        word = directive[1] if directive else ""
        if word in ("if", "ifdef", "ifndef"):
            guards.append("__CUDACC_RTC__" in line)
        elif word == "endif":
            guards.pop()
        found = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if found and found[1]:
            # What a header needs comes before all of it, so that each is read in one piece.
            if any(each.strip() and not each.lstrip().startswith("//") for each in own):
                raise ValueError(f"{path}: {found[1]} is included after the first line of code")
            parts += _parts((path.parent / found[1]).resolve(), done)
        elif found and not any(guards):
            if found[2] not in _PLAIN:
                raise ValueError(f"{path} includes <{found[2]}>, which NVRTC has not")
        elif not re.match(r"\s*#\s*pragma\s+once\b", line):
            own.append(line)
    body = "\n".join(own).strip("\n")
    return [*parts, f"// ---- schuss/{path.relative_to(include()).as_posix()} ----\n{body}\n"]
