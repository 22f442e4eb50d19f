// Gradients before a rule sees them: centred, clipped by unit, with noise. A unit is all that leads to one
// output of a layer.
#pragma once
#include <string>

#include "arrays.hpp"

namespace schuss {

// Which dimension counts the outputs: torch's is the first, JAX's the last.
enum class OutputAxis { first, last };

// From each array of two or more dimensions the mean of each of its units is taken.
void centralize(const std::vector<PlainArray>& grads, OutputAxis axis);

// Each unit of a gradient times min(1, limit max(|p|, eps) / |g|), its and its parameter's norms; an array of
// fewer than two dimensions is one unit. A norm that is not finite clips nothing.
void clip_units(const std::vector<PlainArray>& params, const std::vector<PlainArray>& grads, double limit,
                double eps, OutputAxis axis);

// Normal numbers of this deviation, decided by seed, step, name and place alone.
void add_noise(const std::vector<PlainArray>& grads, const std::vector<std::string>& names, uint64_t seed,
               int64_t step, double deviation);

}  // namespace schuss
