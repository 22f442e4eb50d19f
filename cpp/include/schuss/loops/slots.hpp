// A rule's slots as loops and kernels read and write them: in the arithmetic type and in C order. Those not
// kept are zero to the rule.
#pragma once
#include "../formats/element.hpp"

namespace schuss {

template <int... I>
struct Indices {};

template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
  using type = Indices<I...>;
};

template <class T, unsigned Kept, int I, class Pointer>
SCHUSS_FN T load_slot(Pointer const* slots, int64_t i) {
  if constexpr ((Kept >> I & 1u) != 0) return static_cast<const T*>(slots[I])[i];
  else return T(0);
}

template <class T, unsigned Kept, int I, class Pointer>
SCHUSS_FN void store_slot(Pointer const* slots, int64_t i, T value) {
  if constexpr ((Kept >> I & 1u) != 0) static_cast<T*>(slots[I])[i] = flush(value);
}

}  // namespace schuss
