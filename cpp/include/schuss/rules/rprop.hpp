#pragma once
#include "rule.hpp"

#define SCHUSS_RPROP(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(1993, "A step of its own for each weight: longer while the gradient's sign holds, shorter when not", \
        "Riedmiller & Braun 1993, IEEE ICNN; the form without weight-backtracking: Igel & Huesken 2003")     \
  TRAITS("none", "none", "none", "none", "full-batch training")                                              \
  HYPER(lr, 0.01, nonnegative, "the first size of every step; read at a leaf's first step only")             \
  HYPER(eta_minus, 0.5, unit, "factor on a step whose gradient has changed its sign")                        \
  HYPER(eta_plus, 1.2, nonnegative, "factor on a step whose gradient has kept its sign")                     \
  HYPER(step_min, 1e-6, nonnegative, "the least size of a step")                                             \
  HYPER(step_max, 50, nonnegative, "the largest size of a step")                                             \
  SLOT(prev, 0, "the gradient of the step before; zero where it had changed its sign")                       \
  SLOT(step_size, 0, "each element's size of step; lr at first")                                             \
  CHECK(!(h.step_min > h.step_max), "step_min must not be above step_max")

namespace schuss {
SCHUSS_DECLARE(Rprop, SCHUSS_RPROP)

template <class T, unsigned Kept>
struct Rprop {
  T lr, eta_minus, eta_plus, step_min, step_max;
  bool first;

  static Rprop prepare(const RpropHypers& h, Clock clock) {
    return {T(h.lr), T(h.eta_minus), T(h.eta_plus), T(h.step_min), T(h.step_max), clock.step == 1};
  }

  SCHUSS_FN void apply(T& p, T g, T& prev, T& step_size) const {
    const T same = sign(g) * prev;  // the sign of g * prev, which might underflow
    const T factor = select(same > T(0), eta_plus, select(same < T(0), eta_minus, T(1)));
    step_size = at_most(at_least(select(first, lr, step_size) * factor, step_min), step_max);
    prev = select(same < T(0), T(0), g);  // no step after a change of sign, and none counted next time
    p -= step_size * sign(prev);
  }
};

}  // namespace schuss
