#pragma once
#include "rule.hpp"

#define SCHUSS_QHADAM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                        \
  PAPER(2019, "Adam that mixes each moment with this step's gradient alone",                                 \
        "Ma & Yarats 2019, arXiv 1810.06801")                                                                \
  TRAITS("g mixed with its mean", "g^2 mixed with its mean", "both", "L2 or decoupled",                      \
         "long means without their lag")                                                                     \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.995, unit, "share of the first moment kept")                                                \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(nu1, 0.7, nonnegative, "weight of the first moment; 1 is Adam, beta1 is Adam with Nesterov's form")  \
  HYPER(nu2, 1, nonnegative, "weight of the second moment; 1 is Adam")                                       \
  HYPER(eps, 1e-8, nonnegative, "added to the root")                                                         \
  HYPER(eps_root, 0, nonnegative, "added inside the root")                                                   \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  HYPER(decoupled_weight_decay, 0, flag, "decoupled decay: each step takes lr * weight_decay of p away")     \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")                                                 \
  CHECK(!(h.nu2 > 1), "nu2 is 1 at most")

namespace schuss {
SCHUSS_DECLARE(QHAdam, SCHUSS_QHADAM)

template <class T, unsigned Kept>
struct QHAdam {
  T step_g, step_m, of_g, of_v, keep1, keep2, eps, eps_root, decay, decoupled;

  static QHAdam prepare(const QHAdamHypers& h, Clock clock) {
    const double bias1 = 1 - clock.power(h.beta1), bias2 = 1 - clock.power(h.beta2);
    const bool apart = h.decoupled_weight_decay != 0;
    return {T(h.lr * (1 - h.nu1)),
            T(h.lr * h.nu1 / bias1),
            T(1 - h.nu2),
            T(h.nu2 / bias2),
            T(1 - h.beta1),
            T(1 - h.beta2),
            T(h.eps),
            T(h.eps_root),
            T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const {
    g += decay * p;
    m += keep1 * (g - m);
    const T square = g * g;
    v += keep2 * (square - v);
    return (step_g * g + step_m * m) / (sqrt(of_g * square + of_v * v + eps_root) + eps);
  }
};

}  // namespace schuss
