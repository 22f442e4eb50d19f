#pragma once
#include "rule.hpp"

#define SCHUSS_ASGD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(1992, "Descent at a falling rate, with the average of the path beside it",                           \
        "Polyak & Juditsky 1992, SIAM J. Control Optim. 30; rates of Bottou 2010, as torch.optim.ASGD")      \
  TRAITS("none", "none", "none", "L2, and lambd decoupled", "convex problems; the average is the answer")    \
  HYPER(lr, 0.01, nonnegative, "learning rate of the first step")                                            \
  HYPER(lambd, 1e-4, nonnegative,                                                                            \
        "decoupled decay of rate * lambd a step; the rate is lr / (1 + lambd lr (t - 1))^alpha")             \
  HYPER(alpha, 0.75, nonnegative, "power by which the rate falls")                                           \
  HYPER(t0, 1e6, nonnegative, "steps after which averaging begins; until then the average is p")             \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  COPY(ax, "average of the parameters")

namespace schuss {
SCHUSS_DECLARE(ASGD, SCHUSS_ASGD)

template <class T, unsigned Kept>
struct ASGD {
  T rate, shrink, share, decay;

  static ASGD prepare(const ASGDHypers& h, Clock clock) {
    const double before = double(clock.step - 1);
    const double rate = h.lr / Clock::power(1 + h.lambd * h.lr * before, h.alpha);
    const double averaged = before - h.t0;
    return {T(rate), T(rate * h.lambd), T(averaged > 1 ? 1 / averaged : 1.0), T(h.weight_decay)};
  }

  SCHUSS_FN void apply(T& p, T g, T& ax) const {
    p -= rate * (g + decay * p) + shrink * p;
    ax = select(share < T(1), ax + share * (p - ax), p);
  }
};

}  // namespace schuss
