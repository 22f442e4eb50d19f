#include "passes.hpp"

#include <algorithm>
#include <cstring>

#include "schuss/formats/block8.hpp"
#include "schuss/formats/rounding.hpp"

namespace schuss {
namespace {

alignas(64) thread_local char raw_row[4096 * sizeof(double)];

char* at(const ArrayView& array, int64_t first) {
  return array.data + first * int64_t(size_of(array.format));
}

// The elements as they are stored, in a row: in place where they lie so already.
const char* row_of(const Run& run, const ArrayView& array, int64_t first, int64_t count) {
  if (!array.strides) return at(array, first);
  gather(raw_row, array.data, run.strides(array), size_of(array.format), first, count);
  return raw_row;
}

MapArguments arguments(const Run& run, int64_t first, int64_t count) {
  MapArguments a;
  for (int k = 0; k < kMaxSlots; ++k)
    a.slots[k] = run.slots[k] ? run.slots[k] + first * int64_t(size_of(run.arithmetic)) : nullptr;
  a.numbers = run.numbers;
  a.g_scale = run.g_scale;
  a.count = count;
  a.scalars = run.scalars;
  return a;
}

// A pass to where the rule takes its gradients has none, and moves nothing but the parameters.
bool at_point(const Run& run) { return !run.g.data; }

// The parameter in a row of the arithmetic type, and back where it lies: in place where it is one already, or
// has a master, which begins as the parameter.
class StagedParameter {
 public:
  StagedParameter(const Level& level, const Run& run, char* row, int64_t first, int64_t count)
      : level_(level),
        run_(run),
        first_(first),
        count_(count),
        in_place_(!run.p.strides && run.p.format == run.arithmetic) {
    char* const master = run.master ? run.master + first * int64_t(sizeof(float)) : nullptr;
    data = in_place_ ? at(run.p, first) : master && !at_point(run) ? master : row;
    if (in_place_) return;
    if (!master || run.clock == 0)
      level.take[int(run.arithmetic)][int(run.p.format)](data, row_of(run, run.p, first, count), count,
                                                         false);
    else if (at_point(run)) std::memcpy(row, master, std::size_t(count) * sizeof(float));
  }
  void store() const {
    if (in_place_) return;
    if (!run_.stochastic || at_point(run_)) return give_pass(level_, run_, data, first_, count_);
    char* const out = run_.p.strides ? raw_row : at(run_.p, first_);
    level_.formats->round[int(run_.p.format)](out, reinterpret_cast<const float*>(data), count_,
                                              rounding_key(run_.rounding_key, run_.clock + 1), first_);
    if (run_.p.strides)
      scatter(run_.p.data, raw_row, run_.strides(run_.p), size_of(run_.p.format), first_, count_);
  }
  char* data;

 private:
  const Level& level_;
  const Run& run_;
  int64_t first_, count_;
  bool in_place_;
};

// Slots stored in fewer bits, in rows of float32, and back.
class StagedSlots {
 public:
  StagedSlots(const Level& level, const Run& run, MapArguments& a, int64_t first, int64_t count)
      : level_(level), run_(run), first_(first), count_(count) {
    each([&](int k, char* stored, float* scales) {
      if (scales) level.formats->decode(rows_[k], reinterpret_cast<uint8_t*>(stored), scales, count);
      else level.take[int(Format::f32)][int(Format::bf16)](rows_[k], stored, count, false);
      a.slots[k] = rows_[k];
    });
  }
  void store() {
    if (at_point(run_)) return;
    each([&](int k, char* stored, float* scales) {
      if (scales) level_.formats->encode(reinterpret_cast<uint8_t*>(stored), scales, rows_[k], count_);
      else level_.give[int(Format::f32)][int(Format::bf16)](stored, rows_[k], count_);
    });
  }

 private:
  template <class Visit>
  void each(Visit visit) {
    for (int k = 0; k < kMaxSlots; ++k) {
      char* const slot = run_.slots[k];
      if (!slot || run_.slot_formats[k] == SlotFormat::arithmetic) continue;
      if (run_.slot_formats[k] == SlotFormat::bf16) visit(k, slot + first_ * 2, nullptr);
      else visit(k, slot + first_, scales_of(slot, run_.count) + first_ / kBlock);
    }
  }

