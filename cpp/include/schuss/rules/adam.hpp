#pragma once
#include "adam_moments.hpp"

#define SCHUSS_ADAM(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                          \
  PAPER(2015, "Bias-corrected moments: the mean gradient over the root of the mean square",                  \
        "Kingma & Ba 2015, arXiv 1412.6980; AMSGrad: Reddi et al. 2018, arXiv 1904.09237")                   \
  TRAITS("mean of g", "mean of g^2", "both", "L2", "most networks without weight decay")                     \
  SCHUSS_ADAM_FACTS(HYPER, SLOT, SLOT_IF, 0, "L2 penalty, added to the gradient")

namespace schuss {
SCHUSS_DECLARE(Adam, SCHUSS_ADAM)

template <class T, unsigned Kept>
struct Adam {
  AdamMoments<T, has(Kept, AdamSlots::v_max)> moments;
  T decay;

  static Adam prepare(const AdamHypers& h, Clock clock) {
    return {decltype(moments)::prepare(h, clock, h.lr), T(h.weight_decay)};
  }

  SCHUSS_FN T update(T p, T g, T& m, T& v, T& v_max) const {
    return moments.direction(g + decay * p, m, v, v_max);
  }
};

}  // namespace schuss
