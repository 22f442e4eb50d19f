"""``schuss compile``: fill the cache of CUDA kernels ahead, for machines without NVRTC or a quick first step."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

from schuss import _core
from schuss._engine.catalog import Rule, device_rules
from schuss._engine.cuda import builder, cache, driver, source

Kernel = tuple[str, "str | None", tuple[source.Variant, ...]]  # kind, rule, variants

_EPILOGUE = """
Without NVRTC a kernel serves whatever NVRTC made it. To take kernels elsewhere, fill a folder by --out, copy it, and
name it there in SCHUSS_CACHE_DIR. Kernels are kept until they are cleared; they may be at any time.
"""


def main(arguments: Sequence[str]) -> int:
    """The command; returns the exit status: 1 where something did not compile, 2 where the options are wrong."""
    given = _parser().parse_args(arguments)
    folder = Path(given.out) if given.out else cache.folder()
    if given.clear:
        print(f"{cache.clear(folder)} kernels taken out of {folder}")
        return 0
    if given.list:
        return _list(folder)
    try:
        archs = _archs(given.arch)
        kernels = _kernels(_rules(given.rules), _formats(given.formats), given.mixed, _settings(given.set))
    except (TypeError, ValueError) as error:
        print(f"schuss compile: {error}", file=sys.stderr)
        return 2
    return _compile([(kernel, arch) for arch in archs for kernel in kernels], folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schuss compile",
        description="Compile CUDA kernels ahead and keep them in the cache.",
        epilog=_EPILOGUE,
    )
    add = parser.add_argument
    add("--arch", default="native", metavar="sm_90,…", help="architectures; native, the default, is the devices here")
    add("--rules", default="adamw", metavar="adamw,…", help="rules, or all; adamw if left out")
    add("--formats", default="float32,bfloat16", metavar="float32,…", help="of parameters and their gradients")
    add("--mixed", action="store_true", help="gradients of every format given, for parameters of every one")
    add("--set", action="append", default=[], metavar="amsgrad=True,…", help="hypers that decide the slots kept")
    add("--out", metavar="DIR", help="the folder to fill, list or clear, in place of the cache's own")
    add("--list", action="store_true", help="say which kernels there are")
    add("--clear", action="store_true", help="take all kernels away")
    return parser


# What is asked for.


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _archs(text: str) -> list[str]:
    archs = []
    for arch in _split(text):
        if arch == "native":
            found = driver.architectures()
            if not found:
                raise ValueError("--arch: there is no CUDA device here to be native to, expected names such as sm_90")
            archs += found
        else:
            source.options(arch)
            archs.append(arch)
    if not archs:
        raise ValueError("--arch: none given, expected names such as sm_90")
    return list(dict.fromkeys(archs))


def _rules(text: str) -> list[Rule]:
    names = _split(text)
    if names == ["all"]:
        return list(device_rules().values())
    for name in names:
        if name not in device_rules():
            raise ValueError(f"--rules: unknown rule {name!r}; there are {', '.join(sorted(device_rules()))}")
    if not names:
        raise ValueError("--rules: none given, expected all or names such as adamw")
    return [device_rules()[name] for name in names]


def _formats(text: str) -> list[str]:
    formats = _split(text)
    for each in formats:
        if each not in source.FORMATS:
            raise ValueError(f"--formats: unknown {each!r}; there are {', '.join(source.FORMATS)}")
    if not formats:
        raise ValueError(f"--formats: none given, expected some of {', '.join(source.FORMATS)}")
    return sorted(formats)


def _settings(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(_setting(pair) for pair in _split(text)) for text in texts]


def _setting(pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    if value in ("True", "False"):
        return name.strip(), value == "True"
    try:
        return name.strip(), float(value)
    except ValueError:
        raise ValueError(f"--set: {pair!r}, expected the like of amsgrad=True or momentum=0.9") from None


def _kernels(asked: Sequence[Rule], formats: Sequence[str], mixed: bool, settings: Sequence[Any]) -> list[Kernel]:
    for setting in settings:
        if not any(setting.keys() <= rule.defaults.keys() for rule in asked):
            names = ", ".join(rule.function for rule in asked)
            raise ValueError(f"--set: none of {names} has the hypers {', '.join(setting)}")
    kernels: list[Kernel] = [(kind, None, ()) for kind in source.OF_ALL]
    for rule in asked:
        for mask in _masks(rule, settings):
            for variants in _variants(mask, formats, mixed):
                kernels.append(("map", rule.function, variants))
                if rule.has_point:
                    kernels.append(("point", rule.function, variants))
    return kernels


def _masks(rule: Rule, settings: Sequence[dict[str, Any]]) -> list[int]:
    """Of the default hypers, then of each setting that this rule has."""
    masks = []
    for setting in [{}, *settings]:
        if setting.keys() <= rule.defaults.keys():
            kept = _core.slots_kept(rule.function, rule.defaults | setting, 1)
            masks.append(sum(1 << index for index, slot in enumerate(rule.slots) if slot.name in kept))
    return list(dict.fromkeys(masks))


def _variants(mask: int, formats: Sequence[str], mixed: bool) -> Iterator[tuple[source.Variant, ...]]:
    """One kernel serves all leaves of a step: a tree of several formats needs one that has them all."""
    for count in range(1, len(formats) + 1):
        for some in combinations(formats, count):
            yield tuple((mask, each, each) for each in some)
    if mixed:
        for p in formats:
            for g in formats:
                if p != g:
                    yield ((mask, p, g),)


# The work, and what is said of it.


def _compile(work: Sequence[tuple[Kernel, str]], folder: Path) -> int:
    def one(item: tuple[Kernel, str]) -> tuple[str, builder.Made | Exception, float]:
        (kind, rule, variants), arch = item
        began = perf_counter()
        try:
            made = builder.make(kind, rule, variants, arch, folder)
        except (ImportError, RuntimeError, OSError) as error:
            made = error
        return f"{source.title(kind, rule, variants)} for {arch}", made, perf_counter() - began

    compiled, start = 0, perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool, _progress(len(work)) as advance:
        for title, made, seconds in pool.map(one, work):
            if isinstance(made, Exception):
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"schuss compile: {title}: {made}", file=sys.stderr)
                return 1
            compiled += made.compiled
            advance(title, f"{seconds:.1f} s" if made.compiled else "there already")
    there = len(work) - compiled
    print(f"{compiled} kernels compiled in {perf_counter() - start:.1f} s, {there} there already, in {folder}")
    return 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str, str], None]]:
    """A bar where rich is installed and somebody watches; else a line a kernel."""
    bar = _bar()
    if bar is None:
        count = iter(range(1, total + 1))
        yield lambda title, how: print(f"[{next(count)}/{total}] {title}: {how}", flush=True)
        return
    with bar:
        task = bar.add_task("", total=total)
        yield lambda title, _: bar.update(task, advance=1, description=title)


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return None
    return Progress(console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None


def _list(folder: Path) -> int:
    size = count = 0
    for path, told in cache.entries(folder):
        count, size = count + 1, size + told["bytes"]
        variants = [tuple(each) for each in told["variants"]]
        try:
            title = source.title(told["kind"], told["rule"], variants)
        except (LookupError, ValueError):  # of a rule that this version has not
            title = f"{told['rule']} {told['kind']} {variants}"
        print(f"{path.name}  {told['arch']}  NVRTC {told['nvrtc']}  {told['bytes']:>7,} bytes  {title}")
    print(f"{count} kernels of {size:,} bytes in {folder}")
    return 0
