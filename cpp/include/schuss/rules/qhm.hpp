#pragma once
#include "rule.hpp"

#define SCHUSS_QHM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                           \
  PAPER(2019, "Quasi-hyperbolic momentum: a step along a blend of the gradient and its running mean",        \
        "Ma & Yarats 2019, arXiv 1810.06801")                                                                \
  TRAITS("mean of g, blended with g", "none", "none", "L2", "SGD's cases, with a long memory")               \
  HYPER(lr, 0.01, nonnegative, "learning rate; under a steady gradient each step is lr times it")            \
  HYPER(beta, 0.999, unit, "share of the mean kept")                                                         \
  HYPER(nu, 0.7, real,                                                                                       \
        "share of the mean in the step: 0 is plain SGD, 1 is Momentum, beta is Nesterov's averaging form")   \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SLOT(v, 0, "velocity: the running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(QHM, SCHUSS_QHM)

template <class T, unsigned Kept>
struct QHM {
  T lr, keep, nu, decay;

  static QHM prepare(const QHMHypers& h, Clock) {
    return {T(h.lr), T(1 - h.beta), T(h.nu), T(h.weight_decay)};
  }

  SCHUSS_FN T update(T p, T g, T& v) const {
    g += decay * p;
    v += keep * (g - v);
    return lr * (g + nu * (v - g));
  }
};

}  // namespace schuss
