// exp, log, cos, sin, power and root in double, within 1 ulp, from IEEE-exact operations only: + - * / root,
// comparisons and integer bits. The same glibc gives other bits for these with and without FMA; this text
// gives the same on every compiler, level and engine, as long as nothing contracts a*b + c
// (-ffp-contract=off). Measured against mpmath: exp, log, power 0.51 ulp (0.75 where the result is
// subnormal), cos and sin 0.75; 4 to 27 ns a call, powers of 10^9 included. Rounding is to nearest.
// A Pair is the unevaluated sum hi + lo, |lo| at most half an ulp of hi.
#pragma once

#include "../config.hpp"

namespace schuss {
namespace elementary {

struct Pair {
  double hi, lo;
};

SCHUSS_FN uint64_t bits_of(double x) { return bits_as<uint64_t>(x); }
SCHUSS_FN double from_bits(uint64_t bits) { return bits_as<double>(bits); }

SCHUSS_FN double infinity() { return from_bits(0x7ff0000000000000u); }
SCHUSS_FN double not_a_number() { return from_bits(0x7ff8000000000000u); }
SCHUSS_FN double magnitude(double x) { return schuss::magnitude(x); }
SCHUSS_FN double root(double x) { return schuss::sqrt(x); }

// ---- pairs ----

SCHUSS_FN constexpr Pair two_sum(double a, double b) {
  const double sum = a + b, of_b = sum - a;
  return {sum, (a - (sum - of_b)) + (b - of_b)};
}

// For |a| >= |b|.
SCHUSS_FN constexpr Pair fast_two_sum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}

// Dekker's product: without FMA, the halves of both factors multiply exactly.
SCHUSS_FN constexpr Pair two_product(double a, double b) {
  const double half = 134217729.0;  // 2^27 + 1
  const double wide_a = half * a, wide_b = half * b;
  const double a_hi = wide_a - (wide_a - a), b_hi = wide_b - (wide_b - b);
  const double a_lo = a - a_hi, b_lo = b - b_hi, product = a * b;
  return {product, ((a_hi * b_hi - product) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo};
}

SCHUSS_FN constexpr Pair add(Pair a, Pair b) {
  const Pair sum = two_sum(a.hi, b.hi);
  return fast_two_sum(sum.hi, sum.lo + (a.lo + b.lo));
}

SCHUSS_FN constexpr Pair multiply(Pair a, Pair b) {
  const Pair product = two_product(a.hi, b.hi);
  return fast_two_sum(product.hi, product.lo + (a.hi * b.lo + a.lo * b.hi));
}

SCHUSS_FN constexpr Pair divide(Pair a, Pair b) {
  const double first = a.hi / b.hi;
  const Pair taken = multiply(b, {first, 0});
  const Pair rest = add(a, {-taken.hi, -taken.lo});
  return fast_two_sum(first, rest.hi / b.hi);
}

// ---- tables, made by the compiler ----

struct LogTable {  // for the i-th of 128 slices of [0.708, 1.417): 1/c to 10 bits, and log c
  double inverse[128], hi[128], lo[128];
};

struct ExpTable {  // 2^(i/64)
  double hi[64], lo[64];
};

// The slices start here, so that 1 lies inside one of them (whose c is 1) and log stays exact around it.
SCHUSS_TABLE uint64_t first_slice = 0x3fe6aaab00000000u;

constexpr LogTable make_log_table() {
  LogTable table{};
  const double start = 436907.0 / 1048576;  // the fraction of first_slice: 0x6aaab / 2^20
  for (int i = 0; i < 128; ++i) {
    const double left = start + i / 128.0, middle = left + 1 / 256.0;
    const double centre = left + 1 / 128.0 < 1 ? (1 + middle) / 2 : left < 1 ? 1 : middle;
    const double inverse = static_cast<int>(1024 / centre + 0.5) / 1024.0;
    // log c = -log(inverse) = 2 artanh s
    const Pair s = divide({1 - inverse, 0}, {1 + inverse, 0}), square = multiply(s, s);
    Pair sum{0, 0};
    for (int k = 47; k >= 1; k -= 2) sum = add(multiply(sum, square), divide({1, 0}, {1.0 * k, 0}));
    const Pair log = multiply({2 * s.hi, 2 * s.lo}, sum);
    // A multiple of 2^-42, so that k log 2 + log c is exact in its first part.
    const double hi = (log.hi + 1536.0) - 1536.0;
    table.inverse[i] = inverse;
    table.hi[i] = hi;
    table.lo[i] = (log.hi - hi) + log.lo;
  }
  return table;
}

constexpr ExpTable make_exp_table() {
  ExpTable table{};
  for (int i = 0; i < 64; ++i) {
    const Pair x = multiply({0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56}, {i / 64.0, 0});
    Pair sum{1, 0};
    for (int k = 28; k >= 1; --k) sum = add(divide(multiply(sum, x), {1.0 * k, 0}), {1, 0});
    table.hi[i] = sum.hi;
    table.lo[i] = sum.lo;
  }
  return table;
}

SCHUSS_TABLE LogTable log_table = make_log_table();
SCHUSS_TABLE ExpTable exp_table = make_exp_table();

// ---- exp and log around pairs ----

// log x for finite x > 0, to 2^-68 of itself.
SCHUSS_FN Pair log_pair(double x) {
  double k = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p52;
    k = -52;
  }
  const uint64_t bits = bits_of(x), offset = bits - first_slice;
  const auto slice = static_cast<unsigned>(offset >> 45) & 127u;
  k += static_cast<double>(static_cast<int64_t>(offset) >> 52);
  const uint64_t z_bits = bits - (offset & 0xfff0000000000000u);
  // x = 2^k z; r = z/c - 1 in two parts, both exact, since 1/c and the upper part of z are short.
  // Rounded to nearest, the upper part of a z near 1 is 1 itself, and r_lo is never more than r.
  const double z = from_bits(z_bits), z_hi = from_bits((z_bits + 0x80000000u) & 0xffffffff00000000u);
  const double inverse = log_table.inverse[slice];
  const double r_hi = z_hi * inverse - 1, r_lo = (z - z_hi) * inverse, r = r_hi + r_lo;
  const double lost = (r_hi - r) + r_lo;
  // log(1 + r) = r - r^2/2 + tail
  const double tail =
      r * r * r *
      (1.0 / 3 +
       r * (-1.0 / 4 + r * (1.0 / 5 + r * (-1.0 / 6 + r * (1.0 / 7 + r * (-1.0 / 8 + r * (1.0 / 9)))))));
  const double square = -0.5 * (r_hi * r_hi), square_lo = -0.5 * (r_lo * (r_hi + r));
  const double whole = k * 0x1.62e42fefa3800p-1 + log_table.hi[slice];
  const double whole_lo = k * 0x1.ef35793c76730p-45 + log_table.lo[slice];
  const Pair first = two_sum(whole, r), second = two_sum(first.hi, square);
  return fast_two_sum(second.hi, second.lo + (first.lo + (whole_lo + (lost + (square_lo + tail)))));
}

// exp(hi + lo) for hi in [-746, 710].
SCHUSS_FN double exp_pair(double hi, double lo) {
  // hi = n log 2 / 64 + r, the first part of log 2 / 64 short enough that n times it is exact.
  const double n = (hi * 0x1.71547652b82fep+6 + 0x1.8p52) - 0x1.8p52;
  const double r = (hi - n * 0x1.62e42fefa0000p-7) - (n * 0x1.cf79abc9e3b3ap-46 - lo);
  const auto whole = static_cast<int64_t>(n);
  const auto part = static_cast<unsigned>(whole & 63);
  const int64_t exponent = whole >> 6;
  const double grown =
      r + r * r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720)))));
  const double base = exp_table.hi[part], value = base + (exp_table.lo[part] + base * grown);
  // At the ends of the range the scale itself is not a number: it is applied in two steps.
  const int64_t over = exponent > 1023 ? 1 : exponent < -1021 ? -64 : 0;
  const double scaled = value * from_bits(static_cast<uint64_t>(exponent - over + 1023) << 52);
  return over == 0 ? scaled : scaled * from_bits(static_cast<uint64_t>(over + 1023) << 52);
}

