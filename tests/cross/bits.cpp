// Prints a hash of the bits of a few steps: every rule, setting and format, norms, scaled and accumulated
// walks, schedules. Equal output on two machines, levels or thread counts is the promise of equal bits.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "schuss/control/elementary.hpp"
#include "schuss/control/schedule.hpp"
#include "schuss/engine.hpp"

namespace {

using schuss::Format;

struct Hash {
  uint64_t value = 1469598103934665603u;

  void mix(uint64_t word) { value = (value ^ word) * 1099511628211u; }
  void mix(double number) {  // a NaN's payload is free
    uint64_t bits = 1;
    if (number == number) std::memcpy(&bits, &number, sizeof bits);
    mix(bits);
  }
};

// Integers to doubles by exact operations: the same numbers wherever this runs.
struct Random {
  uint64_t state;

  double operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const double size[] = {0.0625, 1, 1, 8};
    return (double(state >> 11) * 0x1p-52 - 1) * size[state & 3];
  }
};

// An array of any format, read and written element by element as doubles.
struct Array {
  Format format;
  int64_t count;
  std::vector<uint64_t> words;  // aligned for every format

  Array(Format format, int64_t count, uint64_t seed, double scale = 1)
      : format(format), count(count), words(std::size_t(count) + 1) {
    Random random{seed * 0x9e3779b97f4a7c15u + 88172645463325252u};
    for (int64_t i = 0; i < count; ++i) put(i, random() * scale);
  }
  char* at(int64_t i) {
    return reinterpret_cast<char*>(words.data()) + std::size_t(i) * schuss::size_of(format);
  }
  void put(int64_t i, double value) {
    const float single = float(value);
    if (format == Format::f64) {
      std::memcpy(at(i), &value, 8);
    } else if (format == Format::f32) {
      std::memcpy(at(i), &single, 4);
    } else {
      uint32_t bits;
      std::memcpy(&bits, &single, 4);
      const auto upper = uint16_t(bits >> 16);
      std::memcpy(at(i), &upper, 2);
    }
  }
};

void mix(Hash& hash, Format format, const void* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const char* at = static_cast<const char*>(data) + std::size_t(i) * schuss::size_of(format);
    if (format == Format::f64) {
      double value;
      std::memcpy(&value, at, 8);
      hash.mix(value);
    } else if (format == Format::f32) {
      float value;
      std::memcpy(&value, at, 4);
      hash.mix(double(value));
    } else {
      uint16_t bits;
      std::memcpy(&bits, at, 2);
      hash.mix(uint64_t(bits));
    }
  }
}

struct Setting {
  std::string name;
  std::vector<double> hypers;
};

// A value other than the default. The rates stay below what makes any rule blow up.
double moved(const schuss::HyperInfo& hyper) {
  if (hyper.range == schuss::Range::flag) return 1;
  return hyper.standard == 0.0625 ? 0.03125 : 0.0625;
}

// The defaults, each hyper moved on its own, every pair of them: as far as the rule takes them together.
std::vector<Setting> settings_of(const schuss::RuleInfo& rule) {
  std::vector<double> standard;
  for (const auto& hyper : rule.hypers) standard.push_back(hyper.standard);
  std::vector<Setting> found{{"", standard}};
  for (std::size_t i = 0; i < standard.size(); ++i)
    for (std::size_t j = i; j < standard.size(); ++j) {
      Setting setting{" " + rule.hypers[i].name + (i == j ? "" : " " + rule.hypers[j].name), standard};
      setting.hypers[i] = moved(rule.hypers[i]);
      setting.hypers[j] = moved(rule.hypers[j]);
      try {
        rule.check_together(setting.hypers.data());
      } catch (const std::invalid_argument&) {
        continue;
      }
      found.push_back(setting);
    }
  return found;
}

constexpr int64_t kCounts[] = {1, 31, 33, 0, 4097, 5000};
constexpr int kLeaves = sizeof kCounts / sizeof *kCounts;
constexpr int kSteps = 3;

