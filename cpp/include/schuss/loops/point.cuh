// The parameters to where the rule wants its gradient taken; what they were is kept, bit for bit.
#pragma once
#include "map.cuh"
#include "move.cuh"

namespace schuss {

template <template <class, unsigned> class Rule, class V, class Slots>
struct PointChunk;

template <template <class, unsigned> class Rule, class V, int... I>
struct PointChunk<Rule, V, Indices<I...>> {
  using P = typename V::P;
  using T = typename V::T;
  using R = Rule<T, V::kKept>;

  SCHUSS_FN static void run(const Launch& launch, const Chunk& chunk, const LeafRow& leaf) {
    const R rule = *reinterpret_cast<const R*>(entry_now(launch, leaf.row).numbers);
    const auto p = elements<P>(leaf.p, launch.views, leaf.p_view, chunk.first);
    for (int i = int(threadIdx.x); i < chunk.count; i += kBlock)
      *p.at(i) = Store<P>::nearest(
          rule.point(load(*p.at(i)), load_slot<T, V::kKept, I>(leaf.slots, chunk.first + i)...));
  }
};

template <template <class, unsigned> class Rule, class Slots, class... Variants>
SCHUSS_FN void point_phase(const Launch& launch) {
  using All = typename Count<int(Slots::count)>::type;
  const bool moves = is_prepared(launch);
  for (int c = int(blockIdx.x); c < launch.chunk_count; c += int(gridDim.x)) {
    const Chunk chunk = launch.chunks[c];
    const LeafRow& leaf = launch.leaves[chunk.leaf];
    copy_chunk(launch, chunk, false);
    if (!moves || sits_out(leaf)) continue;
    // Each thread moves the elements that it has copied.
    int32_t k = 0;
    ((k++ == leaf.variant ? PointChunk<Rule, Variants, All>::run(launch, chunk, leaf) : void()), ...);
  }
}

}  // namespace schuss
