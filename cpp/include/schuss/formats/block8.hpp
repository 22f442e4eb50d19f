// Slots in a byte an element: blocks of 256 elements, each with its largest magnitude as scale, and a code an
// element from one of two dynamic maps (Dettmers et al. 2022, arXiv 2110.02861): seven decades below one,
// each with twice the codes of the one below it. A linear map would put the small values of v at zero.
#pragma once
#include "element.hpp"

namespace schuss {

constexpr int kBlock = 256;  // elements that share a scale
constexpr int kDecades = 7;
constexpr int kCodes = 256;

constexpr double power_of_ten(int exponent) {
  double power = 1;
  for (int i = 0; i < (exponent < 0 ? -exponent : exponent); ++i) power *= 10;
  return exponent < 0 ? 1 / power : power;
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

constexpr double signed_value(int number, int lowest) {
  return number < 0 ? -magnitude_of(-number, lowest) : magnitude_of(number, lowest);
}

// The values that codes stand for, ascending.
struct Codebook {
  float value[kCodes];
};

constexpr Codebook make_codebook(bool with_sign) {
  Codebook book{};
  for (int code = 0; code < kCodes; ++code)
    book.value[code] = float(with_sign ? signed_value(code - kZeroOfSigned, 1) : signed_value(code, 2));
  return book;
}

constexpr Codebook kPlainBook = make_codebook(false), kSignedBook = make_codebook(true);

// How a magnitude x in a decade comes to the number of its code: (min(x * power, 1) + 0.8) * codes, rounded
// down, less one. Decades meet in the middle between two codes.
struct Decade {
  float begin, power, codes;
};

constexpr Decade make_decade(int d, int lowest) {
  const int first = first_of(d, lowest);
  return {float((magnitude_of(first - 1, lowest) + magnitude_of(first, lowest)) / 2),
          float(power_of_ten(6 - d)), float(codes_of(d, lowest) / 0.9)};
}

constexpr float begin_of_one(int lowest) {
  return float((magnitude_of(first_of(kDecades, lowest) - 1, lowest) + 1) / 2);
}

template <int Lowest, int D>
SCHUSS_FN void take_decade(float x, float& power, float& codes) {
  constexpr Decade decade = make_decade(D, Lowest);
  power = x > decade.begin ? decade.power : power;
  codes = x > decade.begin ? decade.codes : codes;
}

// The code whose value is nearest to x in [-1, 1].
template <bool Signed>
SCHUSS_FN uint8_t nearest_code(float x) {
  constexpr int kLowest = Signed ? 1 : 2, kZero = Signed ? kZeroOfSigned : 0;
  constexpr float kBeginOfOne = begin_of_one(kLowest), kBelowOne = 1 - 0x1p-20f;
  const float size = magnitude(x);
  float power = 0.0f, codes = Signed ? 0.5f : 1.5f;  // of zero
  take_decade<kLowest, 0>(size, power, codes);
  take_decade<kLowest, 1>(size, power, codes);
  take_decade<kLowest, 2>(size, power, codes);
  take_decade<kLowest, 3>(size, power, codes);
  take_decade<kLowest, 4>(size, power, codes);
  take_decade<kLowest, 5>(size, power, codes);
  take_decade<kLowest, 6>(size, power, codes);
  const float within = size * power;
  const int number = int(((within < kBelowOne ? within : kBelowOne) + 0.8f) * codes) - (kLowest - 1);
  // One has a code, minus one has none.
  const int above = size > kBeginOfOne ? kCodes - 1 : kZero + number;
  if constexpr (!Signed) return uint8_t(above);
  return uint8_t(x < 0.0f ? kZero - number : above);
}

// The bits of float32's infinity, of a NaN, and of its least normal number.
constexpr int32_t kInfinite = 0x7f800000, kQuietNaN = 0x7fc00000, kLeastNormal = 0x00800000;

}  // namespace schuss
