#pragma once
#include <cstdint>

namespace schuss {

constexpr int kMaxSlots = 4;
constexpr int kMaxMasks = 1 << kMaxSlots;

// One chunk of one leaf, as a loop sees it. A slot that is not kept is null.
struct MapArguments {
  void* p;                 // in, out
  const void* g;           // in
  void* slots[kMaxSlots];  // in, out
  const void* numbers;     // the prepared rule
  double g_scale;          // the gradient is multiplied by this
  int64_t count;
};

}  // namespace schuss
