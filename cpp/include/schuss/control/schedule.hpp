// Schedules: pure functions of the step, composable, with the same bits everywhere. schedule(0) is the value
// of the first real step. A Schedule is a value: copies share one immutable node.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "elementary.hpp"

namespace schuss {

// An argument of the wrong type, where std::invalid_argument alone says a wrong value.
struct WrongType : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

namespace detail {
struct ScheduleNode;
}

class Schedule {
 public:
  Schedule(double value = 0);  // NOLINT: a number is the schedule that stays at it
  explicit Schedule(std::shared_ptr<const detail::ScheduleNode> node) : node_(std::move(node)) {}

  double operator()(int64_t step) const;
  void operator()(const int64_t* steps, double* values, int64_t count) const;
  std::vector<double> operator()(const std::vector<int64_t>& steps) const;

  const struct ScheduleSpec& spec() const;  // what makes this schedule again

 private:
  std::shared_ptr<const detail::ScheduleNode> node_;
};

// A function of the user's own, at home wherever a schedule is.
struct ScheduleFunction {
  std::function<double(int64_t)> call;
  std::string name;
  const void* identity;  // two wrappers of one function are equal
};

using ScheduleArgument =
    std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<int64_t>, Schedule,
                 std::vector<Schedule>, std::shared_ptr<const ScheduleFunction>>;

struct ScheduleSpec {
  std::string kind;
  std::vector<std::pair<std::string, ScheduleArgument>> arguments;
};

namespace detail {
struct ScheduleNode {
  ScheduleSpec spec;
  std::function<double(int64_t)> at;
};

inline std::string shown(double value) {  // the shortest digits that give this double back
  char text[40] = "";
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}
inline std::string shown(int64_t value) { return std::to_string(value); }
inline std::string shown(const std::string& value) { return "'" + value + "'"; }

// Names the argument, what it is, and what was expected.
template <class Value>
void require(bool holds, const char* function, const std::string& name, const Value& value,
             const char* expected) {
  if (holds) return;
  throw std::invalid_argument(std::string(function) + "(): " + name + " is " + shown(value) + ", expected " +
                              expected);
}

inline void finite(const char* function, const char* name, double value) {
  require(elementary::magnitude(value) < elementary::infinity(), function, name, value, "a finite number");
}

inline void at_least(int64_t least, const char* function, const char* name, int64_t value) {
  require(value >= least, function, name, value,
          least == 0 ? "an integer of at least 0" : "an integer of at least 1");
}

inline void increasing(const char* function, const char* name, const std::vector<int64_t>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i)
    require(steps[i] > (i ? steps[i - 1] : 0), function, name + ("[" + std::to_string(i) + "]"), steps[i],
            i ? "more than the one before" : "an integer of at least 1");
}

// a at weight 0, b at weight 1, both exactly.
inline double between(double a, double b, double weight) {
  return weight < 0.5 ? a + (b - a) * weight : b - (b - a) * (1 - weight);
}

// (1 + cos(pi done)) / 2 with done + left = 1. Near its end as a squared sine, which does not cancel.
inline double cosine_fall(double done, double left) {
  const double pi = 0x1.921fb54442d18p+1;
  if (done <= left) return 0.5 * (1 + elementary::cos(pi * done));
  const double s = elementary::sin(0.5 * pi * left);
  return s * s;
}

inline double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

inline std::size_t reached(const std::vector<int64_t>& boundaries, int64_t step) {
  std::size_t count = 0;
  while (count < boundaries.size() && boundaries[count] <= step) ++count;
  return count;
}

inline Schedule made(ScheduleSpec spec, std::function<double(int64_t)> at) {
  return Schedule(std::make_shared<const ScheduleNode>(ScheduleNode{std::move(spec), std::move(at)}));
}
}  // namespace detail