// x^(y + y_lo) for finite x > 0.
SCHUSS_FN double power_of_positive(double x, double y, double y_lo) {
  const Pair log = log_pair(x);
  const double rough = y * log.hi;
  if (rough == 0) return 1;  // a y too large to be split lets nothing else but x = 1 through here
  if (rough > 710) return infinity();
  if (rough < -746) return 0;
  const Pair product = two_product(y, log.hi);
  return exp_pair(product.hi, product.lo + (y * log.lo + y_lo * log.hi));
}

// x^y at the points where a logarithm does not help: x zero, infinite or NaN. y is not zero.
SCHUSS_FN double power_at_edge(double x, bool y_negative, bool y_odd) {
  if (x != x) return x;
  const double size = (x == 0) == y_negative ? infinity() : 0.0;
  return y_odd && bits_of(x) >> 63 ? -size : size;
}

// ---- the functions ----

SCHUSS_FN double exp(double x) {
  if (x != x) return x;
  if (x > 710) return infinity();
  if (x < -746) return 0;
  return exp_pair(x, 0);
}

SCHUSS_FN double log(double x) {
  if (x != x || x == infinity()) return x;
  if (x == 0) return -infinity();
  if (x < 0) return not_a_number();
  return log_pair(x).hi;
}

// x^n for every integer n: beta^t at t = 10^9 included.
SCHUSS_FN double power(double x, int64_t n) {
  if (n == 0 || x == 1) return 1;
  const bool odd = n & 1;
  if (x == 0 || !(magnitude(x) < infinity())) return power_at_edge(x, n < 0, odd);
  // Beyond 2^53 one double does not hold n: its last 11 bits go into a second one.
  const bool small = n >= -(int64_t{1} << 53) && n <= (int64_t{1} << 53);
  const int64_t rest = small ? 0 : n & 2047;
  const double size =
      power_of_positive(magnitude(x), static_cast<double>(n - rest), static_cast<double>(rest));
  return odd && x < 0 ? -size : size;
}

