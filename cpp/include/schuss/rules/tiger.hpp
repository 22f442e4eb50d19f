#pragma once
#include "signum.hpp"

#define SCHUSS_TIGER(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                         \
  PAPER(2023, "Signum with defaults for language models: Lion with one beta",                                \
        "Su 2023, Tiger: a tight-fisted optimizer, kexue.fm/archives/9512")                                  \
  TRAITS("mean of g, its sign alone", "none", "none", "decoupled", "transformers, at half of Adam's memory") \
  SCHUSS_SIGNUM_FACTS(HYPER, SLOT, 1e-3, 0.965, 0.01)

namespace schuss {
SCHUSS_DECLARE(Tiger, SCHUSS_TIGER)

template <class T, unsigned Kept>
struct Tiger : Signum<T, Kept> {
  static Tiger prepare(const TigerHypers& h, Clock clock) { return {Signum<T, Kept>::prepare(h, clock)}; }
};

}  // namespace schuss