namespace schedules {

inline Schedule constant(double value) {
  detail::finite("constant", "value", value);
  return detail::made({"constant", {{"value", value}}}, [=](int64_t) { return value; });
}

// value factor^floor(t / every)
inline Schedule step(double value, double factor, int64_t every) {
  detail::finite("step", "value", value);
  detail::finite("step", "factor", factor);
  detail::at_least(1, "step", "every", every);
  return detail::made({"step", {{"value", value}, {"factor", factor}, {"every", every}}},
                      [=](int64_t t) { return value * elementary::power(factor, t / every); });
}

// value factor^(milestones reached); a milestone is the first step with the new value
inline Schedule step(double value, double factor, const std::vector<int64_t>& milestones) {
  detail::finite("step", "value", value);
  detail::finite("step", "factor", factor);
  detail::increasing("step", "milestones", milestones);
  return detail::made(
      {"step", {{"value", value}, {"factor", factor}, {"milestones", milestones}}}, [=](int64_t t) {
        return value * elementary::power(factor, static_cast<int64_t>(detail::reached(milestones, t)));
      });
}

// value rate^(t / steps), the exponent floored if staircase
inline Schedule exponential(double value, double rate, int64_t steps = 1, bool staircase = false) {
  detail::finite("exponential", "value", value);
  detail::finite("exponential", "rate", rate);
  detail::require(rate > 0, "exponential", "rate", rate, "a positive number");
  detail::at_least(1, "exponential", "steps", steps);
  return detail::made(
      {"exponential", {{"value", value}, {"rate", rate}, {"steps", steps}, {"staircase", staircase}}},
      [=](int64_t t) {
        return value * (staircase ? elementary::power(rate, t / steps)
                                  : elementary::power(rate, detail::ratio(t, steps)));
      });
}

// end + (value - end) (1 - t/steps)^power, then end
inline Schedule polynomial(double value, double end, int64_t steps, double power = 1) {
  detail::finite("polynomial", "value", value);
  detail::finite("polynomial", "end", end);
  detail::at_least(1, "polynomial", "steps", steps);
  detail::finite("polynomial", "power", power);
  detail::require(power > 0, "polynomial", "power", power, "a positive number");
  return detail::made({"polynomial", {{"value", value}, {"end", end}, {"steps", steps}, {"power", power}}},
                      [=](int64_t t) {
                        if (t >= steps) return end;
                        const double left = detail::ratio(steps - t, steps);
                        return detail::between(end, value, elementary::power(left, power));
                      });
}

// min + (max - min) (1 + cos(pi t / steps)) / 2, then min
inline Schedule cosine(double max, int64_t steps, double min = 0) {
  detail::finite("cosine", "max", max);
  detail::at_least(1, "cosine", "steps", steps);
  detail::finite("cosine", "min", min);
  return detail::made({"cosine", {{"max", max}, {"steps", steps}, {"min", min}}}, [=](int64_t t) {
    if (t >= steps) return min;
    return detail::between(min, max,
                           detail::cosine_fall(detail::ratio(t, steps), detail::ratio(steps - t, steps)));
  });
}

// value sqrt(timescale / (timescale + t))
inline Schedule inverse_sqrt(double value, int64_t timescale = 1) {
  detail::finite("inverse_sqrt", "value", value);
  detail::at_least(1, "inverse_sqrt", "timescale", timescale);
  return detail::made({"inverse_sqrt", {{"value", value}, {"timescale", timescale}}}, [=](int64_t t) {
    const auto scale = static_cast<double>(timescale);
    return value * elementary::root(scale / (scale + static_cast<double>(t)));
  });
}

// Smith 2017: from base up to max in steps_up steps, down again in steps_down
inline Schedule cyclic(double base, double max, int64_t steps_up, std::optional<int64_t> steps_down = {},
                       const std::string& mode = "triangular", double gamma = 1) {
  const int64_t down = steps_down.value_or(steps_up);
  detail::finite("cyclic", "base", base);
  detail::finite("cyclic", "max", max);
  detail::at_least(1, "cyclic", "steps_up", steps_up);
  detail::at_least(1, "cyclic", "steps_down", down);
  const bool halves = mode == "triangular2", decays = mode == "exp_range";
  detail::require(halves || decays || mode == "triangular", "cyclic", "mode", mode,
                  "'triangular', 'triangular2' or 'exp_range'");
  detail::finite("cyclic", "gamma", gamma);
  detail::require(gamma > 0, "cyclic", "gamma", gamma, "a positive number");
  return detail::made({"cyclic",
                       {{"base", base},
                        {"max", max},
                        {"steps_up", steps_up},
                        {"steps_down", down},
                        {"mode", mode},
                        {"gamma", gamma}}},
                      [=](int64_t t) {
                        const int64_t period = steps_up + down, at = t % period;
                        const double height =
                            at <= steps_up ? detail::ratio(at, steps_up) : detail::ratio(period - at, down);
                        const double scale = halves   ? elementary::power(0.5, t / period)
                                             : decays ? elementary::power(gamma, t)
                                                      : 1;
                        return detail::between(base, max, height * scale);
                      });
}

// A rise from start for `steps` steps, then the schedule: from its own step 0 if restart, else where it would
// be by then. linear: step t is (t + shift) / steps of the way; logarithmic: log(t + 1) / log(steps);
// constant: start all along.
inline Schedule warmup(int64_t steps, const Schedule& schedule, std::optional<double> start = {},
                       const std::string& kind = "linear", int64_t shift = 0, bool restart = true) {
  detail::at_least(0, "warmup", "steps", steps);
  const bool constant = kind == "constant", logarithmic = kind == "logarithmic";
  detail::require(constant || logarithmic || kind == "linear", "warmup", "kind", kind,
                  "'linear', 'constant' or 'logarithmic'");
  if (constant && !start)
    throw std::invalid_argument("warmup(): start is missing, expected the value held by kind='constant'");
  const double from = start.value_or(0);
  detail::finite("warmup", "start", from);
  const bool linear = !constant && !logarithmic;
  detail::require(shift == 0 || (shift == 1 && linear), "warmup", "shift", shift,
                  "0, or 1 with kind='linear'");
  return detail::made(
      {"warmup",
       {{"steps", steps},
        {"schedule", schedule},
        {"start", from},
        {"kind", kind},
        {"shift", shift},
        {"restart", restart}}},
      [=](int64_t t) {
        if (t >= steps) return schedule(restart ? t - steps : t);
        if (constant) return from;
        const double full = schedule(restart ? 0 : t);
        if (linear) return detail::between(from, full, detail::ratio(t + shift, steps));
        const double way = elementary::log(static_cast<double>(t + 1));
        return t == 0 ? from : detail::between(from, full, way / elementary::log(static_cast<double>(steps)));
      });
}

// schedules[i] from boundaries[i - 1] on, each from its own step 0
inline Schedule join(const std::vector<Schedule>& parts, const std::vector<int64_t>& boundaries) {
  if (parts.empty()) throw std::invalid_argument("join(): schedules is empty, expected at least one");
  if (boundaries.size() + 1 != parts.size())
    throw std::invalid_argument("join(): boundaries has " + std::to_string(boundaries.size()) +
                                " steps, expected " + std::to_string(parts.size() - 1) +
                                ", one between each two schedules");
  detail::increasing("join", "boundaries", boundaries);
  return detail::made({"join", {{"schedules", parts}, {"boundaries", boundaries}}}, [=](int64_t t) {
    const std::size_t part = detail::reached(boundaries, t);
    return parts[part](part ? t - boundaries[part - 1] : t);
  });
}

// The value stays for an epoch: schedule(t / steps_per_epoch), the quotient floored
inline Schedule per_epoch(const Schedule& schedule, int64_t steps_per_epoch) {
  detail::at_least(1, "per_epoch", "steps_per_epoch", steps_per_epoch);
  return detail::made({"per_epoch", {{"schedule", schedule}, {"steps_per_epoch", steps_per_epoch}}},
                      [=](int64_t t) { return schedule(t / steps_per_epoch); });
}

// Any function of the step. It has no spec to be rebuilt from. `identity` tells equal functions apart.
inline Schedule function(std::function<double(int64_t)> call, const std::string& name = "function",
                         const void* identity = nullptr) {
  if (!call) throw std::invalid_argument("function(): call is empty, expected a function of the step");
  auto held = std::make_shared<const ScheduleFunction>(ScheduleFunction{std::move(call), name, identity});
  return detail::made({"function", {{"call", held}}}, [held](int64_t t) { return held->call(t); });
}

}  // namespace schedules

