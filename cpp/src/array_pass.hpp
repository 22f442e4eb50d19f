// A pass over arrays that belong to no optimizer.
#pragma once
#include "arrays.hpp"
#include "passes.hpp"
#include "plan.hpp"
#include "threads.hpp"

namespace schuss {

inline ArrayView view(const PlainArray& array) {
  return {static_cast<char*>(array.data), array.format,
          array.strides.empty() ? nullptr : array.strides.data()};
}

// Arrays as a plan deals them, with a run for each.
struct Pass {
  Plan plan;
  std::vector<Run> runs;

  explicit Pass(const std::vector<PlainArray>& arrays) {
    for (const PlainArray& array : arrays) {
      Leaf leaf;
      leaf.spec.format = array.format;
      leaf.spec.shape = array.shape;
      plan.add(std::move(leaf));
      Run run;
      run.g = run.p = view(array);
      run.dimensions = int(array.shape.size());
      run.shape = array.shape.data();
      run.arithmetic = arithmetic_of(array.format);
      run.g_limit = kNoLimit;
      runs.push_back(run);
    }
  }

  template <class Visit>
  void each_chunk(Visit visit) {
    const std::vector<int> bounds = plan.deal(std::vector<char>(runs.size(), 1), thread_count());
    const auto work = [&](Team team) {
      for (int r = team.index; r + 1 < int(bounds.size()); r += team.size)
        for (int c = bounds[std::size_t(r)]; c < bounds[std::size_t(r) + 1]; ++c)
          visit(std::size_t(c), plan.chunks[std::size_t(c)]);
    };
    run_team(int(bounds.size()) - 1, work);
  }
};

}  // namespace schuss