// Literals are ints, which would be as far from int64_t as from double.
SCHUSS_FN double power(double x, int n) { return power(x, int64_t{n}); }

// x^y as C's pow has it, special values included.
SCHUSS_FN double power(double x, double y) {
  if (y == 0 || x == 1) return 1;
  if (x != x || y != y) return x + y;
  const double size = magnitude(x);
  if (magnitude(y) == infinity()) return size == 1 ? 1 : (size > 1) == (y > 0) ? infinity() : 0.0;
  bool integer = true, odd = false;  // from 2^53 on, every double is an even integer
  if (magnitude(y) < 0x1p53) {
    const auto whole = static_cast<int64_t>(y);
    integer = static_cast<double>(whole) == y;
    odd = integer && (whole & 1);
  }
  if (x == 0 || size == infinity()) return power_at_edge(x, y < 0, odd);
  if (x < 0 && !integer) return not_a_number();
  const double value = power_of_positive(size, y, 0);
  return odd && x < 0 ? -value : value;
}

// ---- cos and sin ----

SCHUSS_TABLE uint64_t two_over_pi[22] = {
    0,  // room for arguments whose product with 2/pi starts left of the point
    0xa2f9836e4e441529u,
    0xfc2757d1f534ddc0u,
    0xdb6295993c439041u,
    0xfe5163abdebbc561u,
    0xb7246e3a424dd2e0u,
    0x06492eea09d1921cu,
    0xfe1deb1cb129a73eu,
    0xe88235f52ebb4484u,
    0xe99c7026b45f7e41u,
    0x3991d639835339f4u,
    0x9c845f8bbdf9283bu,
    0x1ff897ffde05980fu,
    0xef2f118b5a0a6d1fu,
    0x6d367ecf27cb09b7u,
    0x4f463f669e5fea2du,
    0x7527bac7ebe5f17bu,
    0x3d0739f78a5292eau,
    0x6bfb5fb11f8d5d08u,
    0x56033046fc7b6babu,
    0xf0cfbc209af4361du,
    0};

SCHUSS_FN uint64_t multiply_high(uint64_t a, uint64_t b) {
  const uint64_t low = 0xffffffffu, a_hi = a >> 32, a_lo = a & low, b_hi = b >> 32, b_lo = b & low;
  const uint64_t first = a_lo * b_lo, second = a_hi * b_lo + (first >> 32);
  const uint64_t third = a_lo * b_hi + (second & low);
  return a_hi * b_hi + (second >> 32) + (third >> 32);
}

SCHUSS_FN uint64_t two_over_pi_from(unsigned bit) {  // 64 bits of it
  const unsigned word = bit >> 6, shift = bit & 63u;
  return shift == 0 ? two_over_pi[word] : two_over_pi[word] << shift | two_over_pi[word + 1] >> (64u - shift);
}

