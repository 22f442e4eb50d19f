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
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  HYPER(bias_correction, 1, flag, "correct the first moment for its start at zero; off in MLX")              \
  HYPER(eps_outside, 0, flag, "add eps to the divisor, and do not keep it in u, as Keras and MLX do")        \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(u, 0, "largest magnitude of the gradients so far, fading")

namespace schuss {
SCHUSS_DECLARE(Adamax, SCHUSS_ADAMAX)

template <class T, unsigned Kept>
struct Adamax {
  T step, keep1, fade, eps_kept, eps, decay, decoupled;

  static Adamax prepare(const AdamaxHypers& h, Clock clock) {
    // m starts at zero and is corrected; u, a maximum, needs no correction.
    const double bias1 = h.bias_correction != 0 ? 1 - clock.power(h.beta1) : 1;
    const bool apart = h.decoupled_weight_decay != 0, outside = h.eps_outside != 0;
    return {T(h.lr / bias1),
            T(1 - h.beta1),
            T(h.beta2),
            T(outside ? 0.0 : h.eps),
            T(outside ? h.eps : 0.0),
            T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& u) const {
    g += decay * p;
    m += keep1 * (g - m);
    u = larger(fade * u, magnitude(g) + eps_kept);
    return step * m / (u + eps);
  }
};

}  // namespace schuss
