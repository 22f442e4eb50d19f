#pragma once
#include "rule.hpp"

#define SCHUSS_NOVOGRAD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(2019, "Momentum on gradients that each leaf's own mean length divides",                              \
        "Ginsburg et al. 2019, arXiv 1905.11286")                                                            \
  TRAITS("classic, of g / sqrt(v) + decay", "mean of |g|^2, one number a leaf", "none", "in the moment",     \
         "speech; one slot")                                                                                 \
  HYPER(lr, 0.01, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.95, unit, "factor on the first moment kept")                                                \
  HYPER(beta2, 0.98, unit, "share of the leaf's mean squared length kept")                                   \
  HYPER(eps, 1e-8, nonnegative, "added to the root")                                                         \
  HYPER(weight_decay, 0, nonnegative, "this share of p joins the divided gradient")                          \
  HYPER(grad_averaging, 0, flag, "the first moment takes 1 - beta1 of what is new")                          \
  SLOT(m, 0, "first moment; its first value is what is new itself")                                          \
  SCALAR(                                                                                                    \
      v, 0,                                                                                                  \
      "second moment: running mean of the gradient's squared length; its first value is the length itself")

namespace schuss {
SCHUSS_DECLARE(NovoGrad, SCHUSS_NOVOGRAD)

template <class T, unsigned Kept>
struct NovoGrad {
  double keep2, eps;
  T lr, beta1, share, decay, scale;
  bool first;

  static constexpr int kSums = 1;

  static NovoGrad prepare(const NovoGradHypers& h, Clock clock) {
    return {
        1 - h.beta2,       h.eps, T(h.lr),        T(h.beta1), T(h.grad_averaging != 0 ? 1 - h.beta1 : 1.0),
        T(h.weight_decay), T(1),  clock.step == 1};
  }

  SCHUSS_FN Products<T, 1> measure(T, T g, T) const { return {{g}, {g}}; }
  SCHUSS_FN void finish(const double* sums, double, double* scalars) const {
    scalars[0] = first ? sums[0] : scalars[0] + keep2 * (sums[0] - scalars[0]);
  }
  SCHUSS_FN void take(const double* scalars) {
    const double below = sqrt(scalars[0]) + eps;
    scale = T(below == 0 ? 0.0 : 1 / below);  // a leaf whose gradients were all zero
  }

  SCHUSS_FN T update(T p, T g, T& m) const {
    g = scale * g + decay * p;
    m = select(first, g, beta1 * m + share * g);
    return lr * m;
  }
};

}  // namespace schuss
