// Which of several arrays are one and the same, and a refusal where they overlap in any other way.
#pragma once
#include "array_ref.hpp"

namespace schuss {

struct NamedArray {
  const ArrayRef* array;
  PyObject* object;
  std::string where;  // for messages: "params['w']"
};

// For each array the index of the first that is the same. Raises ValueError where arrays overlap otherwise,
// one another or themselves: an element written twice is written wrong.
std::vector<int> ties_of(const std::vector<NamedArray>& arrays);

}  // namespace schuss
