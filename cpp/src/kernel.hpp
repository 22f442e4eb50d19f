// What a level offers: one table of loops. The engine calls these and knows no rule.
#pragma once
#include "schuss/loops/arguments.hpp"
#include "schuss/loops/program.hpp"

namespace schuss {

using MapKernel = void (*)(const MapArguments&);
using TakeKernel = void (*)(void* to, const void* from, int64_t count, bool add);
using GiveKernel = void (*)(void* to, const void* from, int64_t count);
using SumKernel = double (*)(const void* g, int64_t count);
using ScaleKernel = void (*)(void* g, int64_t count, double factor, double limit);
using DecodeKernel = void (*)(float* to, const uint8_t* codes, const float* scales, int64_t count);
using EncodeKernel = void (*)(uint8_t* codes, float* scales, const float* from, int64_t count);
using RoundKernel = void (*)(void* to, const float* from, int64_t count, uint64_t key, int64_t first);
using StreamKernel = void (*)(float* const* streams, int64_t count);

constexpr int kStored = 4;       // f64, f32, bf16, f16
constexpr int kDirect = 3;       // of those, the first three have loops of their own
constexpr int kArithmetics = 2;  // f64, f32
constexpr int kMaxStreams = 7;

// By how p and g are stored (both alike) and by the mask of slots kept; null where a rule has no such form.
struct RuleKernels {
  MapKernel map[kDirect][kMaxMasks];
  MapKernel point[kDirect][kMaxMasks];
  MapKernel measure[kDirect][kMaxMasks];
};

// What a row is stored by where that is not as the loops compute.
struct FormatLoops {
  DecodeKernel decode;  // slots in blocks of 8 bits
  EncodeKernel encode;
  RoundKernel round[kStored];  // parameters, stochastically; null where there is nothing to round
};

// What surrounds a rule, in one arithmetic type.
struct AroundKernels {
  void (*pull)(void* p, void* slow, int64_t count, double alpha);
  double (*sum)(const void* x, int64_t count);
  void (*add_row)(double* sums, const void* x, int64_t count, bool squares);
  void (*shift)(void* x, int64_t count, double by);
  void (*shift_columns)(void* x, int64_t count, const double* by);
  void (*scale_columns)(void* x, int64_t count, const double* by);
  void (*noise)(void* x, int64_t count, uint64_t key, int64_t first, double deviation);
};

struct Level {
  const char* name;
  const RuleKernels* rules;                // in the order of the catalog
  RuleKernels own;                         // of rules that are programs, whatever their mask
  TakeKernel take[kArithmetics][kStored];  // to the arithmetic type, from a stored one
  GiveKernel give[kArithmetics][kStored];  // null where the parameter has another arithmetic type
  SumKernel square_sum[kStored];
  ScaleKernel scale[kStored];
  StreamKernel stream[kMaxStreams + 1][kMaxStreams + 1];  // [reads][writes]
  const FormatLoops* formats;
  AroundKernels around[kArithmetics];
};

}  // namespace schuss
