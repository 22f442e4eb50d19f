#pragma once
#include "adam.hpp"

#define SCHUSS_LAMB(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2020, "Adam with a step as long as a share of its leaf", "You et al. 2020, arXiv 1904.00962")        \
  TRAITS("mean of g", "mean of g^2", "both", "inside the ratio", "large batches")                            \
  HYPER(lr, 1e-3, nonnegative, "learning rate: the length of a leaf's step in lengths of the leaf")          \
  HYPER(beta1, 0.9, unit, "share of the first moment kept")                                                  \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-6, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(weight_decay, 0, nonnegative, "this share of p joins the direction before its length is measured")   \
  HYPER(always_adapt, 1, flag, "off: leaves without decay step as Adam does, as in apex and timm")           \
  HYPER(decay_outside, 0, flag, "lr * weight_decay of p is taken beside the ratio, as in Keras")             \
  HYPER(min_ratio, 0, nonnegative, "the least ratio of lengths; DeepSpeed has 0.01")                         \
  HYPER(max_ratio, 0, nonnegative, "the largest; 0 is no bound, DeepSpeed has 10")                           \
  SLOT(m, 0, "first moment: running mean of the gradients")                                                  \
  SLOT(v, 0, "second moment: running mean of their squares")                                                 \
  SCALAR(ratio, 1, "length of the leaf over that of the direction, in the last step")

namespace schuss {
SCHUSS_DECLARE(LAMB, SCHUSS_LAMB)

template <class T, unsigned Kept>
struct LAMB {
  double lr, least, most;
  AdamMoments<T, false> moments;
  T rate, decay, decoupled;
  bool adapts;

  static constexpr int kSums = 2;

  static LAMB prepare(const LAMBHypers& h, Clock clock) {
    AdamHypers adam;
    adam.beta1 = h.beta1, adam.beta2 = h.beta2, adam.eps = h.eps, adam.eps_root = h.eps_root;
    const bool outside = h.decay_outside != 0, adapts = h.always_adapt != 0 || h.weight_decay != 0;
    const double most = h.max_ratio > 0 ? h.max_ratio : elementary::infinity();
    const T decay = T(outside ? 0.0 : h.weight_decay), apart = T(outside ? h.lr * h.weight_decay : 0.0);
    return {h.lr,    h.min_ratio, most,  decltype(moments)::prepare(adam, clock, 1),
            T(h.lr), decay,       apart, adapts};
  }

  SCHUSS_FN T direction(T p, T g, T& m, T& v) const {
    T unused = T(0);
    return moments.direction(g, m, v, unused) + decay * p;
  }
  SCHUSS_FN Products<T, 2> measure(T p, T g, T m, T v) const {
    const T step = direction(p, g, m, v);
    return {{p, step}, {p, step}};
  }
  SCHUSS_FN void finish(const double* sums, double, double* scalars) const {
    const bool measured = adapts && sums[0] > 0 && sums[1] > 0;
    scalars[0] = measured ? at_most(at_least(sqrt(sums[0]) / sqrt(sums[1]), least), most) : 1;
  }
  SCHUSS_FN void take(const double* scalars) { rate = T(lr * scalars[0]); }

  SCHUSS_FN T update(T p, T g, T& m, T& v) const { return rate * direction(p, g, m, v); }
};

}  // namespace schuss
