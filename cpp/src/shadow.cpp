#include "shadow.hpp"

#include "dispatch.hpp"

namespace schuss {
namespace {

int64_t size_in(const Run& run) { return int64_t(size_of(run.arithmetic)); }

std::shared_ptr<Slab> slab_for(const PlainArray& array) {
  int64_t count = 1;
  for (int64_t extent : array.shape) count *= extent;
  return std::make_shared<Slab>(Slab::rounded(std::size_t(count) * size_of(arithmetic_of(array.format))));
}

}  // namespace

// visit(run, chunk, its place in the leaf's slab)
template <class Visit>
void Shadow::each_chunk(Visit visit) {
  Pass pass(arrays_);
  pass.each_chunk([&](std::size_t, const Chunk& chunk) {
    const Run& run = pass.runs[std::size_t(chunk.leaf)];
    visit(run, chunk, chunk.first * size_in(run));
  });
}

void Shadow::add(const std::vector<PlainArray>& parameters) {
  Pass pass(parameters);
  std::vector<std::shared_ptr<Slab>> slabs;
  for (const PlainArray& array : parameters) slabs.push_back(slab_for(array));
  const Level& loops = level();
  pass.each_chunk([&](std::size_t, const Chunk& chunk) {
    const Run& run = pass.runs[std::size_t(chunk.leaf)];
    take_pass(loops, run, run.p, slabs[std::size_t(chunk.leaf)]->data(), chunk.first, chunk.count, false);
  });
  arrays_.insert(arrays_.end(), parameters.begin(), parameters.end());
  slow_.insert(slow_.end(), slabs.begin(), slabs.end());
}

void Shadow::pull(double alpha) {
  const Level& loops = level();
  each_chunk([&](const Run& run, const Chunk& chunk, int64_t) {
    char* const slow = slow_[std::size_t(chunk.leaf)]->data();
    edit_pass(loops, run, chunk.first, chunk.count, true, [&](char* row, int64_t count, int64_t first) {
      loops.around[int(run.arithmetic)].pull(row, slow + first * size_in(run), count, alpha);
    });
  });
}

void Shadow::show() {
  std::vector<std::shared_ptr<Slab>> fast;
  for (const PlainArray& array : arrays_) fast.push_back(slab_for(array));
  const Level& loops = level();
  each_chunk([&](const Run& run, const Chunk& chunk, int64_t at) {
    take_pass(loops, run, run.p, fast[std::size_t(chunk.leaf)]->data(), chunk.first, chunk.count, false);
    give_pass(loops, run, slow_[std::size_t(chunk.leaf)]->data() + at, chunk.first, chunk.count);
  });
  fast_ = std::move(fast);
}

void Shadow::hide() {
  const Level& loops = level();
  each_chunk([&](const Run& run, const Chunk& chunk, int64_t at) {
    give_pass(loops, run, fast_[std::size_t(chunk.leaf)]->data() + at, chunk.first, chunk.count);
  });
  fast_.clear();
}

}  // namespace schuss
