"""Bad input is refused by name, before a single byte is written. The tables are in ``bad_*.py``."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import schuss
from bad_makings import MAKING
from bad_steps import SCHEDULES, STEPS, Row, World, frozen
from helpers import CLASSES, RULES, output_of, run_python, snapshot, tree_bits


@pytest.mark.parametrize("row", STEPS + SCHEDULES, ids=lambda row: row.name)
def test_a_refused_call_names_the_culprit_and_changes_nothing(row: Row) -> None:
    at = World()
    before = snapshot(at.opt, at.params)
    with pytest.raises(row.error) as refused:
        row.call(at)
    assert refused.type is row.error
    for words in row.says:
        assert words in str(refused.value)
    assert snapshot(at.opt, at.params) == getattr(at, "before", before)
    if row not in SCHEDULES:
        at.opt.step(at.grads())  # and the optimizer goes on
        assert at.opt.clock == 2


@pytest.mark.parametrize("row", MAKING, ids=lambda row: row.name)
def test_a_refused_construction_names_the_culprit_and_changes_nothing(row: Row) -> None:
    at = World()
    before = snapshot(at.opt, at.params)
    with pytest.raises(row.error) as refused:
        row.call(at)
    assert refused.type is row.error
    for words in row.says:
        assert words in str(refused.value)
    assert snapshot(at.opt, at.params) == before


def test_messages_read_as_the_design_has_them() -> None:
    at = World()
    with pytest.raises(ValueError, match="^" + re.escape("grads['encoder']['w']: shape (3, 4), expected (4, 3)")):
        at.opt.step(at.grads(encoder_w=np.ones((3, 4))))
    with pytest.raises(TypeError) as refused:
        CLASSES["adam"](at.params, beta3=0.5)
    assert str(refused.value) == (
        "Adam() got an unknown hyper 'beta3'; it takes lr, beta1, beta2, eps, eps_root, weight_decay, amsgrad, "
        "bias_correction, eps_hat, amsgrad_corrected, cautious"
    )


def test_gradients_of_groups_must_be_a_list_of_as_many_trees() -> None:
    a, b = np.ones(2), np.ones(3)
    opt = schuss.SGD([{"params": a}, {"params": b}])
    before = tree_bits([a, b])
    for grads, error in [
        ([np.ones(2)], ValueError),
        ([np.ones(2), np.ones(3), np.ones(1)], ValueError),
        ({"params": np.ones(2)}, TypeError),
        ([np.ones(3), np.ones(2)], ValueError),
    ]:
        with pytest.raises(error, match=r"grads"):
            opt.step(grads)
        assert tree_bits([a, b]) == before
        assert opt.clock == 0


@pytest.mark.parametrize("rule", RULES)
def test_plain_functions_name_their_arguments(rule: str) -> None:
    function = getattr(schuss.ops, rule)
    p = np.ones(4)
    slots = {name: np.zeros_like(slot) for name, slot in CLASSES[rule](np.ones(4)).state.items()}
    scalars = {scalar.name for scalar in schuss.rules()[rule].scalars}
    rows: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"g": np.ones(5)}, ValueError, r"g.*\(5,\).*\(4,\)"),
        ({"g": np.ones(4, int)}, TypeError, r"g.*int"),
        ({"g": None}, TypeError, r"g.*None"),
        ({"p": frozen(np.ones(4))}, ValueError, r"p.*read-only"),
        ({"lr": -1.0}, ValueError, r"lr.*-1"),
        ({"lr": "x"}, TypeError, r"lr.*'x'"),
        ({"step": 0}, ValueError, r"step.*0"),
        ({"beta9": 0.5}, TypeError, r"beta9"),
    ]
    for name in slots:
        if name in scalars:
            rows.append(({name: np.zeros(1)}, TypeError, rf"{name}.*without dimensions"))
            rows.append(({name: np.zeros((), np.float32)}, TypeError, rf"{name}.*float64"))
            rows.append(({name: None}, TypeError, rf"{name} is missing"))
            continue
        rows.append(({name: np.zeros(3)}, ValueError, rf"{name}.*\(3,\).*\(4,\)"))
        rows.append(({name: np.zeros(4, np.float32)}, TypeError, rf"{name}.*float32.*float64"))
        rows.append(({name: None}, (TypeError), rf"{name}"))
    for changed, error, words in rows:
        arguments: dict[str, Any] = {"p": p, "g": np.ones(4), "step": 1, **slots, **changed}
        before = tree_bits([p, *slots.values()])
        with pytest.raises(error, match=words):
            function(**arguments)
        assert tree_bits([p, *slots.values()]) == before


# Levels and threads, which are read when the package is imported or first steps.

USE = "import numpy as np, schuss; schuss.SGD(np.ones(3)).step(np.ones(3)); print('stepped')"


@pytest.mark.parametrize(("level", "words"), [("x86_64_v9", "x86_64_v9"), ("AVX2", "AVX2"), ("x86_64_V3", "x86_64_V3")])
def test_an_unknown_level_is_an_error_that_lists_the_levels(level: str, words: str) -> None:
    done = run_python(USE, env={"SCHUSS_CPU_LEVEL": level})
    assert done.returncode != 0
    assert "stepped" not in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError")
    assert "SCHUSS_CPU_LEVEL" in last
    assert words in last
    assert all(each in last for each in schuss.info()["levels"])


def test_a_level_that_this_processor_lacks_is_an_error() -> None:
    known = {"x86_64_v2", "x86_64_v3", "x86_64_v4", "aarch64", "plain"}
    lacking = sorted(known - set(schuss.info()["levels"]))
    assert lacking, "no processor runs both x86-64 and aarch64"
    for level in lacking:
        done = run_python(USE, env={"SCHUSS_CPU_LEVEL": level})
        assert done.returncode != 0, level
        assert "ValueError" in done.stderr
        assert level in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("threads", ["0", "-2", "many", "1.5"])
def test_a_bad_number_of_threads_is_an_error(threads: str) -> None:
    done = run_python(USE, env={"SCHUSS_NUM_THREADS": threads})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError")
    assert "SCHUSS_NUM_THREADS" in last
    assert threads in last


def test_good_settings_of_the_environment_are_taken() -> None:
    level = schuss.info()["levels"][-1]
    code = "import schuss; print(schuss.info()['level'], schuss.get_num_threads())"
    env = {"SCHUSS_CPU_LEVEL": level, "SCHUSS_NUM_THREADS": "3"}
    assert output_of(code, env=env) == f"{level} 3"
