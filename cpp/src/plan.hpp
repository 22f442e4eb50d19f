// Leaves cut into chunks and chunks dealt to threads: what a step walks over. Knows no rule.
#pragma once
#include <memory>
#include <vector>

#include "kernel.hpp"
#include "schuss/engine.hpp"
#include "slab.hpp"

namespace schuss {

constexpr int64_t kChunk = 4096;

// Below this a second thread costs more than it saves (measured: waking it takes some microseconds).
constexpr int64_t kElementsPerThread = 32 * 1024;

struct Leaf {
  LeafSpec spec;
  int64_t count = 0;
  std::shared_ptr<Slab> slot_slabs[kMaxSlots];
  std::shared_ptr<Slab> accumulator_slab;
  std::shared_ptr<Slab> master_slab;
  std::shared_ptr<double[]> scalars;  // of a rule that finishes; shared by all where it is global
  std::size_t first_chunk = 0;

  Format arithmetic() const { return arithmetic_of(spec.format); }
};

struct Chunk {
  int leaf;
  int count;
  int64_t first;
};

class Plan {
 public:
  std::vector<Leaf> leaves;
  std::vector<Chunk> chunks;
  int64_t elements = 0;

  void add(Leaf leaf);
  // Deals the chunks of the leaves marked active to at most `threads` runs of alike weight;
  // the bounds are kept while nothing changes.
  const std::vector<int>& deal(const std::vector<char>& active, int threads);

 private:
  std::vector<int> bounds_;
  std::vector<char> dealt_active_;
  int dealt_threads_ = 0;
  std::size_t dealt_chunks_ = 0;
};

}  // namespace schuss
