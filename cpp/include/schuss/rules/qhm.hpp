#pragma once
#include "rule.hpp"

#define SCHUSS_QHM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                           \
  PAPER(2019, "A step along a mix of the gradient and its running mean",                                     \
        "Ma & Yarats 2019, arXiv 1810.06801")                                                                \
  TRAITS("g mixed with its mean", "none", "none", "L2 or decoupled", "long means without their lag")         \
  HYPER(lr, 0.1, nonnegative, "learning rate")                                                               \
  HYPER(beta, 0.999, unit, "share of the mean kept")                                                         \
  HYPER(nu, 0.7, real,                                                                                       \
        "share of the mean in the step; 0 is plain descent, 1 momentum in the averaging form")               \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  HYPER(decoupled_weight_decay, 0, flag, "decoupled decay: each step takes lr * weight_decay of p away")     \
  SLOT(m, 0, "running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(QHM, SCHUSS_QHM)

template <class T, unsigned Kept>
struct QHM {
  T step_g, step_m, keep, decay, decoupled;

  static QHM prepare(const QHMHypers& h, Clock) {
    const bool apart = h.decoupled_weight_decay != 0;
    return {T(h.lr * (1 - h.nu)), T(h.lr * h.nu), T(1 - h.beta), T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& m) const {
    g += decay * p;
    m += keep * (g - m);
    return step_g * g + step_m * m;
  }
};

}  // namespace schuss
