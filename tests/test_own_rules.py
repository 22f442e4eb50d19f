"""Rules of the user's own: the bits of the compiled ones, at every level, in every format, through the whole engine."""

from __future__ import annotations

import ast
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, DTYPES, SIZES, gradients, normal, output_of, raw, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

ADAMW = """
    root2 = sqrt(1 - beta2**t)
    step = lr * root2 / (1 - beta1**t)
    m = m + (1 - beta1) * (g - m)
    v = v + (1 - beta2) * (g * g - v)
    p -= step * m / (sqrt(v + eps_root * (1 - beta2**t)) + eps * root2) + lr * weight_decay * p
"""
ADAMW_HYPERS = {
    **{"lr": (1e-3, "nonnegative"), "beta1": (0.9, "unit"), "beta2": (0.999, "unit"), "eps": (1e-8, "nonnegative")},
    **{"eps_root": (0, "nonnegative"), "weight_decay": (0.01, "nonnegative")},
}
AMSGRAD = """
    root2 = sqrt(1 - beta2**t)
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g**2 - v)
    v_max = max(v_max, v)
    size = sqrt(v_max + eps_root * (1 - beta2**t)) + eps * root2
    p -= lr * root2 / (1 - beta1**t) * m / size + lr * weight_decay * p
"""
LION = """
    direction = sign(m + (1 - beta1) * (g - m))
    m = m + (1 - beta2) * (g - m)
    p = p - (lr * direction + (lr * weight_decay) * p)
"""
LION_HYPERS = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01}
SGD = """
    pull = g + weight_decay * p
    v = where(t == 1, pull, momentum * v + (1 - dampening) * pull)
    p -= lr * v
"""
SGD_HYPERS = {"lr": 1e-3, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.02}


def twins() -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """A text, the compiled rule that it states, and the settings of both."""
    return {
        "adamw": (schuss.rule("OwnAdamW", ADAMW, hypers=ADAMW_HYPERS, slots={"m": 0, "v": 0}), schuss.AdamW, {}),
        "amsgrad": (
            schuss.rule("OwnAmsgrad", AMSGRAD, hypers=ADAMW_HYPERS, slots={"m": 0, "v": 0, "v_max": 0}),
            schuss.AdamW,
            {"amsgrad": True},
        ),
        "lion": (schuss.rule("OwnLion", LION, hypers=LION_HYPERS, slots={"m": 0}), schuss.Lion, {"weight_decay": 0.01}),
        "sgd": (schuss.rule("OwnSGD", SGD, hypers=SGD_HYPERS, slots={"v": 0}), schuss.SGD, SGD_HYPERS),
    }


TWINS = twins()


def assert_twins(own: Any, compiled: Any, a: Any, b: Any) -> None:
    assert same_bits(a, b)
    assert set(own.state) == set(compiled.state)
    for name in own.state:
        assert same_bits(own.state[name], compiled.state[name]), name


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_a_text_has_the_bits_of_the_compiled_rule_that_it_states(name: str, dtype: str, n: int) -> None:
    make, twin, hypers = TWINS[name]
    a = normal(1, n, DTYPES[dtype])
    b = a.copy()
    own, compiled = make(a), twin(b, **hypers)
    for g in gradients(2, n, 4, DTYPES[dtype]):
        own.step(g)
        compiled.step(g)
    assert_twins(own, compiled, a, b)


