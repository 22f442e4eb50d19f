// CUDA C++ for g++: what kernels use of the language and of the device's functions. A thread is a fiber of
// runtime.cpp, which runs it until it has to wait for others.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

// A block's own memory. Blocks run one after another in a system thread, so that thread-local storage is
// theirs; but the address sanitizer watches the bounds of plain variables only.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
constexpr int warpSize = 32;

extern "C" {
extern uint3 cudasim_thread, cudasim_block, cudasim_block_size, cudasim_grid_size;
unsigned cudasim_thread_index();
void cudasim_barrier(int line);
uint64_t cudasim_warp(int line, int kind, unsigned mask, uint64_t value, unsigned lane, int width);
void cudasim_fence();
void cudasim_after_atomic(const void* address);
[[noreturn]] void cudasim_fault(const char* what, const char* file, int line);
int cudasim_launch(void (*entry)(const void*), char* shared, const void* arguments, unsigned grid,
                   unsigned block);
}

namespace cudasim {

enum Kind : int { kSync, kBallot, kAll, kAny, kIndex, kUp, kDown, kXor };  // what lanes of a warp do together

// Of the types for which the device has it; where uint64_t is unsigned long, that is one of them.
template <class T>
inline constexpr int kKind = 0;
template <>
inline constexpr int kKind<int> = 1;
template <>
inline constexpr int kKind<unsigned> = 1;
template <>
inline constexpr int kKind<unsigned long> = 1;
template <>
inline constexpr int kKind<unsigned long long> = 1;
template <>
inline constexpr int kKind<float> = 2;
template <>
inline constexpr int kKind<double> = 2;

template <class T>
struct Same {
  using type = T;
};
template <class T>
using As =
    typename Same<T>::type;  // nothing is deduced from this argument: it converts, as an overload's would

template <class T>
T* aligned(T* p, int line) {
  if (reinterpret_cast<uintptr_t>(p) % alignof(T) != 0) cudasim_fault("misaligned address", nullptr, line);
  return p;
}

template <int Most, class T, class Next>
T atomic(T* p, Next next, int line) {
  static_assert(kKind<T> != 0 && kKind<T> <= Most, "the device has no such atomic operation on this type");
  aligned(p, line);
  T old, made;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do {
    made = next(old);
  } while (!__atomic_compare_exchange(p, &old, &made, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  cudasim_after_atomic(p);
  return old;
}

template <class T>
T exchange(int line, Kind kind, unsigned mask, T value, unsigned lane, int width) {
  static_assert(kKind<T> != 0, "the device shuffles numbers of 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = cudasim_warp(line, kind, mask, bits, lane, width);
  memcpy(&value, &bits, sizeof value);
  return value;
}

#ifdef __SANITIZE_THREAD__
// Read where the detector does not look: all fibers share the one variable.
struct Thread {
  struct X {
    operator unsigned() const { return cudasim_thread_index(); }
  };
  X x;
};
constexpr Thread kThread{};
#endif

}  // namespace cudasim

#ifdef __SANITIZE_THREAD__
#define threadIdx (::cudasim::kThread)
#else
#define threadIdx (::cudasim_thread)
#endif
#define blockIdx (::cudasim_block)
#define blockDim (::cudasim_block_size)
#define gridDim (::cudasim_grid_size)

#define CUDASIM_HERE int line = __builtin_LINE()  // of the caller

inline void __syncthreads(CUDASIM_HERE) { cudasim_barrier(line); }
inline void __syncwarp(unsigned mask = ~0u, CUDASIM_HERE) {
  cudasim_warp(line, cudasim::kSync, mask, 0, 0, warpSize);
}
inline void __threadfence() { cudasim_fence(); }
inline void __threadfence_block() { cudasim_fence(); }
inline void __threadfence_system() { cudasim_fence(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, CUDASIM_HERE) {
  return cudasim::exchange(line, cudasim::kIndex, mask, value, unsigned(lane), width);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDASIM_HERE) {
  return cudasim::exchange(line, cudasim::kUp, mask, value, delta, width);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDASIM_HERE) {
  return cudasim::exchange(line, cudasim::kDown, mask, value, delta, width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = warpSize, CUDASIM_HERE) {
  return cudasim::exchange(line, cudasim::kXor, mask, value, unsigned(with), width);
}
inline unsigned __ballot_sync(unsigned mask, int yes, CUDASIM_HERE) {
  return unsigned(cudasim_warp(line, cudasim::kBallot, mask, yes != 0, 0, warpSize));
}
inline int __all_sync(unsigned mask, int yes, CUDASIM_HERE) {
  return int(cudasim_warp(line, cudasim::kAll, mask, yes != 0, 0, warpSize));
}
inline int __any_sync(unsigned mask, int yes, CUDASIM_HERE) {
  return int(cudasim_warp(line, cudasim::kAny, mask, yes != 0, 0, warpSize));
}

template <class T>
T atomicAdd(T* p, cudasim::As<T> by, CUDASIM_HERE) {
  return cudasim::atomic<2>(p, [by](T old) { return T(old + by); }, line);
}
template <class T>
T atomicExch(T* p, cudasim::As<T> to, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [to](T) { return to; }, line);
}
template <class T>
T atomicCAS(T* p, cudasim::As<T> expected, cudasim::As<T> to, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [=](T old) { return old == expected ? to : old; }, line);
}
template <class T>
T atomicMin(T* p, cudasim::As<T> with, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [with](T old) { return with < old ? with : old; }, line);
}
template <class T>
T atomicMax(T* p, cudasim::As<T> with, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [with](T old) { return old < with ? with : old; }, line);
}
template <class T>
T atomicOr(T* p, cudasim::As<T> bits, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [bits](T old) { return T(old | bits); }, line);
}
template <class T>
T atomicAnd(T* p, cudasim::As<T> bits, CUDASIM_HERE) {
  return cudasim::atomic<1>(p, [bits](T old) { return T(old & bits); }, line);
}

// Loads and stores with a cache operator are loads and stores, of 1 to 16 bytes.
template <class T>
T __ldcs(const T* from, CUDASIM_HERE) {
  return *cudasim::aligned(from, line);
}
template <class T>
T __ldcg(const T* from, CUDASIM_HERE) {
  return *cudasim::aligned(from, line);
}
template <class T>
T __ldg(const T* from, CUDASIM_HERE) {
  return *cudasim::aligned(from, line);
}
template <class T>
void __stcs(T* to, cudasim::As<T> value, CUDASIM_HERE) {
  *cudasim::aligned(to, line) = value;
}
template <class T>
void __stcg(T* to, cudasim::As<T> value, CUDASIM_HERE) {
  *cudasim::aligned(to, line) = value;
}

#undef CUDASIM_HERE

inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
