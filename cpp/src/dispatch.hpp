#pragma once
#include <string>
#include <vector>

#include "kernel.hpp"

namespace schuss {

// The level in use: the best this processor runs, or the one SCHUSS_CPU_LEVEL names.
// Throws std::invalid_argument where that is unknown or not supported here.
const Level& level();

template <class Rule>
const RuleKernels& kernels_of(const Level& level, const Rule& rule) {
  return rule.index < 0 ? level.own : level.rules[rule.index];
}

std::vector<std::string> levels_here();  // that this processor runs, best first

}  // namespace schuss
