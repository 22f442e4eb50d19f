#include "own_rule.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "schuss/control/elementary.hpp"

namespace schuss {
namespace {

// What the kernels of a rule read: the program, then its numbers. One for all its optimizers.
struct Made {
  Program program{};
  std::vector<NumberStep> steps;
  std::vector<int> numbers;
};

double value_of(const NumberStep& step, const double* done, const double* hypers, Clock clock) {
  const double a = done[step.a], b = done[step.b], c = done[step.c];
  switch (step.operation) {
    case NumberOperation::literal: return step.value;
    case NumberOperation::hyper: return hypers[step.a];
    case NumberOperation::clock: return double(clock.step);
    case NumberOperation::add: return a + b;
    case NumberOperation::subtract: return a - b;
    case NumberOperation::multiply: return a * b;
    case NumberOperation::divide: return a / b;
    case NumberOperation::negate: return -a;
    case NumberOperation::root: return sqrt(a);
    case NumberOperation::size: return magnitude(a);
    case NumberOperation::sign: return schuss::sign(a);
    case NumberOperation::smallest: return select(a < b, a, b);
    case NumberOperation::largest: return larger(a, b);
    case NumberOperation::less: return a < b;
    case NumberOperation::less_or_equal: return a <= b;
    case NumberOperation::equal: return a == b;
    case NumberOperation::unequal: return a != b;
    case NumberOperation::choose: return a != 0 ? b : c;
    case NumberOperation::exp: return elementary::exp(a);
    case NumberOperation::log: return elementary::log(a);
    case NumberOperation::cos: return elementary::cos(a);
    case NumberOperation::power: return elementary::power(a, b);
    case NumberOperation::power_of_clock: return clock.power(a);
    case NumberOperation::count: break;
  }
  return 0;
}

template <class T>
void prepare(const Made& made, const double* hypers, Clock clock, void* bytes) {
  double done[kMaxNumberSteps] = {};
  for (std::size_t i = 0; i < made.steps.size(); ++i) done[i] = value_of(made.steps[i], done, hypers, clock);
  const ProgramHead head{&made.program};
  auto* to = static_cast<unsigned char*>(bytes);
  std::memcpy(to, &head, sizeof head);
  to += sizeof head;
  for (const int number : made.numbers) {
    const T value = T(done[number]);
    std::memcpy(to, &value, sizeof value);
    to += sizeof value;
  }
}

void require(bool good, const OwnRule& rule, const std::string& what) {
  if (!good) throw std::invalid_argument(rule.name + ": " + what);
}

void check(const OwnRule& rule) {
  const auto within = [](int index, std::size_t size) { return index >= 0 && index < int(size); };
  require(rule.slots.size() <= kMaxSlots, rule,
          std::to_string(rule.slots.size()) + " slots, expected at most " + std::to_string(kMaxSlots));
  require(rule.steps.size() <= kMaxNumberSteps, rule,
          std::to_string(rule.steps.size()) + " operations on numbers, expected at most " +
              std::to_string(kMaxNumberSteps));
  require(rule.numbers.size() <= kMaxOwnNumbers, rule,
          std::to_string(rule.numbers.size()) + " numbers a step, expected at most " +
              std::to_string(kMaxOwnNumbers));
  require(rule.literals.size() + rule.numbers.size() <= kMaxConstants, rule, "too many literals");
  require(rule.code.size() <= kMaxInstructions, rule,
          std::to_string(rule.code.size()) + " instructions, expected at most " +
              std::to_string(kMaxInstructions));
  for (std::size_t i = 0; i < rule.steps.size(); ++i) {
    const NumberStep& step = rule.steps[i];
    const std::size_t known = step.operation == NumberOperation::hyper ? rule.hypers.size() : i + 1;
    require(within(step.a, known) && within(step.b, i + 1) && within(step.c, i + 1), rule,
            "a number of a later step");
  }
  for (const int number : rule.numbers) require(within(number, rule.steps.size()), rule, "no such number");
  const std::size_t constants = std::max<std::size_t>(1, rule.numbers.size() + rule.literals.size());
  const std::size_t rows = row_slots + rule.slots.size();
  for (const Instruction& one : rule.code) {
    require(one.operation < Operation::count, rule, "no such instruction");
    require(one.to < rows && one.to != row_g, rule, "an instruction writes where it must not");
    for (const int row : {one.x, one.y, one.z, one.w}) require(within(row, rows), rule, "no such row");
    for (const int index : {one.k, one.l, one.m}) require(within(index, constants), rule, "no such constant");
  }
}

}  // namespace

std::shared_ptr<const RuleInfo> make_rule(const OwnRule& description) {
  check(description);
  const auto made = std::make_shared<Made>();
  made->program.instructions = int(description.code.size());
  made->program.numbers = int(description.numbers.size());
  made->program.literals = int(description.literals.size());
  std::copy(description.code.begin(), description.code.end(), made->program.code);
  std::copy(description.literals.begin(), description.literals.end(), made->program.literal);
  made->steps = description.steps;
  made->numbers = description.numbers;
  auto info = std::make_shared<RuleInfo>();
  info->index = -1;
  info->name = info->function = description.name;
  info->key = description.key;
  info->year = 0;
  info->summary = description.summary;
  info->paper = description.paper;
  info->traits = {"own", "own", "own", "own", "a rule of the user's own"};
  info->hypers = description.hypers;
  for (const OwnSlot& slot : description.slots)
    info->slots.push_back({slot.name, slot.doc, true,
                           [initial = slot.initial](const double*) { return initial; },
                           [](const double*) { return true; }});
  info->has_point = false;
  const std::size_t mask = (std::size_t(1) << description.slots.size()) - 1;
  info->prepare_f64.resize(mask + 1);
  info->prepare_f32.resize(mask + 1);
  info->operations.resize(mask + 1);
  info->operations[mask] = description.operations;
  info->prepare_f64[mask] = [made](const double* hypers, Clock clock, void* bytes) {
    prepare<double>(*made, hypers, clock, bytes);
  };
  info->prepare_f32[mask] = [made](const double* hypers, Clock clock, void* bytes) {
    prepare<float>(*made, hypers, clock, bytes);
  };
  return info;
}

std::vector<std::string> instruction_texts() {
#define SCHUSS_TEXT_OF(name, ...) #__VA_ARGS__,
  return {SCHUSS_INSTRUCTIONS(SCHUSS_TEXT_OF)};
#undef SCHUSS_TEXT_OF
}

std::vector<std::string> number_operation_names() {
#define SCHUSS_NAME_OF(name) #name,
  return {SCHUSS_NUMBER_OPERATIONS(SCHUSS_NAME_OF)};
#undef SCHUSS_NAME_OF
}

}  // namespace schuss
