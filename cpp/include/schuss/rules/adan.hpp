#pragma once
#include "rule.hpp"

#define SCHUSS_ADAN(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2022, "Nesterov's momentum by the differences of gradients, over a root of their mean square",       \
        "Xie et al. 2022, arXiv 2208.06677")                                                                 \
  TRAITS("means of g and of its differences", "mean of the extrapolated g, squared", "both", "proximal",     \
         "vision transformers")                                                                              \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.98, unit, "share of the mean gradient kept")                                                \
  HYPER(beta2, 0.92, unit, "share of the mean difference kept, and its weight in the step")                  \
  HYPER(beta3, 0.99, unit, "share of the second moment kept")                                                \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(weight_decay, 0, nonnegative, "decoupled decay")                                                     \
  HYPER(proximal, 1, flag, "divide by 1 + lr * weight_decay after the step; off: take that share of p away") \
  HYPER(complement, 0, flag, "weigh differences by 1 - beta2 in place of beta2, as optax does")              \
  SLOT(m, 0, "running mean of the gradients")                                                                \
  SLOT(v, 0, "running mean of their differences from step to step")                                          \
  SLOT(n, 0, "second moment: running mean of the squared gradients, extrapolated")                           \
  SLOT(g_prev, 0, "gradient of the step before")

namespace schuss {
SCHUSS_DECLARE(Adan, SCHUSS_ADAN)

template <class T, unsigned Kept>
struct Adan {
  T step_m, step_v, ahead, keep1, keep2, keep3, eps, eps_root, decoupled;
  bool first;

  static Adan prepare(const AdanHypers& h, Clock clock) {
    const double bias1 = 1 - clock.power(h.beta1), bias2 = 1 - clock.power(h.beta2);
    const double bias3 = 1 - clock.power(h.beta3), ahead = h.complement != 0 ? 1 - h.beta2 : h.beta2;
    // (p - u) / (1 + decay) takes u / (1 + decay) and decay / (1 + decay) of p away.
    const double decay = h.lr * h.weight_decay, shrink = h.proximal != 0 ? 1 + decay : 1.0;
    const double rate = h.lr * sqrt(bias3) / shrink;
    return {T(rate / bias1),        T(rate * ahead / bias2), T(ahead),
            T(1 - h.beta1),         T(1 - h.beta2),          T(1 - h.beta3),
            T(h.eps * sqrt(bias3)), T(h.eps_root * bias3),   T(decay / shrink),
            clock.step == 1};
  }

  SCHUSS_FN T update(T, T g, T& m, T& v, T& n, T& g_prev) const {
    const T change = select(first, T(0), g - g_prev), extrapolated = g + ahead * change;
    g_prev = g;
    m += keep1 * (g - m);
    v += keep2 * (change - v);
    n += keep3 * (extrapolated * extrapolated - n);
    return (step_m * m + step_v * v) / (sqrt(n + eps_root) + eps);
  }
};

}  // namespace schuss
