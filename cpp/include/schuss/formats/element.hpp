// Load and store around a rule: an element as it lies in memory, and as the rule computes with it.
#pragma once
#include "../config.hpp"

namespace schuss {

struct bf16 {
  uint16_t bits;
};
struct f16 {
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
SCHUSS_FN float load(f16 x) {  // by integers: gcc 12 makes no vectors of _Float16
  const uint32_t magnitude = x.bits & 0x7fffu, wide = magnitude << 13;
  const uint32_t subnormal = bits_as<uint32_t>(float(int32_t(magnitude)) * 5.9604644775390625e-8f);
  const uint32_t rebiased = wide + (magnitude < 0x7c00u ? 0x38000000u : 0x70000000u);
  return bits_as<float>((magnitude < 0x400u ? subnormal : rebiased) | uint32_t(x.bits & 0x8000u) << 16);
}

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

// A float32's sign, and a float16 for what is beyond its range: infinity, or a quiet NaN.
SCHUSS_FN f16 signed_f16(uint32_t bits, uint32_t rounded) {
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t beyond = magnitude > 0x7f800000u ? 0x7e00u | (magnitude >> 13 & 0x3ffu) : 0x7c00u;
  return {uint16_t((magnitude < 0x47800000u ? rounded : beyond) | (bits >> 16 & 0x8000u))};
}

template <>
struct Store<f16> {
  SCHUSS_FN static f16 nearest(float x) {  // ties to even; from 65520 on infinite
    const auto bits = bits_as<uint32_t>(x);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    // The last bit of a half is that of the subnormals, so the sum rounds as they do.
    const uint32_t subnormal = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u;
    return signed_f16(bits, magnitude < 0x38800000u ? subnormal : normal);
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
