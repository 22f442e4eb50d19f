// The way of a step: numbers, then one walk over the chunks, then the clocks.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "dispatch.hpp"
#include "engine_state.hpp"
#include "schuss/control/clip.hpp"

namespace schuss {

// A step works on the values that held when it began; a bad one stops it before anything moves.
void Engine::State::resolve_hypers() {
  for (Group& group : groups) {
    if (!group.scheduled) continue;
    for (std::size_t i = 0; i < group.hypers.size(); ++i) {
      if (!group.hypers[i].schedule) continue;
      const double value = group.hypers[i].schedule(steps);
      rule.check(int(i), value, " at step " + std::to_string(steps));
      group.now[i] = value;
    }
    rule.check_together(group.now.data());
  }
}

const double* Engine::State::hypers_of(const Run& run) {
  const std::vector<double>& now = groups[std::size_t(run.group)].now;
  const std::vector<double>& its = factors[std::size_t(run.factors)];
  if (its.empty()) return now.data();
  for (std::size_t i = 0; i < now.size(); ++i) multiplied[i] = now[i] * its[i];
  return multiplied.data();
}

const void* Engine::State::numbers_for(const Run& run) {
  const int64_t clock = run.clock + 1;
  for (auto it = numbers.rbegin(); it != numbers.rend(); ++it)
    if (it->group == run.group && it->factors == run.factors && it->clock == clock &&
        it->arithmetic == run.arithmetic && it->mask == run.mask)
      return it->bytes;
  numbers.push_back({run.group, run.factors, clock, run.arithmetic, run.mask, {}});
  const auto& prepare = run.arithmetic == Format::f64 ? rule.prepare_f64 : rule.prepare_f32;
  prepare[run.mask](hypers_of(run), Clock{clock}, numbers.back().bytes);
  return numbers.back().bytes;
}

// Sets the run's gradient, loop and numbers; false where the leaf stays as it is.
bool Engine::State::aim_leaf(Run& run, const Gradient* gradients, bool real) {
  bool given = run.accumulated;
  for (int s = 0; s < run.sources && gradients; ++s) given = given || gradients[run.first_source + s].data;
  if (run.frozen || !given) return false;
  if (!real || run.count == 0) return true;
  if (run.accumulator) {
    run.g = {run.accumulator, run.arithmetic, nullptr};
  } else {
    const Gradient& g = gradients[run.first_source];
    run.g = {static_cast<char*>(const_cast<void*>(g.data)), g.format, g.strides};
  }
  run.g_scale = mean;
  run.g_limit = options.clip.kind == ClipKind::value ? options.clip.limit : kNoLimit;
  const RuleKernels& loops = kernels_of(level, rule);
  run.direct = !run.staged && !run.p.strides && !run.g.strides && run.p.format == run.g.format &&
               run.g_limit == kNoLimit && loops.map[int(run.p.format)][run.mask];
  const int stored = int(run.direct ? run.p.format : run.arithmetic);
  run.map = loops.map[stored][run.mask];
  run.measure = loops.measure[stored][run.mask];
  run.numbers = numbers_for(run);
  return true;
}

bool Engine::State::aim(const Gradient* gradients, bool real) {
  numbers.clear();  // reserved: the addresses hold
  bool any = false;
  for (std::size_t i = 0; i < runs.size(); ++i) any = (active[i] = aim_leaf(runs[i], gradients, real)) || any;
  return any;
}

bool Engine::State::needs_norm() const {
  return options.grad_norm || options.scaler || options.clip.kind == ClipKind::global_norm ||
         options.clip.kind == ClipKind::leaf_norm;
}

// A gradient taken at the look-ahead point steps by the look-ahead form, once.
void Engine::State::set_lookahead(bool visited) {
  const int index = rule.hyper_index("lookahead");
  if (index < 0) return;
  for (Group& group : groups)
    group.now[std::size_t(index)] = visited ? 1 : group.hypers[std::size_t(index)].value;
}

void Engine::State::take_gradients(const Chunk& chunk, const Gradient* gradients) {
  const Run& run = runs[std::size_t(chunk.leaf)];
  bool add = run.accumulated;
  for (int s = 0; s < run.sources; ++s) {
    const Gradient& g = gradients[run.first_source + s];
    if (!g.data) continue;
    const ArrayView from{static_cast<char*>(const_cast<void*>(g.data)), g.format, g.strides};
    take_pass(level, run, from, run.accumulator, chunk.first, chunk.count, add);
    add = true;
  }
}

double Engine::State::leaf_norm(std::size_t leaf, std::size_t& chunk) const {
  ExactSum sum;
  for (; chunk < plan.chunks.size() && plan.chunks[chunk].leaf == int(leaf); ++chunk)
    sum.add(chunk_sums[chunk]);
  return std::sqrt(sum.value());
}

// The norm, and from it the factor on every gradient; one thread does it while the others wait.
void Engine::State::finish_norm() {
  ExactSum& total = sums[0];
  for (std::size_t i = 1; i < sums.size(); ++i) total.add(sums[i]);
  const double norm = std::sqrt(total.value()) * mean;
  const bool finite = std::isfinite(norm);
  outcome.has_norm = true;
  outcome.grad_norm = norm;
  outcome.skipped = !finite && options.nonfinite != Nonfinite::apply;
  if (outcome.skipped || !finite) return;
  const double limit = options.clip.limit;
  if (options.clip.kind == ClipKind::global_norm) outcome.clip_coef = clip_coef(norm, limit);
  if (options.clip.kind != ClipKind::leaf_norm) {
    for (Run& run : runs) run.g_scale = mean * outcome.clip_coef;
    return;
  }
  std::size_t chunk = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].count == 0) continue;
    const double own = leaf_norm(i, chunk) * mean;
    const double coef = active[i] ? clip_coef(own, limit) : 1;
    runs[i].g_scale = mean * coef;
    if (coef < outcome.clip_coef) outcome.clip_coef = coef;
  }
}

