// A program over a chunk, block by block: one loop an instruction.
#pragma once
#include "../formats/element.hpp"
#include "../rules/rule.hpp"
#include "program.hpp"

namespace schuss {
namespace spelling {  // the words of SCHUSS_INSTRUCTIONS

template <class T>
SCHUSS_FN T abs(T x) {
  return magnitude(x);
}
template <class T>
SCHUSS_FN T min(T x, T y) {
  return select(x < y, x, y);
}
template <class T>
SCHUSS_FN T max(T x, T y) {
  return larger(x, y);
}
template <class T>
SCHUSS_FN T where(bool condition, T x, T y) {
  return select(condition, x, y);
}

}  // namespace spelling

template <class T, class F>
SCHUSS_FN void each_element(T* to, int64_t count, F f) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = f(i);
}

template <class T>
SCHUSS_FN void evaluate_instruction(const ::schuss::Instruction& one, T* const* rows, const T* constants,
                                    int64_t count) {
  using ::schuss::Operation;
  using namespace spelling;
  const T *const xs = rows[one.x], *const ys = rows[one.y], *const zs = rows[one.z], *const ws = rows[one.w];
  const T k = constants[one.k], l = constants[one.l], m = constants[one.m];
  T* const to = rows[one.to];
  const auto truth = [](bool condition) { return T(condition); };
  switch (one.operation) {
#define SCHUSS_CASE(name, expression)                                                                        \
  case Operation::name:                                                                                      \
    return each_element(to, count, [=](int64_t i) -> T {                                                     \
      [[maybe_unused]] const T x = xs[i], y = ys[i], z = zs[i], w = ws[i];                                   \
      return expression;                                                                                     \
    });
    SCHUSS_INSTRUCTIONS(SCHUSS_CASE)
#undef SCHUSS_CASE
    case Operation::count: break;
  }
  static_cast<void>(truth), static_cast<void>(k), static_cast<void>(l), static_cast<void>(m);
}

template <class T>
SCHUSS_FN void evaluate_chunk(const ::schuss::MapArguments& a) {
  using namespace ::schuss;
  constexpr int64_t kBlock = kBlockBytes / int64_t(sizeof(T));
  alignas(64) T memory[kMaxRegisters + 1][kBlock];
  const auto* const head = static_cast<const ProgramHead*>(a.numbers);
  const Program& program = *head->program;
  const auto* const numbers = reinterpret_cast<const T*>(head + 1);
  T constants[kMaxConstants];
  for (int i = 0; i < program.numbers; ++i) constants[i] = numbers[i];
  for (int i = 0; i < program.literals; ++i) constants[program.numbers + i] = T(program.literal[i]);
  T* rows[kRows];
  for (int r = 0; r < kMaxRegisters; ++r) rows[r] = memory[r];
  const T scale = T(a.g_scale);
  for (int64_t first = 0; first < a.count; first += kBlock) {
    const int64_t count = a.count - first < kBlock ? a.count - first : kBlock;
    rows[row_p] = static_cast<T*>(a.p) + first;
    const T* const g = static_cast<const T*>(a.g) + first;
    rows[row_g] = const_cast<T*>(g);  // no instruction writes it
    if (scale != T(1)) {
      T* const scaled = rows[row_g] = memory[kMaxRegisters];
      each_element(scaled, count, [=](int64_t i) { return g[i] * scale; });
    }
    for (int s = 0; s < kMaxSlots; ++s) rows[row_slots + s] = static_cast<T*>(a.slots[s]) + first;
    for (int i = 0; i < program.instructions; ++i)
      evaluate_instruction(program.code[i], rows, constants, count);
  }
}

}  // namespace schuss