@pytest.mark.parametrize("g_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_mix_of_formats_has_the_compiled_bits(dtype: str, g_dtype: str) -> None:
    make, twin, hypers = TWINS["adamw"]
    a = normal(1, (70, 30), DTYPES[dtype])
    b = a.copy()
    own, compiled = make(a[::2, ::-1]), twin(b[::2, ::-1], **hypers)  # strided, too
    for g in gradients(2, (35, 30), 3, DTYPES[g_dtype]):
        own.step(g)
        compiled.step(g)
    assert_twins(own, compiled, a, b)


SETTINGS: dict[str, dict[str, Any]] = {
    "schedule": {"lr": schuss.schedules.warmup(3, schuss.schedules.cosine(1e-2, steps=9))},
    "callable": {"beta1": lambda step: 0.5 + 0.01 * step},
    "global norm": {"clip": 0.5},
    "leaf norm": {"clip": schuss.clipping.LeafNorm(0.5)},
    "value": {"clip": schuss.clipping.Value(0.1)},
    "accumulate": {"accumulate": 2},
    "slots in 8 bits": {"slots": "8bit"},
    "slots in bfloat16": {"slots": "bfloat16"},
}


@pytest.mark.parametrize("low", [{"rounding": "stochastic", "seed": 3}, {"master": True}], ids=str)
def test_low_precision_parameters_are_kept_as_for_a_compiled_rule(low: dict[str, Any]) -> None:
    make, twin, hypers = TWINS["adamw"]
    a = normal(1, 3000, BFLOAT16)
    b = a.copy()
    own, compiled = make(a, **low), twin(b, **hypers, **low)
    for g in gradients(2, 3000, 3, BFLOAT16):
        own.step(g)
        compiled.step(g)
    assert_twins(own, compiled, a, b)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_whole_engine_works_as_for_a_compiled_rule(setting: str) -> None:
    make, twin, hypers = TWINS["adamw"]
    a = {"w": normal(1, 5000, np.float32), "b": normal(2, 7, np.float64), "frozen": normal(3, 9, np.float32)}
    b = {name: each.copy() for name, each in a.items()}
    own, compiled = make(a, **SETTINGS[setting]), twin(b, **hypers, **SETTINGS[setting])
    for opt in (own, compiled):
        opt.freeze("frozen")
    for step in range(6):
        grads = {name: normal(10 * step + i, each.shape, each.dtype) for i, (name, each) in enumerate(a.items())}
        one, two = own.step(grads), compiled.step(grads)
        assert (one.grad_norm, one.clip_coef, one.lr) == (two.grad_norm, two.clip_coef, two.lr)
    for name in a:
        assert same_bits(a[name], b[name]), name


def test_groups_and_the_loss_scaler_work_as_for_a_compiled_rule() -> None:
    make, twin, hypers = TWINS["adamw"]
    a, b = [normal(1, 40), normal(2, 50)], [normal(1, 40), normal(2, 50)]

    def groups(leaves: list[np.ndarray]) -> list[dict[str, Any]]:
        return [{"params": leaves[0], "lr": 0.1}, {"params": leaves[1], "weight_decay": 0.5}]

    own = make(groups(a), scaler=schuss.LossScaler(scale=8.0))
    compiled = twin(groups(b), scaler=schuss.LossScaler(scale=8.0), **hypers)
    bad = [np.full(40, np.inf), np.zeros(50)]
    for grads in ([normal(3, 40), normal(4, 50)], bad, [normal(5, 40), normal(6, 50)]):
        assert own.step(grads).skipped == compiled.step(grads).skipped
    own.groups[0]["lr"] = compiled.groups[0]["lr"] = 0.2
    own.step([normal(7, 40), None])
    compiled.step([normal(7, 40), None])
    assert same_bits(a[0], b[0])
    assert same_bits(a[1], b[1])


WALK = """
import sys
import numpy as np, schuss
from helpers import digest, gradients, normal
from test_own_rules import TWINS
schuss.set_num_threads(int(sys.argv[1]))
for name, (make, twin, hypers) in TWINS.items():
    for dtype in (np.float32, np.float64):
        p = normal(1, 300_001, dtype)
        opt = make(p, clip=1.0)
        for g in gradients(2, p.size, 2, dtype):
            opt.step(g)
        print(digest([p, opt.state]))
"""


def test_levels_and_threads_agree_bit_for_bit() -> None:
    levels = schuss.info()["levels"]
    said = {output_of(WALK, "1", env={"SCHUSS_CPU_LEVEL": level}) for level in levels}
    said |= {output_of(WALK, threads) for threads in ("2", "3")}
    assert len(said) == 1


# Any text, against NumPy, operation by operation.

_ELEMENTS = ["p", "g", "m", "v"]
_NUMBERS = ["a", "b", "t", "2", "0.5", "3e-3"]


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})")
    unary = st.tuples(st.sampled_from(["sqrt", "abs", "sign", "-"]), inner).map(lambda each: f"{each[0]}({each[1]})")
    ends = st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda each: f"{each[0]}({each[1]}, {each[2]})")
    compared = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    chosen = st.tuples(inner, compared, inner, inner, inner).map(
        lambda each: f"where({each[0]} {each[1]} {each[2]}, {each[3]}, {each[4]})"
    )
    both = st.tuples(inner, inner, inner, inner).map(
        lambda each: f"where({each[0]} < {each[1]} and not {each[2]} == {each[3]}, {each[0]}, {each[3]})"
    )
    powers = st.tuples(inner, st.integers(2, 4)).map(lambda each: f"({each[0]}) ** {each[1]}")
    return st.one_of(binary, binary, binary, unary, ends, chosen, both, powers)


