// A sum of doubles without rounding: fixed-point digits wide enough for every finite double.
// Adding is integer addition, so the order, the threads and the ranks do not matter.
#pragma once
#include "../config.hpp"

namespace schuss {

class ExactSum {
 public:
  static constexpr int kDigits = 68;  // 32 bits each, from 2^-1088 up to 2^1088

  void add(double x) {
    uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    const int exponent = int(bits >> 52 & 0x7ff);
    if (exponent == 0x7ff) {
      finite_ = false;
      return;
    }
    const uint64_t fraction = bits & 0xfffffffffffffULL;
    if (exponent == 0 && fraction == 0) return;
    const uint64_t mantissa = exponent == 0 ? fraction : fraction | 1ULL << 52;
    const int position = (exponent == 0 ? 1 : exponent) - 1075 + 1088;  // of the mantissa's lowest bit
    const int digit = position / 32, shift = position % 32;
    const uint64_t low = (mantissa & 0xffffffffULL) << shift, high = (mantissa >> 32) << shift;
    const int64_t sign = bits >> 63 ? -1 : 1;
    digits_[digit] += sign * int64_t(low & 0xffffffffULL);
    digits_[digit + 1] += sign * int64_t((low >> 32) + (high & 0xffffffffULL));
    digits_[digit + 2] += sign * int64_t(high >> 32);
    if (++pending_ == 1 << 28) carry();  // each add puts less than 2^33 into a digit of 63 bits
  }

  void add(const ExactSum& other) {
    carry();
    for (int i = 0; i < kDigits; ++i) digits_[i] += other.digits_[i];
    finite_ = finite_ && other.finite_;
    carry();
  }

  // The sum, rounded once; NaN where a term was not finite.
  double value() const {
    if (!finite_) return __builtin_nan("");
    ExactSum copy = *this;
    copy.carry();
    const bool negative = copy.digits_[kDigits - 1] < 0;
    if (negative) {
      for (int64_t& digit : copy.digits_) digit = -digit;
      copy.carry();
    }
    int top = kDigits - 1;
    while (top > 0 && copy.digits_[top] == 0) --top;
    // The leading 64 bits and whether anything follows them: enough to round to 53 once.
    const auto digit = [&](int i) { return i < 0 ? uint64_t(0) : uint64_t(copy.digits_[i]); };
    const uint64_t lead = digit(top);
    if (lead == 0) return 0;
    const int width = 64 - __builtin_clzll(lead);  // at most 32
    uint64_t window = lead << (64 - width) | digit(top - 1) << (32 - width) | (digit(top - 2) >> width);
    bool rest = (digit(top - 2) & ((1ULL << width) - 1)) != 0;
    for (int i = top - 3; i >= 0 && !rest; --i) rest = digit(i) != 0;
    const int exponent = 32 * top + width - 64 - 1088;  // of the window's lowest bit
    return ldexp_rounded(window, rest, exponent, negative);
  }

 private:
  void carry() {
    for (int i = 0; i + 1 < kDigits; ++i) {
      const int64_t over = digits_[i] >> 32;
      digits_[i] -= over * (int64_t(1) << 32);
      digits_[i + 1] += over;
    }
    pending_ = 0;
  }

  static double ldexp_rounded(uint64_t window, bool rest, int exponent, bool negative) {
    int drop = 11;  // 64 bits to 53
    if (exponent + drop < -1074) drop = -1074 - exponent;
    uint64_t kept = drop >= 64 ? 0 : window >> drop;
    const uint64_t lost = drop >= 64 ? window : window & ((1ULL << drop) - 1);
    const uint64_t half = drop > 64 ? ~0ULL : 1ULL << (drop - 1);
    if (lost > half || (lost == half && (rest || (kept & 1)))) ++kept;
    double x = double(kept);
    for (int e = exponent + drop; e != 0;) {  // powers of two, exact until they overflow
      const int part = e > 1000 ? 1000 : e < -1000 ? -1000 : e;
      const uint64_t bits = uint64_t(part + 1023) << 52;
      double factor;
      __builtin_memcpy(&factor, &bits, sizeof factor);
      x *= factor;
      e -= part;
    }
    return negative ? -x : x;
  }

  int64_t digits_[kDigits] = {};
  int pending_ = 0;
  bool finite_ = true;
};

}  // namespace schuss
