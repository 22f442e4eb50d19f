// What a rule must know of whole leaves before it steps: sums by chunk, exact between chunks, then its
// scalars.
#include <algorithm>

#include "engine_state.hpp"

namespace schuss {

RuleInfo::Finish Engine::State::finish_of(const Run& run) const {
  return rule.finish(run.arithmetic, run.mask);
}

int Engine::State::sum_count() const { return std::max(rule.sums, 1); }  // caution has one

bool Engine::State::some_finish() const {
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (active[i] && runs[i].count > 0 && finish_of(runs[i])) return true;
  return false;
}

void Engine::State::measure_and_finish(Team team, const std::vector<int>& bounds) {
  const auto count = std::size_t(sum_count());
  for (int r = team.index; r + 1 < int(bounds.size()); r += team.size)
    for (int c = bounds[std::size_t(r)]; c < bounds[std::size_t(r) + 1]; ++c) {
      const Chunk& chunk = plan.chunks[std::size_t(c)];
      const Run& run = runs[std::size_t(chunk.leaf)];
      if (active[std::size_t(chunk.leaf)] && run.measure)
        measure_pass(level, run, chunk.first, chunk.count, int(count), &measured[std::size_t(c) * count]);
    }
  team.barrier();
  if (!rule.is_global) {
    for (std::size_t i = std::size_t(team.index); i < runs.size(); i += std::size_t(team.size))
      if (active[i] && runs[i].count > 0 && finish_of(runs[i])) finish_leaf(i);
  } else if (team.index == 0) {
    finish_all();
  }
  team.barrier();
}

double exact_column(const std::vector<double>& measured, std::size_t sums, std::size_t k, std::size_t first,
                    std::size_t last) {
  if (last - first == 1) return measured[first * sums + k];
  ExactSum sum;
  for (std::size_t c = first; c < last; ++c) sum.add(measured[c * sums + k]);
  return sum.value();
}

void Engine::State::finish_leaf(std::size_t leaf) {
  const Run& run = runs[leaf];
  const auto count = std::size_t(sum_count());
  double totals[kMaxSums] = {};
  const std::size_t first = plan.leaves[leaf].first_chunk;
  const auto chunks = std::size_t((run.count + kChunk - 1) / kChunk);
  for (std::size_t k = 0; k < count && run.measure; ++k)
    totals[k] = exact_column(measured, count, k, first, first + chunks);
  finish_of(run)(run.numbers, totals, double(run.count), run.scalars);
}

// The numbers of the first leaf that steps speak for all.
void Engine::State::finish_all() {
  const auto count = std::size_t(sum_count());
  double totals[kMaxSums] = {}, elements = 0;
  const Run* speaker = nullptr;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (!active[i] || runs[i].count == 0) continue;
    elements += double(runs[i].count);
    if (!speaker) speaker = &runs[i];
  }
  for (std::size_t k = 0; k < count && speaker->measure; ++k) {
    ExactSum sum;
    for (std::size_t c = 0; c < plan.chunks.size(); ++c)
      if (active[std::size_t(plan.chunks[c].leaf)]) sum.add(measured[c * count + k]);
    totals[k] = sum.value();
  }
  finish_of (*speaker)(speaker->numbers, totals, elements, speaker->scalars);
}

}  // namespace schuss
