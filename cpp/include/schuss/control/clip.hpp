// What a norm makes of the gradients: numbers a step, the same on the host and on a device.
#pragma once
#include "../config.hpp"

namespace schuss {

// What gradients of this norm are multiplied by, so that it is at most `limit`; a norm that is not finite
// clips nothing.
SCHUSS_FN double clip_coef(double norm, double limit) {
  return norm - norm == 0 && norm > limit ? limit / norm : 1;
}

// Takes the sum of so many scaled micro-gradients to their mean.
SCHUSS_FN double mean_factor(double loss_scale, int pending) { return 1 / (loss_scale * pending); }

}  // namespace schuss
