#pragma once
#include "rule.hpp"

#define SCHUSS_NADAM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2016, "Adam with Nesterov's momentum, whose share mu rises over the first steps",                    \
        "Dozat 2016, Incorporating Nesterov momentum into Adam, ICLR workshop")                              \
  TRAITS("mean of g, looking ahead", "mean of g^2", "both", "L2 or decoupled", "recurrent networks")         \
  HYPER(lr, 2e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept, and what mu rises to")                            \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(momentum_decay, 0.004, nonnegative, "mu = beta1 (1 - anneal 0.96^(t momentum_decay)); Keras has 1")  \
  HYPER(anneal, 0.5, unit, "share by which mu starts below beta1; 0 holds mu at beta1, as optax does")       \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  SCHUSS_MAX_LR(HYPER)                                                                                       \
  HYPER(shared_correction, 0, flag, "correct m for the steps so far and not for the next, as timm does")     \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")                                                 \
  CHECK(!(h.anneal > 0.95), "anneal is 0.95 at most")

namespace schuss {
SCHUSS_DECLARE(NAdam, SCHUSS_NADAM)

template <class T, unsigned Kept>
struct NAdam {
  T step_g, step_m, keep1, keep2, eps, eps_root, decay, decoupled;

  static NAdam prepare(const NAdamHypers& h, Clock clock) {
    const double fall = -h.momentum_decay * Clock::log(0.96), t = double(clock.step);
    const double mu = h.beta1 * (1 - h.anneal * Clock::exp(-fall * t));
    const double next = h.beta1 * (1 - h.anneal * Clock::exp(-fall * (t + 1)));
    const double product = clock.power(h.beta1) * clock.annealed(h.anneal, fall);
    const double bias2 = 1 - clock.power(h.beta2), rate = h.lr * sqrt(bias2);
    const bool apart = h.decoupled_weight_decay != 0;
    return {T(rate * (1 - mu) / (1 - product)),
            T(rate * next / (1 - (h.shared_correction != 0 ? product : product * next))),
            T(1 - h.beta1),
            T(1 - h.beta2),
            T(h.eps * sqrt(bias2)),
            T(h.eps_root * bias2),
            T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * scaled_decay(h) : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const {
    g += decay * p;
    m += keep1 * (g - m);
    v += keep2 * (g * g - v);
    return (step_g * g + step_m * m) / (sqrt(v + eps_root) + eps);
  }
};

}  // namespace schuss
