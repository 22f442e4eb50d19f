// Plain passes: convert, add up, scale, and the bare stream that a rule's speed is judged by.
#pragma once
#include "../formats/element.hpp"
#include "map.hpp"

namespace schuss {

// to = from, or to += from, in the arithmetic type.
template <class T, class From>
SCHUSS_FN void take_chunk(T* to, const From* from, int64_t count, bool add) {
  if (add) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) to[i] += T(load(from[i]));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) to[i] = T(load(from[i]));
  }
}

template <class T, class To>
SCHUSS_FN void give_chunk(To* to, const T* from, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = Store<To>::nearest(from[i]);
}

// g times the factor, held within ± bound.
template <class G>
SCHUSS_FN void scale_chunk(G* g, int64_t count, double factor, double bound) {
  using T = typename Arithmetic<G>::type;
  const T scale = T(factor), limit = T(bound);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) g[i] = Store<G>::nearest(limited(load(g[i]) * scale, limit));
}

// Reads Reads streams and writes the first Writes of them.
template <int Reads, int Writes, int... R>
SCHUSS_FN void stream_chunk(float* const* streams, int64_t count, Indices<R...>) {
  float* const s[] = {streams[R]...};
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float sum = (s[R][i] + ...) * 0.125f;
    ((R < Writes ? void(s[R][i] = sum) : void()), ...);
  }
}

}  // namespace schuss
