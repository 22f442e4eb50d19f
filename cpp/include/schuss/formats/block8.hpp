// Slots in a byte an element: blocks of 256 elements, each with its largest magnitude as scale, and a code an
// element from one of two dynamic maps (Dettmers et al. 2022, arXiv 2110.02861): seven decades below one,
// each with twice the codes of the one below it. A linear map would put the small values of v at zero.
#pragma once
#include "element.hpp"

namespace schuss {

constexpr int kBlock = 256;  // elements that share a scale
constexpr int kDecades = 7;
constexpr int kCodes = 256;

// The values that codes stand for, ascending, and the middle between each and the next.
struct Codebook {
  float value[kCodes];
  float middle[kCodes];  // the last is infinite
};

// A magnitude * scale + offset is, in its decade and rounded down, the number of the code before the nearest
// or of that itself. A decade begins a little above its power of ten, below the middle to the code under it.
struct Decade {
  float begin, scale, offset;
};

constexpr double power_of_ten(int exponent) {
  double power = 1;
  for (; exponent < 0; ++exponent) power *= 10;
  return 1 / power;
}

// Codes of decade d in a map whose lowest decade has `lowest` of them.
constexpr int codes_of(int d, int lowest) { return lowest << d; }
constexpr int first_of(int d, int lowest) { return 1 + lowest * ((1 << d) - 1); }

constexpr double magnitude_of(int number, int lowest) {  // 0: zero; the last: one
  if (number == 0) return 0;
  for (int d = 0; d < kDecades; ++d) {
    const int within = number - first_of(d, lowest), codes = codes_of(d, lowest);
    if (within < codes) return power_of_ten(d - 6) * (0.1 + 0.9 * (within + 0.5) / codes);
  }
  return 1;
}

// Without a sign: zero, 254 magnitudes, one. With one: 127 magnitudes below zero and above, zero, one.
constexpr int kZeroOfSigned = 127;

constexpr Codebook make_codebook(bool with_sign) {
  Codebook book{};
  double before = 0;
  for (int code = 0; code < kCodes; ++code) {
    const int number = code - (with_sign ? kZeroOfSigned : 0);
    const double value = number < 0 ? -magnitude_of(-number, 1) : magnitude_of(number, with_sign ? 1 : 2);
    book.value[code] = float(value);
    if (code > 0) book.middle[code - 1] = float((before + value) / 2);
    before = value;
  }
  book.middle[kCodes - 1] = __builtin_huge_valf();
  return book;
}

constexpr Codebook kPlainBook = make_codebook(false), kSignedBook = make_codebook(true);

constexpr Decade make_decade(int d, int lowest) {
  const double power = power_of_ten(d - 6), codes = codes_of(d, lowest);
  return {float(0.1 * power * (1 + 0.9 / codes)), float(codes / 0.9 / power),
          float(first_of(d, lowest) - codes / 9 - 1 + 1e-3)};
}

template <int Lowest, int D>
SCHUSS_FN void take_decade(float x, float& scale, float& offset) {
  constexpr Decade decade = make_decade(D, Lowest);
  scale = x > decade.begin ? decade.scale : scale;
  offset = x > decade.begin ? decade.offset : offset;
}

// The code whose value is nearest to x in [-1, 1], of two the one nearer to zero.
template <bool Signed>
SCHUSS_FN uint8_t nearest_code(float x) {
  constexpr int kLowest = Signed ? 1 : 2, kZero = Signed ? kZeroOfSigned : 0;
  constexpr float kTop = kSignedBook.middle[kCodes - 2], kPlainTop = kPlainBook.middle[kCodes - 2];
  constexpr Decade lowest = make_decade(0, kLowest);
  const float* const middles = Signed ? kSignedBook.middle + kZero : kPlainBook.middle;
  const float size = magnitude(x);
  float scale = lowest.scale, offset = lowest.offset;
  take_decade<kLowest, 1>(size, scale, offset);
  take_decade<kLowest, 2>(size, scale, offset);
  take_decade<kLowest, 3>(size, scale, offset);
  take_decade<kLowest, 4>(size, scale, offset);
  take_decade<kLowest, 5>(size, scale, offset);
  take_decade<kLowest, 6>(size, scale, offset);
  const int low = int(size * scale + offset);
  const int number = low + (size > middles[low] ? 1 : 0);
  if constexpr (!Signed) return uint8_t(size > kPlainTop ? kCodes - 1 : number);
  const int above = size > kTop ? kCodes - 1 : kZero + number;  // minus one itself has no code
  return uint8_t(x < 0.0f ? kZero - (number > kZero ? kZero : number) : above);
}

// The bits of float32's infinity, of a NaN, and of its least normal number.
constexpr int32_t kInfinite = 0x7f800000, kQuietNaN = 0x7fc00000, kLeastNormal = 0x00800000;

}  // namespace schuss
