#pragma once
#include "adam_moments.hpp"

#define SCHUSS_GRAMS(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2024, "The size of Adam's step, along the sign of the present gradient",                             \
        "Cao, Li & Song 2024, arXiv 2412.17107")                                                             \
  TRAITS("mean of g, its size alone", "mean of g^2", "both", "decoupled", "transformers")                    \
  SCHUSS_ADAM_FACTS(HYPER, SLOT, SLOT_IF, 0, "decoupled decay: each step takes lr * weight_decay of p away")

namespace schuss {
SCHUSS_DECLARE(Grams, SCHUSS_GRAMS)

template <class T, unsigned Kept>
struct Grams {
  AdamMoments<T, has(Kept, GramsSlots::v_max)> moments;
  T decoupled;

  static Grams prepare(const GramsHypers& h, Clock clock) {
    return {decltype(moments)::prepare(h, clock, h.lr), T(h.lr * h.weight_decay)};
  }

  SCHUSS_FN T update(T, T g, T& m, T& v, T& v_max) const {
    return magnitude(moments.direction(g, m, v, v_max)) * sign(g);
  }
};

}  // namespace schuss
