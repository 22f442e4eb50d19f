#pragma once
#include "radam.hpp"

#define SCHUSS_ADABELIEF(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                     \
  PAPER(2020, "Adam that divides by how far gradients fall from their mean, not by their size",              \
        "Zhuang et al. 2020, arXiv 2010.07468")                                                              \
  TRAITS("mean of g", "mean of (g - m)^2", "both", "decoupled", "where Adam generalises badly; GANs")        \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-16, nonnegative, "added to the root of the corrected second moment; the paper has 1e-8")     \
  HYPER(eps_root, 1e-16, nonnegative, "added to the second moment itself at every step, and kept in it")     \
  HYPER(weight_decay, 0, nonnegative, "decoupled decay: each step takes lr * weight_decay of p away")        \
  HYPER(decoupled_weight_decay, 1, flag, "off: weight_decay is an L2 penalty, added to the gradient")        \
  HYPER(rectify, 0, flag,                                                                                    \
        "divide only once the second moment can be trusted, as RAdam; eps before correction")                \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(s, 0, "running mean of the squared distance of gradients from m")

namespace schuss {
SCHUSS_DECLARE(AdaBelief, SCHUSS_ADABELIEF)

template <class T, unsigned Kept>
struct AdaBelief {
  T step, keep1, keep2, eps, eps_root, decay, decoupled;
  bool divides;

  static AdaBelief prepare(const AdaBeliefHypers& h, Clock clock) {
    const double bias1 = 1 - clock.power(h.beta1), root2 = sqrt(1 - clock.power(h.beta2));
    const double trust = h.rectify != 0 ? rectification(h.beta2, clock) : root2;
    const bool apart = h.decoupled_weight_decay != 0;
    return {T(h.lr * (trust > 0 ? trust : 1) / bias1), T(1 - h.beta1), T(1 - h.beta2),
            T(h.rectify != 0 ? h.eps : h.eps * root2), T(h.eps_root),  T(apart ? 0.0 : h.weight_decay),
            T(apart ? h.lr * h.weight_decay : 0.0),    trust > 0};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& s) const {
    g += decay * p;
    m += keep1 * (g - m);
    const T surprise = g - m;
    s += keep2 * (surprise * surprise - s) + eps_root;
    return step * m / select(divides, sqrt(s) + eps, T(1));
  }
};

}  // namespace schuss
