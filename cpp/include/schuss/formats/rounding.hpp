// Stochastic rounding: up or down with the odds of the distance, by bits from a counter. They depend on the
// seed, the leaf's name and clock, and the element's index, and on nothing else.
#pragma once
#include "element.hpp"

namespace schuss {

// The finisher of SplitMix64 (Steele et al. 2014).
SCHUSS_FN uint64_t mixed(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

SCHUSS_FN uint64_t rounding_key(uint64_t leaf_key, int64_t clock) {
  return mixed(leaf_key + uint64_t(clock) * 0x9e3779b97f4a7c15u);
}

// Thirty-two bits, the upper sixteen the better ones. The second half of the key goes in between the
// products: sequences of two keys are no permutations of each other.
SCHUSS_FN uint32_t noise(uint32_t key, uint32_t second_key, uint32_t index) {
  uint32_t x = index ^ key;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = ((x ^ x >> 15) + second_key) * 0x846ca68bu;
  return x;
}

template <class Stored>
struct Stochastic;

// What fits exactly stays; beyond the largest finite number lies infinity, as for nearest.
template <>
struct Stochastic<bf16> {
  SCHUSS_FN static bf16 rounded(float x, uint32_t bits) {
    const auto own = bits_as<uint32_t>(x);
    return {uint16_t(x != x ? own >> 16 | 0x40u : (own + (bits >> 16)) >> 16)};
  }
};
template <>
struct Stochastic<f16> {
  SCHUSS_FN static f16 rounded(float x, uint32_t bits) {
    const auto own = bits_as<uint32_t>(x);
    const uint32_t magnitude = own & 0x7fffffffu;
    const bool small = magnitude < 0x38800000u;
    // Subnormals are multiples of 2^-24: here with thirteen more bits, as normal numbers have.
    const float within = bits_as<float>(small ? magnitude : 0u);
    const auto fixed = uint32_t(int32_t(within * 137438953472.0f));
    return signed_f16(own, ((small ? fixed : magnitude - 0x38000000u) + (bits >> 19)) >> 13);
  }
};

}  // namespace schuss
