// One phase over a chunk: load, scale the gradient, apply the rule, store.
#pragma once
#include "../formats/element.hpp"
#include "../rules/rule.hpp"
#include "arguments.hpp"
#include "slots.hpp"

namespace schuss {

// This step's numbers, with what the leaf's scalars say.
template <class Rule>
SCHUSS_FN Rule rule_of(const ::schuss::MapArguments& a) {
  Rule rule = *static_cast<const Rule*>(a.numbers);
  if constexpr (has_finish<Rule>) rule.take(a.scalars);
  return rule;
}

template <class Rule, class P, class G, unsigned Kept, int... I>
SCHUSS_FN void map_chunk(const ::schuss::MapArguments& a, Indices<I...>) {
  using T = typename Arithmetic<P>::type;
  const Rule rule = rule_of<Rule>(a);
  const T scale = T(a.g_scale);
  const int64_t count = a.count;
  P* const p = static_cast<P*>(a.p);
  const G* const g = static_cast<const G*>(a.g);
  T* const slots[] = {static_cast<T*>(a.slots[I])..., nullptr};
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    T value = load(p[i]);
    T s[] = {load_slot<T, Kept, I>(slots, i)..., T(0)};
    step_element(rule, value, T(load(g[i])) * scale, s[I]...);
    p[i] = Store<P>::nearest(value);
    (store_slot<T, Kept, I>(slots, i, s[I]), ...);
  }
}

// p moves to where the rule wants its gradient taken.
template <class Rule, class P, unsigned Kept, int... I>
SCHUSS_FN void point_chunk(const ::schuss::MapArguments& a, Indices<I...>) {
  using T = typename Arithmetic<P>::type;
  const Rule rule = *static_cast<const Rule*>(a.numbers);
  const int64_t count = a.count;
  P* const p = static_cast<P*>(a.p);
  T* const slots[] = {static_cast<T*>(a.slots[I])..., nullptr};
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    p[i] = Store<P>::nearest(rule.point(load(p[i]), load_slot<T, Kept, I>(slots, i)...));
}

}  // namespace schuss
