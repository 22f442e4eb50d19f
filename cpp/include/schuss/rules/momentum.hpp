#pragma once
#include "rule.hpp"

#define SCHUSS_MOMENTUM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(1964, "Heavy ball in the averaging form: v = beta v + (1 - beta) g, p = p - lr v",                   \
        "Polyak 1964, Some methods of speeding up the convergence of iteration methods")                     \
  TRAITS("mean of g", "none", "none", "none", "steady or noisy gradients, teaching")                         \
  HYPER(lr, 0.01, nonnegative, "learning rate; under a steady gradient each step is lr times it")            \
  HYPER(beta, 0.9, unit, "share of the velocity kept")                                                       \
  SLOT(v, 0, "velocity: the running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(Momentum, SCHUSS_MOMENTUM)

template <class T, unsigned Kept>
struct Momentum {
  T lr, keep;

  static Momentum prepare(const MomentumHypers& h, Clock) { return {T(h.lr), T(1 - h.beta)}; }

  SCHUSS_FN T update(T, T g, T& v) const {
    v += keep * (g - v);
    return lr * v;
  }
};

}  // namespace schuss
