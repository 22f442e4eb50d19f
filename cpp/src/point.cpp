// Where a rule wants its gradients taken, when that is not where the parameters are: there, and exactly back.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "dispatch.hpp"
#include "engine_state.hpp"

namespace schuss {

// Every chunk of every leaf with its place in the backup, on all threads.
template <class Visit>
void Engine::State::each_backed_chunk(Visit visit) {
  active.assign(plan.leaves.size(), 1);
  const std::vector<int>& bounds = plan.deal(active, thread_count());
  const auto work = [&](Team team) {
    for (int r = team.index; r + 1 < int(bounds.size()); r += team.size)
      for (int c = bounds[std::size_t(r)]; c < bounds[std::size_t(r) + 1]; ++c) {
        const Chunk& chunk = plan.chunks[std::size_t(c)];
        const std::size_t size = size_of(plan.leaves[std::size_t(chunk.leaf)].spec.format);
        visit(chunk, backup.data() + backup_starts[std::size_t(chunk.leaf)] + std::size_t(chunk.first) * size,
              size);
      }
  };
  run_team(int(bounds.size()) - 1, work);
}

void Engine::State::aim_at_point() {
  numbers.clear();
  backup_starts.clear();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < plan.leaves.size(); ++i) {
    const Leaf& leaf = plan.leaves[i];
    Run& run = runs[i];
    backup_starts.push_back(bytes);
    bytes += std::size_t(leaf.count) * size_of(leaf.spec.format);
    run.g = {};
    run.direct = !run.staged && !run.p.strides;
    // Caution changes no point; its numbers begin with the rule's own.
    const unsigned mask = run.mask & ~(1u << kCautious);
    run.map = kernels_of(level, rule).point[int(run.direct ? run.p.format : run.arithmetic)][mask];
    run.numbers = numbers_for(run);
  }
  backup.resize(bytes);
}

void Engine::to_point() {
  State& s = *state_;
  s.refuse_on_device();
  const Busy busy(s.busy);
  if (!s.rule.has_point)
    throw std::invalid_argument(s.rule.name + " takes its gradients where the parameters are");
  if (s.at_point) throw std::runtime_error("the parameters are at the look-ahead point already");
  s.resolve_hypers();
  s.aim_at_point();
  s.each_backed_chunk([&](const Chunk& chunk, char* kept, std::size_t size) {
    const Run& run = s.runs[std::size_t(chunk.leaf)];
    if (run.p.strides) gather(kept, run.p.data, run.strides(run.p), size, chunk.first, chunk.count);
    else std::memcpy(kept, run.p.data + std::size_t(chunk.first) * size, std::size_t(chunk.count) * size);
    if (!run.frozen) map_pass(s.level, run, chunk.first, chunk.count);
  });
  s.at_point = true;
}

void Engine::from_point(bool gradient_taken) {
  State& s = *state_;
  const Busy busy(s.busy);
  if (!s.at_point) throw std::runtime_error("the parameters are not at the look-ahead point");
  s.each_backed_chunk([&](const Chunk& chunk, const char* kept, std::size_t size) {
    const Run& run = s.runs[std::size_t(chunk.leaf)];
    if (run.p.strides) scatter(run.p.data, kept, run.strides(run.p), size, chunk.first, chunk.count);
    else std::memcpy(run.p.data + std::size_t(chunk.first) * size, kept, std::size_t(chunk.count) * size);
  });
  s.at_point = false;
  s.point_step = gradient_taken;
}

}  // namespace schuss
