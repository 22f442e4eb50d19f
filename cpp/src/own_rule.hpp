// Rules of the user's own: described as data, made into what the engine takes.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernel.hpp"
#include "schuss/catalog.hpp"

namespace schuss {

constexpr int kMaxNumberSteps = 256;
constexpr int kMaxOwnNumbers = int((kMaxNumbers - sizeof(ProgramHead)) / sizeof(double));

// One step of the numbers, in double: computed from earlier ones, a hyper, or the clock.
// clang-format off: it would fold them anew at each pass
#define SCHUSS_NUMBER_OPERATIONS(ONE) \
  ONE(literal) \
  ONE(hyper) \
  ONE(clock) \
  ONE(add) \
  ONE(subtract) \
  ONE(multiply) \
  ONE(divide) \
  ONE(negate) \
  ONE(root) \
  ONE(size) \
  ONE(sign) \
  ONE(smallest) \
  ONE(largest) \
  ONE(less) \
  ONE(less_or_equal) \
  ONE(equal) \
  ONE(unequal) \
  ONE(choose) \
  ONE(exp) \
  ONE(log) \
  ONE(cos) \
  ONE(power) \
  ONE(power_of_clock)
// clang-format on

enum class NumberOperation {
#define SCHUSS_NUMBER_ENTRY(name) name,
  SCHUSS_NUMBER_OPERATIONS(SCHUSS_NUMBER_ENTRY)
#undef SCHUSS_NUMBER_ENTRY
      count
};

struct NumberStep {
  NumberOperation operation;
  int a = 0, b = 0, c = 0;  // earlier steps; of a hyper, a is its index
  double value = 0;         // of a literal
};

struct OwnSlot {
  std::string name;
  double initial;
  std::string doc;
};

struct OwnRule {
  std::string name, key, summary, paper;
  std::vector<HyperInfo> hypers;
  std::vector<OwnSlot> slots;
  std::vector<NumberStep> steps;
  std::vector<int> numbers;  // the steps that the instructions use, each rounded once
  std::vector<Instruction> code;
  std::vector<double> literals;
  OperationCount operations;
};

// Throws std::invalid_argument where an index leads nowhere.
std::shared_ptr<const RuleInfo> make_rule(const OwnRule& description);

std::vector<std::string> instruction_texts();       // by Operation
std::vector<std::string> number_operation_names();  // by NumberOperation

}  // namespace schuss
