"""The examples: each listing in torch and beside it with Schuss, both run, and they agree."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
PAIRS = ["momentum", "nesterov", "adamw_cosine_clipping", "accumulation"]

# Torch divides by the norm plus a millionth when it clips; every other pair is the same maths.
RTOL = {"adamw_cosine_clipping": 1e-5}


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_arrays(result: Any) -> dict[str, np.ndarray]:
    return result if isinstance(result, dict) else {"w": result}


def test_every_example_with_two_sides_is_compared() -> None:
    two_sided = {path.stem for path in EXAMPLES.glob("*.py") if "def with_torch" in path.read_text()}
    assert two_sided == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_torch_and_schuss_agree(name: str) -> None:
    pytest.importorskip("torch", reason="one side of every example is torch")
    example = loaded(name)
    want, got = as_arrays(example.with_torch()), as_arrays(example.with_schuss())
    assert set(got) == set(want)
    largest = max(float(np.abs(each).max()) for each in want.values())
    assert largest > 0.1, "this example went nowhere"
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, rtol=0, atol=RTOL.get(name, 1e-12) * largest)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_runs_as_a_script(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "torch" in path.read_text():
        pytest.importorskip("torch", reason="one side of this example is torch")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
