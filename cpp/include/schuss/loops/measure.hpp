// What a rule measures over a row of at most 512 elements, in an order of its own as sum.hpp has it.
#pragma once
#include "map.hpp"

namespace schuss {

// lane + a * b. The product of two float32 is exact in float64, so that fusing rounds as two operations do.
template <class T>
SCHUSS_FN double add_product(double lane, T a, T b) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) < sizeof(double)) return fused(double(a), double(b), lane);
#endif
  return lane + double(a) * double(b);
}

template <class Rule, class P, unsigned Kept, int... I>
SCHUSS_FN void measure_row(const ::schuss::MapArguments& a, Indices<I...>) {
  using T = typename Arithmetic<P>::type;
  constexpr int kLanes = 32, kSums = sums_of<Rule>;
  const Rule rule = rule_of<Rule>(a);
  const T scale = T(a.g_scale);
  const P* const p = static_cast<const P*>(a.p);
  const P* const g = static_cast<const P*>(a.g);
  T* const slots[] = {static_cast<T*>(a.slots[I])..., nullptr};
  double lane[kSums][kLanes] = {};
  const auto add = [&](int64_t i, int l) {
    const auto part = rule.measure(load(p[i]), T(load(g[i])) * scale, load_slot<T, Kept, I>(slots, i)...);
    for (int k = 0; k < kSums; ++k) lane[k][l] = add_product(lane[k][l], part.a[k], part.b[k]);
  };
  int64_t i = 0;
  for (; i + kLanes <= a.count; i += kLanes) {
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) add(i + l, l);
  }
  for (int l = 0; i + l < a.count; ++l) add(i + l, l);
  for (int k = 0; k < kSums; ++k) {
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lane[k][l] += lane[k][l + half];
    a.sums[k] = lane[k][0];
  }
}

}  // namespace schuss
