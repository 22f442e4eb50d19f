#pragma once
#include "signum.hpp"

#define SCHUSS_TIGER(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2023,                                                                                                \
        "The sign of the mean gradient with settings for language models: the least of Lion that works",     \
        "Su 2023, Tiger: a tight-fisted optimizer, kexue.fm/archives/9512")                                  \
  TRAITS("sign of the mean of g", "none", "none", "decoupled", "language models; one slot")                  \
  HYPER(lr, 1e-3, nonnegative, "learning rate: the size of every step")                                      \
  HYPER(beta, 0.965, unit, "share of the mean kept")                                                         \
  HYPER(weight_decay, 0.01, nonnegative, "decoupled decay: each step takes lr * weight_decay of p away")     \
  SLOT(m, 0, "running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(Tiger, SCHUSS_TIGER)

template <class T, unsigned Kept>
struct Tiger : Signum<T, Kept> {
  static Tiger prepare(const TigerHypers& h, Clock clock) { return {Signum<T, Kept>::prepare(h, clock)}; }
};

}  // namespace schuss
