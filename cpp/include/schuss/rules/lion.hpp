#pragma once
#include "rule.hpp"

#define SCHUSS_LION(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2023, "The sign of a mean of the gradients in which the present one weighs more",                    \
        "Chen et al. 2023, arXiv 2302.06675")                                                                \
  TRAITS("mean of g, its sign alone", "none", "none", "decoupled", "transformers, at half of Adam's memory") \
  HYPER(lr, 1e-4, nonnegative, "learning rate: the size of every step; a third to a tenth of AdamW's")       \
  HYPER(beta1, 0.9, unit, "share of the mean in the direction")                                              \
  HYPER(beta2, 0.99, unit, "share of the mean kept")                                                         \
  HYPER(weight_decay, 0, nonnegative, "decoupled decay: each step takes lr * weight_decay of p away")        \
  SCHUSS_MAX_LR(HYPER)                                                                                       \
  SLOT(m, 0, "running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(Lion, SCHUSS_LION)

template <class T, unsigned Kept>
struct Lion {
  T lr, keep1, keep2, decoupled;

  static Lion prepare(const LionHypers& h, Clock) {
    return {T(h.lr), T(1 - h.beta1), T(1 - h.beta2), T(h.lr * scaled_decay(h))};
  }

  SCHUSS_FN T update(T, T g, T& m) const {
    const T direction = sign(m + keep1 * (g - m));  // from the old m
    m += keep2 * (g - m);
    return lr * direction;
  }
};

}  // namespace schuss
