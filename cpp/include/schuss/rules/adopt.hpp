#pragma once
#include "rule.hpp"

#define SCHUSS_ADOPT(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2024, "Each gradient over the root of the mean square before it, then the running mean of that",     \
        "Taniguchi et al. 2024, arXiv 2411.02853")                                                           \
  TRAITS("mean of g / sqrt(v)", "mean of g^2, one step late", "none", "L2 or decoupled",                     \
         "Adam's cases; converges with any beta2")                                                           \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.9999, unit, "share of the second moment kept")                                              \
  HYPER(eps, 1e-6, nonnegative, "the least that a gradient is divided by")                                   \
  HYPER(clipping, 1, flag, "hold each divided gradient of step t within (t - 1)^clip_power")                 \
  HYPER(clip_power, 0.25, nonnegative, "how fast that bound grows")                                          \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  HYPER(decoupled_weight_decay, 0, flag,                                                                     \
        "each step but the first takes lr * weight_decay of p away instead")                                 \
  SLOT(m, 0, "first moment: running mean of the divided gradients")                                          \
  SLOT(v, 0, "second moment: running mean of the squared gradients; the first step only sets it")

namespace schuss {
SCHUSS_DECLARE(ADOPT, SCHUSS_ADOPT)

template <class T, unsigned Kept>
struct ADOPT {
  T lr, keep1, keep2, eps, bound, decay, decoupled;

  static ADOPT prepare(const ADOPTHypers& h, Clock clock) {
    const bool apart = h.decoupled_weight_decay != 0;
    const T decay = T(apart ? 0 : h.weight_decay);
    // The first step moves v alone, to g^2.
    if (clock.step == 1) return {T(0), T(0), T(1), T(h.eps), T(0), decay, T(0)};
    const double bound =
        h.clipping != 0 ? Clock::power(double(clock.step - 1), h.clip_power) : elementary::infinity();
    return {T(h.lr),
            T(1 - h.beta1),
            T(1 - h.beta2),
            T(h.eps),
            T(bound),
            decay,
            T(apart ? h.lr * h.weight_decay : 0)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const {
    g += decay * p;
    const T divided = g / at_least(sqrt(v), eps);
    m += keep1 * (at_most(at_least(divided, -bound), bound) - m);
    v += keep2 * (g * g - v);
    return lr * m;
  }
};

}  // namespace schuss
