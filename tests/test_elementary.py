"""exp, log, cos, sin and power answer to mpmath, and give the same bits from every compiler."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mpmath import mp, mpf
from schuss import _core

e = _core.elementary
INCLUDE = Path(__file__).resolve().parent.parent / "cpp" / "include"
RNG = np.random.default_rng(7)


def worst_ulp(got, want):
    """The largest error in units of the last place of the true value."""
    worst = 0.0
    for g, w in zip(got.tolist(), want, strict=True):
        if not np.isfinite(g):
            assert float(w) == g
            continue
        exponent = mp.frexp(abs(w))[1] - 1 if w else -1074
        worst = max(worst, float(abs(mpf(g) - w) / mpf(2) ** (max(exponent, -1022) - 52)))
    return worst


def reference(function, *arguments, digits=60):
    with mp.workdps(digits):
        return [function(*(mpf(a) for a in row)) for row in zip(*arguments, strict=True)]


def any_doubles(n):
    x = RNG.integers(0, 2**63, n, dtype=np.uint64).view(np.float64)
    return x[np.isfinite(x)]


def near_one(n):
    return 1 + RNG.choice([-1, 1], n) * 10 ** RNG.uniform(-16, -0.5, n)


def test_exp_is_within_an_ulp():
    x = np.r_[RNG.uniform(-745, 709.7, 3000), RNG.uniform(-1, 1, 3000), 0.0, -0.0, 1e-300]
    assert worst_ulp(e.exp(x), reference(mp.exp, x)) < 0.8


def test_exp_of_normal_results_is_nearly_correctly_rounded():
    x = RNG.uniform(-708, 709.7, 3000)
    assert worst_ulp(e.exp(x), reference(mp.exp, x)) < 0.52


def test_log_is_nearly_correctly_rounded():
    x = np.r_[any_doubles(3000), near_one(3000), RNG.uniform(0.5, 2, 3000), 5e-324, 1e-310]
    assert worst_ulp(e.log(x), reference(mp.log, x)) < 0.51


@pytest.mark.parametrize("name", ["cos", "sin"])
def test_cos_and_sin_are_within_an_ulp(name):
    x = np.r_[RNG.uniform(-4, 4, 3000), RNG.uniform(-1e6, 1e6, 500), any_doubles(500)]
    # The second is the double nearest to a multiple of pi/2 of all.
    x = np.r_[x, np.pi / 2, 6381956970095103.0 * 2.0**797, 1e22, 1.7976931348623157e308, 5e-324]
    want = reference(getattr(mp, name), x, digits=400)
    assert worst_ulp(getattr(e, name)(x), want) < 0.8


def test_power_is_within_an_ulp():
    x = np.r_[np.abs(any_doubles(2000)), near_one(2000), RNG.uniform(0.5, 2, 2000)]
    x = x[(x > 0) & (x != 1)]
    y = RNG.uniform(-745, 709, x.size) / np.log(x)
    y[::2] /= 100
    assert worst_ulp(e.power(x, y), reference(mp.power, x, y)) < 0.8


def test_integer_power_is_within_an_ulp_up_to_a_thousand_million_steps():
    x = np.r_[RNG.uniform(0.8, 1, 2000), 1 - 10 ** RNG.uniform(-12, -1, 2000), [0.9, 0.999] * 500]
    n = (10 ** RNG.uniform(0, 9, x.size)).astype(np.int64)
    n = np.minimum(n, (700 / -np.log(x)).astype(np.int64))
    assert worst_ulp(e.integer_power(x, n), reference(mp.power, x, n.tolist())) < 0.52


def test_integer_power_keeps_every_bit_of_a_large_exponent():
    x = 1 - RNG.integers(1, 50, 500) * 2.0**-53
    n = RNG.integers(2**53, 2**62, 500)
    n = np.where(n * -np.log(x) > 700, 2**53 + n % 2**52, n)
    want = reference(mp.power, x, n.tolist())
    assert worst_ulp(e.integer_power(x, n), want) < 0.52


def test_exact_powers_are_exact():
    n = np.arange(-1074, 1024)
    assert np.array_equal(e.integer_power(2.0, n), np.ldexp(1.0, n))
    assert e.integer_power(-3.0, np.arange(4)).tolist() == [1, -3, 9, -27]
    assert e.power(np.array([4.0, 9.0]), 0.5).tolist() == [2, 3]


def test_power_has_the_special_values_of_c():
    special = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, np.inf, -np.inf, np.nan]
    special += [2.5, -2.5, 1e308, -1e308, 2.0**53 + 2, 5e-324]
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        want = np.power(x, y)
    got = e.power(x, y)
    np.testing.assert_allclose(got, want, rtol=1e-15)
    assert np.array_equal(np.signbit(got[got == got]), np.signbit(want[want == want]))
    whole = (y == np.trunc(y)) & (np.abs(y) < 1e10)
    again = e.integer_power(x[whole], y[whole].astype(np.int64))
    assert np.array_equal(again, got[whole], equal_nan=True)


def test_the_ends_of_the_range_are_those_of_c():
    x = np.array([np.inf, -np.inf, np.nan, 709.79, -745.2, 1e300, -1e300])
    assert np.array_equal(e.exp(x), [np.inf, 0, np.nan, np.inf, 0, np.inf, 0], equal_nan=True)
    x = np.array([0.0, -0.0, np.inf, -1.0, np.nan, 1.0])
    assert np.array_equal(e.log(x), [-np.inf, -np.inf, np.inf, np.nan, np.nan, 0], equal_nan=True)
    assert np.isnan(e.cos(np.array([np.inf, -np.inf, np.nan]))).all()
    assert np.isnan(e.sin(np.array([np.inf, -np.inf, np.nan]))).all()


def test_root_is_the_square_root():
    x = np.abs(any_doubles(1000))
    assert np.array_equal(e.root(x), np.sqrt(x))


PROBE = r"""
#include <cstdio>
#include "schuss/control/elementary.hpp"
using namespace schuss;
namespace e = schuss::elementary;
uint64_t state = 88172645463325252u, hash = 1469598103934665603u;
uint64_t next() {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return state;
}
void mix(double v) { hash = (hash ^ (v != v ? 1 : e::bits_of(v))) * 1099511628211u; }
int main() {
    for (int i = 0; i < 20000; ++i) {
        const double any = e::from_bits(next()), size = e::magnitude(any);
        const double unit = double(next() >> 11) * 0x1p-53;
        const uint64_t n = next(), shift = next() % 60;
        mix(e::exp(any)); mix(e::exp(1500 * unit - 750));
        mix(e::log(size)); mix(e::log(0.5 + unit));
        mix(e::cos(any)); mix(e::sin(any)); mix(e::cos(10 * unit)); mix(e::root(size));
        mix(e::power(unit, int64_t(n >> shift))); mix(e::power(size, 200 * unit - 100));
        mix(e::power(0.9 + 0.1 * unit, int64_t(n % 10000)));
    }
    std::printf("%016llx", static_cast<unsigned long long>(hash));
}
"""
BUILDS = {
    f"{compiler} {flags}": ([compiler, *flags.split()], [])
    for compiler in ("g++", "clang++-14")
    for flags in ("-O0", "-O2", "-O3 -march=native")
}
BUILDS["aarch64"] = (["aarch64-linux-gnu-g++", "-O2", "-static"], ["qemu-aarch64-static"])


@pytest.mark.parametrize("build", BUILDS)
def test_every_compiler_gives_the_same_bits(build, tmp_path):
    command, runner = BUILDS[build]
    if not all(shutil.which(tool) for tool in (command[0], *runner)):
        pytest.skip("not installed here")
    source, program = tmp_path / "probe.cpp", tmp_path / "probe"
    source.write_text(PROBE)
    flags = ["-std=c++17", "-ffp-contract=off", f"-I{INCLUDE}"]
    subprocess.run([*command, *flags, str(source), "-o", str(program)], check=True)
    got = subprocess.run([*runner, str(program)], check=True, capture_output=True, text=True)
    # Held here: these bits are a promise to every later version too.
    assert got.stdout == "704408e2aab401fd"
