// A sum of doubles without rounding: fixed-point digits wide enough for every finite double.
// Adding is integer addition, so the order, the threads, the ranks and the engine do not matter.
#pragma once
#include "../config.hpp"

namespace schuss {
namespace exact {

constexpr int kDigits = 68;  // 32 bits each, from 2^-1088 up to 2^1088

struct Parts {  // what a double adds to three digits in a row
  int digit;
  int64_t low, middle, high;
};

// False where x is not finite.
SCHUSS_FN bool split(double x, Parts& parts) {
  const auto bits = bits_as<uint64_t>(x);
  const int exponent = int(bits >> 52 & 0x7ff);
  if (exponent == 0x7ff) return false;
  const uint64_t fraction = bits & 0xfffffffffffffULL;
  const uint64_t mantissa = exponent == 0 ? fraction : fraction | 1ULL << 52;
  const int position = (exponent == 0 ? 1 : exponent) - 1075 + 1088;  // of the mantissa's lowest bit
  const int shift = position % 32;
  const uint64_t low = (mantissa & 0xffffffffULL) << shift, high = (mantissa >> 32) << shift;
  const int64_t sign = bits >> 63 ? -1 : 1;
  parts = {position / 32, sign * int64_t(low & 0xffffffffULL),
           sign * int64_t((low >> 32) + (high & 0xffffffffULL)), sign * int64_t(high >> 32)};
  return true;
}

// Leaves 32 bits in each digit but the last, which takes the sign.
SCHUSS_FN void carry(int64_t* digits) {
  int64_t over = 0;
  for (int i = 0; i + 1 < kDigits; ++i) {
    const int64_t sum = digits[i] + over;
    over = sum >> 32;
    digits[i] = sum - over * (int64_t(1) << 32);
  }
  digits[kDigits - 1] += over;
}

SCHUSS_FN double scaled(uint64_t window, bool rest, int exponent, bool negative) {
  int drop = 11;  // 64 bits to 53
  if (exponent + drop < -1074) drop = -1074 - exponent;
  uint64_t kept = drop >= 64 ? 0 : window >> drop;
  const uint64_t lost = drop >= 64 ? window : window & ((1ULL << drop) - 1);
  const uint64_t half = drop > 64 ? ~0ULL : 1ULL << (drop - 1);
  if (lost > half || (lost == half && (rest || (kept & 1)))) ++kept;
  double x = double(kept);
  for (int e = exponent + drop; e != 0;) {  // powers of two, exact until they overflow
    const int part = e > 1000 ? 1000 : e < -1000 ? -1000 : e;
    x *= bits_as<double>(uint64_t(part + 1023) << 52);
    e -= part;
  }
  return negative ? -x : x;
}

SCHUSS_FN uint64_t digit_or_zero(const int64_t* digits, int i) { return i < 0 ? 0 : uint64_t(digits[i]); }

// The sum, rounded once. The digits are not what they were afterwards.
SCHUSS_FN double rounded(int64_t* digits) {
  carry(digits);
  const bool negative = digits[kDigits - 1] < 0;
  if (negative) {
    for (int i = 0; i < kDigits; ++i) digits[i] = -digits[i];
    carry(digits);
  }
  int top = kDigits - 1;
  while (top > 0 && digits[top] == 0) --top;
  const auto lead = uint64_t(digits[top]);
  if (lead == 0) return 0;
  // The leading 64 bits and whether anything follows them: enough to round to 53 once.
  const int width = 64 - leading_zeros(lead);  // at most 32
  const uint64_t next = digit_or_zero(digits, top - 1), third = digit_or_zero(digits, top - 2);
  const uint64_t window = lead << (64 - width) | next << (32 - width) | third >> width;
  bool rest = (third & ((1ULL << width) - 1)) != 0;
  for (int i = top - 3; i >= 0 && !rest; --i) rest = digits[i] != 0;
  return scaled(window, rest, 32 * top + width - 64 - 1088, negative);  // the window's lowest bit
}

}  // namespace exact

class ExactSum {
 public:
  static constexpr int kDigits = exact::kDigits;

  void add(double x) {
    exact::Parts parts;
    if (!exact::split(x, parts)) {
      finite_ = false;
      return;
    }
    digits_[parts.digit] += parts.low;
    digits_[parts.digit + 1] += parts.middle;
    digits_[parts.digit + 2] += parts.high;
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
    if (!finite_) return bits_as<double>(uint64_t(0x7ff8000000000000u));
    ExactSum copy = *this;
    return exact::rounded(copy.digits_);
  }

 private:
  void carry() {
    exact::carry(digits_);
    pending_ = 0;
  }

  int64_t digits_[kDigits] = {};
  int pending_ = 0;
  bool finite_ = true;
};

}  // namespace schuss
