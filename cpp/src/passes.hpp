// One chunk of one leaf through one pass, direct where the arrays allow it, else staged through a row in
// cache.
#pragma once
#include <vector>

#include "kernel.hpp"
#include "schuss/formats/format.hpp"
#include "strided.hpp"

namespace schuss {

// An array as a pass sees it; strided only where it does not lie in C order.
struct ArrayView {
  char* data = nullptr;
  Format format = Format::f32;
  const int64_t* strides = nullptr;
};

constexpr double kNoLimit = __builtin_huge_val();

// All that a step reads of a leaf, packed: with thousands of leaves these lines are what it waits for.
struct Run {
  ArrayView p, g;
  char* slots[kMaxSlots] = {};
  const void* numbers = nullptr;
  MapKernel measure = nullptr;  // null where the rule measures nothing
  MapKernel map = nullptr;      // for p and g as they are stored where direct, else for the arithmetic type
  double g_scale = 1, g_limit = kNoLimit;
  int64_t count = 0;
  int64_t clock = 0;            // real steps this leaf took
  char* accumulator = nullptr;  // in the arithmetic type
  double* scalars = nullptr;
  const int64_t* shape = nullptr;
  int dimensions = 0;
  int group = 0;
  int factors = 0;  // which of the sets of them; 0: none
  int first_source = 0, sources = 1;
  unsigned mask = 0;  // of the slots kept
  Format arithmetic = Format::f32;
  SlotFormat slot_formats[kMaxSlots] = {};
  char* master = nullptr;     // the parameter in float32
  uint64_t rounding_key = 0;  // of the leaf
  bool stochastic = false;    // how the parameter is rounded
  bool staged = false;        // p or a slot is stored in another way than loops of their own take
  bool direct = false;        // both in C order, stored alike, and no limit on the gradient
  bool frozen = false;
  bool accumulated = false;

  Strides strides(const ArrayView& array) const { return {dimensions, shape, array.strides}; }
};

// Where the scales of a slot in blocks lie: behind its codes.
inline float* scales_of(char* codes, int64_t count) {
  return reinterpret_cast<float*>(codes + (count + 63) / 64 * 64);
}

// Asks for the memory of a chunk that comes soon. Only short leaves need it: the processor sees long streams
// itself.
void fetch_ahead(const Run& run, int64_t first, int64_t count, bool gradient_only);

void map_pass(const Level& level, const Run& run, int64_t first, int64_t count);
// What the rule measures over a chunk, row by row.
void measure_pass(const Level& level, const Run& run, int64_t first, int64_t count, int sums, double* out);
// The exact sum of what chunks from `first` to `last` measured for the k-th of so many sums.
double exact_column(const std::vector<double>& measured, std::size_t sums, std::size_t k, std::size_t first,
                    std::size_t last);
void take_pass(const Level& level, const Run& run, const ArrayView& from, void* to, int64_t first,
               int64_t count, bool add);
// g, where it lies, times the run's scale and held within its limit.
void scale_pass(const Level& level, const Run& run, int64_t first, int64_t count);
// Elements of p in the arithmetic type, in pieces of so many at most, through edit(row, count, first), and
// back where it lies if `written`.
constexpr int64_t kRow = 512;  // three rows of doubles stay in the first cache
void edit_pass(const Level& level, const Run& run, int64_t first, int64_t count, bool written,
               void (*edit)(void* context, char* row, int64_t count, int64_t first), void* context);
template <class Edit>
void edit_pass(const Level& level, const Run& run, int64_t first, int64_t count, bool written,
               const Edit& edit) {
  const auto call = [](void* context, char* row, int64_t n, int64_t at) {
    (*static_cast<const Edit*>(context))(row, n, at);
  };
  edit_pass(level, run, first, count, written, call, const_cast<Edit*>(&edit));
}
// p from a row of the arithmetic type.
void give_pass(const Level& level, const Run& run, const void* from, int64_t first, int64_t count);
double square_sum_pass(const Level& level, const Run& run, int64_t first, int64_t count);

}  // namespace schuss
