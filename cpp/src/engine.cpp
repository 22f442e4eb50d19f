// Setting an engine up and looking at it. The way of a step is in step.cpp.
#include "schuss/engine.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"
#include "engine_state.hpp"

namespace schuss {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

std::size_t bytes_of(const Leaf& leaf) {
  return Slab::rounded(std::size_t(leaf.count) * size_of(leaf.arithmetic()));
}

// Streams whose addresses agree in their low twelve bits wait for each other's stores (a third slower,
// measured), so in leaves too large for the nearest cache p and its slots are set apart in them.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kSpacedFrom = 8 * kPage;  // bytes; below, the padding would weigh more than it saves

std::size_t spacing_of(const Leaf& leaf) { return bytes_of(leaf) >= kSpacedFrom ? kPage : 0; }

char* spaced(char* next, const Leaf& leaf, std::size_t slot) {
  if (spacing_of(leaf) == 0) return next;
  const auto wanted =
      (reinterpret_cast<std::uintptr_t>(leaf.spec.data) + (slot + 1) * (kPage / (kMaxSlots + 1))) / 64 * 64 %
      kPage;
  return next + (wanted + kPage - reinterpret_cast<std::uintptr_t>(next) % kPage) % kPage;
}

// Values at the present step, checked one by one and together.
std::vector<double> checked(const RuleInfo& rule, const std::vector<Hyper>& hypers, int64_t step) {
  if (hypers.size() != rule.hypers.size())
    throw std::invalid_argument(rule.name + "() takes " + std::to_string(rule.hypers.size()) +
                                " hypers, got " + std::to_string(hypers.size()));
  std::vector<double> values;
  for (std::size_t i = 0; i < hypers.size(); ++i) {
    const bool scheduled = bool(hypers[i].schedule);
    if (scheduled && rule.hypers[i].range == Range::flag)
      throw std::invalid_argument(rule.name + "(): " + rule.hypers[i].name +
                                  " is a schedule, expected True or False");
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

Engine::State::State(const RuleInfo& r, EngineOptions o)
    : rule(r),
      level(schuss::level()),
      options(std::move(o)),
      lr_index(r.hyper_index("lr")),
      multiplied(r.hypers.size()) {
  if (options.accumulate < 1)
    throw std::invalid_argument("accumulate is " + std::to_string(options.accumulate) +
                                ", expected 1 or more");
  if (!(options.clip.limit > 0) && options.clip.kind != ClipKind::none)
    throw std::invalid_argument("clip is " + std::to_string(options.clip.limit) +
                                ", expected a number above 0");
  if (options.scaler && options.nonfinite != Nonfinite::skip)
    throw std::invalid_argument(
        "nonfinite must be 'skip' with a scaler: an overflow is how it finds its scale");
}

void Engine::State::make_slots(std::size_t index, unsigned mask) {
  Leaf& leaf = plan.leaves[index];
  for (std::size_t k = 0; k < rule.slots.size(); ++k) {
    if (!has(mask, unsigned(k))) {  // should it be needed again, it starts anew
      runs[index].slots[k] = nullptr;
      leaf.slot_slabs[k] = nullptr;
    }
    if (!has(mask, unsigned(k)) || runs[index].slots[k]) continue;
    leaf.slot_slabs[k] = std::make_shared<Slab>(slot_bytes(index, k));
    runs[index].slots[k] = leaf.slot_slabs[k]->data();
    fill_slot(index, k);
  }
  runs[index].mask = mask;
}

// One block for all of them: they lie as the step walks.
void Engine::State::make_slots_of_new_leaves() {
  std::size_t bytes = 0;
  const auto each = [&](auto&& visit) {
    for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i)
      for (std::size_t k = 0; k < rule.slots.size(); ++k)
        if (has(groups[std::size_t(runs[i].group)].mask, unsigned(k))) visit(i, k);
  };
  each([&](std::size_t i, std::size_t k) { bytes += slot_bytes(i, k) + spacing_of(plan.leaves[i]); });
  const auto slab = std::make_shared<Slab>(bytes);
  char* next = slab->data();
  each([&](std::size_t i, std::size_t k) {
    runs[i].slots[k] = next = spaced(next, plan.leaves[i], k);
    plan.leaves[i].slot_slabs[k] = slab;
    next += slot_bytes(i, k);
    fill_slot(i, k);
  });
  for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i)
    runs[i].mask = groups[std::size_t(runs[i].group)].mask;
}

void Engine::State::make_accumulators_of_new_leaves() {
  std::size_t bytes = 0;
  const auto each = [&](auto&& visit) {
    for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i)
      if (options.accumulate > 1 || runs[i].sources > 1) visit(i);
  };
  each([&](std::size_t i) { bytes += bytes_of(plan.leaves[i]); });
  if (bytes == 0) return;
  const auto slab = std::make_shared<Slab>(bytes);
  char* next = slab->data();
  each([&](std::size_t i) {
    runs[i].accumulator = next;
    plan.leaves[i].accumulator_slab = slab;
    next += bytes_of(plan.leaves[i]);
  });
}

