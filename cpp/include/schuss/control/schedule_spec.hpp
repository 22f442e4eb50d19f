// A schedule from its spec: what loading, unpickling and the Python functions all go through. Included by
// schedule.hpp.
#pragma once

#include "schedule.hpp"

namespace schuss {
namespace detail {

// The named arguments of one call. Numbers may come as integers; nothing else changes its type.
class ScheduleReader {
 public:
  explicit ScheduleReader(const ScheduleSpec& spec) : spec_(spec) {}

  double number(const char* name) const {
    const ScheduleArgument& value = needed(name, "a number");
    if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
    return held<double>(value, name, "a number");
  }
  double number(const char* name, double otherwise) const { return find(name) ? number(name) : otherwise; }
  std::optional<double> maybe_number(const char* name) const {
    return find(name) ? std::optional<double>(number(name)) : std::nullopt;
  }
  int64_t integer(const char* name) const {
    return held<int64_t>(needed(name, "an integer"), name, "an integer");
  }
  int64_t integer(const char* name, int64_t otherwise) const {
    return find(name) ? integer(name) : otherwise;
  }
  std::optional<int64_t> maybe_integer(const char* name) const {
    return find(name) ? std::optional<int64_t>(integer(name)) : std::nullopt;
  }
  bool boolean(const char* name, bool otherwise) const {
    return find(name) ? held<bool>(*find(name), name, "True or False") : otherwise;
  }
  std::string word(const char* name, const char* otherwise) const {
    return find(name) ? held<std::string>(*find(name), name, "a string") : otherwise;
  }
  std::vector<int64_t> integers(const char* name) const {
    return held<std::vector<int64_t>>(needed(name, "a list of integers"), name, "a list of integers");
  }
  Schedule schedule(const char* name) const {
    const char* expected = "a schedule, a number or a function of the step";
    const ScheduleArgument& value = needed(name, expected);
    if (std::holds_alternative<double>(value) || std::holds_alternative<int64_t>(value)) return number(name);
    return held<Schedule>(value, name, expected);
  }
  std::vector<Schedule> schedules(const char* name) const {
    const ScheduleArgument& value = needed(name, "a list of schedules");
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(&value)) {
      std::vector<Schedule> constants;
      for (const int64_t number : *numbers) constants.emplace_back(static_cast<double>(number));
      return constants;
    }
    return held<std::vector<Schedule>>(value, name, "a list of schedules");
  }

  const ScheduleArgument* find(const char* name) const {  // an empty argument counts as left out
    for (const auto& argument : spec_.arguments)
      if (argument.first == name && !std::holds_alternative<std::monostate>(argument.second))
        return &argument.second;
    return nullptr;
  }

  std::string call() const { return spec_.kind + "()"; }

 private:
  const ScheduleArgument& needed(const char* name, const char* expected) const {
    if (const ScheduleArgument* value = find(name)) return *value;
    throw WrongType(call() + ": " + name + " is missing, expected " + expected);
  }

  template <class Value>
  const Value& held(const ScheduleArgument& value, const char* name, const char* expected) const {
    if (const Value* same = std::get_if<Value>(&value)) return *same;
    const std::string is = std::visit([](const auto& other) { return described(other); }, value);
    throw WrongType(call() + ": " + name + " is " + is + ", expected " + expected);
  }

  static std::string described(std::monostate) { return "None"; }
  static std::string described(bool value) { return value ? "True" : "False"; }
  static std::string described(int64_t value) { return shown(value); }
  static std::string described(double value) { return shown(value); }
  static std::string described(const std::string& value) { return shown(value); }
  static std::string described(const std::vector<int64_t>&) { return "a list of integers"; }
  static std::string described(const Schedule&) { return "a schedule"; }
  static std::string described(const std::vector<Schedule>&) { return "a list of numbers or schedules"; }
  static std::string described(const std::shared_ptr<const ScheduleFunction>&) { return "a function"; }

