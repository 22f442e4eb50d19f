// Which of several arrays are one and the same, and a refusal where they overlap in any other way.
#pragma once
#include "array_ref.hpp"

namespace schuss {

struct NamedArray {
  const ArrayRef* array;
  std::string where;  // for messages: "params['w']"
};

// Raises ValueError where they are not all on the device of the first.
void check_one_device(const std::vector<NamedArray>& arrays);

// For each array the index of the first that is the same. Raises ValueError where arrays overlap otherwise,
// one another or themselves: an element written twice is written wrong. They must be on one device.
std::vector<int> ties_of(const std::vector<NamedArray>& arrays);

}  // namespace schuss
