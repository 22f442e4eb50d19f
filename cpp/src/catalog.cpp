#include "schuss/catalog.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "counted.hpp"
#include "schuss/rules/cautious.hpp"
#include "schuss/rules/table.hpp"

namespace schuss {
namespace {

template <class Hypers>
Hypers read(const double* values) {
  Hypers hypers;
  std::memcpy(static_cast<void*>(&hypers), values, sizeof hypers);
  return hypers;
}

template <class Rule, class Hypers>
void prepare(const double* values, Clock clock, void* numbers) {
  static_assert(sizeof(Rule) <= kMaxNumbers);
  ::new (numbers) Rule(Rule::prepare(read<Hypers>(values), clock));  // fields alone: no padding
}

template <class T, class Rule, class Hypers>
void prepare_cautious(const double* values, Clock clock, void* numbers) {
  static_assert(sizeof(Cautious<T, Rule>) <= kMaxNumbers);
  ::new (numbers) Cautious<T, Rule>{Rule::prepare(read<Hypers>(values), clock), T(1)};
}

template <class Rule>
void finish(const void* numbers, const double* sums, double count, double* scalars) {
  static_cast<const Rule*>(numbers)->finish(sums, count, scalars);
}

template <class Rule>
constexpr RuleInfo::Finish finish_of() {
  if constexpr (has_finish<Rule>) return finish<Rule>;
  else return nullptr;
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

// The loops' numbers for one mask, with and without caution.
template <template <class, unsigned> class Rule, class Hypers, class T, unsigned Kept>
void add_arithmetic(std::vector<RuleInfo::Prepare>& prepares, std::vector<RuleInfo::Finish>& finishes) {
  using Plain = Rule<T, Kept>;
  prepares[Kept] = prepare<Plain, Hypers>;
  finishes[Kept] = finish_of<Plain>();
  if constexpr (may_be_cautious<Rule>) {
    constexpr unsigned kBoth = Kept | 1u << kCautious;
    prepares[kBoth] = prepare_cautious<T, Plain, Hypers>;
    finishes[kBoth] = finish<Cautious<T, Plain>>;
  }
}

template <template <class, unsigned> class Rule, class Hypers, class Slots, unsigned Kept>
void add_mask(RuleInfo& info) {
  if constexpr ((Kept & Slots::always) == Slots::always) {
    add_arithmetic<Rule, Hypers, double, Kept>(info.prepare_f64, info.finish_f64);
    add_arithmetic<Rule, Hypers, float, Kept>(info.prepare_f32, info.finish_f32);
    auto rule = Rule<Counted, Kept>::prepare(Hypers{}, Clock{1});
    info.operations[Kept] = count_operations(rule, std::make_index_sequence<Slots::count>{});
  }
}

template <template <class, unsigned> class Rule, class Hypers, class Slots, std::size_t... Kept>
void add_masks(RuleInfo& info, std::index_sequence<Kept...>) {
  constexpr std::size_t kMasks = 2u << kCautious;
  info.prepare_f64.resize(kMasks), info.prepare_f32.resize(kMasks);
  info.finish_f64.resize(kMasks), info.finish_f32.resize(kMasks);
  info.operations.resize(sizeof...(Kept));
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
#define SCHUSS_ADD_SCALAR(scalar, initial, doc)                                                              \
  info.scalars.push_back({#scalar, doc, SCHUSS_READING(double(initial))});
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
    info.function = info.key = #plain;                                                                       \
    FACTS(SCHUSS_ADD_PAPER, SCHUSS_ADD_TRAITS, SCHUSS_ADD_HYPER, SCHUSS_ADD_SLOT, SCHUSS_ADD_SLOT_IF,        \
          SCHUSS_ADD_COPY, SCHUSS_ADD_SCALAR, SCHUSS_ADD_CHECK, SCHUSS_ADD_FORM)                             \
    info.has_point = has_point<Name<double, Name##Slots::always>>(0);                                        \
    info.is_global = is_global<Name<double, Name##Slots::always>>;                                           \
    info.sums = sums_of<Name<double, Name##Slots::always>>;                                                  \
    add_caution(info, may_be_cautious<Name>);                                                                \
    add_masks<Name, Hypers, Name##Slots>(info, std::make_index_sequence<1u << Name##Slots::count>{});        \
    rules.push_back(std::move(info));                                                                        \
  }

constexpr int kMaxSlotsOfARule = 4;

// Every rule with a momentum may be cautious: a setting that no header has to name.
void add_caution(RuleInfo& info, bool possible) {
  if (!possible || info.traits.first_moment == "none") return;
  info.hypers.push_back(
      {"cautious", 0, Range::flag,
       "only where the step agrees in sign with the gradient, and larger there by what is left "
       "out; Liang et al. 2024, arXiv 2411.16085"});
}

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
  const int cautious = hyper_index("cautious");
  return cautious >= 0 && values[cautious] != 0 ? kept | 1u << kCautious : kept;
}

int RuleInfo::hyper_index(const std::string& wanted) const {
  for (std::size_t i = 0; i < hypers.size(); ++i)
    if (hypers[i].name == wanted) return int(i);
  return -1;
}

RuleInfo::Finish RuleInfo::finish(Format arithmetic, unsigned mask) const {
  const std::vector<Finish>& all = arithmetic == Format::f64 ? finish_f64 : finish_f32;
  return mask < all.size() ? all[mask] : nullptr;
}

bool RuleInfo::finishes() const {
  for (unsigned mask = 0; mask < 1u << kCautious; ++mask)
    if (finish(Format::f64, mask)) return true;
  return false;
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
