// Around a rule with a momentum: what is taken from p only where the present gradient agrees with its sign,
// and more of it for what is left out. Liang et al. 2024, arXiv 2411.16085, whose floor on the share is 1e-3.
#pragma once
#include "rule.hpp"

namespace schuss {

constexpr int kBoost = 5;  // its scalar, after those of the rule

// The step where it has the gradient's sign, else zero. A NaN of either stays.
template <class T>
SCHUSS_FN T where_agreed(T step, T g) {
  const T zero = T(0);
  return select(g > zero, select(zero > step, zero, step),
                select(g < zero, select(zero < step, zero, step), step * g));
}

template <class T, class Rule>
struct Cautious {
  Rule rule;
  T boost;

  static constexpr int kSums = 1;

  template <class... Slot>
  SCHUSS_FN Products<T, 1> measure(T p, T g, Slot... slots) const {
    const T kept = where_agreed(rule.update(p, g, slots...), g);
    return {{select(kept < T(0), T(1), select(kept > T(0), T(1), T(0)))}, {T(1)}};
  }

  SCHUSS_FN void finish(const double* sums, double count, double* scalars) const {
    const double share = sums[0] / count;
    scalars[kBoost] = 1 / (share > 1e-3 ? share : 1e-3);
  }

  SCHUSS_FN void take(const double* scalars) { boost = T(scalars[kBoost]); }

  template <class... Slot>
  SCHUSS_FN void apply(T& p, T g, Slot&... slots) const {
    const T step = boost * where_agreed(rule.update(p, g, slots...), g);
    if constexpr (has_decoupled<Rule>) p -= step + rule.decoupled * p;
    else p -= step;
  }
};

// The rule as this mask has it.
template <template <class, unsigned> class Rule, class T, unsigned Kept>
struct Chosen {
  using type = Rule<T, Kept>;
};
template <template <class, unsigned> class Rule, class T, unsigned Kept>
struct ChosenCautiously {
  using type = Cautious<T, Rule<T, Kept & ~(1u << kCautious)>>;
};
template <template <class, unsigned> class Rule>
constexpr bool may_be_cautious = has_update<Rule<double, 0>> && !has_finish<Rule<double, 0>>;

}  // namespace schuss
