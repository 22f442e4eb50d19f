// What stands after a kernel's text: how the simulator calls it, and what it hears of undefined behaviour.
#pragma once
#include "device.hpp"

namespace cudasim {

template <class Arguments>
constexpr size_t size_of(void (*)(Arguments)) {
  return sizeof(Arguments);
}
template <class Arguments>
void call(void (*kernel)(Arguments), const void* arguments) {
  kernel(*static_cast<const Arguments*>(arguments));
}

inline void entry(const void* arguments) { call(schuss_kernel, arguments); }

// Wherever this lies in the thread-local storage of the module, the blocks' memory lies around it.
#ifdef __SANITIZE_ADDRESS__
inline char* shared() { return nullptr; }
#else
inline char* shared() {
  static thread_local char anchor;
  return &anchor;
}
#endif

}  // namespace cudasim

#define CUDASIM_EXPORT extern "C" __attribute__((visibility("default")))
CUDASIM_EXPORT size_t cudasim_argument_size() { return cudasim::size_of(schuss_kernel); }
CUDASIM_EXPORT int run(const void* launch, unsigned grid, unsigned block) {
  return cudasim_launch(cudasim::entry, cudasim::shared(), launch, grid, block);
}

// The compiler's calls where -fsanitize=… finds that a thread does what no program may. All begin with the
// place.
struct CudasimPlace {
  const char* file;
  unsigned line, column;
};
#define CUDASIM_UNDEFINED(name, what)                                                                        \
  extern "C" __attribute__((visibility("hidden"))) [[noreturn]] void __ubsan_handle_##name##_abort(          \
      const CudasimPlace* at) {                                                                              \
    cudasim_fault(what, at->file, int(at->line));                                                            \
  }
CUDASIM_UNDEFINED(type_mismatch_v1, "misaligned address")
CUDASIM_UNDEFINED(out_of_bounds, "an index out of an array's bounds")
CUDASIM_UNDEFINED(shift_out_of_bounds, "a shift by as many bits as there are")
CUDASIM_UNDEFINED(add_overflow, "an overflow of signed integers")
CUDASIM_UNDEFINED(sub_overflow, "an overflow of signed integers")
CUDASIM_UNDEFINED(mul_overflow, "an overflow of signed integers")
CUDASIM_UNDEFINED(negate_overflow, "an overflow of signed integers")
CUDASIM_UNDEFINED(divrem_overflow, "an integer division by zero")
CUDASIM_UNDEFINED(builtin_unreachable, "a place that cannot be reached")
CUDASIM_UNDEFINED(missing_return, "the end of a function that returns a value")
