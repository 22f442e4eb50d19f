#pragma once
#include "rule.hpp"

#define SCHUSS_SIGNUM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                        \
  PAPER(2018, "A step of one size along the sign of the running mean of the gradients",                      \
        "Bernstein et al. 2018, arXiv 1802.04434")                                                           \
  TRAITS("sign of the mean of g", "none", "none", "decoupled", "gradients sent as one bit")                  \
  HYPER(lr, 1e-4, nonnegative, "learning rate: the size of every step")                                      \
  HYPER(beta, 0.9, unit, "share of the mean kept; 0 is signSGD")                                             \
  HYPER(weight_decay, 0, nonnegative, "decoupled decay: each step takes lr * weight_decay of p away")        \
  SLOT(m, 0, "running mean of the gradients")

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
