"""Makes docs/_build: the pages, the reference of rules from the catalog, and the figures of the newest benchmark.

python docs/build.py [--results FILE] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import schuss
from schuss._engine.catalog import TABLE, table_row

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the benchmark's words for its own numbers

from bench import report  # noqa: E402

RANGES = {"real": "any finite number", "nonnegative": "0 or more", "unit": "[0, 1)", "flag": "True or False"}
NO_FIGURES = "No result is there yet."


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all columns but the first ones are aligned right where `left` says so."""
    rule = ["---" if column < left else "--:" for column in range(len(head))]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in [head, rule, *lines]]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def words(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def shown(value: float | bool) -> str:
    return f"`{value}`" if isinstance(value, bool) else f"`{value:g}`"


def rules_page() -> str:
    """The catalog: a table, then a section a rule."""
    rules = schuss.rules().values()
    lines = [[f"[{rule.name}](#{rule.name.lower()})", *table_row(rule)[1:]] for rule in rules]
    parts = [
        "# Rules",
        "Made from the catalog, `schuss.rules()`. Slots in brackets are kept only where the hypers need them; "
        "bytes are those of the slots beside a float32 parameter; g is the gradient. "
        "Every hyper but the flags may be a [schedule](schedules.md). What all optimizers take besides: "
        "`clip`, `nonfinite`, `accumulate`, `scaler`, `grad_norm` "
        "([clipping and scaling](clipping-and-scaling.md), [accumulation](accumulation.md)).",
        table(list(TABLE), lines, left=len(TABLE)),
        *map(section, rules),
    ]
    return "\n\n".join(parts) + "\n"


def section(rule: Any) -> str:
    """One rule: call, hypers, slots, forms, cost."""
    hypers = [[f"`{h.name}`", shown(h.default), RANGES[h.range], words(h.doc)] for h in rule.hypers]
    slots = [[f"`{s.name}`", "always" if s.always else "where the hypers need it", words(s.doc)] for s in rule.slots]
    parts = [
        f"## {rule.name}",
        f"{words(rule.summary)} {rule.paper}.",
        f"`schuss.{rule.name}(params, …)`, and as a plain function `schuss.ops.{rule.function}`.",
        table(["hyper", "default", "range", "what it is"], hypers, left=4),
        table(["slot", "kept", "what it is"], slots, left=3) if slots else "It keeps no slot.",
    ]
    docs = {form["name"]: form["doc"] for form in rule.facts["forms"]}
    for name, values in rule.forms.items():
        call = ", ".join(f"{hyper}={value:g}" for hyper, value in values.items())
        parts.append(f"`{rule.name}.{name}(params, …)`: {docs[name]}. The same as `{call}`.")
    if rule.has_point:
        parts.append("`with opt.lookahead():` holds the parameters at the look-ahead point while gradients are taken.")
    if f"## {rule.name}\n" in (HERE / "dialects.md").read_text(encoding="utf-8"):
        parts.append(f"[What other libraries do under this name](dialects.md#{rule.name.lower()}).")
    parts.append(f"Operations an element: {operations(rule)}.")
    return "\n\n".join(parts)


def operations(rule: Any) -> str:
    """Counts with the fewest slots kept, and with all of them."""
    always = sum(1 << k for k, slot in enumerate(rule.slots) if slot.always)
    full = (1 << len(rule.slots)) - 1
    least, most = (counted(rule.operations[mask]) for mask in (always, full))
    return least if always == full else f"{least}; with all slots, {most}"


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


def newest(folder: Path, on_cuda: bool = False) -> Path | None:
    """The result that was measured last, by its own date; of CPUs, or of CUDA devices."""
    found = [(json.loads(path.read_text(encoding="utf-8")), path) for path in folder.glob("*.json")]
    dated = [
        (result["machine"]["date"], path)
        for result, path in found
        if "machine" in result and result.get("rows") and ("device" in result) == on_cuda
    ]
    return max(dated)[1] if dated else None


def figures(path: Path | None) -> str:
    """A result's tables, with the machine they are of."""
    if path is None:
        return NO_FIGURES
    result = json.loads(path.read_text(encoding="utf-8"))
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    parts = [
        f"{report.heading(result)}, {machine['system']}; {versions}. "
        f"Measured on {machine['date'][:10]}: `{path.name}`. {result['method']['text']}"
    ]
    for title, head, lines in report.tables(result):
        parts += [f"### {title}", table(head, lines, left=2 if head[0] == "rule" else 1)]
    parts += [f"- {reason}" for reason in [*report.reasons(result), *report.beside(result)]]
    return "\n\n".join(parts)


def page(text: str, made: Mapping[str, str]) -> str:
    """A page with what is made in the place of its marks, and links out of docs/ from one folder deeper."""
    for name, content in made.items():
        text = text.replace(f"<!-- made: {name} -->", content)
    return re.sub(r"\]\(\.\./", "](../../", text)


def build(out: Path, results: Path | None) -> list[Path]:
    """Write everything; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    rules = f"[Rules](rules.md): the {len(schuss.rules())} of this version, with hypers, slots, papers and costs."
    device = newest(HERE.parent / "bench" / "results", on_cuda=True)
    made = {"rules": rules, "figures": figures(results), "figures on a device": figures(device)}
    pages = {path.name: page(path.read_text(encoding="utf-8"), made) for path in sorted(HERE.glob("*.md"))}
    pages["rules.md"] = rules_page()
    written = []
    for name, text in pages.items():
        (out / name).write_text(text, encoding="utf-8")
        written.append(out / name)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Make docs/_build.")
    parser.add_argument("--results", type=Path, help="a benchmark's JSON (the newest in bench/results)")
    parser.add_argument("--out", type=Path, default=HERE / "_build", help="folder (docs/_build)")
    options = parser.parse_args(argv)
    results = options.results or newest(HERE.parent / "bench" / "results")
    for path in build(options.out, results):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