// The place of a set of factors that may not be there yet.
int Engine::State::set_of(std::vector<double> wanted) {
  if (!wanted.empty() && wanted.size() != rule.hypers.size())
    throw std::invalid_argument(rule.name + "() takes " + std::to_string(rule.hypers.size()) +
                                " factors a leaf, got " + std::to_string(wanted.size()));
  for (double factor : wanted)
    if (!(factor >= 0 && factor < std::numeric_limits<double>::infinity()))
      throw std::invalid_argument("a factor on a hyper is " + std::to_string(factor) +
                                  ", expected a finite number of 0 or more");
  if (std::all_of(wanted.begin(), wanted.end(), [](double factor) { return factor == 1; })) wanted.clear();
  const auto known = std::find(factors.begin(), factors.end(), wanted);
  const auto place = int(known - factors.begin());
  if (known == factors.end()) factors.push_back(std::move(wanted));
  return place;
}

void Engine::State::make_scalars_of_new_leaves() {
  for (std::size_t i = prepared_leaves; i < plan.leaves.size(); ++i) {
    const auto make = [&] {
      std::shared_ptr<double[]> made(new double[kMaxScalars]());
      const std::vector<double> hypers = groups[std::size_t(runs[i].group)].for_conditions();
      for (std::size_t k = 0; k < rule.scalars.size(); ++k) made[k] = rule.scalars[k].initial(hypers.data());
      return made;
    };
    if (rule.is_global && !scalars) scalars = make();
    plan.leaves[i].scalars = rule.is_global ? scalars : make();
  }
}

Engine::Engine(const RuleInfo& rule, EngineOptions options)
    : state_(std::make_unique<State>(rule, std::move(options))) {}
Engine::~Engine() = default;

int Engine::add_group(std::vector<Hyper> hypers) {
  state_->groups.push_back(make_group(state_->rule, std::move(hypers), state_->steps));
  return int(state_->groups.size()) - 1;
}

int Engine::add_leaf(LeafSpec spec) {
  State& s = *state_;
  if (spec.group < 0 || spec.group >= int(s.groups.size())) throw std::out_of_range("no such group");
  Run run;
  run.factors = s.set_of(spec.factors);
  run.group = spec.group;
  run.sources = spec.sources;
  run.first_source = s.sources;
  s.sources += spec.sources;
  Leaf leaf;
  leaf.spec = std::move(spec);
  s.plan.add(std::move(leaf));
  run.count = s.plan.leaves.back().count;
  run.arithmetic = s.plan.leaves.back().arithmetic();
  s.settle_formats(run, s.plan.leaves.back().spec);
  s.runs.push_back(run);
  return int(s.runs.size()) - 1;
}

void Engine::forget_group() {
  State& s = *state_;
  s.groups.pop_back();
  std::vector<Leaf>& leaves = s.plan.leaves;
  while (!leaves.empty() && leaves.back().spec.group == int(s.groups.size())) {
    s.plan.elements -= leaves.back().count;
    s.sources -= leaves.back().spec.sources;
    leaves.pop_back();
    s.runs.pop_back();
  }
  std::vector<Chunk>& chunks = s.plan.chunks;
  while (!chunks.empty() && chunks.back().leaf >= int(leaves.size())) chunks.pop_back();
  s.prepared_leaves = std::min(s.prepared_leaves, leaves.size());
}

void Engine::set_on_device(bool on_device) { state_->on_device = on_device; }

