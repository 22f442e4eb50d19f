// What the schedule-free rules share: p is where gradients are taken, between the base sequence z and its
// weighted average x; the average is where the model is used.
#pragma once
#include "rule.hpp"

#define SCHUSS_SCHEDULE_FREE_FACTS(HYPER, COPY, SCALAR)                                                      \
  HYPER(warmup_steps, 0, nonnegative, "steps over which the rate rises in a line")                           \
  HYPER(r, 0, nonnegative, "power of the step in its weight in the average")                                 \
  HYPER(weight_lr_power, 2, nonnegative, "power of the largest rate so far in that weight")                  \
  COPY(z, "base sequence: what steps go to")                                                                 \
  SCALAR(weight_sum, 0, "sum of the weights so far")                                                         \
  SCALAR(lr_max, 0, "largest rate so far")                                                                   \
  SCALAR(share, 1, "share of z that the last step took into the average")

namespace schuss {

template <class T>
struct ScheduleFree {
  double rate, of_step, power, beta;
  T lr, toward, away, to_average;
  bool first;

  template <class Hypers>
  static ScheduleFree prepare(const Hypers& h, double beta, Clock clock) {
    const double t = double(clock.step), rate = h.lr * (t < h.warmup_steps ? t / h.warmup_steps : 1.0);
    return {rate, Clock::power(t, h.r), h.weight_lr_power, beta, T(rate), T(0),
            T(0), T(1 - 1 / beta),      clock.step == 1};
  }

  SCHUSS_FN void finish(const double*, double, double* scalars) const {
    scalars[1] = larger(scalars[1], rate);
    const double weight = of_step * elementary::power(scalars[1], power);
    scalars[0] += weight;
    scalars[2] = scalars[0] > 0 ? weight / scalars[0] : 0;
  }
  SCHUSS_FN void take(const double* scalars) {
    toward = T(scalars[2]);
    away = T(rate * (beta * (1 - scalars[2]) - 1));
  }

  SCHUSS_FN void step(T& p, T direction, T& z) const {
    z = select(first, p, z);
    p += toward * (z - p) + away * direction;
    z -= lr * direction;
  }
  // Before the first step there is no z.
  SCHUSS_FN T average(T p, T z) const { return select(first, p, p + to_average * (z - p)); }
};

}  // namespace schuss
