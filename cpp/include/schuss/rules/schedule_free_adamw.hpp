#pragma once
#include "schedule_free.hpp"

#define SCHUSS_SCHEDULEFREEADAMW(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)             \
  PAPER(                                                                                                     \
      2024,                                                                                                  \
      "AdamW's step at a constant rate beside a weighted average of its path, which stands for a schedule",  \
      "Defazio et al. 2024, arXiv 2405.15682")                                                               \
  TRAITS("none; a weighted average of p", "mean of g^2", "second", "decoupled at p",                         \
         "where the number of steps is not known ahead")                                                     \
  HYPER(lr, 0.0025, nonnegative, "learning rate: constant, and larger than with a schedule")                 \
  HYPER(beta1, 0.9, unit, "share of the average in the point that gradients are taken at")                   \
  HYPER(beta2, 0.999, unit, "share of the second moment kept")                                               \
  HYPER(eps, 1e-8, nonnegative, "added to the root of the corrected second moment")                          \
  HYPER(eps_root, 0, nonnegative, "added to the corrected second moment, inside the root")                   \
  HYPER(weight_decay, 0, nonnegative, "this share of p joins the divided gradient")                          \
  SLOT(v, 0, "second moment: running mean of the squared gradients")                                         \
  SCHUSS_SCHEDULE_FREE_FACTS(HYPER, COPY, SCALAR)                                                            \
  CHECK(!(h.beta1 <= 0), "beta1 is above 0: without it there is no average")

namespace schuss {
SCHUSS_DECLARE(ScheduleFreeAdamW, SCHUSS_SCHEDULEFREEADAMW)

template <class T, unsigned Kept>
struct ScheduleFreeAdamW {
  ScheduleFree<T> free;
  T keep2, root, eps, eps_root, decay;

  static ScheduleFreeAdamW prepare(const ScheduleFreeAdamWHypers& h, Clock clock) {
    const double root = sqrt(1 - clock.power(h.beta2));
    return {ScheduleFree<T>::prepare(h, h.beta1, clock),
            T(1 - h.beta2),
            T(root),
            T(h.eps * root),
            T(h.eps_root * root * root),
            T(h.weight_decay)};
  }

  SCHUSS_FN void finish(const double* sums, double count, double* scalars) const {
    free.finish(sums, count, scalars);
  }
  SCHUSS_FN void take(const double* scalars) { free.take(scalars); }

  SCHUSS_FN void apply(T& p, T g, T& v, T& z) const {
    v += keep2 * (g * g - v);
    free.step(p, root * g / (sqrt(v + eps_root) + eps) + decay * p, z);
  }
  SCHUSS_FN T point(T p, T, T z) const { return free.average(p, z); }
};

}  // namespace schuss
