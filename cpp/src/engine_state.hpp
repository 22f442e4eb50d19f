#pragma once
#include <atomic>
#include <stdexcept>
#include <vector>

#include "passes.hpp"
#include "plan.hpp"
#include "schuss/control/exact_sum.hpp"
#include "schuss/engine.hpp"
#include "threads.hpp"

namespace schuss {

struct Group {
  std::vector<Hyper> hypers;
  std::vector<double> now;  // this step's values
  unsigned mask = 0;        // of the slots that the rule keeps under these settings
  bool scheduled = false;

  // A scheduled hyper is NaN to a condition: it may take any value.
  std::vector<double> for_conditions() const;
};

// A prepared rule, shared by the leaves of one group, set of factors, clock, arithmetic and mask.
struct Numbers {
  int group;
  int factors;
  int64_t clock;
  Format arithmetic;
  unsigned mask;
  alignas(16) unsigned char bytes[kMaxNumbers];
};

struct Engine::State {
  const RuleInfo& rule;
  const Level& level;
  EngineOptions options;
  std::vector<Group> groups;
  std::vector<std::vector<double>> factors{{}};  // the sets that leaves have; the first is of those without
  Plan plan;
  std::vector<Run> runs;  // of the plan's leaves
  std::size_t prepared_leaves = 0;
  int64_t steps = 0;
  int sources = 0;
  int pending = 0;
  int lr_index;  // of the rule's learning rate; -1 where it has none
  bool on_device = false;
  bool at_point = false;
  bool point_step = false;  // the next gradients were taken at the point
  std::atomic<bool> busy{false};

  // Working memory of a step, sized beforehand.
  std::vector<char> active;
  std::vector<Numbers> numbers;
  std::vector<double> multiplied;          // a group's values times a leaf's factors
  std::vector<ExactSum> sums;              // by thread
  std::vector<double> chunk_sums;          // for norms by leaf
  std::vector<double> measured;            // by chunk, as many as the rule has sums
  std::shared_ptr<double[]> scalars;       // of a rule that is global
  std::vector<char> backup;                // the parameters while they are at the point
  std::vector<std::size_t> backup_starts;  // of each leaf
  bool finishes = false;                   // in this step there are scalars to move before the update
  double mean = 1;                         // takes a sum of scaled micro-gradients to their mean
  Outcome outcome;

  State(const RuleInfo& rule, EngineOptions options);
  void refuse_on_device() const {
    if (on_device) throw std::logic_error("the leaves lie on a device, which this engine does not step");
  }

  void resolve_hypers();
  const double* hypers_of(const Run& run);
  const void* numbers_for(const Run& run);
  int set_of(std::vector<double> wanted);
  bool aim(const Gradient* gradients, bool real);  // fills runs and active; false where nothing is
  bool aim_leaf(Run& run, const Gradient* gradients, bool real);
  void make_slots(std::size_t index, unsigned mask);
  void fill_slot(std::size_t index, std::size_t slot);
  void make_slots_of_new_leaves();
  void make_accumulators_of_new_leaves();
  void settle_formats(Run& run, const LeafSpec& spec) const;
  void make_masters_of_new_leaves();
  std::size_t slot_bytes(std::size_t leaf, std::size_t slot) const;
  bool needs_norm() const;
  void set_lookahead(bool visited);
  void walk(Team team, const std::vector<int>& bounds, const Gradient* gradients, bool real);
  void take_gradients(const Chunk& chunk, const Gradient* gradients);
  void finish_norm();
  double leaf_norm(std::size_t leaf, std::size_t& chunk) const;
  bool some_finish() const;
  int sum_count() const;  // of a chunk: those of the rule, or the one of caution
  RuleInfo::Finish finish_of(const Run& run) const;
  void measure_and_finish(Team team, const std::vector<int>& bounds);
  void finish_leaf(std::size_t leaf);
  void finish_all();
  void make_scalars_of_new_leaves();
  void close(bool real);
  void aim_at_point();
  template <class Visit>
  void each_backed_chunk(Visit visit);
};

// Only one thread steps an engine at a time.
class Busy {
 public:
  explicit Busy(std::atomic<bool>& flag);
  ~Busy() { flag_.store(false); }

 private:
  std::atomic<bool>& flag_;
};

}  // namespace schuss