uint64_t walk(const schuss::RuleInfo& rule, const std::vector<double>& hypers, Format p, Format g,
              schuss::EngineOptions options, bool strided = false, const schuss::Schedule* lr = nullptr) {
  if (options.scaler) options.scaler = std::make_shared<schuss::LossScale>(*options.scaler);
  schuss::Engine engine(rule, options);
  std::vector<schuss::Hyper> settings;
  for (double value : hypers) settings.push_back({value, {}});
  if (lr) settings[std::size_t(rule.hyper_index("lr"))].schedule = [lr](int64_t step) { return (*lr)(step); };
  engine.add_group(settings);

  const int64_t size = int64_t(schuss::size_of(p)), g_strides[] = {2 * int64_t(schuss::size_of(g))};
  std::vector<Array> params;
  for (int i = 0; i < kLeaves; ++i) params.emplace_back(p, kCounts[i] * (strided ? 2 : 1), 1 + uint64_t(i));
  for (int i = 0; i < kLeaves; ++i) {
    schuss::LeafSpec leaf;
    leaf.name = std::to_string(i);
    leaf.data = params[std::size_t(i)].at(0);
    leaf.format = p;
    leaf.shape = {kCounts[i]};
    if (strided) leaf.strides = {2 * size};
    engine.add_leaf(leaf);
  }
  engine.prepare();

  Hash hash;
  for (int t = 0; t < kSteps * options.accumulate; ++t) {
    std::vector<Array> grads;
    for (int i = 0; i < kLeaves; ++i)
      grads.emplace_back(g, kCounts[i] * (strided ? 2 : 1), uint64_t(100 + 10 * t + i),
                         options.scaler ? 1024 : 1);
    if (options.scaler && t == 1) grads[0].put(0, 1e300 * 1e300);  // a step that overflows
    std::vector<schuss::Gradient> given;
    for (Array& each : grads) given.push_back({each.at(0), g, strided ? g_strides : nullptr});
    if (rule.has_point && options.accumulate == 1 && !options.scaler) {
      engine.to_point();
      for (Array& each : params) mix(hash, p, each.at(0), each.count);
      engine.from_point();
    }
    const schuss::Outcome outcome = engine.step(given.data());
    hash.mix(outcome.has_norm ? outcome.grad_norm : -1);
    hash.mix(outcome.clip_coef);
    hash.mix(outcome.lr);
    hash.mix(uint64_t(outcome.skipped));
  }
  for (Array& each : params) mix(hash, p, each.at(0), each.count);
  for (int i = 0; i < kLeaves; ++i)
    for (int slot = 0; slot < int(rule.slots.size()); ++slot)
      if (const void* data = engine.slot(i, slot)) mix(hash, schuss::arithmetic_of(p), data, kCounts[i]);
  return hash.value;
}

void print(const std::string& name, uint64_t value) {
  std::printf("%-60s %016" PRIx64 "\n", name.c_str(), value);
}

void print_walks() {
  const Format formats[] = {Format::f64, Format::f32, Format::bf16};
  schuss::EngineOptions clipped, by_leaf, by_value, scaled, accumulated;
  clipped.clip = {schuss::ClipKind::global_norm, 1};
  by_leaf.clip = {schuss::ClipKind::leaf_norm, 0.5};
  by_value.clip = {schuss::ClipKind::value, 0.25};
  by_value.grad_norm = true;
  scaled.scaler = std::make_shared<schuss::LossScale>();
  scaled.scaler->scale = 1024;
  accumulated.accumulate = 3;
  accumulated.clip = clipped.clip;
  const schuss::Schedule lr = schuss::schedules::warmup(2, schuss::schedules::cosine(0.125, 9));

  for (const schuss::RuleInfo& rule : schuss::catalog())
    for (Format p : formats)
      for (Format g : formats) {
        const std::string kind = rule.name + " " + schuss::name_of(p) + "/" + schuss::name_of(g);
        const std::vector<Setting> settings = settings_of(rule);
        for (const Setting& setting : settings)
          print(kind + setting.name, walk(rule, setting.hypers, p, g, clipped));
        const std::vector<double>& standard = settings.front().hypers;
        print(kind + ", not clipped", walk(rule, standard, p, g, {}));
        print(kind + ", clipped by leaf", walk(rule, standard, p, g, by_leaf));
        print(kind + ", clipped by value", walk(rule, standard, p, g, by_value));
        print(kind + ", scaled", walk(rule, standard, p, g, scaled));
        print(kind + ", accumulated", walk(rule, standard, p, g, accumulated));
        print(kind + ", strided", walk(rule, standard, p, g, clipped, true));
        print(kind + ", scheduled", walk(rule, standard, p, g, clipped, false, &lr));
      }
}

void print_schedules() {
  namespace s = schuss::schedules;
  const std::pair<const char*, schuss::Schedule> made[] = {
      {"step", s::step(0.3, 0.7, 37)},
      {"exponential", s::exponential(0.3, 0.9993)},
      {"polynomial", s::polynomial(0.3, 0.01, 4000, 1.7)},
      {"cosine", s::cosine(0.3, 4999, 0.01)},
      {"inverse_sqrt", s::inverse_sqrt(0.3, 7)},
      {"cyclic", s::cyclic(0.01, 0.3, 50, {}, "exp_range", 0.999)},
      {"warmup", s::warmup(100, s::cosine(0.3, 4000))},
      {"one_cycle", s::one_cycle(0.3, 4999)},
      {"warmup_stable_decay", s::warmup_stable_decay(0.3, 4999, 100, 900)},
  };
  for (const auto& [name, schedule] : made) {
    Hash hash;
    for (int64_t step = 0; step < 5000; ++step) hash.mix(schedule(step));
    print(std::string("schedule ") + name, hash.value);
  }
}

}  // namespace

int main() {
  print_walks();
  print_schedules();
}
