#include "threads.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

// The race detector cannot see inside the OpenMP runtime: it is told what a region and a barrier order.
#if defined(__SANITIZE_THREAD__)
#define SCHUSS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SCHUSS_TSAN 1
#endif
#endif
#ifdef SCHUSS_TSAN
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#define SCHUSS_ACQUIRE(x) __tsan_acquire(x)
#define SCHUSS_RELEASE(x) __tsan_release(x)
// How the compiler hands a region its variables, the detector cannot see either.
#define SCHUSS_UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define SCHUSS_ACQUIRE(x) (void)(x)
#define SCHUSS_RELEASE(x) (void)(x)
#define SCHUSS_UNWATCHED
#endif

namespace schuss {
namespace {

constexpr int kMostThreads = 4096;

std::atomic<bool> forked{false};
char region_order, barrier_order;  // addresses only

// Rounding and flush-to-zero belong to a thread; workers take the caller's.
#if defined(__SSE2__)
using FloatMode = unsigned;
FloatMode float_mode() { return _mm_getcsr(); }
void set_float_mode(FloatMode mode) { _mm_setcsr(mode); }
#else
using FloatMode = std::fenv_t;
FloatMode float_mode() {
  FloatMode mode;
  std::fegetenv(&mode);
  return mode;
}
void set_float_mode(const FloatMode& mode) { std::fesetenv(&mode); }
#endif

int count_from_environment() {
  const char* text = std::getenv("SCHUSS_NUM_THREADS");
  if (text && *text) {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    if (*end != '\0' || count < 1 || count > kMostThreads)
      throw std::invalid_argument("SCHUSS_NUM_THREADS is '" + std::string(text) +
                                  "', expected a whole number from 1 to " + std::to_string(kMostThreads));
    return int(count);
  }
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

void watch_forks() {
#if defined(__unix__) || defined(__APPLE__)
  // A forked child has none of the runtime's threads and would wait for them for ever.
  static const int watching = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
  (void)watching;
#endif
}

// Asked for when the module starts: a fork may come before the first team, after another library's.
std::atomic<int>& count() {
  static std::atomic<int> threads{count_from_environment()};
  watch_forks();
  return threads;
}

}  // namespace

void Team::barrier() const {
  if (size == 1) return;
  SCHUSS_RELEASE(&barrier_order);
#if defined(_OPENMP)
#pragma omp barrier
#endif
  SCHUSS_ACQUIRE(&barrier_order);
}

SCHUSS_UNWATCHED void run_team(int wanted, void (*work)(void* context, Team team), void* context) {
#if defined(_OPENMP)
  if (wanted > 1 && !forked.load(std::memory_order_relaxed)) {
    const FloatMode mode = float_mode();
    SCHUSS_RELEASE(&region_order);
#pragma omp parallel num_threads(wanted)
    {
      SCHUSS_ACQUIRE(&region_order);
      const FloatMode own = float_mode();
      set_float_mode(mode);
      work(context, Team{omp_get_thread_num(), omp_get_num_threads()});
      set_float_mode(own);
      SCHUSS_RELEASE(&region_order);
    }
    SCHUSS_ACQUIRE(&region_order);
    return;
  }
#endif
  work(context, Team{0, 1});
}

int thread_count() { return forked.load(std::memory_order_relaxed) ? 1 : count().load(); }

void set_thread_count(int threads) {
  if (threads < 1 || threads > kMostThreads)
    throw std::invalid_argument("threads is " + std::to_string(threads) +
                                ", expected a whole number from 1 to " + std::to_string(kMostThreads));
  count().store(threads);
}

const char* thread_runtime() {
#if defined(_OPENMP)
  return "openmp";
#else
  return "none";
#endif
}

}  // namespace schuss
