// Between the sums and the update: the norm, what clipping makes of it, and whether the step is taken.
#pragma once
#include "../control/clip.hpp"
#include "sum.cuh"

namespace schuss {

SCHUSS_FN double nan() { return bits_as<double>(uint64_t(0x7ff8000000000000u)); }

SCHUSS_FN double mean_of(const Launch& launch) {
  return mean_factor((launch.flags & kHasScaler) != 0 ? launch.state->scaler.scale : 1, launch.pending);
}

// By the block that finishes the whole: `digits` is its own memory.
SCHUSS_FN void finish_norm(const Launch& launch, int64_t* digits) {
  State& state = *launch.state;
  for (int d = int(threadIdx.x); d < exact::kDigits; d += kBlock) {
    digits[d] = state.digits[d];
    state.digits[d] = 0;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const double mean = mean_of(launch);
  const double norm = (state.not_finite ? nan() : sqrt(exact::rounded(digits))) * mean;
  const bool finite = norm - norm == 0;
  const double coef = (launch.flags & kByGlobal) != 0 ? clip_coef(norm, launch.limit) : 1;
  state.norm = norm;
  state.finite = finite;
  state.skipped = !finite && (launch.flags & kSkipsNonfinite) != 0;
  state.g_scale = mean * coef;
  state.not_finite = 0;
  if ((launch.flags & kByLeaf) == 0) state.smallest_coef = bits_as<uint64_t>(coef);
}

// A block a leaf: the exact sum of its chunks.
SCHUSS_FN void finish_leaf(const Launch& launch, int index, int64_t* digits, uint32_t* not_finite) {
  const LeafRow& leaf = launch.leaves[index];
  for (int d = int(threadIdx.x); d < exact::kDigits; d += kBlock) digits[d] = 0;
  if (threadIdx.x == 0) *not_finite = 0;
  __syncthreads();
  for (int c = int(threadIdx.x); c < leaf.chunks; c += kBlock)
    if (!add_exactly(digits, launch.chunk_sums[leaf.first_chunk + c])) atomicOr(not_finite, 1u);
  __syncthreads();
  if (threadIdx.x == 0) {
    const double mean = mean_of(launch);
    const double coef = clip_coef((*not_finite ? nan() : sqrt(exact::rounded(digits))) * mean, launch.limit);
    launch.leaf_scales[index] = mean * coef;
    atomicMin(reinterpret_cast<unsigned long long*>(&launch.state->smallest_coef),
              bits_as<unsigned long long>(coef));
  }
  __syncthreads();
}

SCHUSS_FN void finish_phase(const Launch& launch) {
  __shared__ int64_t digits[exact::kDigits];
  __shared__ uint32_t not_finite;
  if ((launch.flags & kByLeaf) != 0)
    for (int i = int(blockIdx.x); i < launch.leaf_count; i += int(gridDim.x))
      if (!sits_out(launch.leaves[i]) && launch.leaves[i].chunks > 0)
        finish_leaf(launch, i, digits, &not_finite);
  if (blockIdx.x == 0) finish_norm(launch, digits);
}

}  // namespace schuss
