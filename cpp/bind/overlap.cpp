#include "overlap.hpp"

#include <algorithm>
#include <numeric>

namespace schuss {
namespace {

bool same(const ArrayRef& a, const ArrayRef& b) {
  return a.data == b.data && a.format == b.format && a.dimensions == b.dimensions &&
         std::equal(a.shape, a.shape + a.dimensions, b.shape) &&
         ((a.c_order && b.c_order) || std::equal(a.strides, a.strides + a.dimensions, b.strides));
}

py::array over(const ArrayRef& array) {
  const std::vector<py::ssize_t> shape(array.shape, array.shape + array.dimensions);
  const std::vector<py::ssize_t> strides(array.strides, array.strides + array.dimensions);
  const py::dtype element("u" + std::to_string(size_of(array.format)));
  return py::array(element, shape, strides, array.data, py::none());
}

// Extents meet; whether elements do, NumPy works out from the addresses alone.
bool share(const ArrayRef& a, const ArrayRef& b) {
  try {
    return py::module_::import("numpy")
        .attr("shares_memory")(over(a), over(b), py::arg("max_work") = 10'000)
        .cast<bool>();
  } catch (py::error_already_set&) {  // too hard to say within that work
    return true;
  }
}

void refuse_self_overlap(const NamedArray& one) {
  const ArrayRef& array = *one.array;
  if (array.c_order) return;
  std::vector<std::pair<int64_t, int64_t>> axes;  // stride, extent
  for (int d = 0; d < array.dimensions; ++d)
    if (array.shape[d] > 1) axes.emplace_back(std::abs(array.strides[d]), array.shape[d]);
  std::sort(axes.begin(), axes.end());
  auto covered = int64_t(size_of(array.format));
  for (const auto& [stride, extent] : axes) {
    if (stride < covered)
      throw py::value_error(one.where + ": a view of shape " +
                            shape_text(array.shape, std::size_t(array.dimensions)) +
                            " whose elements overlap, expected a memory location for each; pass a copy");
    covered += stride * (extent - 1);
  }
}

}  // namespace

void check_one_device(const std::vector<NamedArray>& arrays) {
  for (const NamedArray& one : arrays)
    if (one.array->device != arrays.front().array->device)
      throw py::value_error(one.where + ": on " + place_of(one.array->device) + ", expected " +
                            place_of(arrays.front().array->device) + " as " + arrays.front().where + " is");
}

std::vector<int> ties_of(const std::vector<NamedArray>& arrays) {
  check_one_device(arrays);
  std::vector<int> ties(arrays.size());
  std::iota(ties.begin(), ties.end(), 0);
  std::vector<std::pair<const char*, const char*>> extents;
  for (const NamedArray& one : arrays) {
    extents.push_back(one.array->extent());
    refuse_self_overlap(one);
  }
  std::vector<int> order = ties;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return extents[std::size_t(a)].first < extents[std::size_t(b)].first;
  });
  std::vector<int> open;  // those that reach beyond where the sweep stands
  for (const int i : order) {
    const char *const low = extents[std::size_t(i)].first, *const high = extents[std::size_t(i)].second;
    if (low == high) continue;
    open.erase(std::remove_if(open.begin(), open.end(),
                              [&](int j) { return extents[std::size_t(j)].second <= low; }),
               open.end());
    for (const int j : open) {
      const NamedArray &one = arrays[std::size_t(i)], &other = arrays[std::size_t(j)];
      if (same(*one.array, *other.array)) {
        const int first = std::min(ties[std::size_t(i)], ties[std::size_t(j)]);
        ties[std::size_t(i)] = ties[std::size_t(j)] = first;
      } else if (share(*one.array, *other.array)) {
        throw py::value_error(one.where + " overlaps " + other.where +
                              " in memory, expected arrays of their own; pass one of them, or a copy");
      }
    }
    open.push_back(i);
  }
  return ties;
}

}  // namespace schuss
