// Plain phases over all leaves: micro-gradients into their accumulators, arrays scaled where they lie, and
// parameters back from the look-ahead point.
#pragma once
#include "device.cuh"

namespace schuss {

// accumulator = g, or += g, for each gradient given, in the order given.
template <class T>
SCHUSS_FN void take_chunk(const Launch& launch, const Chunk& chunk, const LeafRow& leaf, bool adds) {
  T* const accumulator = static_cast<T*>(leaf.accumulator) + chunk.first;
  for (int s = 0; s < leaf.sources; ++s) {
    const SourceRow source = launch.sources[leaf.source + s];
    if (source.format < 0) continue;
    const auto g = elements<char>(source.data, launch.views, source.view, 0);
    const int64_t size = size_of_format(source.format);
    for (int i = int(threadIdx.x); i < chunk.count; i += kBlock) {
      const int64_t at = g.view ? offset_of(*g.view, chunk.first + i) : (chunk.first + i) * size;
      const T x = load_as<T>(g.start + at, source.format);
      accumulator[i] = adds ? accumulator[i] + x : x;
    }
    adds = true;
  }
}

SCHUSS_FN void take_phase(const Launch& launch) {
  for (int c = int(blockIdx.x); c < launch.chunk_count; c += int(gridDim.x)) {
    const Chunk chunk = launch.chunks[c];
    const LeafRow& leaf = launch.leaves[chunk.leaf];
    if (sits_out(leaf) || !leaf.accumulator) continue;
    const bool adds = (launch.flags & kAddsByLeaf) != 0 ? leaf.add != 0 : (launch.flags & kAdds) != 0;
    if (leaf.arithmetic == 0) take_chunk<double>(launch, chunk, leaf, adds);
    else take_chunk<float>(launch, chunk, leaf, adds);
  }
  if (!launch.record || blockIdx.x != 0 || threadIdx.x != 0) return;  // a real step reports at its end
  Record record{};
  record.steps = launch.state->steps;
  record.lr = lr_now(launch);
  record.clip_coef = 1;
  report(launch, record);
}

template <class G>
SCHUSS_FN void scale_chunk(const Launch& launch, const Chunk& chunk, const LeafRow& leaf) {
  using T = typename Arithmetic<G>::type;
  const T scale = T(launch.leaf_scales[chunk.leaf]), bound = T(launch.bound);
  const auto g = elements<G>(leaf.p, launch.views, leaf.p_view, chunk.first);
  for (int i = int(threadIdx.x); i < chunk.count; i += kBlock) {
    G* const at = g.at(i);
    *at = Store<G>::nearest(limited(load(*at) * scale, bound));
  }
}

SCHUSS_FN void scale_phase(const Launch& launch) {
  for (int c = int(blockIdx.x); c < launch.chunk_count; c += int(gridDim.x)) {
    const Chunk chunk = launch.chunks[c];
    const LeafRow& leaf = launch.leaves[chunk.leaf];
    if (leaf.p_format == 0) scale_chunk<double>(launch, chunk, leaf);
    else if (leaf.p_format == 1) scale_chunk<float>(launch, chunk, leaf);
    else scale_chunk<bf16>(launch, chunk, leaf);
  }
}

template <class S>
SCHUSS_FN void copy_elements(Elements<S> from, Elements<S> to, int count) {
  for (int i = int(threadIdx.x); i < count; i += kBlock) *to.at(i) = *from.at(i);
}

// Elements as bits, whatever they stand for.
SCHUSS_FN void copy_chunk(const Launch& launch, const Chunk& chunk, bool back) {
  const LeafRow& leaf = launch.leaves[chunk.leaf];
  char* const kept = launch.backup + launch.backup_at[chunk.leaf];
  const auto copy = [&](auto element) {
    using S = decltype(element);
    const auto p = elements<S>(leaf.p, launch.views, leaf.p_view, chunk.first);
    const auto backup = elements<S>(kept, nullptr, -1, chunk.first);
    if (back) copy_elements(backup, p, chunk.count);
    else copy_elements(p, backup, chunk.count);
  };
  if (leaf.p_format == 0) copy(uint64_t());
  else if (leaf.p_format == 1) copy(uint32_t());
  else copy(uint16_t());
}

SCHUSS_FN void restore_phase(const Launch& launch) {
  for (int c = int(blockIdx.x); c < launch.chunk_count; c += int(gridDim.x))
    copy_chunk(launch, launch.chunks[c], true);
}

}  // namespace schuss
