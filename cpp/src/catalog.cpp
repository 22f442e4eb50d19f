#include "schuss/catalog.hpp"

#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "counted.hpp"
#include "schuss/rules/table.hpp"

namespace schuss {
namespace {

template <class Hypers>
Hypers read(const double* values) {
  Hypers hypers;
  std::memcpy(static_cast<void*>(&hypers), values, sizeof hypers);
  return hypers;
}

template <template <class, unsigned> class Rule, class Hypers, class T, unsigned Kept>
void prepare(const double* values, Clock clock, void* numbers) {
  using Prepared = Rule<T, Kept>;
  static_assert(sizeof(Prepared) <= kMaxNumbers);
  ::new (numbers) Prepared(Prepared::prepare(read<Hypers>(values), clock));  // fields alone: no padding
}

template <class Rule, std::size_t... I>
OperationCount count_operations(const Rule& rule, std::index_sequence<I...>) {
  OperationCount tally;
  Counted::tally = &tally;
  Counted p, slots[sizeof...(I) + 1];
  step_element(rule, p, Counted(), slots[I]...);
  Counted::tally = nullptr;
  return tally;
}

template <template <class, unsigned> class Rule, class Hypers, class Slots, unsigned Kept>
void add_mask(RuleInfo& info) {
  if constexpr ((Kept & Slots::always) != Slots::always) {
    info.prepare_f64.push_back(nullptr);
    info.prepare_f32.push_back(nullptr);
    info.operations.push_back({});
  } else {
    info.prepare_f64.push_back(prepare<Rule, Hypers, double, Kept>);
    info.prepare_f32.push_back(prepare<Rule, Hypers, float, Kept>);
    const auto rule = Rule<Counted, Kept>::prepare(Hypers{}, Clock{1});
    info.operations.push_back(count_operations(rule, std::make_index_sequence<Slots::count>{}));
  }
}

template <template <class, unsigned> class Rule, class Hypers, class Slots, std::size_t... Kept>
void add_masks(RuleInfo& info, std::index_sequence<Kept...>) {
  (add_mask<Rule, Hypers, Slots, unsigned(Kept)>(info), ...);
}

// The facts of a rule's header, one statement each; `Hypers` and `info` are the caller's.
#define SCHUSS_ADD_PAPER(published, about, reference)                                                        \
  info.year = published, info.summary = about, info.paper = reference;
#define SCHUSS_ADD_HYPER(hyper, standard, allowed, doc)                                                      \
  info.hypers.push_back({#hyper, double(standard), Range::allowed, doc});
#define SCHUSS_READING(expression)                                                                           \
  [](const double* values) {                                                                                 \
    [[maybe_unused]] const Hypers h = read<Hypers>(values);                                                  \
    return expression;                                                                                       \
  }
#define SCHUSS_ADD_SLOT(slot, initial, doc)                                                                  \
  info.slots.push_back({#slot, doc, true, SCHUSS_READING(double(initial)), SCHUSS_READING(true)});
#define SCHUSS_ADD_SLOT_IF(slot, initial, condition, doc)                                                    \
  info.slots.push_back({#slot, doc, false, SCHUSS_READING(double(initial)), SCHUSS_READING(bool(condition))});
#define SCHUSS_ADD_TRAITS(first, second, bias, decay, use) info.traits = {first, second, bias, decay, use};
#define SCHUSS_ADD_COPY(slot, doc)                                                                           \
  info.slots.push_back({#slot, doc, true, SCHUSS_READING(0.0), SCHUSS_READING(true), true});
#define SCHUSS_ADD_SCALAR(...)
#define SCHUSS_ADD_CHECK(condition, message)                                                                 \
  info.checks.push_back({SCHUSS_READING(bool(condition)), message});
#define SCHUSS_ADD_FORM(form, hypers, doc) info.forms.push_back({#form, hypers, doc});

#define SCHUSS_ADD_RULE(Name, FACTS, plain)                                                                  \
  {                                                                                                          \
    using Hypers = Name##Hypers;                                                                             \
    static_assert(Name##Slots::count <= kMaxSlotsOfARule);                                                   \
    RuleInfo info{};                                                                                         \
    info.index = int(rules.size());                                                                          \
    info.name = #Name;                                                                                       \
    info.function = info.key = #plain;                                                                                  \
    FACTS(SCHUSS_ADD_PAPER, SCHUSS_ADD_TRAITS, SCHUSS_ADD_HYPER, SCHUSS_ADD_SLOT, SCHUSS_ADD_SLOT_IF,        \
          SCHUSS_ADD_COPY, SCHUSS_ADD_SCALAR, SCHUSS_ADD_CHECK, SCHUSS_ADD_FORM)                             \
    info.has_point = has_point<Name<double, Name##Slots::always>>(0);                                        \
    add_masks<Name, Hypers, Name##Slots>(info, std::make_index_sequence<1u << Name##Slots::count>{});        \
    rules.push_back(std::move(info));                                                                        \
  }

constexpr int kMaxSlotsOfARule = 4;

std::vector<RuleInfo> read_catalog() {
  std::vector<RuleInfo> rules;
  SCHUSS_RULES(SCHUSS_ADD_RULE)
  return rules;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  for (int digits = 1; digits < 17; ++digits) {  // the shortest that reads back the same
    char shorter[32];
    std::snprintf(shorter, sizeof shorter, "%.*g", digits, value);
    double back = 0;
    if (std::sscanf(shorter, "%lf", &back) == 1 && back == value) return shorter;
  }
  return text;
}

}  // namespace

const std::vector<RuleInfo>& catalog() {
  static const std::vector<RuleInfo> rules = read_catalog();
  return rules;
}

const RuleInfo& rule_named(const std::string& function) {
  std::string known;
  for (const RuleInfo& rule : catalog()) {
    if (rule.function == function) return rule;
    known += (known.empty() ? "" : ", ") + rule.function;
  }
  throw std::invalid_argument("no rule is named '" + function + "'; the catalog has " + known);
}

unsigned RuleInfo::mask(const double* values) const {
  unsigned kept = 0;
  for (std::size_t i = 0; i < slots.size(); ++i)
    if (slots[i].kept(values)) kept |= 1u << i;
  return kept;
}

int RuleInfo::hyper_index(const std::string& wanted) const {
  for (std::size_t i = 0; i < hypers.size(); ++i)
    if (hypers[i].name == wanted) return int(i);
  return -1;
}

std::string RuleInfo::hyper_names() const {
  std::string names;
  for (const HyperInfo& hyper : hypers) names += (names.empty() ? "" : ", ") + hyper.name;
  return names;
}

void RuleInfo::check(int hyper, double value, const std::string& where) const {
  const HyperInfo& info = hypers[std::size_t(hyper)];
  const bool finite = value - value == 0;
  bool good = finite;
  const char* expected = "a finite number";
  switch (info.range) {
    case Range::real: break;
    case Range::nonnegative: good = finite && value >= 0, expected = "a finite number of 0 or more"; break;
    case Range::unit: good = value >= 0 && value < 1, expected = "a number in [0, 1)"; break;
    case Range::flag: good = value == 0 || value == 1, expected = "True or False"; break;
  }
  if (!good)
    throw std::invalid_argument(name + "(): " + info.name + where + " is " + shown(value) + ", expected " +
                                expected);
}

void RuleInfo::check_together(const double* values) const {
  for (const CheckInfo& one : checks)
    if (!one.holds(values)) throw std::invalid_argument(name + "(): " + one.message);
}

}  // namespace schuss
