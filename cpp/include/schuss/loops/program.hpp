// A user's own rule as data: a few instructions, each of which a loop carries out over a block of elements.
#pragma once
#include <cstdint>

#include "arguments.hpp"

namespace schuss {

// What one instruction computes of the elements x, y, z, w of rows and of the constants k, l, m. The texts
// are read by whoever writes programs, so they are spelt in what C++ and Python have in common.
// clang-format off
#define SCHUSS_INSTRUCTIONS(ONE)                                                                             \
  ONE(copy, x)                                                                                               \
  ONE(spread, k)                                                                                             \
  ONE(store, flush(x))                                                                                       \
  ONE(add, x + y)                                                                                            \
  ONE(add_constant, x + k)                                                                                   \
  ONE(subtract, x - y)                                                                                       \
  ONE(subtract_constant, x - k)                                                                              \
  ONE(from_constant, k - x)                                                                                  \
  ONE(multiply, x* y)                                                                                        \
  ONE(scale, k * x)                                                                                           \
  ONE(divide, x / y)                                                                                         \
  ONE(divide_by_constant, x / k)                                                                             \
  ONE(divide_constant, k / x)                                                                                \
  ONE(negate, -x)                                                                                            \
  ONE(root, sqrt(x))                                                                                         \
  ONE(size, abs(x))                                                                                          \
  ONE(sign_of, sign(x))                                                                                      \
  ONE(smallest, min(x, y))                                                                                   \
  ONE(largest, max(x, y))                                                                                    \
  ONE(less, truth(x < y))                                                                                    \
  ONE(less_or_equal, truth(x <= y))                                                                          \
  ONE(equal, truth(x == y))                                                                                  \
  ONE(unequal, truth(x != y))                                                                                \
  ONE(choose, where(x != 0, y, z))                                                                           \
  ONE(choose_by_constant, where(k != 0, x, y))                                                               \
  ONE(choose_less, where(x < y, z, w))                                                                       \
  ONE(choose_less_or_equal, where(x <= y, z, w))                                                             \
  ONE(add_scaled, x + k * y)                                                                                 \
  ONE(subtract_scaled, x - k * y)                                                                            \
  ONE(mix, k * x + l * y)                                                                                     \
  ONE(mix_square, k * x + l * (y * y))                                                                        \
  ONE(mix_scaled_square, k * x + l * y * y)                                                                   \
  ONE(approach, x + k * (y - x))                                                                             \
  ONE(approach_square, x + k * (y * y - x))                                                                  \
  ONE(add_product, x + y * z)                                                                                \
  ONE(subtract_product, x - y * z)                                                                           \
  ONE(root_and, sqrt(x) + k)                                                                                 \
  ONE(quotient_of_root, x / (sqrt(y) + k))                                                                   \
  ONE(step_of_root, k * x / (sqrt(y) + l))                                                                    \
  ONE(step_of_inner_root, k * x / (sqrt(y + l) + m))                                                          \
  ONE(take_scaled, x - k * (y + z))                                                                          \
  ONE(take_sum_scaled, x - (y + k * z))
// clang-format on

enum class Operation : uint8_t {
#define SCHUSS_ENTRY(name, expression) name,
  SCHUSS_INSTRUCTIONS(SCHUSS_ENTRY)
#undef SCHUSS_ENTRY
      count
};

constexpr int kBlockBytes = 2048;  // of a row: all that one program works on stays in the first cache
constexpr int kMaxRegisters = 24;  // rows of working memory
constexpr int kMaxInstructions = 256;
constexpr int kMaxConstants = 64;  // the numbers of a step, then literals

// The rows after the registers are the leaf's own: p, g, and the slots.
enum Row : uint8_t { row_p = kMaxRegisters, row_g, row_slots };
constexpr int kRows = row_slots + kMaxSlots;

struct Instruction {
  Operation operation;
  uint8_t to, x, y, z, w;  // rows
  uint8_t k, l, m;         // constants
};

struct Program {
  int instructions, numbers, literals;
  Instruction code[kMaxInstructions];
  double literal[kMaxConstants];
};

// What a prepared rule of this kind begins with; its numbers follow, in the arithmetic type.
struct ProgramHead {
  const Program* program;
};

}  // namespace schuss
