#pragma once
#include "elementary.hpp"

namespace schuss {

// A leaf's count of real steps, the one being taken included: the first is 1.
struct Clock {
  int64_t step;

  double power(double base) const { return elementary::power(base, step); }
  static double power(double base, double exponent) { return elementary::power(base, exponent); }
};

}  // namespace schuss
