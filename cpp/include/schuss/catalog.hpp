// The table of rules, as data: what a rule's header says of it, for whoever builds on it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "control/clock.hpp"
#include "formats/format.hpp"
#include "rules/rule.hpp"

namespace schuss {

constexpr int kMaxNumbers = 128;  // bytes of a prepared rule

struct HyperInfo {
  std::string name;
  double standard;
  Range range;
  std::string doc;
};

struct SlotInfo {
  std::string name;
  std::string doc;
  bool always;
  std::function<double(const double* hypers)> initial;
  bool (*kept)(const double* hypers);
  bool follows_p = false;  // begins as the parameter
};

// A number of a leaf, or of all leaves, that a rule moves once a step.
struct ScalarInfo {
  std::string name;
  std::string doc;
  double (*initial)(const double* hypers);
};

struct CheckInfo {
  bool (*holds)(const double* hypers);
  std::string message;
};

struct FormInfo {
  std::string name;
  std::string hypers;  // "lr=0.001 eps=0 …"
  std::string doc;
};

// In words, for the table of rules.
struct Traits {
  std::string first_moment, second_moment, bias_correction, decay, use;
};

// How many operations of each kind one element costs.
struct OperationCount {
  int add = 0, multiply = 0, divide = 0, root = 0, compare = 0;
  int total() const { return add + multiply + divide + root + compare; }
};

struct RuleInfo {
  int index;             // in the catalog, and in a level's table; -1: a rule of the user's own
  std::string name;      // the class: "AdamW"
  std::string function;  // the plain function: "adamw"
  std::string key;  // what kernels for a device are made by: the function, or the name of an own rule's text
  int year;
  std::string summary, paper;
  Traits traits;
  std::vector<HyperInfo> hypers;
  std::vector<SlotInfo> slots;
  std::vector<ScalarInfo> scalars;
  std::vector<CheckInfo> checks;
  std::vector<FormInfo> forms;
  bool has_point;
  bool is_global = false;  // its sums go over all leaves
  int sums = 0;            // that it measures by itself, without caution

  using Finish = void (*)(const void* numbers, const double* sums, double count, double* scalars);

  // Writes this step's numbers, in float64 or float32, for the rule with these slots kept.
  using Prepare = std::function<void(const double* hypers, Clock clock, void* numbers)>;
  std::vector<Prepare> prepare_f64, prepare_f32;  // by mask of slots kept; null where there is no such form
  std::vector<Finish> finish_f64, finish_f32;     // by mask; null where the rule only steps
  std::vector<OperationCount> operations;         // by mask of slots

  unsigned mask(const double* hypers) const;              // of the slots kept under these hypers
  int hyper_index(const std::string& name) const;         // -1 where there is none
  Finish finish(Format arithmetic, unsigned mask) const;  // null where it only steps
  bool finishes() const;            // whether it measures or moves scalars by itself, without caution
  std::string hyper_names() const;  // "lr, beta1, …", for messages
  void check(int hyper, double value, const std::string& where) const;  // throws std::invalid_argument
  void check_together(const double* hypers) const;
};

const std::vector<RuleInfo>& catalog();
const RuleInfo& rule_named(const std::string& function);  // throws std::invalid_argument

}  // namespace schuss
