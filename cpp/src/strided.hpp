// Elements of an array that does not lie in C order, to and from a row of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace schuss {

struct Strides {
  int dimensions;
  const int64_t* shape;
  const int64_t* bytes;  // a step along each dimension
};

// Elements [first, first + count) in C order.
void gather(void* row, const void* array, const Strides& strides, std::size_t size, int64_t first,
            int64_t count);
void scatter(void* array, const void* row, const Strides& strides, std::size_t size, int64_t first,
             int64_t count);

}  // namespace schuss
