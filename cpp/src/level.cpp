// The loops, compiled once per level: SCHUSS_LEVEL names it, the compiler's flags make it.
// Only the table at the bottom has external linkage.
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"

namespace schuss::SCHUSS_LEVEL {

extern const FormatLoops formats;  // of level_formats.cpp

namespace {

// Included inside, so that no two levels share an inline function that the linker could merge.
#include "schuss/loops/around.hpp"
#include "schuss/loops/evaluate.hpp"
#include "schuss/loops/map.hpp"
#include "schuss/loops/measure.hpp"
#include "schuss/loops/move.hpp"
#include "schuss/loops/noise.hpp"
#include "schuss/loops/sum.hpp"
#include "schuss/rules/cautious.hpp"
#include "schuss/rules/table.hpp"

using schuss::bf16;
using schuss::Count;
using schuss::f16;
using schuss::Indices;

template <class Chosen, class P, unsigned Kept, class Slots>
void map(const MapArguments& a) {
  schuss::map_chunk<Chosen, P, P, Kept>(a, typename Count<Slots::count>::type{});
}

template <class Chosen, class P, unsigned Kept, class Slots>
void measure(const MapArguments& a) {
  schuss::measure_row<Chosen, P, Kept>(a, typename Count<Slots::count>::type{});
}

template <template <class, unsigned> class Rule, class P, unsigned Kept, class Slots>
void point(const MapArguments& a) {
  using T = typename schuss::Arithmetic<P>::type;
  schuss::point_chunk<Rule<T, Kept>, P, Kept>(a, typename Count<Slots::count>::type{});
}

// The loops of one mask, over elements stored in the format of that number.
template <class Chosen, class P, unsigned Kept, class Slots>
constexpr void fill_format(RuleKernels& kernels, int format) {
  kernels.map[format][Kept] = map<Chosen, P, Kept, Slots>;
  if constexpr (schuss::sums_of < Chosen >> 0)
    kernels.measure[format][Kept] = measure<Chosen, P, Kept, Slots>;
}

template <template <class, unsigned> class Rule, unsigned Kept, class Slots>
constexpr void fill(RuleKernels& kernels) {
  if constexpr ((Kept & Slots::always) == Slots::always) {
    using Doubles = typename schuss::Chosen<Rule, double, Kept>::type;
    using Floats = typename schuss::Chosen<Rule, float, Kept>::type;
    fill_format<Doubles, double, Kept, Slots>(kernels, 0);
    fill_format<Floats, float, Kept, Slots>(kernels, 1);
    fill_format<Floats, bf16, Kept, Slots>(kernels, 2);
    if constexpr (schuss::may_be_cautious<Rule>) {
      constexpr unsigned kBoth = Kept | 1u << schuss::kCautious;
      fill_format<typename schuss::ChosenCautiously<Rule, double, kBoth>::type, double, kBoth, Slots>(kernels,
                                                                                                      0);
      fill_format<typename schuss::ChosenCautiously<Rule, float, kBoth>::type, float, kBoth, Slots>(kernels,
                                                                                                    1);
    }
    if constexpr (schuss::has_point<Rule<float, Kept>>(0)) {
      kernels.point[0][Kept] = point<Rule, double, Kept, Slots>;
      kernels.point[1][Kept] = point<Rule, float, Kept, Slots>;
      kernels.point[2][Kept] = point<Rule, bf16, Kept, Slots>;
    }
  }
}

template <template <class, unsigned> class Rule, class Slots, int... Kept>
constexpr RuleKernels kernels_of(Indices<Kept...>) {
  RuleKernels kernels{};
  (fill<Rule, unsigned(Kept), Slots>(kernels), ...);
  return kernels;
}

#define SCHUSS_ROW(Name, FACTS, function)                                                                    \
  kernels_of<schuss::Name, schuss::Name##Slots>(Count<1 << schuss::Name##Slots::count>::type{}),
constexpr RuleKernels rules[] = {SCHUSS_RULES(SCHUSS_ROW)};

template <class T>
void evaluate(const MapArguments& a) {
  schuss::evaluate_chunk<T>(a);
}

// Elements of bfloat16 come staged.
constexpr RuleKernels kernels_of_programs() {
  RuleKernels kernels{};
  for (int mask = 0; mask < kMaxMasks; ++mask) {
    kernels.map[0][mask] = evaluate<double>;
    kernels.map[1][mask] = evaluate<float>;
  }
  return kernels;
}

template <class T, class From>
void take(void* to, const void* from, int64_t count, bool add) {
  schuss::take_chunk(static_cast<T*>(to), static_cast<const From*>(from), count, add);
}

template <class T, class To>
void give(void* to, const void* from, int64_t count) {
  schuss::give_chunk(static_cast<To*>(to), static_cast<const T*>(from), count);
}

template <class G>
double square_sum(const void* g, int64_t count) {
  return schuss::square_sum_chunk(static_cast<const G*>(g), count);
}

template <class G>
void scale(void* g, int64_t count, double factor, double limit) {
  schuss::scale_chunk(static_cast<G*>(g), count, factor, limit);
}

template <class T>
constexpr AroundKernels around() {
  return {
      [](void* p, void* slow, int64_t count, double alpha) {
        schuss::pull_chunk(static_cast<T*>(p), static_cast<T*>(slow), count, alpha);
      },
      [](const void* x, int64_t count) { return schuss::sum_chunk(static_cast<const T*>(x), count); },
      [](double* sums, const void* x, int64_t count, bool squares) {
        schuss::add_row(sums, static_cast<const T*>(x), count, squares);
      },
      [](void* x, int64_t count, double by) { schuss::shift_row(static_cast<T*>(x), count, by); },
      [](void* x, int64_t count, const double* by) { schuss::shift_columns(static_cast<T*>(x), count, by); },
      [](void* x, int64_t count, const double* by) { schuss::scale_columns(static_cast<T*>(x), count, by); },
      [](void* x, int64_t count, uint64_t key, int64_t first, double deviation) {
        schuss::noise_chunk(static_cast<T*>(x), count, key, first, deviation);
      },
  };
}

template <int Reads, int Writes>
void stream(float* const* streams, int64_t count) {
  schuss::stream_chunk<Reads, Writes>(streams, count, typename Count<Reads>::type{});
}

template <int Reads, int... Writes>
constexpr void fill_streams(StreamKernel* row, Indices<Writes...>) {
  ((row[Writes] = stream<Reads, Writes>), ...);
  row[Reads] = stream<Reads, Reads>;
}

template <int... Reads>
constexpr Level with_streams(Level table, Indices<Reads...>) {
  (fill_streams<Reads + 1>(table.stream[Reads + 1], typename Count<Reads + 1>::type{}), ...);
  return table;
}

#define SCHUSS_TEXT(x) #x
#define SCHUSS_NAME(x) SCHUSS_TEXT(x)

constexpr Level loops = {
    SCHUSS_NAME(SCHUSS_LEVEL),
    rules,
    kernels_of_programs(),
    {{take<double, double>, take<double, float>, take<double, bf16>, take<double, f16>},
     {take<float, double>, take<float, float>, take<float, bf16>, take<float, f16>}},
    {{give<double, double>, nullptr, nullptr, nullptr},
     {nullptr, give<float, float>, give<float, bf16>, give<float, f16>}},
    {square_sum<double>, square_sum<float>, square_sum<bf16>, square_sum<f16>},
    {scale<double>, scale<float>, scale<bf16>, scale<f16>},
    {},
    &formats,
    {around<double>(), around<float>()},
};

}  // namespace

extern const Level level;
constexpr Level level = with_streams(loops, Count<kMaxStreams>::type{});

}  // namespace schuss::SCHUSS_LEVEL
