// One phase over all leaves: load, scale the gradient, apply the rule, store; then the step is closed.
#pragma once
#include "../rules/rule.hpp"
#include "device.cuh"
#include "slots.hpp"

namespace schuss {

// A leaf as a kernel is made for it: the mask of slots kept, and how p and g are stored.
template <unsigned Mask, class Parameter, class Gradient>
struct Variant {
  static constexpr unsigned kKept = Mask;
  using P = Parameter;
  using G = Gradient;
  using T = typename Arithmetic<P>::type;
};

constexpr int smaller(int a, int b) { return a < b ? a : b; }

// The slots of Size elements in a row.
template <class T, unsigned Kept, int Size, int... I>
struct SlotPacks {
  Pack<T, Size> pack[sizeof...(I) + 1];

  SCHUSS_FN void load(void* const* slots, int64_t at) { (load_one<I>(slots, at), ...); }
  SCHUSS_FN void store(void* const* slots, int64_t at) const { (store_one<I>(slots, at), ...); }

 private:
  template <int S>
  SCHUSS_FN void load_one(void* const* slots, int64_t at) {
    if constexpr ((Kept >> S & 1u) != 0) pack[S] = Pack<T, Size>::load(static_cast<const T*>(slots[S]) + at);
    else pack[S] = {};
  }
  template <int S>
  SCHUSS_FN void store_one(void* const* slots, int64_t at) const {
    if constexpr ((Kept >> S & 1u) != 0) pack[S].store(static_cast<T*>(slots[S]) + at);
  }
};

template <unsigned Kept, int S>
SCHUSS_FN bool slot_is_aligned(void* const* slots) {
  return (Kept >> S & 1u) == 0 || is_aligned(slots[S]);
}

template <template <class, unsigned> class Rule, class V, class Slots>
struct MapChunk;

template <template <class, unsigned> class Rule, class V, int... I>
struct MapChunk<Rule, V, Indices<I...>> {
  using P = typename V::P;
  using G = typename V::G;
  using T = typename V::T;
  using R = Rule<T, V::kKept>;
  // Scaled in the wider of its own type and the arithmetic's: what clipping brings into range must not
  // overflow.
  using Wide = decltype(typename Arithmetic<G>::type() + T());
  static constexpr int kPack = int(sizeof(uint4)) / smaller(smaller(sizeof(P), sizeof(G)), sizeof(T));

  const R rule;
  Wide scale, bound;

  SCHUSS_FN T gradient(G g) const { return T(limited(Wide(load(g)) * scale, bound)); }

  SCHUSS_FN void packs(P* p, const G* g, void* const* slots, int64_t first, int count) const {
    for (int i = int(threadIdx.x) * kPack; i + kPack <= count; i += kBlock * kPack) {
      auto value = Pack<P, kPack>::load(p + i);
      const auto grad = Pack<G, kPack>::load(g + i);
      SlotPacks<T, V::kKept, kPack, I...> s;
      s.load(slots, first + i);
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        T x = load(value.x[j]);
        step_element(rule, x, gradient(grad.x[j]), s.pack[I].x[j]...);
        value.x[j] = Store<P>::nearest(x);
        ((s.pack[I].x[j] = flush(s.pack[I].x[j])), ...);
      }
      value.store(p + i);
      s.store(slots, first + i);
    }
  }

  SCHUSS_FN void singles(Elements<P> p, Elements<G> g, void* const* slots, int64_t first, int from,
                         int count) const {
    for (int i = from + int(threadIdx.x); i < count; i += kBlock) {
      P* const at = p.at(i);
      T x = load(*at);
      T s[] = {load_slot<T, V::kKept, I>(slots, first + i)..., T(0)};
      step_element(rule, x, gradient(*g.at(i)), s[I]...);
      *at = Store<P>::nearest(x);
      (store_slot<T, V::kKept, I>(slots, first + i, s[I]), ...);
    }
  }

  SCHUSS_FN static void run(const Launch& launch, const Chunk& chunk, const LeafRow& leaf, double g_scale) {
    const MapChunk self{*reinterpret_cast<const R*>(entry_now(launch, leaf.row).numbers), Wide(g_scale),
                        Wide(launch.bound)};
    const SourceRow source =
        leaf.accumulator ? SourceRow{leaf.accumulator, 0, -1} : launch.sources[leaf.source];
    const auto p = elements<P>(leaf.p, launch.views, leaf.p_view, chunk.first);
    const auto g = elements<G>(source.data, launch.views, source.view, chunk.first);
    int done = 0;
    if (!p.view && !g.view && is_aligned(leaf.p) && is_aligned(source.data) &&
        (slot_is_aligned<V::kKept, I>(leaf.slots) && ...)) {
      self.packs(p.at(0), g.at(0), leaf.slots, chunk.first, chunk.count);
      done = chunk.count / kPack * kPack;
    }
    self.singles(p, g, leaf.slots, chunk.first, done, chunk.count);
  }
};

SCHUSS_FN double gradient_scale(const Launch& launch, int leaf) {
  if ((launch.flags & kTakesNorm) == 0) return launch.mean;
  const State& state = *launch.state;
  return (launch.flags & kByLeaf) != 0 && state.finite ? launch.leaf_scales[leaf] : state.g_scale;
}

template <template <class, unsigned> class Rule, class Slots, class... Variants>
SCHUSS_FN void map_phase(const Launch& launch) {
  using All = typename Count<int(Slots::count)>::type;
  const bool ready = is_ready(launch);
  const bool taken = ready && !((launch.flags & kTakesNorm) != 0 && launch.state->skipped);
  for (int c = int(blockIdx.x); taken && c < launch.chunk_count; c += int(gridDim.x)) {
    const Chunk chunk = launch.chunks[c];
    const LeafRow leaf =
        launch.leaves[chunk.leaf];  // a copy: no store can change it, so nothing is read twice
    if (sits_out(leaf)) continue;
    const double scale = gradient_scale(launch, chunk.leaf);
    int32_t k = 0;
    ((k++ == leaf.variant ? MapChunk<Rule, Variants, All>::run(launch, chunk, leaf, scale) : void()), ...);
  }
  close_step(launch, ready, taken);
}

}  // namespace schuss