inline Schedule::Schedule(double value) : node_(schedules::constant(value).node_) {}

inline double Schedule::operator()(int64_t step) const {
  detail::require(step >= 0, "schedule", "step", step, "an integer of at least 0");
  return node_->at(step);
}

inline void Schedule::operator()(const int64_t* steps, double* values, int64_t count) const {
  for (int64_t i = 0; i < count; ++i) values[i] = (*this)(steps[i]);
}

inline std::vector<double> Schedule::operator()(const std::vector<int64_t>& steps) const {
  std::vector<double> values(steps.size());
  (*this)(steps.data(), values.data(), static_cast<int64_t>(steps.size()));
  return values;
}

inline const ScheduleSpec& Schedule::spec() const { return node_->spec; }

inline bool operator==(const Schedule& a, const Schedule& b);

inline bool operator==(const ScheduleSpec& a, const ScheduleSpec& b) {
  return a.kind == b.kind && a.arguments == b.arguments;
}

inline bool operator==(const Schedule& a, const Schedule& b) {
  if (&a.spec() == &b.spec()) return true;
  if (a.spec().kind != "function" || b.spec().kind != "function") return a.spec() == b.spec();
  const auto identity = [](const Schedule& s) {
    return std::get<std::shared_ptr<const ScheduleFunction>>(s.spec().arguments[0].second)->identity;
  };
  return identity(a) && identity(a) == identity(b);
}

inline bool operator!=(const Schedule& a, const Schedule& b) { return !(a == b); }

}  // namespace schuss

#include "schedule_shapes.hpp"
#include "schedule_spec.hpp"
