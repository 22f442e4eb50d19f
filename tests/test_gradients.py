"""Gradients changed in place before a step: centred, clipped by unit, with noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import schuss
from helpers import BFLOAT16, DTYPES, normal, output_of, same_bits, tree_bits

FUNCTIONS: Any = schuss.gradients  # for arguments of the wrong type
SHAPES: list[tuple[int, ...]] = [
    (4, 3),
    (1, 9),
    (9, 1),
    (130, 700),
    (3, 5000),
    (5000, 3),
    (8, 3, 3, 3),
    (3, 4, 5),
    (65, 513),
    (1, 1),
    (0, 3),
    (3, 0),
]


def reduced(ndim: int, axes: str) -> tuple[int, ...]:
    """All dimensions but the one that counts outputs."""
    return tuple(range(1, ndim)) if axes == "torch" else tuple(range(ndim - 1))


def centred(g: np.ndarray, axes: str) -> np.ndarray:
    return g - g.astype(np.longdouble).mean(axis=reduced(g.ndim, axes), keepdims=True).astype(g.dtype) if g.size else g


def unit_norms(x: np.ndarray, axes: str) -> np.ndarray:
    if x.ndim < 2:
        return np.sqrt((x * x).sum())
    return np.sqrt((x * x).sum(axis=reduced(x.ndim, axes), keepdims=True))


def timms(p: np.ndarray, g: np.ndarray, limit: float, eps: float) -> np.ndarray:
    """timm's adaptive_clip_grad."""
    most = np.maximum(unit_norms(p, "torch"), eps) * limit
    norm = unit_norms(g, "torch")
    return np.where(norm < most, g, g * (most / np.maximum(norm, 1e-6)))


# Centred.