  const ScheduleSpec& spec_;
};

struct ScheduleKind {
  const char* name;
  std::vector<const char*> takes;
  Schedule (*make)(const ScheduleReader&);
};

inline Schedule make_step(const ScheduleReader& a) {
  if ((a.find("every") == nullptr) == (a.find("milestones") == nullptr))
    throw std::invalid_argument("step(): every and milestones are both given or both missing, expected one");
  if (a.find("every")) return schedules::step(a.number("value"), a.number("factor"), a.integer("every"));
  return schedules::step(a.number("value"), a.number("factor"), a.integers("milestones"));
}

inline const std::vector<ScheduleKind>& schedule_kinds() {
  using Reader = const ScheduleReader&;
  static const std::vector<ScheduleKind> kinds = {
      {"constant", {"value"}, [](Reader a) { return schedules::constant(a.number("value")); }},
      {"step", {"value", "factor", "every", "milestones"}, make_step},
      {"exponential",
       {"value", "rate", "steps", "staircase"},
       [](Reader a) {
         return schedules::exponential(a.number("value"), a.number("rate"), a.integer("steps", 1),
                                       a.boolean("staircase", false));
       }},
      {"polynomial",
       {"value", "end", "steps", "power"},
       [](Reader a) {
         return schedules::polynomial(a.number("value"), a.number("end"), a.integer("steps"),
                                      a.number("power", 1));
       }},
      {"cosine",
       {"max", "steps", "min"},
       [](Reader a) { return schedules::cosine(a.number("max"), a.integer("steps"), a.number("min", 0)); }},
      {"inverse_sqrt",
       {"value", "timescale"},
       [](Reader a) { return schedules::inverse_sqrt(a.number("value"), a.integer("timescale", 1)); }},
      {"cyclic",
       {"base", "max", "steps_up", "steps_down", "mode", "gamma"},
       [](Reader a) {
         return schedules::cyclic(a.number("base"), a.number("max"), a.integer("steps_up"),
                                  a.maybe_integer("steps_down"), a.word("mode", "triangular"),
                                  a.number("gamma", 1));
       }},
      {"warmup",
       {"steps", "schedule", "start", "kind", "shift", "restart"},
       [](Reader a) {
         return schedules::warmup(a.integer("steps"), a.schedule("schedule"), a.maybe_number("start"),
                                  a.word("kind", "linear"), a.integer("shift", 0),
                                  a.boolean("restart", true));
       }},
      {"join",
       {"schedules", "boundaries"},
       [](Reader a) { return schedules::join(a.schedules("schedules"), a.integers("boundaries")); }},
      {"one_cycle",
       {"max", "steps", "pct_start", "anneal", "div_factor", "final_div_factor", "three_phase"},
       [](Reader a) {
         return schedules::one_cycle(a.number("max"), a.integer("steps"), a.number("pct_start", 0.3),
                                     a.word("anneal", "cos"), a.number("div_factor", 25),
                                     a.number("final_div_factor", 1e4), a.boolean("three_phase", false));
       }},
      {"one_cycle_momentum",
       {"steps", "base", "max", "pct_start", "anneal", "three_phase"},
       [](Reader a) {
         return schedules::one_cycle_momentum(a.integer("steps"), a.number("base", 0.85),
                                              a.number("max", 0.95), a.number("pct_start", 0.3),
                                              a.word("anneal", "cos"), a.boolean("three_phase", false));
       }},
      {"warmup_stable_decay",
       {"max", "steps", "warmup", "decay", "min", "start", "shape"},
       [](Reader a) {
         return schedules::warmup_stable_decay(a.number("max"), a.integer("steps"), a.integer("warmup"),
                                               a.integer("decay"), a.number("min", 0), a.number("start", 0),
                                               a.word("shape", "linear"));
       }},
      {"per_epoch",
       {"schedule", "steps_per_epoch"},
       [](Reader a) { return schedules::per_epoch(a.schedule("schedule"), a.integer("steps_per_epoch")); }},
  };
  return kinds;
}

template <class Names, class Name>
std::string listed(const Names& names, Name name) {
  std::string text;
  for (const auto& each : names) text += (text.empty() ? "" : ", ") + std::string(name(each));
  return text;
}

}  // namespace detail

namespace schedules {

inline Schedule from_spec(const ScheduleSpec& spec) {
  for (const detail::ScheduleKind& kind : detail::schedule_kinds()) {
    if (spec.kind != kind.name) continue;
    for (const auto& argument : spec.arguments) {
      bool known = false;
      for (const char* name : kind.takes) known = known || argument.first == name;
      if (!known)
        throw WrongType(spec.kind + "() got an unknown argument '" + argument.first + "'; it takes " +
                        detail::listed(kind.takes, [](const char* name) { return name; }));
    }
    return kind.make(detail::ScheduleReader(spec));
  }
  throw std::invalid_argument(
      "schedule kind is '" + spec.kind + "', expected one of " +
      detail::listed(detail::schedule_kinds(), [](const detail::ScheduleKind& kind) { return kind.name; }));
}

}  // namespace schedules
}  // namespace schuss
