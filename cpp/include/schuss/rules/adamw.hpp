#pragma once
#include "adam_moments.hpp"

#define SCHUSS_ADAMW(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2019, "Adam with the decay of weights taken out of the gradient",                                    \
        "Loshchilov & Hutter 2019, arXiv 1711.05101")                                                        \
  TRAITS("mean of g", "mean of g^2", "both", "decoupled", "transformers; the default choice")                \
  SCHUSS_ADAM_FACTS(HYPER, SLOT, SLOT_IF, 0.01,                                                              \
                    "decoupled decay: each step takes lr * weight_decay of p away")                          \
  SCHUSS_MAX_LR(HYPER)                                                                                       \
  HYPER(decay_after, 0, flag, "decay what the step has made, as bitsandbytes does on CUDA")

namespace schuss {
SCHUSS_DECLARE(AdamW, SCHUSS_ADAMW)

template <class T, unsigned Kept>
struct AdamW {
  AdamMoments<T, has(Kept, AdamWSlots::v_max)> moments;
  T decoupled;

  static AdamW prepare(const AdamWHypers& h, Clock clock) {
    const double decay = h.lr * scaled_decay(h), lr = h.decay_after != 0 ? h.lr * (1 - decay) : h.lr;
    return {decltype(moments)::prepare(h, clock, lr), T(decay)};
  }

  SCHUSS_FN T update(T, T g, T& m, T& v, T& v_max) const { return moments.direction(g, m, v, v_max); }
};

}  // namespace schuss
