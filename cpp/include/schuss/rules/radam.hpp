#pragma once
#include "rule.hpp"

#define SCHUSS_RADAM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2020, "Adam that divides only once the second moment can be trusted: a warmup of its own",           \
        "Liu et al. 2020, arXiv 1908.03265")                                                                 \
  TRAITS("mean of g", "mean of g^2, once trusted", "both", "L2 or decoupled", "training without warmup")     \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the second moment, before its correction")             \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  HYPER(eps_hat, 1, flag, "off: eps is added to the root after its correction, as in optax")                 \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")

namespace schuss {
SCHUSS_DECLARE(RAdam, SCHUSS_RADAM)

// How far the second moment is trusted, times the root of its bias; 0 where not yet.
inline double rectification(double beta2, Clock clock) {
  // rho: how many gradients the second moment stands for, now and in the end.
  const double left2 = clock.power(beta2), bias2 = 1 - left2, rho_end = 2 / (1 - beta2) - 1;
  const double rho = rho_end - 2 * double(clock.step) * left2 / bias2;
  if (!(rho > 5)) return 0;
  return sqrt(bias2 * (rho - 4) * (rho - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * rho));
}

template <class T, unsigned Kept>
struct RAdam {
  T step, keep1, keep2, eps, decay, decoupled;
  bool rectified;

  static RAdam prepare(const RAdamHypers& h, Clock clock) {
    const double trust = rectification(h.beta2, clock), step = h.lr / (1 - clock.power(h.beta1));
    const bool apart = h.decoupled_weight_decay != 0, rectified = trust > 0;
    return {T(rectified ? step * trust : step),
            T(1 - h.beta1),
            T(1 - h.beta2),
            T(h.eps_hat != 0 ? h.eps : h.eps * sqrt(1 - clock.power(h.beta2))),
            T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0),
            rectified};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const {
    g += decay * p;
    m += keep1 * (g - m);
    v += keep2 * (g * g - v);
    return step * m / select(rectified, sqrt(v) + eps, T(1));
  }
};

}  // namespace schuss
