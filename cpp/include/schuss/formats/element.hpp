// Load and store around a rule: an element as it lies in memory, and as the rule computes with it.
#pragma once
#include "../config.hpp"

namespace schuss {

struct bf16 {
  uint16_t bits;
};

template <class Stored>
struct Arithmetic {
  using type = float;
};
template <>
struct Arithmetic<double> {
  using type = double;
};

SCHUSS_FN double load(double x) { return x; }
SCHUSS_FN float load(float x) { return x; }
SCHUSS_FN float load(bf16 x) { return bits_as<float>(uint32_t(x.bits) << 16); }

template <class Stored>
struct Store;
template <>
struct Store<double> {
  SCHUSS_FN static double nearest(double x) { return x; }
};
template <>
struct Store<float> {
  SCHUSS_FN static float nearest(float x) { return x; }
};
template <>
struct Store<bf16> {
  SCHUSS_FN static bf16 nearest(float x) {  // ties to even; a NaN stays one, quiet
    const auto bits = bits_as<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return {uint16_t(x != x ? (bits >> 16 | 0x40u) : rounded)};
  }
};

// Subnormal slots are stored as zero: decaying into them makes a loop nearly three times slower.
SCHUSS_FN float flush(float x) { return magnitude(x) < 1.17549435e-38f ? 0.0f : x; }
SCHUSS_FN double flush(double x) { return magnitude(x) < 2.2250738585072014e-308 ? 0.0 : x; }

// Two comparisons that are one instruction each; a NaN stays.
template <class T>
SCHUSS_FN T limited(T x, T limit) {
  x = limit < x ? limit : x;
  return -limit > x ? -limit : x;
}

}  // namespace schuss
