#include "dispatch.hpp"

#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

#include "levels.hpp"  // made by the build: the list of levels, best first

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace schuss {

#define SCHUSS_DECLARE_LEVEL(name)                                                                           \
  namespace name {                                                                                           \
  extern const Level level;                                                                                  \
  }
SCHUSS_LEVELS(SCHUSS_DECLARE_LEVEL)

namespace {

#if defined(__x86_64__) || defined(__i386__)
// By CPUID itself: not every compiler's __builtin_cpu_supports knows the levels' names.
int x86_level() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
  const auto bits = [](unsigned word, std::initializer_list<int> wanted) {
    for (int bit : wanted)
      if (!(word >> bit & 1u)) return false;
    return true;
  };
  const unsigned one = c;
  unsigned extended = 0;
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) extended = c;
  // sse3 ssse3 cx16 sse4.1 sse4.2 popcnt; lahf
  if (!bits(one, {0, 9, 13, 19, 20, 23}) || !bits(extended, {0})) return 1;
  unsigned seven = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) seven = b;
  // fma movbe osxsave avx f16c; lzcnt; bmi1 avx2 bmi2
  if (!bits(one, {12, 22, 27, 28, 29}) || !bits(extended, {5}) || !bits(seven, {3, 5, 8})) return 2;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x06u) != 0x06u) return 2;  // the system keeps the ymm registers
  // avx512 f dq cd bw vl, and the zmm and mask registers kept
  if (!bits(seven, {16, 17, 28, 30, 31}) || (low & 0xe6u) != 0xe6u) return 3;
  return 4;
}

bool runs_here(const std::string& name) {
  static const int here = x86_level();
  return name == "x86_64_v4"   ? here >= 4
         : name == "x86_64_v3" ? here >= 3
         : name == "x86_64_v2" ? here >= 2
                               : true;
}
#else
bool runs_here(const std::string&) { return true; }
#endif

#define SCHUSS_LEVEL_POINTER(name) &name::level,
const Level* const built[] = {SCHUSS_LEVELS(SCHUSS_LEVEL_POINTER)};

const Level& choose() {
  const char* wanted = std::getenv("SCHUSS_CPU_LEVEL");
  const bool forced = wanted && *wanted;
  std::string names;
  for (const Level* one : built) {
    if (!forced && runs_here(one->name)) return *one;
    if (forced && std::string(wanted) == one->name) {
      if (runs_here(one->name)) return *one;
      throw std::invalid_argument("SCHUSS_CPU_LEVEL is '" + std::string(wanted) +
                                  "', which this processor does not support");
    }
    names += (names.empty() ? "" : ", ") + std::string(one->name);
  }
  throw std::invalid_argument("SCHUSS_CPU_LEVEL is '" + std::string(forced ? wanted : "") +
                              "', expected one of " + names);
}

}  // namespace

const Level& level() {
  static const Level& chosen = choose();
  return chosen;
}

std::vector<std::string> levels_here() {
  std::vector<std::string> names;
  for (const Level* one : built)
    if (runs_here(one->name)) names.emplace_back(one->name);
  return names;
}

}  // namespace schuss
