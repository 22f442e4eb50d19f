// Loss scaling: the state that one overflow flag a step moves. Plain numbers, so that a device can hold it
// too.
#pragma once

#include "../config.hpp"

namespace schuss {

struct LossScale {
  double scale = 65536;  // what the loss is multiplied by
  double growth = 2;     // after growth_interval good steps in a row
  double backoff = 0.5;  // on overflow
  int64_t growth_interval = 2000;
  double floor = 1;
  double ceiling = 16777216;
  int64_t hysteresis = 1;  // overflows in a row until the scale backs off: 1 is at once
  bool dynamic = true;     // a static scale never changes
  int64_t good_steps = 0;  // since the last overflow or growth
  int64_t hysteresis_left = 1;

  // After each step that would have been real: `overflow` if the gradients held an infinity or NaN.
  SCHUSS_FN void update(bool overflow) {
    if (!dynamic) return;
    if (overflow) {
      good_steps = 0;
      if (hysteresis_left > 1) {
        --hysteresis_left;
        return;
      }
      const double smaller = scale * backoff;
      scale = smaller < floor ? floor : smaller;
      return;
    }
    hysteresis_left = hysteresis;
    if (++good_steps < growth_interval) return;
    good_steps = 0;
    const double larger = scale * growth;
    scale = larger > ceiling ? ceiling : larger;
  }
};

}  // namespace schuss
