// Setting an engine up and looking at it. The way of a step is in step.cpp.
#include "schuss/engine.hpp"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "engine_state.hpp"

namespace schuss {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

void fill(void* slot, Format arithmetic, int64_t count, double value) {
  if (value == 0) return;  // a slab comes zeroed
  if (arithmetic == Format::f64) {
    for (int64_t i = 0; i < count; ++i) static_cast<double*>(slot)[i] = value;
  } else {
    for (int64_t i = 0; i < count; ++i) static_cast<float*>(slot)[i] = float(value);
  }
}

std::size_t bytes_of(const Leaf& leaf) { return Slab::rounded(std::size_t(leaf.count) * size_of(leaf.arithmetic())); }

// Values at the present step, checked one by one and together.
std::vector<double> checked(const RuleInfo& rule, const std::vector<Hyper>& hypers, int64_t step) {
  if (hypers.size() != rule.hypers.size())
    throw std::invalid_argument(rule.name + "() takes " + std::to_string(rule.hypers.size()) + " hypers, got " +
                                std::to_string(hypers.size()));
  std::vector<double> values;
  for (std::size_t i = 0; i < hypers.size(); ++i) {
    const bool scheduled = bool(hypers[i].schedule);
    if (scheduled && rule.hypers[i].range == Range::flag)
      throw std::invalid_argument(rule.name + "(): " + rule.hypers[i].name + " is a schedule, expected True or False");
    values.push_back(hypers[i].at(step));
    rule.check(int(i), values.back(), scheduled ? " at step " + std::to_string(step) : "");
  }
  rule.check_together(values.data());
  return values;
}

Group make_group(const RuleInfo& rule, std::vector<Hyper> hypers, int64_t step) {
  Group group;
  group.now = checked(rule, hypers, step);
  group.hypers = std::move(hypers);
  for (const Hyper& hyper : group.hypers) group.scheduled = group.scheduled || hyper.schedule;
  group.mask = rule.mask(group.for_conditions().data());
  return group;
}

}  // namespace

std::vector<double> Group::for_conditions() const {
  std::vector<double> values;
  for (const Hyper& hyper : hypers) values.push_back(hyper.schedule ? kUnknown : hyper.value);
  return values;
}

unsigned mask_of(const RuleInfo& rule, const std::vector<Hyper>& hypers, int64_t step) {
  return make_group(rule, hypers, step).mask;
}

Busy::Busy(std::atomic<bool>& flag) : flag_(flag) {
  if (flag_.exchange(true)) throw std::runtime_error("this optimizer is being stepped by another thread");
}

Engine::State::State(const RuleInfo& r, EngineOptions o) : rule(r), level(schuss::level()), options(std::move(o)) {
  if (options.accumulate < 1)
    throw std::invalid_argument("accumulate is " + std::to_string(options.accumulate) + ", expected 1 or more");
  if (!(options.clip.limit > 0) && options.clip.kind != ClipKind::none)
    throw std::invalid_argument("clip is " + std::to_string(options.clip.limit) + ", expected a number above 0");
  if (options.scaler && options.nonfinite != Nonfinite::skip)
    throw std::invalid_argument("nonfinite must be 'skip' with a scaler: an overflow is how it finds its scale");
}

void Engine::State::make_slots(Leaf& leaf, unsigned mask) {
  const std::vector<double> hypers = groups[std::size_t(leaf.spec.group)].for_conditions();
  for (std::size_t k = 0; k < rule.slots.size(); ++k) {
    if (!has(mask, unsigned(k)) || leaf.slots[k]) continue;
    leaf.slot_slabs[k] = std::make_shared<Slab>(bytes_of(leaf));
    leaf.slots[k] = leaf.slot_slabs[k]->data();
    fill(leaf.slots[k], leaf.arithmetic(), leaf.count, rule.slots[k].initial(hypers.data()));
  }
  leaf.mask = mask;
}

// One block for all of them: they lie as the step walks.
void Engine::State::make_slots_of_new_leaves() {
  std::size_t bytes = 0;
  const auto each = [&](auto&& visit) {
    for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i)
      for (std::size_t k = 0; k < rule.slots.size(); ++k)
        if (has(groups[std::size_t(plan.leaves[i].spec.group)].mask, unsigned(k))) visit(plan.leaves[i], k);
  };
  each([&](const Leaf& leaf, std::size_t) { bytes += bytes_of(leaf); });
  const auto slab = std::make_shared<Slab>(bytes);
  char* next = slab->data();
  each([&](Leaf& leaf, std::size_t k) {
    leaf.slots[k] = next;
    leaf.slot_slabs[k] = slab;
    next += bytes_of(leaf);
  });
  for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i) {
    Leaf& leaf = plan.leaves[i];
    leaf.mask = groups[std::size_t(leaf.spec.group)].mask;
    const std::vector<double> hypers = groups[std::size_t(leaf.spec.group)].for_conditions();
    for (std::size_t k = 0; k < rule.slots.size(); ++k)
      if (has(leaf.mask, unsigned(k))) fill(leaf.slots[k], leaf.arithmetic(), leaf.count, rule.slots[k].initial(hypers.data()));
  }
}

