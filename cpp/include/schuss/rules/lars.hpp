#pragma once
#include "rule.hpp"

#define SCHUSS_LARS(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2017, "Gradients scaled to a share of their leaf's length", "You et al. 2017, arXiv 1708.03888")     \
  TRAITS("classic: v = mu v + lr ratio g", "none", "none", "L2", "convolutions, large batches")              \
  HYPER(lr, 0.1, nonnegative, "learning rate")                                                               \
  HYPER(momentum, 0.9, nonnegative, "factor on the velocity kept from the step before")                      \
  HYPER(trust_coefficient, 1e-3, nonnegative, "share of a leaf's length that a gradient is scaled to")       \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  HYPER(nesterov, 0, flag, "step along the gradient and momentum * v in place of v")                         \
  HYPER(combined_norm, 0, flag, "divide by the length of g + weight_decay p, as optax, not by both lengths") \
  HYPER(lr_outside, 0, flag, "lr multiplies the velocity as it is used, as in timm")                         \
  SLOT(v, 0, "velocity; it contains lr unless lr_outside")                                                   \
  SCALAR(ratio, 1, "what gradients of the leaf were multiplied by in the last step")

namespace schuss {
SCHUSS_DECLARE(LARS, SCHUSS_LARS)

template <class T, unsigned Kept>
struct LARS {
  double trust, weight_decay;
  T momentum, decay, inside, outside, scale;
  bool nesterov, combined;

  static constexpr int kSums = 2;

  static LARS prepare(const LARSHypers& h, Clock) {
    const bool apart = h.lr_outside != 0;
    const T inside = T(apart ? 1.0 : h.lr), outside = T(apart ? h.lr : 1.0);
    return {h.trust_coefficient, h.weight_decay,      T(h.momentum), T(h.weight_decay), inside, outside, T(1),
            h.nesterov != 0,     h.combined_norm != 0};
  }

  SCHUSS_FN Products<T, 2> measure(T p, T g, T) const {
    const T measured = select(combined, g + decay * p, g);
    return {{p, measured}, {p, measured}};
  }
  SCHUSS_FN void finish(const double* sums, double, double* scalars) const {
    const double length = sqrt(sums[0]), of_g = sqrt(sums[1]);
    const double below = combined ? of_g : of_g + weight_decay * length;
    scalars[0] = length > 0 && of_g > 0 ? trust * length / below : 1;
  }
  SCHUSS_FN void take(const double* scalars) { scale = inside * T(scalars[0]); }

  SCHUSS_FN T update(T p, T g, T& v) const {
    g = scale * (g + decay * p);
    v = momentum * v + g;
    return outside * select(nesterov, g + momentum * v, v);
  }
};

}  // namespace schuss
