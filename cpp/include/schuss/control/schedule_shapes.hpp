// The schedules of several phases: one-cycle, and warmup-stable-decay. Included by schedule.hpp.
#pragma once

#include "schedule.hpp"

namespace schuss {
namespace detail {

struct OneCycle {  // values at the ends of the phases, and the steps of these ends
  std::vector<double> values, ends;
  bool cosine;

  double at(int64_t t) const {
    const auto now = static_cast<double>(t);
    double begin = 0;
    for (std::size_t phase = 0; phase < ends.size(); ++phase) {
      const double end = ends[phase], length = end - begin;
      if (now <= end) {
        if (!(length > 0)) return values[phase + 1];
        const double done = (now - begin) / length, left = (end - now) / length;
        return between(values[phase], values[phase + 1], cosine ? 1 - cosine_fall(done, left) : done);
      }
      begin = end;
    }
    return values[ends.size()];
  }
};

inline OneCycle one_cycle(const char* function, int64_t steps, double pct_start, const std::string& anneal,
                          bool three_phase, double low, double high, double last) {
  at_least(1, function, "steps", steps);
  require(pct_start >= 0 && pct_start <= 1, function, "pct_start", pct_start, "a number from 0 to 1");
  require(anneal == "cos" || anneal == "linear", function, "anneal", anneal, "'cos' or 'linear'");
  const double total = static_cast<double>(steps), rise = pct_start * total;
  if (three_phase) return {{low, high, low, last}, {rise - 1, 2 * rise - 2, total - 1}, anneal == "cos"};
  return {{low, high, last}, {rise - 1, total - 1}, anneal == "cos"};
}

}  // namespace detail

namespace schedules {

// Smith & Topin 2018, in torch's form: up from max / div_factor until step pct_start steps - 1, down to
// max / div_factor / final_div_factor at step steps - 1, and there from then on. With three phases: down to
// the first value by 2 pct_start steps - 2, then to the last.
inline Schedule one_cycle(double max, int64_t steps, double pct_start = 0.3,
                          const std::string& anneal = "cos", double div_factor = 25,
                          double final_div_factor = 1e4, bool three_phase = false) {
  detail::finite("one_cycle", "max", max);
  detail::finite("one_cycle", "div_factor", div_factor);
  detail::require(div_factor > 0, "one_cycle", "div_factor", div_factor, "a positive number");
  detail::finite("one_cycle", "final_div_factor", final_div_factor);
  detail::require(final_div_factor > 0, "one_cycle", "final_div_factor", final_div_factor,
                  "a positive number");
  const double low = max / div_factor;
  const detail::OneCycle cycle =
      detail::one_cycle("one_cycle", steps, pct_start, anneal, three_phase, low, max, low / final_div_factor);
  return detail::made({"one_cycle",
                       {{"max", max},
                        {"steps", steps},
                        {"pct_start", pct_start},
                        {"anneal", anneal},
                        {"div_factor", div_factor},
                        {"final_div_factor", final_div_factor},
                        {"three_phase", three_phase}}},
                      [=](int64_t t) { return cycle.at(t); });
}

// The momentum (SGD) or beta1 (Adam) beside it: down from max while the rate rises, and up again.
inline Schedule one_cycle_momentum(int64_t steps, double base = 0.85, double max = 0.95,
                                   double pct_start = 0.3, const std::string& anneal = "cos",
                                   bool three_phase = false) {
  detail::finite("one_cycle_momentum", "base", base);
  detail::finite("one_cycle_momentum", "max", max);
  const detail::OneCycle cycle =
      detail::one_cycle("one_cycle_momentum", steps, pct_start, anneal, three_phase, max, base, max);
  return detail::made({"one_cycle_momentum",
                       {{"steps", steps},
                        {"base", base},
                        {"max", max},
                        {"pct_start", pct_start},
                        {"anneal", anneal},
                        {"three_phase", three_phase}}},
                      [=](int64_t t) { return cycle.at(t); });
}

// `warmup` steps up from start, then max, then the last `decay` of all `steps` down to min, and min from then
// on. With x the done share of the decay: linear 1 - x, cosine (1 + cos(pi x)) / 2, sqrt 1 - sqrt(x).
inline Schedule warmup_stable_decay(double max, int64_t steps, int64_t warmup, int64_t decay, double min = 0,
                                    double start = 0, const std::string& shape = "linear") {
  const char* function = "warmup_stable_decay";
  detail::finite(function, "max", max);
  detail::at_least(1, function, "steps", steps);
  detail::at_least(0, function, "warmup", warmup);
  detail::at_least(1, function, "decay", decay);
  detail::require(warmup <= steps && decay <= steps - warmup, function, "decay", decay,
                  "at most steps - warmup, and warmup at most steps");
  detail::finite(function, "min", min);
  detail::finite(function, "start", start);
  const bool cosine = shape == "cosine", sqrt = shape == "sqrt";
  detail::require(cosine || sqrt || shape == "linear", function, "shape", shape,
                  "'linear', 'cosine' or 'sqrt'");
  return detail::made({function,
                       {{"max", max},
                        {"steps", steps},
                        {"warmup", warmup},
                        {"decay", decay},
                        {"min", min},
                        {"start", start},
                        {"shape", shape}}},
                      [=](int64_t t) {
                        if (t < warmup) return detail::between(start, max, detail::ratio(t, warmup));
                        if (t >= steps) return min;
                        if (t < steps - decay) return max;
                        const double done = detail::ratio(t - (steps - decay), decay);
                        const double left = detail::ratio(steps - t, decay);
                        return detail::between(min, max,
                                               cosine ? detail::cosine_fall(done, left)
                                               : sqrt ? 1 - elementary::root(done)
                                                      : left);
                      });
}

}  // namespace schedules
}  // namespace schuss
