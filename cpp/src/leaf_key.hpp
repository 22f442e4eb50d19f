// What counter-based bits of a leaf are keyed by: a seed and the leaf's name.
#pragma once
#include <string>

#include "schuss/formats/rounding.hpp"

namespace schuss {

inline uint64_t leaf_key(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char letter : name)
    hash = (hash ^ uint64_t(static_cast<unsigned char>(letter))) * 0x100000001b3u;
  return mixed(mixed(seed) ^ hash);
}

}  // namespace schuss
