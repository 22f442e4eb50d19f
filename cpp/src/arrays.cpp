#include "arrays.hpp"

#include <chrono>
#include <cmath>
#include <stdexcept>

#include "array_pass.hpp"
#include "dispatch.hpp"
#include "schuss/control/exact_sum.hpp"

namespace schuss {
Norms norms_of(const std::vector<PlainArray>& arrays) {
  Pass pass(arrays);
  const Level& loops = level();
  std::vector<double> parts(pass.plan.chunks.size());
  pass.each_chunk([&](std::size_t c, const Chunk& chunk) {
    parts[c] = square_sum_pass(loops, pass.runs[std::size_t(chunk.leaf)], chunk.first, chunk.count);
  });
  Norms norms;
  ExactSum total;
  std::size_t c = 0;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    ExactSum own;
    for (; c < parts.size() && pass.plan.chunks[c].leaf == int(i); ++c) own.add(parts[c]);
    total.add(own);
    norms.each.push_back(std::sqrt(own.value()));
  }
  norms.global = std::sqrt(total.value());
  return norms;
}

void scale_arrays(const std::vector<PlainArray>& arrays, const std::vector<double>& factors, double limit) {
  Pass pass(arrays);
  const Level& loops = level();
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    pass.runs[i].g_scale = factors[i];
    pass.runs[i].g_limit = limit;
  }
  pass.each_chunk([&](std::size_t, const Chunk& chunk) {
    scale_pass(loops, pass.runs[std::size_t(chunk.leaf)], chunk.first, chunk.count);
  });
}

void apply_rule(const RuleInfo& rule, const PlainArray& p, const PlainArray& g,
                const std::vector<void*>& slots, const std::vector<double*>& scalars, int64_t step,
                const std::vector<double>& hypers) {
  const Level& loops = level();
  const unsigned mask = rule.mask(hypers.data());
  const Format arithmetic = arithmetic_of(p.format);
  alignas(16) unsigned char numbers[kMaxNumbers];
  (arithmetic == Format::f64 ? rule.prepare_f64 : rule.prepare_f32)[mask](hypers.data(), Clock{step},
                                                                          numbers);
  Pass pass({p});
  Run& run = pass.runs[0];
  run.count = pass.plan.elements;
  run.shape = p.shape.data();
  run.p = view(p);
  run.g = view(g);
  const RuleKernels& its = kernels_of(loops, rule);
  run.direct = int(p.format) < kDirect && !run.p.strides && !run.g.strides && p.format == g.format &&
               its.map[int(p.format)][mask];
  run.map = its.map[int(run.direct ? p.format : arithmetic)][mask];
  run.measure = its.measure[int(run.direct ? p.format : arithmetic)][mask];
  run.numbers = numbers;
  for (std::size_t k = 0; k < slots.size(); ++k) run.slots[k] = static_cast<char*>(slots[k]);
  double moved[kMaxScalars] = {};
  for (std::size_t k = 0; k < scalars.size(); ++k) moved[k] = *scalars[k];
  run.scalars = moved;
  const RuleInfo::Finish finish = rule.finish(arithmetic, mask);
  if (finish && run.count > 0) {
    const auto sums = std::size_t(std::max(rule.sums, 1));
    std::vector<double> measured(pass.plan.chunks.size() * sums);
    if (run.measure)
      pass.each_chunk([&](std::size_t c, const Chunk& chunk) {
        measure_pass(loops, run, chunk.first, chunk.count, int(sums), &measured[c * sums]);
      });
    double totals[kMaxSums];
    for (std::size_t k = 0; k < sums; ++k)
      totals[k] = exact_column(measured, sums, k, 0, pass.plan.chunks.size());
    finish(numbers, totals, double(run.count), moved);
  }
  pass.each_chunk([&](std::size_t, const Chunk& chunk) { map_pass(loops, run, chunk.first, chunk.count); });
  for (std::size_t k = 0; k < scalars.size(); ++k) *scalars[k] = moved[k];
}

std::vector<double> time_stream(int reads, int writes, int64_t elements, int repeats) {
  const StreamKernel kernel = reads > 0 && reads <= kMaxStreams && writes >= 0 && writes <= reads
                                  ? level().stream[reads][writes]
                                  : nullptr;
  if (!kernel)
    throw std::invalid_argument("a stream reads 1 to " + std::to_string(kMaxStreams) +
                                " arrays and writes at most as many, got " + std::to_string(reads) + " and " +
                                std::to_string(writes));
  // One block, the streams a little apart in their low bits, so that none waits for another's stores.
  const std::size_t bytes = Slab::rounded(std::size_t(elements) * sizeof(float)),
                    apart = 4096 / kMaxStreams / 64 * 64;
  const Slab slab(std::size_t(reads) * (bytes + 4096 + apart));
  const auto start_of = [&](int s) {
    return slab.data() + std::size_t(s) * ((bytes + 4095) / 4096 * 4096 + apart);
  };
  PlainArray whole;
  whole.shape = {elements};
  Pass pass({whole});
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pass.each_chunk([&](std::size_t, const Chunk& chunk) {
      float* streams[kMaxStreams] = {};
      for (int s = 0; s < reads; ++s) streams[s] = reinterpret_cast<float*>(start_of(s)) + chunk.first;
      kernel(streams, chunk.count);
    });
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return seconds;
}

}  // namespace schuss
