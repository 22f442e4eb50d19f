#include "strided.hpp"

#include <cstring>

namespace schuss {
namespace {

// Calls visit(offset in bytes, stride in bytes, elements) for each run along the last dimension.
template <class Visit>
void runs(const Strides& s, int64_t first, int64_t count, Visit visit) {
  constexpr int kMaxDimensions = 64;
  int64_t index[kMaxDimensions];
  int64_t offset = 0, rest = first;
  for (int d = s.dimensions - 1; d >= 0; --d) {
    index[d] = rest % s.shape[d];
    rest /= s.shape[d];
    offset += index[d] * s.bytes[d];
  }
  const int last = s.dimensions - 1;
  while (count > 0) {
    if (last < 0) return visit(offset, int64_t(0), count);
    const int64_t left = s.shape[last] - index[last], run = left < count ? left : count;
    visit(offset, s.bytes[last], run);
    count -= run;
    offset -= index[last] * s.bytes[last];
    index[last] = 0;
    for (int d = last - 1; d >= 0 && count > 0; --d) {
      offset += s.bytes[d];
      if (++index[d] < s.shape[d]) break;
      offset -= index[d] * s.bytes[d];
      index[d] = 0;
    }
  }
}

template <std::size_t Size>
void gather_sized(char* row, const char* array, const Strides& s, int64_t first, int64_t count) {
  runs(s, first, count, [&](int64_t offset, int64_t stride, int64_t n) {
    const char* from = array + offset;
    for (int64_t i = 0; i < n; ++i, row += Size, from += stride) std::memcpy(row, from, Size);
  });
}

template <std::size_t Size>
void scatter_sized(char* array, const char* row, const Strides& s, int64_t first, int64_t count) {
  runs(s, first, count, [&](int64_t offset, int64_t stride, int64_t n) {
    char* to = array + offset;
    for (int64_t i = 0; i < n; ++i, row += Size, to += stride) std::memcpy(to, row, Size);
  });
}

}  // namespace

void gather(void* row, const void* array, const Strides& s, std::size_t size, int64_t first, int64_t count) {
  const auto to = static_cast<char*>(row);
  const auto from = static_cast<const char*>(array);
  if (size == 8) gather_sized<8>(to, from, s, first, count);
  else if (size == 4) gather_sized<4>(to, from, s, first, count);
  else gather_sized<2>(to, from, s, first, count);
}

void scatter(void* array, const void* row, const Strides& s, std::size_t size, int64_t first, int64_t count) {
  const auto to = static_cast<char*>(array);
  const auto from = static_cast<const char*>(row);
  if (size == 8) scatter_sized<8>(to, from, s, first, count);
  else if (size == 4) scatter_sized<4>(to, from, s, first, count);
  else scatter_sized<2>(to, from, s, first, count);
}

}  // namespace schuss