void Engine::prepare() {
  State& s = *state_;
  if (s.on_device) return;
  s.make_slots_of_new_leaves();
  s.make_accumulators_of_new_leaves();
  s.make_masters_of_new_leaves();
  s.make_scalars_of_new_leaves();
  s.prepared_leaves = s.plan.leaves.size();
  s.active.resize(s.plan.leaves.size());
  s.numbers.reserve(s.plan.leaves.size() + s.groups.size());
  s.measured.resize(s.plan.chunks.size() * std::size_t(s.sum_count()));
  if (s.options.clip.kind == ClipKind::leaf_norm) s.chunk_sums.resize(s.plan.chunks.size());
  for (std::size_t i = 0; i < s.plan.leaves.size(); ++i) {  // the leaves may have moved in their list
    const LeafSpec& spec = s.plan.leaves[i].spec;
    s.runs[i].p = {static_cast<char*>(spec.data), spec.format,
                   spec.strides.empty() ? nullptr : spec.strides.data()};
    s.runs[i].dimensions = int(spec.shape.size());
    s.runs[i].shape = spec.shape.data();
    s.runs[i].scalars = s.plan.leaves[i].scalars.get();
  }
}

const RuleInfo& Engine::rule() const { return state_->rule; }
const EngineOptions& Engine::options() const { return state_->options; }

void Engine::set_hypers(int group, std::vector<Hyper> hypers) {
  Group& old = state_->groups.at(std::size_t(group));
  old = make_group(state_->rule, std::move(hypers), state_->steps);
  if (state_->on_device) return;
  for (std::size_t i = 0; i < state_->runs.size(); ++i)
    if (state_->runs[i].group == group && state_->runs[i].mask != old.mask) state_->make_slots(i, old.mask);
}

void Engine::set_hyper(int group, int index, Hyper value) {
  std::vector<Hyper> hypers = state_->groups.at(std::size_t(group)).hypers;
  hypers.at(std::size_t(index)) = std::move(value);
  set_hypers(group, std::move(hypers));
}

const Hyper& Engine::hyper(int group, int index) const {
  return state_->groups.at(std::size_t(group)).hypers.at(std::size_t(index));
}

unsigned Engine::mask(int group) const { return state_->groups.at(std::size_t(group)).mask; }

void Engine::set_frozen(int leaf, bool frozen) { state_->runs.at(std::size_t(leaf)).frozen = frozen; }
bool Engine::frozen(int leaf) const { return state_->runs.at(std::size_t(leaf)).frozen; }
void Engine::set_factors(int leaf, std::vector<double> factors) {
  state_->runs.at(std::size_t(leaf)).factors = state_->set_of(std::move(factors));
}
int Engine::factor_set(int leaf) const { return state_->runs.at(std::size_t(leaf)).factors; }
const std::vector<double>& Engine::factors(int set) const { return state_->factors.at(std::size_t(set)); }
int Engine::leaves() const { return int(state_->plan.leaves.size()); }
int Engine::sources() const { return state_->sources; }
const LeafSpec& Engine::leaf(int index) const { return state_->plan.leaves.at(std::size_t(index)).spec; }
int64_t Engine::elements() const { return state_->plan.elements; }
int64_t Engine::steps() const { return state_->steps; }
void Engine::set_steps(int64_t steps) { state_->steps = steps; }
int64_t Engine::leaf_clock(int leaf) const { return state_->runs.at(std::size_t(leaf)).clock; }
void Engine::set_leaf_clock(int leaf, int64_t clock) { state_->runs.at(std::size_t(leaf)).clock = clock; }
void* Engine::accumulator(int leaf) const { return state_->runs.at(std::size_t(leaf)).accumulator; }
bool Engine::accumulated(int leaf) const { return state_->runs.at(std::size_t(leaf)).accumulated; }
int Engine::pending() const { return state_->pending; }
bool Engine::at_point() const { return state_->at_point; }

void* Engine::slot(int leaf, int slot) const {
  const Run& run = state_->runs.at(std::size_t(leaf));
  return has(run.mask, unsigned(slot)) ? run.slots[slot] : nullptr;
}

std::shared_ptr<double[]> Engine::scalars(int leaf) const {
  return state_->plan.leaves.at(std::size_t(leaf)).scalars;
}

std::shared_ptr<const void> Engine::slot_owner(int leaf, int slot) const {
  return has(state_->runs.at(std::size_t(leaf)).mask, unsigned(slot))
             ? state_->plan.leaves[std::size_t(leaf)].slot_slabs[slot]
             : nullptr;
}

void Engine::set_pending(int pending, const std::vector<bool>& accumulated) {
  state_->pending = pending;
  for (std::size_t i = 0; i < state_->runs.size(); ++i)
    state_->runs[i].accumulated = i < accumulated.size() && accumulated[i];
}

}  // namespace schuss
