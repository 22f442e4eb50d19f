#pragma once
#include "rule.hpp"

#define SCHUSS_SGD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                           \
  PAPER(1964, "Stochastic gradient descent, with classic momentum and Nesterov's form, as torch.optim.SGD",  \
        "Polyak 1964; Sutskever et al. 2013, ICML")                                                          \
  TRAITS("none, or classic: v = mu v + g", "none", "none", "L2",                                             \
         "convolutional networks, with time to tune")                                                        \
  HYPER(lr, 1e-3, nonnegative, "learning rate")                                                              \
  HYPER(momentum, 0, nonnegative, "factor on the velocity kept from the step before")                        \
  HYPER(dampening, 0, real, "share of the gradient left out of the velocity after its first step")           \
  HYPER(nesterov, 0, flag, "step along g + momentum * v in place of v")                                      \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SLOT_IF(v, 0, h.momentum != 0, "velocity; its first value is the gradient itself")                         \
  CHECK(h.nesterov == 0 || (!(h.momentum <= 0) && h.dampening == 0),                                         \
        "nesterov needs momentum > 0 and dampening 0")

namespace schuss {
SCHUSS_DECLARE(SGD, SCHUSS_SGD)

template <class T, unsigned Kept>
struct SGD {
  T lr, momentum, keep, decay;
  bool first, nesterov;

  static SGD prepare(const SGDHypers& h, Clock clock) {
    return {T(h.lr), T(h.momentum), T(1 - h.dampening), T(h.weight_decay), clock.step == 1, h.nesterov != 0};
  }

  SCHUSS_FN T update(T p, T g, T& v) const {
    g += decay * p;
    if constexpr (has(Kept, SGDSlots::v)) {
      v = select(first, g, momentum * v + keep * g);
      g = select(nesterov, g + momentum * v, v);
    }
    return lr * g;
  }
};

}  // namespace schuss