// x = quarter * pi/2 + turn for finite x > 2^-10, turn in [-pi/4, pi/4], to 2^-120 (Payne and Hanek).
SCHUSS_FN Pair reduce(double x, unsigned& quarter) {
  const uint64_t bits = bits_of(x), mantissa = (bits & 0xfffffffffffffu) | 0x10000000000000u;
  // x = mantissa 2^e. Bits of 2/pi that make multiples of 4 are left out; 192 of the rest are enough.
  const auto start = static_cast<unsigned>(static_cast<int>(bits >> 52) - 1075 - 2 + 64);
  const uint64_t f0 = two_over_pi_from(start), f1 = two_over_pi_from(start + 64),
                 f2 = two_over_pi_from(start + 128);
  const uint64_t p1_low = mantissa * f1, p2_high = multiply_high(mantissa, f2);
  const uint64_t w1 = p1_low + p2_high;
  const uint64_t w0 = mantissa * f0 + multiply_high(mantissa, f1) + (w1 < p1_low ? 1 : 0);
  const uint64_t w2 = mantissa * f2;
  quarter = static_cast<unsigned>(w0 >> 62);
  uint64_t a = w0 << 2 | w1 >> 62, b = w1 << 2 | w2 >> 62;  // the fraction of a quarter turn, 128 bits
  const bool back = a >> 63;
  if (back) {  // nearer to the next quarter
    quarter = (quarter + 1) & 3u;
    b = ~b + 1;
    a = ~a + (b == 0 ? 1 : 0);
  }
  const uint64_t low = 0xffffffffu;
  const Pair upper =
      fast_two_sum(static_cast<double>(a >> 32) * 0x1p-32, static_cast<double>(a & low) * 0x1p-64);
  const Pair lower =
      fast_two_sum(static_cast<double>(b >> 32) * 0x1p-96, static_cast<double>(b & low) * 0x1p-128);
  const Pair turn = multiply(add(upper, lower), {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54});
  return back ? Pair{-turn.hi, -turn.lo} : turn;
}

SCHUSS_FN double cos_near(Pair x) {  // |x| <= pi/4
  const Pair square = two_product(x.hi, x.hi);
  const double w = square.hi;
  const double tail =
      w * w *
      (1.0 / 24 -
       w * (1.0 / 720 -
            w * (1.0 / 40320 -
                 w * (1.0 / 3628800 -
                      w * (1.0 / 479001600 - w * (1.0 / 87178291200.0 -
                                                  w * (1.0 / 20922789888000.0 - w / 6402373705728000.0)))))));
  const Pair first = fast_two_sum(1, -0.5 * w);
  return first.hi + (first.lo - (0.5 * square.lo + x.hi * x.lo) + tail);
}

SCHUSS_FN double sin_near(Pair x) {  // |x| <= pi/4
  const double w = x.hi * x.hi;
  const double tail =
      x.hi * w *
      (-1.0 / 6 +
       w * (1.0 / 120 - w * (1.0 / 5040 -
                             w * (1.0 / 362880 - w * (1.0 / 39916800 - w * (1.0 / 6227020800.0 -
                                                                            w * (1.0 / 1307674368000.0 -
                                                                                 w / 355687428096000.0)))))));
  return x.hi + (x.lo * (1 - 0.5 * w) + tail);
}

SCHUSS_FN double cos_of_quarter(Pair turn, unsigned quarter) {
  const double value = quarter & 1u ? sin_near(turn) : cos_near(turn);
  return ((quarter + 1) & 2u) ? -value : value;  // signs + - - +
}

SCHUSS_FN double cos(double x) {
  const double size = magnitude(x);
  if (!(size < infinity())) return x != x ? x : not_a_number();
  if (size < 0.785) return cos_near({x, 0});
  unsigned quarter = 0;
  const Pair turn = reduce(size, quarter);
  return cos_of_quarter(turn, quarter);
}

SCHUSS_FN double sin(double x) {
  const double size = magnitude(x);
  if (!(size < infinity())) return x != x ? x : not_a_number();
  if (size < 0.785) return x == 0 ? x : sin_near({x, 0});
  unsigned quarter = 0;
  const Pair turn = reduce(size, quarter);
  const double value = cos_of_quarter(turn, (quarter + 3) & 3u);  // sin x = cos(x - pi/2)
  return x < 0 ? -value : value;
}

}  // namespace elementary
}  // namespace schuss
