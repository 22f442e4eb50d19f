// What the kernels share: reading and writing elements wherever they lie, and the end of a step.
#pragma once
#include "../formats/element.hpp"
#include "tables.hpp"

namespace schuss {

// Bytes from the start of a strided array to its element i, in C order. A division is a call, whose registers
// would be spilled around; the product with the inverse is off by one at most.
SCHUSS_FN int64_t offset_of(const View& view, int64_t i) {
  int64_t offset = 0;
  for (int d = int(view.dimensions) - 1; d >= 0; --d) {
    const int64_t extent = view.shape[d];
    auto whole = int64_t(double(i) * view.inverse[d]);
    int64_t rest = i - whole * extent;
    if (rest < 0) --whole, rest += extent;
    else if (rest >= extent) ++whole, rest -= extent;
    offset += rest * view.strides[d];
    i = whole;
  }
  return offset;
}

// An array's elements from `first` on.
template <class S>
struct Elements {
  char* start;
  const View* view;  // null for C order
  int64_t first;

  SCHUSS_FN S* at(int i) const {
    return reinterpret_cast<S*>(start +
                                (view ? offset_of(*view, first + i) : (first + i) * int64_t(sizeof(S))));
  }
};

template <class S>
SCHUSS_FN Elements<S> elements(const void* start, const View* views, int32_t view, int64_t first) {
  return {static_cast<char*>(const_cast<void*>(start)), view < 0 ? nullptr : views + view, first};
}

SCHUSS_FN bool is_aligned(const void* address) { return (reinterpret_cast<uint64_t>(address) & 15u) == 0; }

// Size elements in accesses of 16 bytes, which stream past the caches.
template <class S, int Size>
struct Pack {
  static_assert(Size * sizeof(S) % sizeof(uint4) == 0);
  static constexpr int kParts = int(Size * sizeof(S) / sizeof(uint4));
  struct Parts {
    uint4 part[kParts];
  };
  S x[Size];

  SCHUSS_FN static Pack load(const S* from) {
    Parts parts;
#pragma unroll
    for (int k = 0; k < kParts; ++k) parts.part[k] = __ldcs(reinterpret_cast<const uint4*>(from) + k);
    return bits_as<Pack>(parts);
  }
  SCHUSS_FN void store(S* to) const {
    const auto parts = bits_as<Parts>(*this);
#pragma unroll
    for (int k = 0; k < kParts; ++k) __stcs(reinterpret_cast<uint4*>(to) + k, parts.part[k]);
  }
};

// One element of an array whose format is known only now.
template <class T>
SCHUSS_FN T load_as(const char* at, int32_t format) {
  return format == 0   ? T(load(*reinterpret_cast<const double*>(at)))
         : format == 1 ? T(load(*reinterpret_cast<const float*>(at)))
                       : T(load(*reinterpret_cast<const bf16*>(at)));
}

SCHUSS_FN int64_t size_of_format(int32_t format) { return format == 0 ? 8 : format == 1 ? 4 : 2; }

SCHUSS_FN bool sits_out(const LeafRow& leaf) { return leaf.variant < 0; }

// Whether numbers are there for this step: a replayed graph may run past the window that the host prepared.
SCHUSS_FN bool is_prepared(const Launch& launch) { return launch.state->steps < launch.rows->valid_until; }

// Whether the leaves' numbers are for the clocks that they have: between replays they may have sat out
// elsewhere. Every thread of the block comes here.
SCHUSS_FN bool clocks_agree(const Launch& launch) {
  if (launch.moved == launch.state->moved) return true;
  __shared__ uint32_t others;
  if (threadIdx.x == 0) others = 0;
  __syncthreads();
  for (int i = int(threadIdx.x); i < launch.leaf_count; i += kBlock)
    if (!sits_out(launch.leaves[i]) && launch.leaves[i].behind != launch.behind[i]) atomicOr(&others, 1u);
  __syncthreads();
  return others == 0;
}

// Whether this step has its numbers.
SCHUSS_FN bool is_ready(const Launch& launch) {
  return ((launch.flags & kInGraph) == 0 || clocks_agree(launch)) && is_prepared(launch);
}

// What the host reads of it: the record, then the mailbox, each with its call last.
SCHUSS_FN void report(const Launch& launch, const Record& record) {
  volatile Record& to = *launch.record;
  to.steps = record.steps;
  to.lr = record.lr;
  to.norm = record.norm;
  to.clip_coef = record.clip_coef;
  to.skipped = record.skipped;
  to.has_norm = record.has_norm;
  volatile Mailbox& mailbox = *launch.mailbox;
  State& state = *launch.state;
  if (state.call < launch.call) state.call = launch.call;  // a replayed graph repeats an old one
  mailbox.steps = record.steps;
  mailbox.starved = state.starved;
  __threadfence_system();
  to.call = launch.call;
  mailbox.call = state.call;
}

// This step's numbers.
SCHUSS_FN const Entry& entry_now(const Launch& launch, int32_t row) {
  const Row& its = launch.rows->rows[row];
  return its.entries[launch.state->steps - its.first];
}

// Where none were prepared there is no rate to tell either.
SCHUSS_FN double lr_now(const Launch& launch) {
  return launch.lr_row >= 0 && is_prepared(launch) ? entry_now(launch, launch.lr_row).lr
                                                   : bits_as<double>(uint64_t(0x7ff8000000000000u));
}

// The block that arrives last ends the step: clocks, scaler, report. Every thread of every block comes here.
SCHUSS_FN void close_step(const Launch& launch, bool ready, bool taken) {
  __shared__ bool last;
  State& state = *launch.state;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(&state.arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  if (taken && (launch.flags & kSomeSitOut) != 0)
    for (int i = int(threadIdx.x); i < launch.leaf_count; i += kBlock)
      if (sits_out(launch.leaves[i])) ++launch.behind[i];
  if (threadIdx.x != 0) return;
  __threadfence();
  Record record{};
  record.lr = lr_now(launch);
  record.clip_coef = 1;
  record.has_norm = (launch.flags & kTakesNorm) != 0;
  if (record.has_norm) {
    record.norm = state.norm;
    record.skipped = int32_t(state.skipped);
    if (state.finite) record.clip_coef = bits_as<double>(state.smallest_coef);
  }
  if (!ready) {
    ++state.starved;
    record.skipped = 1;
  } else {
    if ((launch.flags & kHasScaler) != 0) {
      state.scaler.update(record.skipped != 0);
      state.loss_scale = float(state.scaler.scale);
    }
    if (!record.skipped) ++state.steps;
  }
  if (taken && (launch.flags & kSomeSitOut) != 0) ++state.moved;
  record.steps = state.steps;
  state.arrived = 0;
  state.smallest_coef = bits_as<uint64_t>(1.0);
  report(launch, record);
}

}  // namespace schuss
