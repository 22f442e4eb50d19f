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
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  SCHUSS_MAX_LR(HYPER)                                                                                       \
  HYPER(damped_start, 0, flag, "dampen the first gradient too, as MLX does: the velocity starts from zero")  \
  HYPER(lr_in_momentum, 0, flag, "gather lr * g in the velocity, as Keras does")                             \
  SLOT_IF(v, 0, h.momentum != 0, "velocity; its first value is the gradient itself")                         \
  CHECK(h.nesterov == 0 || (!(h.momentum <= 0) && h.dampening == 0),                                         \
        "nesterov needs momentum > 0 and dampening 0")

namespace schuss {
SCHUSS_DECLARE(SGD, SCHUSS_SGD)

template <class T, unsigned Kept>
struct SGD {
  T step_g, step_v, keep, fresh, decay, after;
  bool first;

  static SGD prepare(const SGDHypers& h, Clock clock) {
    constexpr bool kept = has(Kept, SGDSlots::v);
    const bool ahead = h.nesterov != 0, apart = h.decoupled_weight_decay != 0, inside = h.lr_in_momentum != 0;
    const bool first = clock.step == 1 && h.damped_start == 0;
    const double fresh = (first ? 1 : 1 - h.dampening) * (inside ? h.lr : 1), lr = inside ? 1 : h.lr;
    // Without a velocity the two decays are one.
    const double decay = !apart ? h.weight_decay : kept ? 0 : scaled_decay(h);
    const double after = apart ? h.lr * scaled_decay(h) : 0;
    return {T(!kept || ahead ? h.lr : 0),
            T(ahead ? lr * h.momentum : lr),
            T(h.momentum),
            T(fresh),
            T(decay),
            T(after),
            first};
  }

  SCHUSS_FN T update(T p, T g, T& v) const {
    g += decay * p;
    if constexpr (!has(Kept, SGDSlots::v)) return step_g * g;
    v = keep * select(first, T(-0.0), v) + fresh * g;  // a sum with -0 is exact, in sign too
    return step_g * g + step_v * v + after * p;
  }
};

}  // namespace schuss
