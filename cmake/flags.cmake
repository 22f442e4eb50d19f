# The flags that every bit depends on, and the warnings; in one place.
add_library(schuss_flags INTERFACE)
target_compile_options(schuss_flags INTERFACE
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  -Wall -Wextra -Wshadow $<$<BOOL:${SCHUSS_WERROR}>:-Werror>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "i[3-6]86")
  target_compile_options(schuss_flags INTERFACE -msse2 -mfpmath=sse)
endif()

# What a level's file gets beside its instruction set.
set(SCHUSS_LEVEL_OPTIONS -O3 -fopenmp-simd -fno-exceptions -fno-rtti
    $<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wno-pass-failed>)  # a loop that clang leaves scalar is slower, not wrong

if(SCHUSS_SANITIZE)
  target_compile_options(schuss_flags INTERFACE
    -fsanitize=${SCHUSS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)  # gcc 12 is misled by its own instrumentation of pybind11
  target_link_options(schuss_flags INTERFACE -fsanitize=${SCHUSS_SANITIZE})
endif()
