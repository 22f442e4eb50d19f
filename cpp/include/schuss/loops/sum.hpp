// The sum of squares of a chunk, in an order of its own that no level, thread or engine changes.
#pragma once
#include "../formats/element.hpp"

namespace schuss {

template <class G> SCHUSS_FN double square_sum_chunk(const G* g, int64_t count) {
  // Thirty-two lanes on every level, so every level adds in the same order.
  constexpr int kLanes = 32;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    __builtin_prefetch(reinterpret_cast<const char*>(g + i) + 1024);
    for (int l = 0; l < kLanes; ++l) {
      const double x = double(load(g[i + l]));
      lane[l] += x * x;  // the square of a float32 is exact in float64
    }
  }
  for (int l = 0; i + l < count; ++l) {
    const double x = double(load(g[i + l]));
    lane[l] += x * x;
  }
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

}  // namespace schuss
