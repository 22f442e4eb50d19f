// What every header of Schuss stands on: how functions are marked, and the integers of fixed width.
#pragma once

#ifdef __CUDACC_RTC__
// NVRTC has no standard headers.
namespace schuss {
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
}  // namespace schuss
#else
#include <cstdint>
namespace schuss {
using std::int16_t;
using std::int32_t;
using std::int64_t;
using std::int8_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;
}  // namespace schuss
#endif

// Always inlined: an inline function that two levels share would be one weak symbol, of either level.
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define SCHUSS_FN __host__ __device__ __forceinline__
#else
#define SCHUSS_FN inline __attribute__((always_inline))
#endif

// A table of constants that device code may index.
#if defined(__CUDACC_RTC__) || defined(__CUDA_ARCH__)
#define SCHUSS_TABLE static __device__ constexpr
#else
#define SCHUSS_TABLE static constexpr
#endif

namespace schuss {

// The bits of one type as another of the same size.
template <class To, class From>
SCHUSS_FN To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to = {};
#ifdef __CUDA_ARCH__
  memcpy(&to, &from, sizeof to);
#else
  __builtin_memcpy(&to, &from, sizeof to);
#endif
  return to;
}

// What IEEE 754 rounds once, by its name on each side.
#ifdef __CUDA_ARCH__
SCHUSS_FN float sqrt(float x) { return __fsqrt_rn(x); }
SCHUSS_FN double sqrt(double x) { return __dsqrt_rn(x); }
SCHUSS_FN double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
SCHUSS_FN float magnitude(float x) { return fabsf(x); }
SCHUSS_FN double magnitude(double x) { return fabs(x); }
SCHUSS_FN int leading_zeros(uint64_t x) { return __clzll(static_cast<long long>(x)); }
#else
SCHUSS_FN float sqrt(float x) { return __builtin_sqrtf(x); }
SCHUSS_FN double sqrt(double x) { return __builtin_sqrt(x); }
SCHUSS_FN double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
SCHUSS_FN float magnitude(float x) { return __builtin_fabsf(x); }
SCHUSS_FN double magnitude(double x) { return __builtin_fabs(x); }
SCHUSS_FN int leading_zeros(uint64_t x) { return __builtin_clzll(x); }
#endif

}  // namespace schuss

// The same bits everywhere: neither wider intermediates nor rearranged sums.
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "Schuss needs doubles rounded to double (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif
#ifdef __FAST_MATH__
#error "Schuss is not to be built with -ffast-math"
#endif
