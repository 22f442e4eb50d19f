#pragma once
#include "rule.hpp"

#define SCHUSS_RMSPROP(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                       \
  PAPER(2012, "The gradient over the root of the running mean of its squares",                               \
        "Tieleman & Hinton 2012, Lecture 6.5; centered: Graves 2013, arXiv 1308.0850")                       \
  TRAITS("none, or of the scaled g", "mean of g^2", "none", "L2",                                            \
         "recurrent networks, reinforcement learning")                                                       \
  HYPER(lr, 0.01, nonnegative, "learning rate")                                                              \
  HYPER(alpha, 0.99, unit, "share of the mean square kept")                                                  \
  HYPER(eps, 1e-8, nonnegative, "added to the root")                                                         \
  HYPER(eps_root, 0, nonnegative, "added inside the root")                                                   \
  HYPER(momentum, 0, nonnegative, "classic momentum on the scaled gradient; lr is outside")                  \
  HYPER(centered, 0, flag, "divide by the standard deviation: the mean is taken out of the mean square")     \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  SCHUSS_MAX_LR(HYPER)                                                                                       \
  HYPER(initial_accumulator, 0, nonnegative, "what v starts from; 1 in TensorFlow 1 and timm")               \
  HYPER(lr_in_momentum, 0, flag,                                                                             \
        "gather lr times the scaled gradient in the velocity, as optax and Keras do")                        \
  SLOT(v, h.initial_accumulator, "running mean of the squared gradients")                                    \
  SLOT_IF(g_avg, 0, h.centered != 0, "running mean of the gradients")                                        \
  SLOT_IF(m, 0, h.momentum != 0, "velocity of the scaled gradient")                                          \
  FORM(textbook, "lr=0.001 alpha=0.9 eps=0 eps_root=1e-8",                                                   \
       "eps inside the root: p = p - lr g / sqrt(v + eps)")

namespace schuss {
SCHUSS_DECLARE(RMSprop, SCHUSS_RMSPROP)

template <class T, unsigned Kept>
struct RMSprop {
  T lr, share, keep, eps, eps_root, momentum, decay, decoupled;

  static RMSprop prepare(const RMSpropHypers& h, Clock) {
    const bool apart = h.decoupled_weight_decay != 0;
    const bool inside = h.lr_in_momentum != 0 && has(Kept, RMSpropSlots::m);
    const double lr = inside ? 1 : h.lr, share = inside ? h.lr : 1;
    const double decay = apart ? 0 : h.weight_decay, decoupled = apart ? h.lr * scaled_decay(h) : 0;
    return {T(lr), T(share), T(1 - h.alpha), T(h.eps), T(h.eps_root), T(h.momentum), T(decay), T(decoupled)};
  }

  SCHUSS_FN T update(T p, T g, T& v, T& g_avg, T& m) const {
    g += decay * p;
    v += keep * (g * g - v);
    T square = v;
    if constexpr (has(Kept, RMSpropSlots::g_avg)) {
      g_avg += keep * (g - g_avg);
      square = at_least(v - g_avg * g_avg, T(0));  // rounding may take a variance below zero
    }
    T direction = g / (sqrt(square + eps_root) + eps);
    if constexpr (has(Kept, RMSpropSlots::m)) {
      m = momentum * m + share * direction;
      direction = m;
    }
    return lr * direction;
  }
};

}  // namespace schuss
