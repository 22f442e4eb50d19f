// What Adam, AdamW and Grams share: hypers, slots, and the moments with the step they give.
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
  HYPER(bias_correction, 1, flag, "correct both moments for their start at zero; off in MLX")                \
  HYPER(eps_hat, 0, flag, "add eps to the root before its correction: the paper's eps-hat, Keras's epsilon") \
  HYPER(amsgrad_corrected, 0, flag, "amsgrad keeps the largest corrected second moment, as optax does")      \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")                                                 \
  SLOT_IF(v_max, 0, h.amsgrad != 0, "largest second moment so far")

namespace schuss {

template <class T, bool Amsgrad>
struct AdamMoments {
  T step, keep1, keep2, eps, eps_root, correct;

  template <class Hypers>
  static AdamMoments prepare(const Hypers& h, Clock clock, double lr) {
    // m and v start at zero; dividing by the biases removes that pull. An element divides once.
    const bool corrects = h.bias_correction != 0, early = Amsgrad && h.amsgrad_corrected != 0;
    const double bias1 = corrects ? 1 - clock.power(h.beta1) : 1;
    const double bias2 = corrects ? 1 - clock.power(h.beta2) : 1, late = early ? 1 : bias2;
    return {T(lr * sqrt(late) / bias1),
            T(1 - h.beta1),
            T(1 - h.beta2),
            T(h.eps_hat != 0 ? h.eps : h.eps * sqrt(late)),
            T(h.eps_root * late),
            T(early ? 1 / bias2 : 1)};
  }

  SCHUSS_FN T direction(T g, T& m, T& v, T& v_max) const {
    m += keep1 * (g - m);
    v += keep2 * (g * g - v);
    if constexpr (Amsgrad) v_max = larger(v_max, correct * v);
    return step * m / (sqrt((Amsgrad ? v_max : v) + eps_root) + eps);
  }
};

}  // namespace schuss
