// Rows of the arithmetic type to and from what is stored in fewer bits: slots in blocks, parameters rounded
// stochastically.
#pragma once
#include "../formats/block8.hpp"
#include "../formats/rounding.hpp"

namespace schuss {

// A scale below zero says that the block has values of both signs, so that no rule need say which slots are
// squares.
SCHUSS_FN void decode_blocks(float* to, const uint8_t* codes, const float* scales, int64_t count) {
  for (int64_t first = 0; first < count; first += kBlock, ++scales) {
    const int64_t end = first + kBlock < count ? first + kBlock : count;
    const float scale = magnitude(*scales);
    const float* const values = *scales < 0.0f ? kSignedBook.value : kPlainBook.value;
#pragma omp simd
    for (int64_t i = first; i < end; ++i) to[i] = values[codes[i]] * scale;
  }
}

// Of values that `scale` takes into [-1, 1].
template <bool Signed>
SCHUSS_FN void encode_block(uint8_t* codes, const float* from, float scale, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) codes[i] = nearest_code<Signed>(from[i] * scale);
}

SCHUSS_FN void encode_blocks(uint8_t* codes, float* scales, const float* from, int64_t count) {
  for (int64_t first = 0; first < count; first += kBlock, ++scales) {
    const int64_t size = first + kBlock < count ? kBlock : count - first;
    const float* const block = from + first;
    int32_t largest = 0;
    float least = 0.0f;
#pragma omp simd reduction(max : largest) reduction(min : least)
    for (int64_t i = 0; i < size; ++i) {
      const int32_t bits = bits_as<int32_t>(magnitude(block[i]));
      largest = bits > largest ? bits : largest;
      least = block[i] < least ? block[i] : least;
    }
    const float scale = bits_as<float>(largest);
    if (largest >= kInfinite || largest < kLeastNormal) {  // a value that is none spoils its block
      *scales = largest >= kInfinite ? bits_as<float>(kQuietNaN) : 0.0f;
      for (int64_t i = 0; i < size; ++i) codes[first + i] = 0;
    } else if (least < 0.0f) {
      *scales = -scale;
      encode_block<true>(codes + first, block, 1.0f / scale, size);
    } else {
      *scales = scale;
      encode_block<false>(codes + first, block, 1.0f / scale, size);
    }
  }
}

// `first`: the index in the leaf of the row's first element. A row never crosses a multiple of 2^32.
template <class To>
SCHUSS_FN void round_chunk(To* to, const float* from, int64_t count, uint64_t key, int64_t first) {
  const uint64_t own = mixed(key + uint64_t(first >> 32));
  const auto low = uint32_t(own), high = uint32_t(own >> 32), start = uint32_t(first);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    to[i] = Stochastic<To>::rounded(from[i], noise(low, high, start + uint32_t(i)));
}

}  // namespace schuss
