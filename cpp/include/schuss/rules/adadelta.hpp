#pragma once
#include "rule.hpp"

#define SCHUSS_ADADELTA(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(2012,                                                                                                \
        "Steps in the units of the parameter: the root of the mean squared step over that of the gradient",  \
        "Zeiler 2012, arXiv 1212.5701")                                                                      \
  TRAITS("none", "means of g^2 and of the squared steps", "none", "L2", "where no rate can be tuned")        \
  HYPER(lr, 1, nonnegative, "factor on the step; the paper has 1")                                           \
  HYPER(rho, 0.9, unit, "share of both means kept")                                                          \
  HYPER(eps, 1e-6, nonnegative, "added to both means, inside the roots; it begins the steps")                \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SLOT(v, 0, "running mean of the squared gradients")                                                        \
  SLOT(u, 0, "running mean of the squared steps")

namespace schuss {
SCHUSS_DECLARE(Adadelta, SCHUSS_ADADELTA)

template <class T, unsigned Kept>
struct Adadelta {
  T lr, keep, eps, decay;

  static Adadelta prepare(const AdadeltaHypers& h, Clock) {
    return {T(h.lr), T(1 - h.rho), T(h.eps), T(h.weight_decay)};
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