@pytest.mark.parametrize("axes", ["torch", "jax"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_mean_of_each_unit_is_taken_away(shape: tuple[int, ...], axes: Any) -> None:
    g = normal(1, shape) + 3
    want = centred(g, axes)
    schuss.gradients.centralize({"w": g}, axes=axes)
    np.testing.assert_allclose(g, want, rtol=0, atol=4e-15)


@pytest.mark.parametrize("axes", ["torch", "jax"])
def test_low_precision_is_summed_in_float64_and_rounded_once(axes: Any) -> None:
    for dtype in (np.dtype(np.float32), BFLOAT16):
        g = (normal(2, (300, 90)) + 5).astype(dtype)
        mean = g.astype(np.float64).mean(axis=reduced(2, axes), keepdims=True)
        want = (g.astype(np.float32) - mean.astype(np.float32)).astype(dtype)
        schuss.gradients.centralize(g, axes=axes)
        assert same_bits(g, want)


def test_biases_and_gradients_of_none_are_passed_over() -> None:
    grads = {"b": normal(3, 5), "s": normal(4, ()), "w": None}
    before = {name: None if g is None else g.copy() for name, g in grads.items()}
    schuss.gradients.centralize(grads)
    assert tree_bits(grads) == tree_bits(before)


def test_an_array_met_twice_is_changed_once() -> None:
    g, p = normal(5, (4, 4)) * 9, normal(6, (4, 4))
    once, clipped, noisy = g.copy(), g.copy(), g.copy()
    schuss.gradients.centralize([once])
    tied = g.copy()
    schuss.gradients.centralize([tied, tied])
    assert same_bits(tied, once)
    schuss.clipping.adaptive([p], [clipped], 0.1)
    tied = g.copy()
    schuss.clipping.adaptive([p, p], [tied, tied], 0.1)
    assert same_bits(tied, clipped)
    schuss.gradients.add_noise([noisy], eta=1.0, step=0)
    tied = g.copy()
    schuss.gradients.add_noise([tied, tied], eta=1.0, step=0)
    assert same_bits(tied, noisy)


# Clipped by unit.


@pytest.mark.parametrize("limit", [0.01, 0.5])
@pytest.mark.parametrize("shape", [*SHAPES, (7,), ()], ids=str)
def test_units_are_clipped_as_timm_does(shape: tuple[int, ...], limit: float) -> None:
    p, g = np.asarray(normal(7, shape) * 1e-2), np.asarray(normal(8, shape) * 3e-3)
    want = timms(p, g, limit, 1e-3)
    schuss.clipping.adaptive({"w": p}, {"w": g}, limit)
    np.testing.assert_allclose(g, want, rtol=2e-14)


@pytest.mark.parametrize("shape", [(40, 30), (1, 9), (9, 1), (3, 3, 4, 8), (7,), (5000, 3), (130, 700)], ids=str)
def test_units_are_clipped_as_optax_does(shape: tuple[int, ...]) -> None:
    optax = pytest.importorskip("optax")
    p, g = normal(9, shape, np.float32) * np.float32(0.01), normal(10, shape, np.float32) * np.float32(1e-3)
    rule = optax.adaptive_grad_clip(0.05, eps=1e-3)
    want, _ = rule.update(g, rule.init(p), p)
    schuss.clipping.adaptive(p, g, 0.05, axes="jax")
    np.testing.assert_allclose(g, np.asarray(want), rtol=3e-6)


@pytest.mark.parametrize("axes", ["torch", "jax"])
def test_after_clipping_no_unit_is_above_its_share(axes: Any) -> None:
    p, g = normal(11, (50, 40)), normal(12, (50, 40)) * 10.0 ** np.arange(-25, 25)[:, None]
    schuss.clipping.adaptive(p, g, 0.1, axes=axes)
    most = 0.1 * np.maximum(unit_norms(p, axes), 1e-3)
    assert (unit_norms(g, axes) <= most * (1 + 1e-14)).all()


def test_a_norm_that_is_not_finite_clips_nothing() -> None:
    p, g = np.ones((3, 2)), np.array([[np.inf, 5.0], [np.nan, 5.0], [3.0, 4.0]])
    schuss.clipping.adaptive(p, g, 0.1)
    assert g[0, 1] == g[1, 1] == 5.0
    assert g[2, 1] < 1.0


def test_gradients_of_another_format_than_their_parameters_are_clipped() -> None:
    p, g = normal(13, (20, 30), BFLOAT16), normal(14, (20, 30), np.float32)
    want = timms(p.astype(np.float64), g.astype(np.float64), 0.01, 1e-3)
    schuss.clipping.adaptive(p, g)
    np.testing.assert_allclose(g, want, rtol=1e-6)


# Noise.


def test_the_quantiles_are_those_of_the_normal_distribution() -> None:
    stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    z = np.zeros(400_000)
    schuss.gradients.add_noise({"w": z}, eta=1.0, seed=3, step=0)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for moment, want, deviation in ((1, 0, 1), (2, 1, math.sqrt(2)), (3, 0, math.sqrt(15)), (4, 3, math.sqrt(96))):
        assert abs((z**moment).mean() - want) < 4 * deviation / math.sqrt(z.size), moment
    for far in (3.0, 4.0):
        expected = z.size * special.erfc(far / math.sqrt(2))
        assert abs((abs(z) > far).sum() - expected) < 4 * math.sqrt(expected)


def test_the_bits_go_through_the_inverse_distribution() -> None:
    special = pytest.importorskip("scipy.special")
    mask = (1 << 64) - 1

    def mixed(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        return x ^ x >> 31

    name_hash = 0xCBF29CE484222325
    for letter in b"deep/w":
        name_hash = (name_hash ^ letter) * 0x100000001B3 & mask
    key = mixed((mixed(mixed(11) ^ name_hash) + 4 * 0x9E3779B97F4A7C15) & mask)
    places = [mixed(mixed((i * 0x9E3779B97F4A7C15 + key) & mask) ^ key) for i in range(3000)]
    u = np.array([((bits >> 12) + 0.5) * 2.0**-52 for bits in places])
    z = np.zeros(3000)
    schuss.gradients.add_noise({"deep": {"w": z}}, eta=4.0, gamma=0.5, seed=11, step=4)
    deviation = math.sqrt(4.0 * 5.0**-0.5)
    np.testing.assert_allclose(z, deviation * special.ndtri(u), rtol=1e-13, atol=1e-15)


def test_noise_depends_on_seed_step_and_name_and_falls() -> None:
    def noise(name: str = "w", **given: Any) -> np.ndarray:
        z = np.zeros(20_000)
        schuss.gradients.add_noise({name: z}, **{"eta": 0.3, "seed": 1, "step": 5, **given})
        return z

    base = noise()
    assert same_bits(noise(), base)
    for other in (noise("v"), noise(seed=2), noise(step=6)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.03
    assert noise(step=99).std() == pytest.approx(math.sqrt(0.3 / 100**0.55), rel=0.03)
    assert not noise(eta=0.0).any()


def test_neighbours_are_independent() -> None:
    z = np.zeros(200_000)
    schuss.gradients.add_noise(z, eta=1.0, step=0)
    for lag in (1, 2, 7, 64, 4096):
        assert abs((z[:-lag] * z[lag:]).mean()) < 4 / math.sqrt(z.size)


# All three.


def changes() -> dict[str, Any]:
    return {
        "centred": lambda p, g, axes: schuss.gradients.centralize(g, axes=axes),
        "clipped": lambda p, g, axes: schuss.clipping.adaptive(p, g, 0.1, axes=axes),
        "noisy": lambda p, g, axes: schuss.gradients.add_noise(g, eta=0.1, step=3),
    }


@pytest.mark.parametrize("axes", ["torch", "jax"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", changes())
def test_strided_gradients_have_the_bits_of_dense_ones(change: str, dtype: str, axes: str) -> None:
    for shape in ((70, 600), (600, 70), (3, 5, 7)):
        p, home = normal(15, shape, DTYPES[dtype]), normal(16, (*shape[:-1], 2 * shape[-1]), DTYPES[dtype])
        view, around = home[..., ::2], home.copy()
        dense = view.copy()
        turned = np.asfortranarray(dense)
        for g in (view, dense, turned):
            changes()[change]({"w": p}, {"w": g}, axes)
        assert same_bits(view, dense)
        assert same_bits(turned, dense)
        assert same_bits(home[..., 1::2], around[..., 1::2])
        assert not same_bits(dense, around[..., ::2])


CODE = """
import sys, hashlib, numpy as np, schuss
from helpers import DTYPES, normal, raw
schuss.set_num_threads(int(sys.argv[1]))
found = hashlib.sha256()
for dtype in DTYPES.values():
    for axes in ("torch", "jax"):
        shapes = {"a": (700, 333), "b": (3, 50_000), "c": (50_000, 3), "d": (70_001,), "e": (8, 9, 5, 5)}
        params = {n: normal(i, s, dtype) for i, (n, s) in enumerate(shapes.items())}
        grads = {n: normal(9 + i, s, dtype) for i, (n, s) in enumerate(shapes.items())}
        schuss.gradients.add_noise(grads, eta=0.3, seed=5, step=2)
        schuss.gradients.centralize(grads, axes=axes)
        schuss.clipping.adaptive(params, grads, 0.1, axes=axes)
        for g in grads.values():
            found.update(raw(g))
print(found.hexdigest())
"""


def test_levels_and_threads_agree_bit_for_bit() -> None:
    from schuss import _core

    found = {output_of(CODE, threads, env={"SCHUSS_CPU_LEVEL": level}) for level in _core.levels for threads in "13"}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: FUNCTIONS.centralize({"w": g}, axes="tf"), "axes is 'tf', expected 'torch'"),
        (lambda g: schuss.clipping.adaptive(g, g, -1.0), "limit is -1.0, expected a finite number above 0"),
        (lambda g: schuss.clipping.adaptive(g, g, eps=0.0), "eps is 0.0, expected a finite number above 0"),
        (lambda g: schuss.clipping.adaptive({"v": g}, {"w": g}), "grads have a leaf w, which params lack"),
        (lambda g: schuss.clipping.adaptive({"w": g[:1]}, {"w": g}), r"grads w: shape \(2, 2\), expected \(1, 2\)"),
        (lambda g: FUNCTIONS.add_noise({"w": g}, eta=-1.0, step=0), "eta is -1.0, expected a finite number"),
        (lambda g: FUNCTIONS.add_noise({"w": g}, eta=1.0, step=-1), "step is -1, expected 0 or more"),
        (lambda g: FUNCTIONS.add_noise({"w": g}, eta=1.0, step=0.5), r"step is 0.5 \(float\)"),
        (lambda g: FUNCTIONS.add_noise({"w": g}, eta=1.0, step=0, seed=-3), "seed is -3, expected 0 or more"),
    ],
)
def test_bad_settings_are_refused_with_nothing_written(call: Any, message: str) -> None:
    g = normal(17, (2, 2))
    before = g.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        call(g)
    assert same_bits(g, before)


def test_read_only_gradients_are_refused_by_name() -> None:
    g = normal(18, (2, 2))
    g.flags.writeable = False
    with pytest.raises(ValueError, match=r"grads\['w'\]"):
        schuss.gradients.centralize({"w": g})


def test_arrays_on_a_device_are_refused(cuda: Any, cupy: Any) -> None:
    g = cupy.zeros((2, 2), np.float32)
    for call in changes().values():
        with pytest.raises(TypeError, match="takes arrays on the CPU; on CUDA device 0 do it with"):
            call({"w": g}, {"w": g}, "torch")


def test_torch_gradients_are_changed_in_place() -> None:
    torch = pytest.importorskip("torch")
    g = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    version = g._version
    schuss.gradients.centralize([g])
    assert g.tolist() == [[-1.0, 1.0], [-2.0, 2.0]]
    assert g._version > version
