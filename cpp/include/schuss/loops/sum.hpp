// The sum of squares of a chunk, in an order of its own that no level, thread or engine changes.
#pragma once
#include "../formats/element.hpp"

namespace schuss {

// lane + x * x. The square of a float32 is exact in float64, so that fusing rounds as two operations do.
template <class G>
SCHUSS_FN double add_square(double lane, double x) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDA_ARCH__)
  if constexpr (sizeof(G) < sizeof(double)) return fused(x, x, lane);
#endif
  return lane + x * x;
}

template <class G>
SCHUSS_FN double square_sum_chunk(const G* g, int64_t count) {
  // Thirty-two lanes on every level, so every level adds in the same order.
  constexpr int kLanes = 32;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    __builtin_prefetch(reinterpret_cast<const char*>(g + i) + 1024);
    for (int l = 0; l < kLanes; ++l) lane[l] = add_square<G>(lane[l], double(load(g[i + l])));
  }
  for (int l = 0; i + l < count; ++l) lane[l] = add_square<G>(lane[l], double(load(g[i + l])));
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

}  // namespace schuss
