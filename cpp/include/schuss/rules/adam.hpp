#pragma once
#include "rule.hpp"

#define SCHUSS_ADAM_FACTS(HYPER, SLOT, SLOT_IF, standard_decay, decay_doc)                                   \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(weight_decay, standard_decay, nonnegative, decay_doc)                                                \
  HYPER(amsgrad, 0, flag, "divide by the largest second moment so far")                                      \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")                                                 \
  SLOT_IF(v_max, 0, h.amsgrad != 0, "largest second moment so far")

#define SCHUSS_ADAM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2015, "Bias-corrected moments: the mean gradient over the root of the mean square",                  \
        "Kingma & Ba 2015, arXiv 1412.6980; AMSGrad: Reddi et al. 2018, arXiv 1904.09237")                   \
  TRAITS("mean of g", "mean of g^2", "both", "L2", "most networks without weight decay")                     \
  SCHUSS_ADAM_FACTS(HYPER, SLOT, SLOT_IF, 0, "L2 penalty, added to the gradient")

namespace schuss {
SCHUSS_DECLARE(Adam, SCHUSS_ADAM)

// The moments and the step they give, shared by the rules of this family.
template <class T, bool Amsgrad>
struct AdamMoments {
  T step, keep1, keep2, eps, eps_root;

  template <class Hypers>
  static AdamMoments prepare(const Hypers& h, Clock clock) {
    // m and v start at zero; dividing by the biases removes that pull. An element divides once.
    const double bias1 = 1 - clock.power(h.beta1), bias2 = 1 - clock.power(h.beta2);
    return {T(h.lr * sqrt(bias2) / bias1), T(1 - h.beta1), T(1 - h.beta2), T(h.eps * sqrt(bias2)),
            T(h.eps_root * bias2)};
  }

  SCHUSS_FN T direction(T g, T& m, T& v, T& v_max) const {
    m += keep1 * (g - m);
    v += keep2 * (g * g - v);
    if constexpr (Amsgrad) v_max = larger(v_max, v);
    return step * m / (sqrt((Amsgrad ? v_max : v) + eps_root) + eps);
  }
};

template <class T, unsigned Kept>
struct Adam {
  AdamMoments<T, has(Kept, AdamSlots::v_max)> moments;
  T decay;

  static Adam prepare(const AdamHypers& h, Clock clock) {
    return {decltype(moments)::prepare(h, clock), T(h.weight_decay)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v, T& v_max) const {
    return moments.direction(g + decay * p, m, v, v_max);
  }
};

}  // namespace schuss
