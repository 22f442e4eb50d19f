#pragma once
#include "rule.hpp"

#define SCHUSS_YOGI(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2018, "Adam whose second moment moves by the size of g^2 alone: rates rise slowly",                  \
        "Zaheer et al. 2018, Adaptive methods for nonconvex optimization, NeurIPS")                          \
  TRAITS("mean of g", "moves towards g^2 by its sign", "both", "L2", "sparse gradients, federated servers")  \
  HYPER(lr, 0.01, nonnegative, "learning rate")                                                              \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "1 - beta2 of the squared gradient is added to v or taken from it")              \
  HYPER(eps, 1e-3, nonnegative, "added to the root")                                                         \
  HYPER(eps_root, 0, nonnegative, "added inside the root")                                                   \
  HYPER(initial_accumulator, 1e-6, nonnegative, "what v starts from")                                        \
  HYPER(initial_mean, 0, real, "what m starts from; optax starts both at 1e-6")                              \
  HYPER(bias_correction, 1, flag,                                                                            \
        "correct both moments as Adam does; the paper leaves this out for brevity")                          \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SLOT(m, h.initial_mean, "first moment: running mean of the gradients")                                     \
  SLOT(v, h.initial_accumulator, "second moment, moved by (1 - beta2) g^2 towards g^2")

namespace schuss {
SCHUSS_DECLARE(Yogi, SCHUSS_YOGI)

template <class T, unsigned Kept>
struct Yogi {
  T step, keep1, keep2, eps, eps_root, decay;

  static Yogi prepare(const YogiHypers& h, Clock clock) {
    const bool correct = h.bias_correction != 0;
    const double bias1 = correct ? 1 - clock.power(h.beta1) : 1.0;
    const double bias2 = correct ? 1 - clock.power(h.beta2) : 1.0;
    return {T(h.lr * sqrt(bias2) / bias1), T(1 - h.beta1),        T(1 - h.beta2),
            T(h.eps * sqrt(bias2)),        T(h.eps_root * bias2), T(h.weight_decay)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const {
    g += decay * p;
    m += keep1 * (g - m);
    const T square = g * g, excess = v - square;
    v -= keep2 * select(excess > T(0), square, select(excess < T(0), -square, excess));  // zero and NaN stay
    return step * m / (sqrt(v + eps_root) + eps);
  }
};

}  // namespace schuss
