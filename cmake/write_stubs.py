"""Writes optimizers.pyi and ops.pyi from the catalog of a freshly built module: write_stubs.py MODULE FOLDER."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SOURCE = Path(__file__).parent.parent / "python" / "schuss"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wording = load("wording", SOURCE / "_engine" / "wording.py")


def indented(text: str, depth: int) -> str:
    pad = " " * 4 * depth
    escaped = text.replace("\\", "\\\\")
    return "\n".join(pad + line if line else "" for line in f'"""{escaped}"""'.splitlines())


def hyper(one: dict, default: str) -> str:
    return f"{one['name']}: {'bool' if one['range'] == 'flag' else '_HyperLike'} = {default}"


def init_arguments(rule: dict, defaults: dict | None = None) -> str:
    hypers = [hyper(one, str((defaults or {}).get(one["name"], wording.default(one)))) for one in rule["hypers"]]
    common = [f"{name}: {kind} = {default}" for name, kind, default in wording.COMMON_SIGNATURE]
    return ", ".join(["params: Any", "*", *hypers, *common])


def class_stub(rule: dict) -> str:
    looks_ahead = any(hyper["name"] == "lookahead" for hyper in rule["hypers"])
    base = "Optimizer" if not rule["has_point"] else "PointOptimizer" if looks_ahead else "AveragedOptimizer"
    lines = [f"class {rule['name']}({base}):", indented(wording.class_doc(rule), 1)]
    lines += [f"    def __init__(self, {init_arguments(rule)}) -> None: ..."]
    for form in rule["forms"]:
        arguments = init_arguments(rule, wording.form(rule, form["hypers"]))
        lines += ["    @classmethod", f"    def {form['name']}(cls, {arguments}) -> Self:"]
        lines += [indented(wording.form_doc(rule, form), 2), "        ..."]
    return "\n".join(lines)


def function_stub(rule: dict) -> str:
    slots = [f"{one['name']}: Any{'' if one['always'] else ' = None'}" for one in rule["slots"]]
    slots += [f"{one['name']}: Any = None" for one in rule["scalars"]]
    hypers = [hyper(one, wording.default(one)) for one in rule["hypers"]]
    arguments = ", ".join(["p: Any", "g: Any", *slots, "*", "step: int = 1", *hypers])
    return f"def {rule['function']}({arguments}) -> None:\n{indented(wording.function_doc(rule), 1)}\n    ..."


def main(module: str, folder: str) -> None:
    rules = load("_core", Path(module)).catalog()
    hyper_like = "_HyperLike = float | Schedule | Callable[[int], float]\n"
    names = ", ".join(f'"{name}"' for name in ["Optimizer", *(rule["name"] for rule in rules)])
    optimizers = [
        "from collections.abc import Callable\nfrom typing import Any, Literal\n",
        "from typing_extensions import Self\n",
        "from schuss._core import LossScaler, Schedule",
        "from schuss._engine.clip import ClipLike",
        "from schuss._engine.factors import Decay, LrScale",
        "from schuss._engine.optimizer import AveragedOptimizer, PointOptimizer",
        "from schuss._engine.optimizer import Optimizer as Optimizer\n",
        hyper_like,
        f"__all__ = [{names}]\n",
        *map(class_stub, rules),
    ]
    ops = [
        "from collections.abc import Callable\nfrom typing import Any\n",
        "from schuss._core import Schedule\n",
        hyper_like,
        f"__all__ = [{', '.join(repr(rule['function']) for rule in rules)}]\n",
        *map(function_stub, rules),
    ]
    Path(folder, "optimizers.pyi").write_text("\n".join(optimizers) + "\n", encoding="utf-8")
    Path(folder, "ops.pyi").write_text("\n".join(ops) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
