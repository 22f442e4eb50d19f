#pragma once
#include "rule.hpp"

#define SCHUSS_RPROP(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(1993, "A step size of its own for each weight, grown while the sign holds; for full batches",        \
        "Riedmiller & Braun 1993, ICNN; without stepping back, as torch.optim.Rprop")                        \
  TRAITS("sign of g", "none", "none", "none", "full batches")                                                \
  HYPER(lr, 0.01, nonnegative, "the first step size of every weight")                                        \
  HYPER(eta_minus, 0.5, unit, "factor on the step size where the sign turns")                                \
  HYPER(eta_plus, 1.2, nonnegative, "factor on the step size where the sign holds")                          \
  HYPER(step_min, 1e-6, nonnegative, "the least step size")                                                  \
  HYPER(step_max, 50, nonnegative, "the largest step size")                                                  \
  SLOT(prev, 0, "gradient of the step before; zero where the sign turned")                                   \
  SLOT(step_size, 0, "step size of each weight; lr at first")                                                \
  CHECK(!(h.step_min > h.step_max), "step_min is step_max at most")

namespace schuss {
SCHUSS_DECLARE(Rprop, SCHUSS_RPROP)

template <class T, unsigned Kept>
struct Rprop {
  T lr, eta_minus, eta_plus, step_min, step_max;
  bool first;

  static Rprop prepare(const RpropHypers& h, Clock clock) {
    return {T(h.lr), T(h.eta_minus), T(h.eta_plus), T(h.step_min), T(h.step_max), clock.step == 1};
  }

  SCHUSS_FN T update(T, T g, T& prev, T& step_size) const {
    const T held = sign(g) * sign(prev);
    const T factor = select(held > T(0), eta_plus, select(held < T(0), eta_minus, T(1)));
    const T size = at_least(select(first, lr, step_size) * factor, step_min);
    step_size = select(size > step_max, step_max, size);
    g = select(held < T(0), T(0), g);
    prev = g;
    return step_size * sign(g);
  }
};

}  // namespace schuss
