// What stands around the loops of level.cpp where slots or parameters are stored in fewer bits; compiled once
// per level, like that file. Only the table at the bottom has external linkage.
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"

namespace schuss::SCHUSS_LEVEL {
namespace {

// Included inside, so that no two levels share an inline function that the linker could merge.
#include "schuss/loops/stored.hpp"

void decode(float* to, const uint8_t* codes, const float* scales, int64_t count) {
  schuss::decode_blocks(to, codes, scales, count);
}

void encode(uint8_t* codes, float* scales, const float* from, int64_t count) {
  schuss::encode_blocks(codes, scales, from, count);
}

template <class To>
void round(void* to, const float* from, int64_t count, uint64_t key, int64_t first) {
  schuss::round_chunk(static_cast<To*>(to), from, count, key, first);
}

}  // namespace

extern const FormatLoops formats;
constexpr FormatLoops formats = {decode, encode, {nullptr, nullptr, round<schuss::bf16>, round<schuss::f16>}};

}  // namespace schuss::SCHUSS_LEVEL