_EXPRESSIONS = st.recursive(st.sampled_from(_ELEMENTS * 2 + _NUMBERS), _grow, max_leaves=12)


def _power(x: Any, n: int) -> Any:
    product = x
    for _ in range(n - 1):
        product = product * x
    return product


NUMPY = {
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": lambda x: np.where(x > 0, 1.0, np.where(x < 0, -1.0, x)),
    "min": lambda x, y: np.where(x < y, x, y),
    "max": lambda x, y: np.where(x > y, x, y),
    "where": np.where,
}


def _spelt(text: str) -> str:
    """As NumPy takes it: ``and not`` bound as Python binds it, literals arrays."""

    class Words(ast.NodeTransformer):
        def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
            left, right = map(self.visit, node.values)
            return ast.BinOp(left, ast.BitAnd(), right)

        def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
            inner = self.visit(node.operand)
            return ast.UnaryOp(ast.Invert() if isinstance(node.op, ast.Not) else node.op, inner)

        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            left = self.visit(node.left)
            if isinstance(node.op, ast.Pow):
                return ast.Call(ast.Name("power", ast.Load()), [left, node.right], [])
            return ast.BinOp(left, node.op, self.visit(node.right))

        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Call(ast.Name("array", ast.Load()), [node], [])

    return ast.unparse(ast.fix_missing_locations(Words().visit(ast.parse(text))))


@settings(max_examples=300, deadline=None)
@given(one=_EXPRESSIONS, two=_EXPRESSIONS, three=_EXPRESSIONS, swap=st.booleans())
def test_any_text_is_what_numpy_computes_operation_by_operation(one: str, two: str, three: str, swap: bool) -> None:
    lines = [f"local = {one} + g", "m = local * a + p", f"v = {two} - b", f"p = {three}"]
    text = "\n".join([*lines, *(["v = m + t"] if swap else []), "m = v - m"])
    make = schuss.rule("Any", text, hypers={"a": 0.3, "b": -2.0}, slots={"m": 0.25, "v": 1})
    p, g = normal(1, 700), normal(2, 700)
    want: dict[str, Any] = {
        **{"p": p.copy(), "m": np.full(700, 0.25), "v": np.ones(700), "a": np.float64(0.3), "b": np.float64(-2.0)},
        **NUMPY,
        "power": _power,
        "array": lambda x: np.float64(x),
    }
    opt = make(p)
    for step in (1, 2):
        opt.step(g)
        with np.errstate(all="ignore"):
            exec(_spelt(text), want | {"g": g, "t": np.float64(step)}, want)
        for name in ("m", "v"):
            want[name] = np.where(np.abs(want[name]) < np.finfo(np.float64).tiny, 0.0, want[name])
        for name, got in (("p", p), *opt.state.items()):
            np.testing.assert_array_equal(got, np.broadcast_to(want[name], 700), err_msg=f"{name} of {text}")


def test_slots_may_change_places() -> None:
    make = schuss.rule("Swap", "old = m; m = v; v = old; p = g", slots={"m": 1, "v": 2})
    p = np.zeros(3)
    opt = make(p)
    opt.step(np.array([1.0, 2.0, 3.0]))
    assert opt.state["m"].tolist() == [2, 2, 2]
    assert opt.state["v"].tolist() == [1, 1, 1]
    assert p.tolist() == [1, 2, 3]


def test_a_slot_may_keep_the_parameter_as_it_was() -> None:
    make = schuss.rule("Last", "last = p; p = p - g; sum = sum + p + last", slots={"last": 0, "sum": 0})
    p = np.array([5.0, 6.0])
    opt = make(p)
    opt.step(np.array([1.0, 2.0]))
    assert p.tolist() == [4, 4]
    assert opt.state["last"].tolist() == [5, 6]
    assert opt.state["sum"].tolist() == [9, 10]


def test_p_may_be_its_own_gradient() -> None:
    make = schuss.rule("Own", "p = p - 0.5 * g; m = m + g + p", slots={"m": 0})
    p = np.array([2.0, -4.0])
    opt = make(p)
    opt.step(p)
    assert p.tolist() == [1, -2]
    assert opt.state["m"].tolist() == [3, -6]


