#pragma once
#include <cstdint>

namespace schuss {

constexpr int kMaxSlots = 4;
constexpr int kMaxMasks = 2 << kMaxSlots;  // with and without caution
constexpr int kMaxScalars = 6;             // of a rule
constexpr int kMaxSums = 4;

// One chunk of one leaf, as a loop sees it. A slot that is not kept is null.
struct MapArguments {
  void* p;                 // in, out
  const void* g;           // in
  void* slots[kMaxSlots];  // in, out
  const void* numbers;     // the prepared rule
  double g_scale;          // the gradient is multiplied by this
  int64_t count;
  const double* scalars = nullptr;
  double* sums = nullptr;  // out, of a measuring loop
};

}  // namespace schuss
