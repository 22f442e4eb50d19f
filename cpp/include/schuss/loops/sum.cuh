// The squared norm of all gradients: chunk by chunk in the order of sum.hpp, between chunks without rounding.
#pragma once
#include "device.cuh"
#include "sum.hpp"

namespace schuss {

constexpr int kWarp = 32;

// One warp a chunk: its lane l takes elements l, l + 32, …, as lane l of the host's loop.
template <class G>
SCHUSS_FN double square_sum_lane(Elements<G> g, int count, int lane) {
  constexpr int kBatch = 32 / int(sizeof(G));  // loads under way
  double sum = 0;
  int i = lane;
  if (!g.view) {
    const G* const x = g.at(0);
    for (; i + (kBatch - 1) * kWarp < count; i += kBatch * kWarp) {
      G batch[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) batch[j] = x[i + j * kWarp];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) sum = add_square<G>(sum, double(load(batch[j])));
    }
  }
  for (; i < count; i += kWarp) sum = add_square<G>(sum, double(load(*g.at(i))));
  return sum;
}

SCHUSS_FN double square_sum_lane(const Launch& launch, const Chunk& chunk, const LeafRow& leaf, int lane) {
  const SourceRow source =
      leaf.accumulator ? SourceRow{leaf.accumulator, leaf.arithmetic, -1} : launch.sources[leaf.source];
  if (source.format == 0)
    return square_sum_lane(elements<double>(source.data, launch.views, source.view, chunk.first), chunk.count,
                           lane);
  if (source.format == 1)
    return square_sum_lane(elements<float>(source.data, launch.views, source.view, chunk.first), chunk.count,
                           lane);
  return square_sum_lane(elements<bf16>(source.data, launch.views, source.view, chunk.first), chunk.count,
                         lane);
}

SCHUSS_FN void add_exactly(int64_t* digits, int32_t at, int64_t part) {
  if (part != 0)
    atomicAdd(reinterpret_cast<unsigned long long*>(digits + at), static_cast<unsigned long long>(part));
}

// False where x is not finite. The digits lie where all threads may add to them.
SCHUSS_FN bool add_exactly(int64_t* digits, double x) {
  exact::Parts parts;
  if (!exact::split(x, parts)) return false;
  add_exactly(digits, parts.digit, parts.low);
  add_exactly(digits, parts.digit + 1, parts.middle);
  add_exactly(digits, parts.digit + 2, parts.high);
  return true;
}

SCHUSS_FN void sum_phase(const Launch& launch) {
  __shared__ int64_t digits[exact::kDigits];
  for (int d = int(threadIdx.x); d < exact::kDigits; d += kBlock) digits[d] = 0;
  __syncthreads();
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  constexpr int kWarps = kBlock / kWarp;
  for (int c = int(blockIdx.x) * kWarps + warp; c < launch.chunk_count; c += int(gridDim.x) * kWarps) {
    const Chunk chunk = launch.chunks[c];
    const LeafRow& leaf = launch.leaves[chunk.leaf];
    if (sits_out(leaf)) continue;
    double sum = square_sum_lane(launch, chunk, leaf, lane);
    for (int half = kWarp / 2; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
    if (lane != 0) continue;
    if (launch.chunk_sums) launch.chunk_sums[c] = sum;
    if (!add_exactly(digits, sum)) atomicOr(&launch.state->not_finite, 1u);
  }
  __syncthreads();
  for (int d = int(threadIdx.x); d < exact::kDigits; d += kBlock)
    add_exactly(launch.state->digits, d, digits[d]);
}

}  // namespace schuss
