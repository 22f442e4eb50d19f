// Passes over arrays that belong to no optimizer: the plain functions of ops and clipping.
#pragma once
#include <vector>

#include "schuss/engine.hpp"

namespace schuss {

struct PlainArray {
  void* data = nullptr;
  Format format = Format::f32;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // bytes; empty where the array lies in C order
};

// Norms of the arrays together and one by one, each rounded once.
struct Norms {
  double global = 0;
  std::vector<double> each;
};
Norms norms_of(const std::vector<PlainArray>& arrays);

// Each array times its factor, held within ± limit, in place.
void scale_arrays(const std::vector<PlainArray>& arrays, const std::vector<double>& factors, double limit);

// One step of a rule on one array. Slots are in the arithmetic type and in C order, null where not
// kept; scalars are all of the rule's.
void apply_rule(const RuleInfo& rule, const PlainArray& p, const PlainArray& g,
                const std::vector<void*>& slots, const std::vector<double*>& scalars, int64_t step,
                const std::vector<double>& hypers);

// Seconds of each of `repeats` passes that read so many float32 streams and write so many of them.
std::vector<double> time_stream(int reads, int writes, int64_t elements, int repeats);

}  // namespace schuss