void Engine::State::walk(Team team, const std::vector<int>& bounds, const Gradient* gradients, bool real) {
  // Normally a thread has one run of chunks; a smaller team shares them out.
  const auto each = [&](auto&& visit) {
    for (int r = team.index; r + 1 < int(bounds.size()); r += team.size)
      for (int c = bounds[std::size_t(r)]; c < bounds[std::size_t(r) + 1]; ++c)
        if (active[std::size_t(plan.chunks[std::size_t(c)].leaf)])
          visit(std::size_t(c), plan.chunks[std::size_t(c)]);
  };
  if (gradients)
    each([&](std::size_t, const Chunk& chunk) {
      if (runs[std::size_t(chunk.leaf)].accumulator) take_gradients(chunk, gradients);
    });
  if (!real) return;
  const auto fetch_next = [&](std::size_t c, bool gradient_only) {
    constexpr std::size_t kAhead = 2;
    if (c + kAhead >= plan.chunks.size()) return;
    const Chunk& next = plan.chunks[c + kAhead];
    if (active[std::size_t(next.leaf)])
      fetch_ahead(runs[std::size_t(next.leaf)], next.first, next.count, gradient_only);
  };
  if (needs_norm()) {
    ExactSum& sum = sums[std::size_t(team.index)];
    each([&](std::size_t c, const Chunk& chunk) {
      fetch_next(c, true);
      const double part = square_sum_pass(level, runs[std::size_t(chunk.leaf)], chunk.first, chunk.count);
      sum.add(part);
      if (!chunk_sums.empty()) chunk_sums[c] = part;
    });
    team.barrier();
    if (team.index == 0) finish_norm();
    team.barrier();
    if (outcome.skipped) return;
  }
  if (finishes) measure_and_finish(team, bounds);
  each([&](std::size_t c, const Chunk& chunk) {
    fetch_next(c, false);
    map_pass(level, runs[std::size_t(chunk.leaf)], chunk.first, chunk.count);
  });
}

void Engine::State::close(bool real) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Run& run = runs[i];
    if (real && !outcome.skipped && active[i]) ++run.clock;
    run.accumulated = !real && run.accumulator && (run.accumulated || active[i]);
  }
  if (real) {
    if (options.scaler) options.scaler->update(outcome.skipped);
    if (!outcome.skipped) ++steps;
    pending = 0;
    if (point_step) set_lookahead(point_step = false);
  }
  outcome.step = steps;
  outcome.pending = pending;
}

Outcome Engine::step(const Gradient* gradients) {
  State& s = *state_;
  s.refuse_on_device();
  const Busy busy(s.busy);
  if (s.at_point)
    throw std::runtime_error(
        "the parameters are at the look-ahead point; leave the `with` block before stepping");
  const bool real = !gradients || s.pending + 1 >= s.options.accumulate;
  s.outcome = {};
  // The values of a step hold for all its micro-gradients.
  if (s.pending == 0) s.resolve_hypers();
  if (real && s.point_step) s.set_lookahead(true);
  if (gradients) ++s.pending;
  s.mean = mean_factor(s.options.scaler ? s.options.scaler->scale : 1, s.pending);
  if (s.lr_index >= 0) s.outcome.lr = s.groups[0].now[std::size_t(s.lr_index)];
  const bool any = s.aim(gradients, real);
  s.finishes = real && any && s.some_finish();
  const std::vector<int>& bounds = s.plan.deal(s.active, thread_count());
  const int threads = int(bounds.size()) - 1;
  if (real && s.needs_norm()) s.sums.assign(std::size_t(threads), ExactSum());
  if (any || (real && s.needs_norm())) {
    const auto work = [&](Team team) { s.walk(team, bounds, gradients, real); };
    run_team(threads, work);
  }
  s.close(real);
  return s.outcome;
}

Outcome Engine::flush() {
  state_->refuse_on_device();
  if (state_->pending > 0) return step(nullptr);
  Outcome nothing;
  nothing.step = state_->steps;
  return nothing;
}

}  // namespace schuss
