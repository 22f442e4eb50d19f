#pragma once
#include "rule.hpp"

#define SCHUSS_SIGNUM_FACTS(HYPER, SLOT, standard_lr, standard_beta, standard_decay)                         \
  HYPER(lr, standard_lr, nonnegative, "learning rate: the size of every step")                               \
  HYPER(beta, standard_beta, unit, "share of the mean kept")                                                 \
  HYPER(weight_decay, standard_decay, nonnegative,                                                           \
        "decoupled decay: each step takes lr * weight_decay of p away")                                      \
  SLOT(m, 0, "running mean of the gradients")

#define SCHUSS_SIGNUM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                        \
  PAPER(2018, "The sign of the running mean of the gradients: signSGD with momentum",                        \
        "Bernstein et al. 2018, arXiv 1802.04434")                                                           \
  TRAITS("mean of g, its sign alone", "none", "none", "decoupled", "gradients sent as one bit")              \
  SCHUSS_SIGNUM_FACTS(HYPER, SLOT, 1e-4, 0.9, 0)

namespace schuss {
SCHUSS_DECLARE(Signum, SCHUSS_SIGNUM)

template <class T, unsigned Kept>
struct Signum {
  T lr, keep, decoupled;

  template <class Hypers>
  static Signum prepare(const Hypers& h, Clock) {
    return {T(h.lr), T(1 - h.beta), T(h.lr * h.weight_decay)};
  }

  SCHUSS_FN T update(T, T g, T& m) const {
    m += keep * (g - m);
    return lr * sign(m);
  }
};

}  // namespace schuss
