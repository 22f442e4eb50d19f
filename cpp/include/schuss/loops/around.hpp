// What surrounds a rule: slow weights, sums over the units of a layer, gradients shifted and scaled by unit.
#pragma once
#include "../formats/element.hpp"

namespace schuss {

// The slow weights go a share of the way to p, and p comes back to them.
template <class T>
SCHUSS_FN void pull_chunk(T* p, T* slow, int64_t count, double alpha) {
  const T share = T(alpha);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const T there = slow[i] + share * (p[i] - slow[i]);
    slow[i] = there;
    p[i] = there;
  }
}

template <class T>
SCHUSS_FN double sum_chunk(const T* x, int64_t count) {
  // Thirty-two lanes on every level, as for squares.
  constexpr int kLanes = 32;
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += double(x[i + l]);
  for (int l = 0; i + l < count; ++l) lane[l] += double(x[i + l]);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

// A row onto the sums of its columns.
template <class T>
SCHUSS_FN void add_row(double* sums, const T* x, int64_t count, bool squares) {
  if (squares) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += double(x[i]) * double(x[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) sums[i] += double(x[i]);
  }
}

template <class T>
SCHUSS_FN void shift_row(T* x, int64_t count, double by) {
  const T down = T(by);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] -= down;
}

template <class T>
SCHUSS_FN void shift_columns(T* x, int64_t count, const double* by) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] -= T(by[i]);
}

template <class T>
SCHUSS_FN void scale_columns(T* x, int64_t count, const double* by) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] *= T(by[i]);
}

}  // namespace schuss
