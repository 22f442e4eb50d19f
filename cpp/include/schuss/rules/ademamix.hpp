#pragma once
#include "rule.hpp"

#define SCHUSS_ADEMAMIX(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(2024, "AdamW with a second, very slow mean of the gradients beside the first",                       \
        "Pagliardini, Ablin & Grangier 2024, arXiv 2409.03137")                                              \
  TRAITS("two means of g, fast and slow", "mean of g^2", "all but the slow mean", "decoupled",               \
         "long training of language models")                                                                 \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the fast mean kept")                                                     \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(beta3, 0.9999, unit, "share of the slow mean kept")                                                  \
  HYPER(alpha, 5, nonnegative, "weight of the slow mean")                                                    \
  HYPER(alpha_warmup, 0, nonnegative, "steps over which alpha rises from 0, in a line")                      \
  HYPER(beta3_warmup, 0, nonnegative, "steps over which beta3 rises from beta1, its half life in a line")    \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(weight_decay, 0, nonnegative, "decoupled decay: each step takes lr * weight_decay of p away")        \
  SLOT(m, 0, "fast mean of the gradients")                                                                   \
  SLOT(m_slow, 0, "slow mean of the gradients")                                                              \
  SLOT(v, 0, "second moment: running mean of the squared gradients")

namespace schuss {
SCHUSS_DECLARE(AdEMAMix, SCHUSS_ADEMAMIX)

template <class T, unsigned Kept>
struct AdEMAMix {
  T step, step_slow, keep1, keep2, keep3, eps, eps_root, decoupled;

  static AdEMAMix prepare(const AdEMAMixHypers& h, Clock clock) {
    const double t = double(clock.step), bias1 = 1 - clock.power(h.beta1), bias2 = 1 - clock.power(h.beta2);
    const double alpha = t < h.alpha_warmup ? h.alpha * (t / h.alpha_warmup) : h.alpha;
    double beta3 = h.beta3;
    if (t < h.beta3_warmup && h.beta1 < h.beta3) {  // beta^n = 1/2 for n that rises in a line
      const double part = t / h.beta3_warmup;
      beta3 = Clock::exp(1 / ((1 - part) / Clock::log(h.beta1) + part / Clock::log(h.beta3)));
    }
    const double rate = h.lr * sqrt(bias2);
    return {T(rate / bias1), T(rate * alpha),        T(1 - h.beta1),        T(1 - h.beta2),
            T(1 - beta3),    T(h.eps * sqrt(bias2)), T(h.eps_root * bias2), T(h.lr * h.weight_decay)};
  }

  SCHUSS_FN T update(T, T g, T& m, T& m_slow, T& v) const {
    m += keep1 * (g - m);
    m_slow += keep3 * (g - m_slow);
    v += keep2 * (g * g - v);
    return (step * m + step_slow * m_slow) / (sqrt(v + eps_root) + eps);
  }
};

}  // namespace schuss