void Engine::State::make_accumulators_of_new_leaves() {
  std::size_t bytes = 0;
  const auto each = [&](auto&& visit) {
    for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i)
      if (options.accumulate > 1 || plan.leaves[i].spec.sources > 1) visit(plan.leaves[i]);
  };
  each([&](const Leaf& leaf) { bytes += bytes_of(leaf); });
  if (bytes == 0) return;
  const auto slab = std::make_shared<Slab>(bytes);
  char* next = slab->data();
  each([&](Leaf& leaf) {
    leaf.accumulator = next;
    leaf.accumulator_slab = slab;
    next += bytes_of(leaf);
  });
}

Engine::Engine(const RuleInfo& rule, EngineOptions options) : state_(std::make_unique<State>(rule, std::move(options))) {}
Engine::~Engine() = default;

int Engine::add_group(std::vector<Hyper> hypers) {
  state_->groups.push_back(make_group(state_->rule, std::move(hypers), state_->steps));
  return int(state_->groups.size()) - 1;
}

int Engine::add_leaf(LeafSpec spec) {
  if (spec.group < 0 || spec.group >= int(state_->groups.size())) throw std::out_of_range("no such group");
  Leaf leaf;
  leaf.spec = std::move(spec);
  state_->plan.add(std::move(leaf));
  return int(state_->plan.leaves.size()) - 1;
}

void Engine::prepare() {
  State& s = *state_;
  s.make_slots_of_new_leaves();
  s.make_accumulators_of_new_leaves();
  s.prepared_leaves = s.plan.leaves.size();
  s.runs.resize(s.plan.leaves.size());
  s.active.resize(s.plan.leaves.size());
  s.numbers.reserve(s.plan.leaves.size() + s.groups.size());
  if (s.options.clip.kind == ClipKind::leaf_norm) s.chunk_sums.resize(s.plan.chunks.size());
  for (std::size_t i = 0; i < s.plan.leaves.size(); ++i) {
    const Leaf& leaf = s.plan.leaves[i];
    Run& run = s.runs[i];
    run.p = {static_cast<char*>(leaf.spec.data), leaf.spec.format,
             leaf.spec.strides.empty() ? nullptr : leaf.spec.strides.data()};
    run.dimensions = int(leaf.spec.shape.size());
    run.shape = leaf.spec.shape.data();
    run.arithmetic = leaf.arithmetic();
  }
}

const RuleInfo& Engine::rule() const { return state_->rule; }
const EngineOptions& Engine::options() const { return state_->options; }

void Engine::set_hypers(int group, std::vector<Hyper> hypers) {
  Group& old = state_->groups.at(std::size_t(group));
  old = make_group(state_->rule, std::move(hypers), state_->steps);
  for (Leaf& leaf : state_->plan.leaves)
    if (leaf.spec.group == group && leaf.mask != old.mask) state_->make_slots(leaf, old.mask);
}

void Engine::set_hyper(int group, int index, Hyper value) {
  std::vector<Hyper> hypers = state_->groups.at(std::size_t(group)).hypers;
  hypers.at(std::size_t(index)) = std::move(value);
  set_hypers(group, std::move(hypers));
}

const Hyper& Engine::hyper(int group, int index) const {
  return state_->groups.at(std::size_t(group)).hypers.at(std::size_t(index));
}

namespace {
template <class Leaves> auto& leaf_at(Leaves& leaves, int index) { return leaves.at(std::size_t(index)); }
}  // namespace

void Engine::set_frozen(int leaf, bool frozen) { leaf_at(state_->plan.leaves, leaf).frozen = frozen; }
bool Engine::frozen(int leaf) const { return leaf_at(state_->plan.leaves, leaf).frozen; }
int Engine::leaves() const { return int(state_->plan.leaves.size()); }
int Engine::sources() const { return state_->plan.sources; }
const LeafSpec& Engine::leaf(int index) const { return leaf_at(state_->plan.leaves, index).spec; }
int64_t Engine::elements() const { return state_->plan.elements; }
int64_t Engine::steps() const { return state_->steps; }
void Engine::set_steps(int64_t steps) { state_->steps = steps; }
int64_t Engine::leaf_clock(int leaf) const { return leaf_at(state_->plan.leaves, leaf).clock; }
void Engine::set_leaf_clock(int leaf, int64_t clock) { leaf_at(state_->plan.leaves, leaf).clock = clock; }
void* Engine::accumulator(int leaf) const { return leaf_at(state_->plan.leaves, leaf).accumulator; }
bool Engine::accumulated(int leaf) const { return leaf_at(state_->plan.leaves, leaf).accumulated; }
int Engine::pending() const { return state_->pending; }
bool Engine::at_point() const { return state_->at_point; }

void* Engine::slot(int leaf, int slot) const {
  const Leaf& one = leaf_at(state_->plan.leaves, leaf);
  return has(one.mask, unsigned(slot)) ? one.slots[slot] : nullptr;
}

std::shared_ptr<const void> Engine::slot_owner(int leaf, int slot) const {
  return leaf_at(state_->plan.leaves, leaf).slot_slabs[slot];
}

void Engine::set_pending(int pending, const std::vector<bool>& accumulated) {
  state_->pending = pending;
  for (std::size_t i = 0; i < state_->plan.leaves.size(); ++i)
    state_->plan.leaves[i].accumulated = i < accumulated.size() && accumulated[i];
}

}  // namespace schuss
