#pragma once
#include "schedule_free.hpp"

#define SCHUSS_SCHEDULEFREESGD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)               \
  PAPER(2024,                                                                                                \
        "Descent at a constant rate beside a weighted average of its path, which stands for a schedule",     \
        "Defazio et al. 2024, arXiv 2405.15682")                                                             \
  TRAITS("none; a weighted average of p", "none", "none", "L2 at p",                                         \
         "where the number of steps is not known ahead")                                                     \
  HYPER(lr, 1, nonnegative, "learning rate: constant, and larger than with a schedule")                      \
  HYPER(momentum, 0.9, unit, "share of the average in the point that gradients are taken at")                \
  HYPER(weight_decay, 0, nonnegative, "this share of p joins the gradient")                                  \
  SCHUSS_SCHEDULE_FREE_FACTS(HYPER, COPY, SCALAR)                                                            \
  CHECK(!(h.momentum <= 0), "momentum is above 0: without it there is no average")

namespace schuss {
SCHUSS_DECLARE(ScheduleFreeSGD, SCHUSS_SCHEDULEFREESGD)

template <class T, unsigned Kept>
struct ScheduleFreeSGD {
  ScheduleFree<T> free;
  T decay;

  static ScheduleFreeSGD prepare(const ScheduleFreeSGDHypers& h, Clock clock) {
    return {ScheduleFree<T>::prepare(h, h.momentum, clock), T(h.weight_decay)};
  }

  SCHUSS_FN void finish(const double* sums, double count, double* scalars) const {
    free.finish(sums, count, scalars);
  }
  SCHUSS_FN void take(const double* scalars) { free.take(scalars); }

  SCHUSS_FN void apply(T& p, T g, T& z) const { free.step(p, g + decay * p, z); }
  SCHUSS_FN T point(T p, T z) const { return free.average(p, z); }
};

}  // namespace schuss
