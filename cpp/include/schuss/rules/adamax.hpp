#pragma once
#include "rule.hpp"

#define SCHUSS_ADAMAX(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                        \
  PAPER(2015, "Adam with the largest recent gradient in place of the root of the mean square",               \
        "Kingma & Ba 2015, section 7.1, arXiv 1412.6980")                                                    \
  TRAITS("mean of g", "largest |g|, fading", "first", "L2", "embeddings, gradients with rare spikes")        \
  HYPER(lr, 2e-3, nonnegative, "learning rate: the largest step an element takes, about")                    \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "factor by which the largest gradient fades each step")                          \
  HYPER(eps, 1e-8, nonnegative, "added to the magnitude of every gradient")                                  \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(u, 0, "largest magnitude of the gradients so far, fading")

namespace schuss {
SCHUSS_DECLARE(Adamax, SCHUSS_ADAMAX)

template <class T, unsigned Kept>
struct Adamax {
  T step, keep1, fade, eps, decay;

  static Adamax prepare(const AdamaxHypers& h, Clock clock) {
    // m starts at zero and is corrected; u, a maximum, needs no correction.
    return {T(h.lr / (1 - clock.power(h.beta1))), T(1 - h.beta1), T(h.beta2), T(h.eps), T(h.weight_decay)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& u) const {
    g += decay * p;
    m += keep1 * (g - m);
    u = larger(fade * u, magnitude(g) + eps);
    return step * m / u;
  }
};

}  // namespace schuss
