#pragma once
#include "rule.hpp"

#define SCHUSS_ADADELTA(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(2012, "The gradient times the root mean square of the steps so far over that of the gradients",      \
        "Zeiler 2012, arXiv 1212.5701")                                                                      \
  TRAITS("none", "mean of g^2, and of the squared steps", "none", "L2", "no rate to tune")                   \
  HYPER(lr, 1, nonnegative, "factor on the step; the paper has 1")                                           \
  HYPER(rho, 0.9, unit, "share of both mean squares kept")                                                   \
  HYPER(eps, 1e-6, nonnegative, "added to both mean squares, inside the root; the first steps' size")        \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  SLOT(v, 0, "running mean of the squared gradients")                                                        \
  SLOT(u, 0, "running mean of the squared steps, lr left out")

namespace schuss {
SCHUSS_DECLARE(Adadelta, SCHUSS_ADADELTA)

template <class T, unsigned Kept>
struct Adadelta {
  T lr, keep, eps, decay, decoupled;

  static Adadelta prepare(const AdadeltaHypers& h, Clock) {
    const bool apart = h.decoupled_weight_decay != 0;
    return {T(h.lr), T(1 - h.rho), T(h.eps), T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& v, T& u) const {
    g += decay * p;
    v += keep * (g * g - v);
    const T step = sqrt((u + eps) / (v + eps)) * g;
    u += keep * (step * step - u);
    return lr * step;
  }
};

}  // namespace schuss
