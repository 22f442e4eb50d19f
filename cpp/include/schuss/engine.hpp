// The engine: leaves go in, steps come out. Framework code stands on this; it knows arrays by pointer.
#pragma once
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "catalog.hpp"
#include "control/loss_scale.hpp"
#include "formats/format.hpp"

namespace schuss {

// A setting of a rule: a number, or a function of the count of real steps done, 0 at the first.
struct Hyper {
  double value = 0;
  std::function<double(int64_t)> schedule;  // empty for a number

  double at(int64_t step) const { return schedule ? schedule(step) : value; }
};

struct LeafSpec {
  std::string name;
  void* data = nullptr;
  Format format = Format::f32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // bytes; empty where the array lies in C order
  int group = 0;
  int sources = 1;              // gradients that are summed for it: more than one where the array is tied
  std::vector<double> factors;  // on the hypers of its group, in the catalog's order; empty: all 1
};

// A gradient of a leaf, of the leaf's shape. No data: the leaf is left as it is.
struct Gradient {
  const void* data = nullptr;
  Format format = Format::f32;
  const int64_t* strides = nullptr;  // bytes; null where the array lies in C order
};

// Smaller leaves would save little and are often the ones whose steps must be exact.
constexpr int64_t kSmallestInBlocks = 4096;

enum class ClipKind { none, global_norm, leaf_norm, value };
struct Clip {
  ClipKind kind = ClipKind::none;
  double limit = std::numeric_limits<double>::infinity();
};

enum class Nonfinite { skip, raise, apply };

struct EngineOptions {
  Clip clip;
  Nonfinite nonfinite = Nonfinite::skip;  // what to do with a norm that is not finite
  int accumulate = 1;                     // micro-gradients a real step
  bool grad_norm = false;                 // compute the norm even where nothing else asks for it
  std::shared_ptr<LossScale> scaler;
  SlotFormat slots =
      SlotFormat::arithmetic;  // of float32 arithmetic; 8 bits from kSmallestInBlocks elements on
  bool stochastic = false;     // how bfloat16 and float16 parameters are rounded
  uint64_t seed = 0;           // of that
  bool master = false;         // keep such parameters in float32 too
};

struct Outcome {
  int64_t step = 0;  // real steps done
  double lr = std::numeric_limits<double>::quiet_NaN();
  double grad_norm = 0;  // of the unscaled mean gradient, before clipping
  double clip_coef = 1;
  bool has_norm = false;
  bool skipped = false;
  int pending = 0;  // micro-gradients held since the last real step
};

// The slots that a rule keeps under these settings. Throws std::invalid_argument for settings it cannot take.
unsigned mask_of(const RuleInfo& rule, const std::vector<Hyper>& hypers, int64_t step);

class Engine {
 public:
  explicit Engine(const RuleInfo& rule, EngineOptions options = {});
  ~Engine();

  // Settings in the order of the catalog. Throws std::invalid_argument before anything changes.
  int add_group(std::vector<Hyper> hypers);
  int add_leaf(LeafSpec leaf);
  void prepare();       // cuts chunks and makes slots for the leaves added since the last call
  void forget_group();  // the last one, and its leaves

  // Whether the arrays lie on a device, where others step them: settings are kept and checked here, nothing
  // is made.
  void set_on_device(bool on_device);

  // One gradient a source, leaf by leaf. Everything is checked before the first write.
  Outcome step(const Gradient* gradients);
  Outcome flush();  // takes the step with the micro-gradients held so far

  // Moves the parameters to where the rule wants its gradient taken, and exactly back.
  void to_point();
  void from_point(bool gradient_taken = true);  // whether the next step's gradient was taken there
  bool at_point() const;

  const RuleInfo& rule() const;
  const EngineOptions& options() const;
  void set_hyper(int group, int hyper, Hyper value);
  void set_hypers(int group, std::vector<Hyper> hypers);
  const Hyper& hyper(int group, int hyper) const;
  unsigned mask(int group) const;  // of the slots that its leaves keep
  void set_frozen(int leaf, bool frozen);
  bool frozen(int leaf) const;
  void set_factors(int leaf, std::vector<double> factors);
  int factor_set(int leaf) const;  // leaves with the same factors share one; 0: none
  const std::vector<double>& factors(int set) const;
  int leaves() const;
  int sources() const;
  const LeafSpec& leaf(int index) const;
  int64_t elements() const;
  int64_t steps() const;
  void set_steps(int64_t steps);
  int64_t leaf_clock(int leaf) const;
  void set_leaf_clock(int leaf, int64_t clock);
  void* slot(int leaf, int slot) const;  // null where it is not kept
  std::shared_ptr<const void> slot_owner(int leaf, int slot) const;
  SlotFormat slot_format(int leaf, int slot) const;  // whether it is kept or not
  float* scales(int leaf, int slot) const;           // of a slot in blocks, one a block
  void decode_slot(int leaf, int slot, float* to) const;
  bool has_master(int leaf) const;
  float* master(int leaf) const;  // null where there is none
  std::shared_ptr<const void> master_owner(int leaf) const;
  std::shared_ptr<double[]> scalars(int leaf) const;  // in the order of the catalog
  void* accumulator(int leaf) const;                  // null where there is none
  bool accumulated(int leaf) const;                   // whether it holds anything
  int pending() const;
  void set_pending(int pending, const std::vector<bool>& accumulated);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace schuss
