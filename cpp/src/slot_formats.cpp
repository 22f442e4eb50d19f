// How slots are stored and what they begin with; float32 masters of smaller parameters.
#include <algorithm>

#include "engine_state.hpp"
#include "leaf_key.hpp"
#include "schuss/formats/block8.hpp"

namespace schuss {
namespace {

bool is_low_precision(Format format) { return format == Format::bf16 || format == Format::f16; }

int64_t blocks_of(int64_t count) { return (count + kBlock - 1) / kBlock; }

template <class T>
void fill(char* slot, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) reinterpret_cast<T*>(slot)[i] = value;
}

}  // namespace

void Engine::State::settle_formats(Run& run, const LeafSpec& spec) const {
  const bool low = is_low_precision(spec.format);
  run.stochastic = options.stochastic && low;
  run.rounding_key = leaf_key(options.seed, spec.name);
  run.staged = int(spec.format) >= kDirect || run.stochastic || (options.master && low);
  const bool large = options.slots != SlotFormat::block8 || run.count >= kSmallestInBlocks;
  for (std::size_t k = 0; k < rule.slots.size(); ++k) {
    const bool smaller = large && run.arithmetic == Format::f32 && !rule.slots[k].follows_p;
    run.slot_formats[k] = smaller ? options.slots : SlotFormat::arithmetic;
    run.staged = run.staged || run.slot_formats[k] != SlotFormat::arithmetic;
  }
}

std::size_t Engine::State::slot_bytes(std::size_t index, std::size_t k) const {
  const Run& run = runs[index];
  const auto count = std::size_t(run.count);
  switch (run.slot_formats[k]) {
    case SlotFormat::bf16: return Slab::rounded(count * 2);
    case SlotFormat::block8:
      return Slab::rounded(count) + Slab::rounded(std::size_t(blocks_of(run.count)) * sizeof(float));
    default: return Slab::rounded(count * size_of(run.arithmetic));
  }
}

void Engine::State::fill_slot(std::size_t index, std::size_t k) {
  const Run& run = runs[index];
  const double value = rule.slots[k].initial(groups[std::size_t(run.group)].for_conditions().data());
  if (value == 0) return;  // a slab comes zeroed
  if (run.arithmetic == Format::f64) return fill(run.slots[k], run.count, value);
  if (run.slot_formats[k] == SlotFormat::arithmetic) return fill(run.slots[k], run.count, float(value));
  if (run.slot_formats[k] == SlotFormat::bf16)
    return fill(run.slots[k], run.count, Store<bf16>::nearest(float(value)));
  float row[kBlock];
  for (float& each : row) each = float(value);
  auto* const codes = reinterpret_cast<uint8_t*>(run.slots[k]);
  for (int64_t first = 0; first < run.count; first += kBlock)
    level.formats->encode(codes + first, scales_of(run.slots[k], run.count) + first / kBlock, row,
                          std::min<int64_t>(kBlock, run.count - first));
}

void Engine::State::make_masters_of_new_leaves() {
  for (std::size_t i = prepared_leaves; options.master && i < plan.leaves.size(); ++i) {
    Leaf& leaf = plan.leaves[i];
    if (!is_low_precision(leaf.spec.format)) continue;
    leaf.master_slab = std::make_shared<Slab>(std::size_t(leaf.count) * sizeof(float));
    runs[i].master = leaf.master_slab->data();
  }
}

SlotFormat Engine::slot_format(int leaf, int slot) const {
  return state_->runs.at(std::size_t(leaf)).slot_formats[slot];
}

float* Engine::scales(int leaf, int slot) const {
  return scales_of(static_cast<char*>(this->slot(leaf, slot)), state_->runs.at(std::size_t(leaf)).count);
}

void Engine::decode_slot(int leaf, int slot, float* to) const {
  state_->level.formats->decode(to, static_cast<const uint8_t*>(this->slot(leaf, slot)), scales(leaf, slot),
                                state_->runs.at(std::size_t(leaf)).count);
}

bool Engine::has_master(int leaf) const {
  return state_->options.master && is_low_precision(this->leaf(leaf).format);
}
float* Engine::master(int leaf) const {
  return reinterpret_cast<float*>(state_->runs.at(std::size_t(leaf)).master);
}
std::shared_ptr<const void> Engine::master_owner(int leaf) const {
  return state_->plan.leaves.at(std::size_t(leaf)).master_slab;
}

}  // namespace schuss
