#pragma once
#include "elementary.hpp"

namespace schuss {

// A leaf's count of real steps, the one being taken included: the first is 1.
struct Clock {
  int64_t step;

  double power(double base) const { return elementary::power(base, step); }

  // For the numbers of a step that are no power of the clock.
  static double exp(double x) { return elementary::exp(x); }
  static double log(double x) { return elementary::log(x); }
  static double power(double x, double y) { return elementary::power(x, y); }

  // 1 - e^x. For x near zero the difference cancels; x / log(e^x) puts its lost digits back (Kahan).
  static double one_minus_exp(double x) {
    const double e = exp(x);
    return e == 1 ? -x : e < 0.5 ? 1 - e : (1 - e) * (x / log(e));
  }

  // (1 - a q) (1 - a q^2) … (1 - a q^step) for q = e^-fall, a at most 0.95, with no walk over the steps:
  // its logarithm is - sum over k of a^k/k (q^k + q^2k + … + q^(step k)), whose inner sums are geometric.
  double annealed(double a, double fall) const {
    const double d = one_minus_exp(-fall), q = 1 - d;
    const double all = one_minus_exp(-fall * double(step)), q_all = 1 - all;
    double share = a * q, q_k = 1, q_all_k = 1, d_k = 0, all_k = 0, sum = 0;
    for (int k = 1; k <= 800 && share > 1e-18; ++k, share *= a * q) {
      d_k += q_k * d, all_k += q_all_k * all;  // 1 - q^k and 1 - q^(step k): nothing cancels in these sums
      q_k *= q, q_all_k *= q_all;
      sum += share / k * (d_k == 0 ? double(step) : all_k / d_k);
    }
    return exp(-sum);
  }
};

}  // namespace schuss