  alignas(64) float rows_[kMaxSlots][kRow];
  const Level& level_;
  const Run& run_;
  int64_t first_, count_;
};

// The gradient in a row of the arithmetic type; true where it is scaled already.
bool stage_gradient(const Level& level, const Run& run, char* row, int64_t first, int64_t count) {
  const int arithmetic = int(run.arithmetic);
  // Scaled in the wider of its own type and the arithmetic's: what clipping brings into range must not
  // overflow.
  const bool wide = run.g.format == Format::f64 && run.arithmetic == Format::f32;
  alignas(64) char wide_row[kRow * sizeof(double)];
  char* const scaled = wide ? wide_row : row;
  const int type = wide ? int(Format::f64) : arithmetic;
  level.take[type][int(run.g.format)](scaled, row_of(run, run.g, first, count), count, false);
  const bool scales = wide || run.g_limit != kNoLimit;
  if (scales) level.scale[type](scaled, count, run.g_scale, run.g_limit);
  if (wide) level.take[arithmetic][int(Format::f64)](row, wide_row, count, false);
  return scales;
}

// A row through one loop; what it measures goes to `sums`, else the parameter moves.
void stage_row(const Level& level, const Run& run, int64_t first, int64_t count, double* sums) {
  static_assert(kRow % kBlock == 0);
  alignas(64) char p_row[kRow * sizeof(double)], g_row[kRow * sizeof(double)];
  const StagedParameter p(level, run, p_row, first, count);
  MapArguments a = arguments(run, first, count);
  StagedSlots slots(level, run, a, first, count);
  a.g = g_row;
  if (run.g.format == run.arithmetic && !run.g.strides && run.g_limit == kNoLimit && run.g.data) {
    a.g = at(run.g, first);
  } else if (run.g.data) {
    if (stage_gradient(level, run, g_row, first, count)) a.g_scale = 1;
  }
  a.p = p.data;
  a.sums = sums;
  if (sums) return run.measure(a);
  run.map(a);
  p.store();
  slots.store();
}

MapArguments direct_arguments(const Run& run, int64_t first, int64_t count) {
  MapArguments a = arguments(run, first, count);
  a.p = at(run.p, first);
  a.g = run.g.data ? at(run.g, first) : nullptr;
  return a;
}

void fetch_lines(const char* start, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(start + line);
}

}  // namespace

void fetch_ahead(const Run& run, int64_t first, int64_t count, bool gradient_only) {
  constexpr int64_t kShort = 512;  // elements
  if (count > kShort || !run.direct) return;
  const auto size = int64_t(size_of(run.p.format));
  fetch_lines(at(run.g, first), count * size);
  if (gradient_only) return;
  fetch_lines(at(run.p, first), count * size);
  for (int k = 0; k < kMaxSlots; ++k)
    if (run.slots[k])
      fetch_lines(run.slots[k] + first * int64_t(size_of(run.arithmetic)),
                  count * int64_t(size_of(run.arithmetic)));
}

void map_pass(const Level& level, const Run& run, int64_t first, int64_t count) {
  if (run.direct) return run.map(direct_arguments(run, first, count));
  for (const int64_t end = first + count; first < end; first += kRow)
    stage_row(level, run, first, std::min(kRow, end - first), nullptr);
}

void measure_pass(const Level& level, const Run& run, int64_t first, int64_t count, int sums, double* out) {
  std::fill_n(out, sums, 0.0);
  for (const int64_t end = first + count; first < end; first += kRow) {
    double row[kMaxSums];
    if (run.direct) {
      MapArguments a = direct_arguments(run, first, std::min(kRow, end - first));
      a.sums = row;
      run.measure(a);
    } else {
      stage_row(level, run, first, std::min(kRow, end - first), row);
    }
    for (int k = 0; k < sums; ++k) out[k] += row[k];
  }
}

void take_pass(const Level& level, const Run& run, const ArrayView& from, void* to, int64_t first,
               int64_t count, bool add) {
  level.take[int(run.arithmetic)][int(from.format)](
      static_cast<char*>(to) + first * int64_t(size_of(run.arithmetic)), row_of(run, from, first, count),
      count, add);
}

void scale_pass(const Level& level, const Run& run, int64_t first, int64_t count) {
  row_of(run, run.g, first, count);
  char* const row = run.g.strides ? raw_row : at(run.g, first);
  level.scale[int(run.g.format)](row, count, run.g_scale, run.g_limit);
  if (run.g.strides) scatter(run.g.data, row, run.strides(run.g), size_of(run.g.format), first, count);
}

void edit_pass(const Level& level, const Run& run, int64_t first, int64_t count, bool written,
               void (*edit)(void* context, char* row, int64_t count, int64_t first), void* context) {
  alignas(64) char row[kRow * sizeof(double)];
  for (const int64_t end = first + count; first < end; first += kRow) {
    const int64_t n = std::min(kRow, end - first);
    const StagedParameter p(level, run, row, first, n);
    edit(context, p.data, n, first);
    if (written) p.store();
  }
}

void give_pass(const Level& level, const Run& run, const void* from, int64_t first, int64_t count) {
  char* const out = run.p.strides ? raw_row : at(run.p, first);
  level.give[int(run.arithmetic)][int(run.p.format)](out, from, count);
  if (run.p.strides) scatter(run.p.data, raw_row, run.strides(run.p), size_of(run.p.format), first, count);
}

double square_sum_pass(const Level& level, const Run& run, int64_t first, int64_t count) {
  return level.square_sum[int(run.g.format)](row_of(run, run.g, first, count), count);
}

}  // namespace schuss
