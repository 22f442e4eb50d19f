#pragma once
#include "rule.hpp"

#define SCHUSS_ASGD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(1992, "Gradient descent with a falling rate, and the average of the parameters beside it",           \
        "Polyak & Juditsky 1992, SIAM J. Control Optim. 30; Bottou 2010; as torch.optim.ASGD")               \
  TRAITS("none", "none", "none", "L2", "convex problems; the average is the answer")                         \
  HYPER(lr, 0.01, nonnegative, "the first learning rate")                                                    \
  HYPER(lambd, 1e-4, nonnegative,                                                                            \
        "decay of weights, and of the rate: each step takes rate * lambd of p away")                         \
  HYPER(alpha, 0.75, nonnegative, "the rate of step t is lr / (1 + lambd lr (t - 1))^alpha")                 \
  HYPER(t0, 1e6, nonnegative, "steps before averaging begins; until then ax is p")                           \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  COPY(ax, "the average of the parameters since step t0")

namespace schuss {
SCHUSS_DECLARE(ASGD, SCHUSS_ASGD)

template <class T, unsigned Kept>
struct ASGD {
  T eta, shrink, mu, decay;
  bool averaging;

  static ASGD prepare(const ASGDHypers& h, Clock clock) {
    const double steps_before = double(clock.step - 1), averaged = steps_before - h.t0;
    const double eta = h.lr / Clock::power(1 + h.lambd * h.lr * steps_before, h.alpha);
    return {T(eta), T(eta * h.lambd), T(1 / at_least(averaged, 1.0)), T(h.weight_decay), averaged > 1};
  }

  SCHUSS_FN void apply(T& p, T g, T& ax) const {
    g += decay * p;
    p -= eta * g + shrink * p;
    ax = select(averaging, ax + mu * (p - ax), p);
  }
};

}  // namespace schuss
