// What a rule is made of. The one header a rule may include.
//
// A rule header states its facts in one macro, SCHUSS_<NAME>, and its formula in one struct:
//
//   PAPER(year, summary, reference)
//   TRAITS(first, second, bias, decay, use)     in words: its moments, bias correction, decay, and main use
//   HYPER(name, default, range, doc)            range: one of the Range values below
//   SLOT(name, initial, doc)                    a state array beside the parameter; initial may read h
//   SLOT_IF(name, initial, condition, doc)      kept only where the condition on h holds
//   COPY(name, doc)                             a slot that follows the parameter; the rule begins it as p
//   SCALAR(name, initial, doc)                  a number of a leaf, or of all (kGlobal), in double; see below
//   CHECK(condition, message)                   what the hypers must satisfy together
//   FORM(name, "hyper=value …", doc)            another named set of defaults
//
//   template <class T, unsigned Kept> struct Name {
//     T …;                                                    this step's numbers
//     static Name prepare(const NameHypers& h, Clock clock);  once a step, in double, rounded once
//     SCHUSS_FN T update(T p, T g, T& slot…) const;           an element: what is taken from p, and
//     T decoupled;                                            the share of p that decay takes beside it; or
//     SCHUSS_FN void apply(T& p, T g, T& slot…) const;        all of it
//     SCHUSS_FN T point(T p, T slot…) const;                  optional: where else p is wanted
//   };
//
// A rule that must know something of a whole leaf before it steps (LAMB: two norms) measures and finishes:
//
//     static constexpr int kSums = 2;       over a leaf; over all leaves with `static constexpr bool kGlobal`
//     SCHUSS_FN Products<T, 2> measure(T p, T g, T slot…) const;   what an element adds to each sum
//     SCHUSS_FN void finish(const double* sums, double count, double* scalars) const;   once a step
//     SCHUSS_FN void take(const double* scalars);                  the scalars into this step's numbers
//
// `measure` sees what the scalars were before the step. Without kSums, `finish` alone moves the scalars.
//
// In a condition on h a scheduled hyper is NaN, so that `h.momentum != 0` holds for it.
#pragma once
#include "../config.hpp"
#include "../control/clock.hpp"

namespace schuss {

enum class Range { real, nonnegative, unit, flag };  // unit: [0, 1)

template <class T>
SCHUSS_FN T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}

// A NaN in a stays: the comparison is false.
template <class T>
SCHUSS_FN T at_least(T a, T floor) {
  return select(a < floor, floor, a);
}
template <class T>
SCHUSS_FN T at_most(T a, T ceiling) {
  return select(a > ceiling, ceiling, a);
}
template <class T>
SCHUSS_FN T larger(T a, T b) {
  return select(a > b, a, b);
}

// Zero stays, and NaN.
template <class T>
SCHUSS_FN T sign(T x) {
  return select(x > T(0), T(1), select(x < T(0), T(-1), x));
}

template <class Rule>
constexpr auto has_point(int) -> decltype(&Rule::point, true) {
  return true;
}
template <class Rule>
constexpr bool has_point(...) {
  return false;
}

// What an element adds to each of a rule's sums: a[k] * b[k].
template <class T, int Count>
struct Products {
  T a[Count], b[Count];
};

template <class...>
using Void = void;
template <class Rule, class = void>
constexpr bool has_update = false;
template <class Rule>
constexpr bool has_update<Rule, Void<decltype(&Rule::update)>> = true;
template <class Rule, class = void>
constexpr bool has_decoupled = false;
template <class Rule>
constexpr bool has_decoupled<Rule, Void<decltype(&Rule::decoupled)>> = true;

template <class Rule, class = void>
constexpr bool has_finish = false;
template <class Rule>
constexpr bool has_finish<Rule, Void<decltype(&Rule::finish)>> = true;
template <class Rule, class = void>
constexpr int sums_of = 0;
template <class Rule>
constexpr int sums_of<Rule, Void<decltype(Rule::kSums)>> = Rule::kSums;
template <class Rule, class = void>
constexpr bool is_global = false;
template <class Rule>
constexpr bool is_global<Rule, Void<decltype(Rule::kGlobal)>> = Rule::kGlobal;

// One element's step, in whichever form the rule states it.
template <class Rule, class T, class... Slot>
SCHUSS_FN void step_element(const Rule& rule, T& p, T g, Slot&... slots) {
  if constexpr (!has_update<Rule>) rule.apply(p, g, slots...);
  else if constexpr (has_decoupled<Rule>) p -= rule.update(p, g, slots...) + rule.decoupled * p;
  else p -= rule.update(p, g, slots...);
}

// The weight_decay of a decoupled decay, scaled by lr / max_lr where max_lr is set.
template <class Hypers>
double scaled_decay(const Hypers& h) {
  return h.max_lr > 0 ? h.weight_decay * (h.lr / h.max_lr) : h.weight_decay;
}

// Caution's bit in a mask, after those of the slots.
enum : unsigned { kCautious = 4 };

constexpr bool has(unsigned kept, unsigned slot) { return (kept >> slot & 1u) != 0; }

}  // namespace schuss

#define SCHUSS_NOTHING(...)
#define SCHUSS_DECOUPLED_FLAG(HYPER)                                                                         \
  HYPER(decoupled_weight_decay, 0, flag, "decoupled decay: each step takes lr * weight_decay of p away")
#define SCHUSS_MAX_LR(HYPER)                                                                                 \
  HYPER(max_lr, 0, nonnegative, "where above 0, decoupled decay is lr^2 / max_lr * weight_decay, as timm's")
#define SCHUSS_HYPER_FIELD(name, standard, range, doc) double name = standard;
#define SCHUSS_SLOT_ENTRY(name, ...) name,
#define SCHUSS_SLOT_BIT(name, ...) | 1u << name

// NameHypers: the settings, all double, in the order of the macro. NameSlots: the slots' indices.
#define SCHUSS_DECLARE(Name, FACTS)                                                                          \
  struct Name##Hypers {                                                                                      \
    FACTS(SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_HYPER_FIELD, SCHUSS_NOTHING, SCHUSS_NOTHING,                \
          SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING)                                    \
  };                                                                                                         \
  struct Name##Slots {                                                                                       \
    enum : unsigned {                                                                                        \
      FACTS(SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_SLOT_ENTRY, SCHUSS_SLOT_ENTRY,            \
            SCHUSS_SLOT_ENTRY, SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING) count                         \
    };                                                                                                       \
    static constexpr unsigned always =                                                                       \
        0u FACTS(SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_SLOT_BIT, SCHUSS_NOTHING,            \
                 SCHUSS_SLOT_BIT, SCHUSS_NOTHING, SCHUSS_NOTHING, SCHUSS_NOTHING);                           \
  };
