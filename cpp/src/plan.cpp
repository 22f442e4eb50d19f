#include "plan.hpp"

#include <algorithm>

namespace schuss {
namespace {

// Beside its bytes a chunk costs about what this many bytes do: looking up the leaf, calling the loop.
constexpr int64_t kChunkOverhead = 256;

}  // namespace

void Plan::add(Leaf leaf) {
  const int index = int(leaves.size());
  leaf.count = 1;
  for (int64_t extent : leaf.spec.shape) leaf.count *= extent;
  elements += leaf.count;
  leaf.first_chunk = chunks.size();
  for (int64_t first = 0; first < leaf.count; first += kChunk)
    chunks.push_back({index, int(std::min(kChunk, leaf.count - first)), first});
  leaves.push_back(std::move(leaf));
}

const std::vector<int>& Plan::deal(const std::vector<char>& active, int threads) {
  if (dealt_threads_ == threads && dealt_chunks_ == chunks.size() && dealt_active_ == active) return bounds_;
  dealt_threads_ = threads, dealt_chunks_ = chunks.size(), dealt_active_ = active;

  const auto weight = [&](const Chunk& chunk) -> int64_t {
    if (!active[std::size_t(chunk.leaf)]) return 0;
    return chunk.count * int64_t(size_of(leaves[std::size_t(chunk.leaf)].spec.format)) + kChunkOverhead;
  };
  int64_t total = 0;
  int64_t elements_dealt = 0;
  for (const Chunk& chunk : chunks) {
    total += weight(chunk);
    if (active[std::size_t(chunk.leaf)]) elements_dealt += chunk.count;
  }
  const int64_t useful = std::max<int64_t>(1, elements_dealt / kElementsPerThread);
  const int runs = int(std::min<int64_t>({useful, threads, std::max<int64_t>(1, int64_t(chunks.size()))}));

  bounds_.assign(1, 0);
  int64_t sum = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    sum += weight(chunks[i]);
    if (int(bounds_.size()) < runs && sum * runs >= total * int64_t(bounds_.size()))
      bounds_.push_back(int(i + 1));
  }
  while (int(bounds_.size()) < runs + 1) bounds_.push_back(int(chunks.size()));
  return bounds_;
}

}  // namespace schuss