def test_subnormal_slots_are_stored_as_zero() -> None:
    make = schuss.rule("Falling", "m = 0.5 * m + g; p = p - m", slots={"m": 0})
    p = np.zeros(2, np.float32)
    opt = make(p)
    opt.step(np.full(2, np.finfo(np.float32).tiny))
    opt.step(np.zeros(2, np.float32))
    assert raw(opt.state["m"]) == bytes(8)


def test_numbers_are_computed_in_double_and_rounded_once() -> None:
    text = "rate = lr * exp(-t / 3) * cos(t) + log(2.5) * t**0.3; p = p - rate * g"
    make = schuss.rule("Numbers", text, hypers={"lr": 0.1})
    p = np.zeros(1, np.float32)
    opt = make(p)
    for t in (1, 2, 3):
        p[:] = 0
        opt.step(np.ones(1, np.float32))
        want = 0.1 * np.exp(-t / 3) * np.cos(t) + np.log(2.5) * t**0.3
        assert abs(float(-p[0]) - want) <= 2**-24 * abs(want) * 1.001


# A class like the others.


def test_it_is_a_class_like_the_others() -> None:
    make, _, _ = TWINS["adamw"]
    assert issubclass(make, schuss.Optimizer)
    assert make.__name__ == "OwnAdamW"
    assert make.__module__ == __name__
    assert "v = v + (1 - beta2)" in (make.__doc__ or "")
    assert make.rule.defaults == {name: value[0] for name, value in ADAMW_HYPERS.items()}
    with pytest.raises(TypeError, match=r"OwnAdamW\(\) got an unknown hyper 'beta3'; it takes lr, beta1"):
        make(np.ones(2), beta3=1)
    with pytest.raises(ValueError, match=r"OwnAdamW\(\): beta1 is 1, expected a number in \[0, 1\)"):
        make(np.ones(2), beta1=1.0)


def test_the_catalog_does_not_change() -> None:
    assert not any("own" in name for name in schuss.rules())
    assert not hasattr(schuss, "OwnAdamW")


def test_its_cost_counts_what_it_moves() -> None:
    make, twin, _ = TWINS["adamw"]
    own, compiled = make(np.ones(1000, np.float32)).cost(), twin(np.ones(1000, np.float32)).cost()
    for key in ("elements", "bytes_moved", "bytes_kept", "flops"):
        assert own[key] == compiled[key], key
    assert own["seconds"] > 0


def test_an_optimizer_outlives_the_name_of_its_class() -> None:
    p = np.ones(3)
    opt = schuss.rule("Short", "p -= lr * g", hypers={"lr": 0.5})(p)
    gc.collect()
    opt.step(np.ones(3))
    assert p.tolist() == [0.5, 0.5, 0.5]


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    make, _, _ = TWINS["adamw"]
    a = normal(1, 100)
    opt = make(a)
    opt.step(normal(2, 100))
    schuss.save(tmp_path / "opt", opt)
    b = a.copy()
    other = make(b)
    schuss.load(tmp_path / "opt", other)
    for each in (opt, other):
        each.step(normal(3, 100))
    assert same_bits(a, b)


def test_a_state_goes_into_the_same_computation_only() -> None:
    hypers = {"lr": 0.1}
    text = "m = m + g\np = p - lr * m  # plain"
    opt = schuss.rule("Plain", text, hypers=hypers, slots={"m": 0})(np.ones(2))
    opt.step(np.ones(2))
    saved = opt.state_dict()
    again = schuss.rule("Plain", "m += g; change = lr * m; p -= change", hypers={"lr": 0.5}, slots={"m": 0})(np.ones(2))
    again.load_state_dict(saved)
    assert again.clock == 1
    other = schuss.rule("Plain", "m = m - g\np = p + lr * m", hypers=hypers, slots={"m": 0})(np.ones(2))
    with pytest.raises(ValueError, match="another text of the rule 'Plain'"):
        other.load_state_dict(saved)
    assert other.clock == 0
    with pytest.raises(ValueError, match="the state is of rule 'Plain', expected 'sgd'"):
        schuss.SGD(np.ones(2), momentum=0.9).load_state_dict(saved)


def test_bfloat16_parameters_are_stepped() -> None:
    p = np.ones(3, BFLOAT16)
    schuss.rule("Half", "p = p / 2 + 0 * g")(p).step(np.ones(3, BFLOAT16))
    assert p.astype(float).tolist() == [0.5, 0.5, 0.5]
