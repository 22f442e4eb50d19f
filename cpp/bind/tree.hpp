// A container of arrays that belong to no optimizer, as the plain functions take it.
#pragma once
#include <algorithm>

#include "arrays.hpp"
#include "cuda_arrays.hpp"
#include "leaves.hpp"
#include "overlap.hpp"

namespace schuss {

inline PlainArray plain(const ArrayRef& array) {
  PlainArray result;
  result.data = array.data;
  result.format = array.format;
  result.shape.assign(array.shape, array.shape + array.dimensions);
  if (!array.c_order) result.strides.assign(array.strides, array.strides + array.dimensions);
  return result;
}

// As the device's functions take an array. `first`: this memory was not met before.
inline py::tuple described(const ArrayRef& array, const std::string& name, bool first) {
  const auto numbers = [&](const int64_t* from) {
    py::tuple result(array.dimensions);
    for (int d = 0; d < array.dimensions; ++d) result[std::size_t(d)] = from[d];
    return result;
  };
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(array.data), int(array.format), numbers(array.shape),
                        array.c_order ? py::object(py::none()) : py::object(numbers(array.strides)),
                        array.device, name, first, array.torch);
}

template <class... Arguments>
py::object ask_device(const char* function, const Arguments&... arguments) {
  return py::module_::import("schuss._engine.cuda.arrays").attr(function)(arguments...);
}

// Every leaf of a container of arrays, with the names they go by.
struct Tree {
  std::vector<ArrayRef> held;
  std::vector<py::object> objects;
  std::vector<PlainArray> arrays;
  std::vector<std::string> names;  // of the leaves
  std::vector<int> ties;           // for each array the first that is the same; where they are written
  py::list torch;

  Tree(const py::object& tree, const std::string& root, bool written) {
    int count = 0;
    const Node node = Node::read(tree, count, root);
    std::vector<std::string> wheres;
    bool any_torch = false;
    each_leaf(node, nullptr,
              [&](const Node& leaf, const Path*) { any_torch = any_torch || is_torch(leaf.object.ptr()); });
    const OnTorchStream on_its_stream(any_torch);
    each_leaf(node, nullptr, [&](const Node& leaf, const Path* path) {
      if (leaf.object.is_none()) return;
      wheres.push_back(path ? path->text(root) : root);
      ArrayRef array;
      Refusal refusal;
      if (!(written ? read_writable : read_array)(leaf.object.ptr(), array, refusal))
        refusal.raise(wheres.back());
      if (array.torch) torch.append(leaf.object);
      arrays.push_back(plain(array));
      held.push_back(std::move(array));
      objects.push_back(leaf.object);
      names.push_back(path ? path->name() : "param");
    });
    std::vector<NamedArray> named;
    for (std::size_t k = 0; k < held.size(); ++k) named.push_back({&held[k], wheres[k]});
    if (written) ties = ties_of(named);
    else check_one_device(named);
  }

  bool on_device() const { return !held.empty() && held.front().device >= 0; }

  py::list for_device() const {
    py::list leaves;
    for (std::size_t k = 0; k < held.size(); ++k)
      leaves.append(described(held[k], names[k], ties.empty() || ties[k] == int(k)));
    return leaves;
  }

  void tell_torch() const {
    if (!torch.empty()) raise_versions(torch);
  }

  // Each memory once, however often it is met.
  void scale(const std::vector<double>& factors, double limit) const {
    std::vector<PlainArray> once;
    std::vector<double> its;
    for (std::size_t k = 0; k < arrays.size(); ++k)
      if (ties[k] == int(k)) once.push_back(arrays[k]), its.push_back(factors[k]);
    scale_arrays(once, its, limit);
    tell_torch();
  }
  void scale(double factor, double limit) const { scale(std::vector<double>(arrays.size(), factor), limit); }
};

}  // namespace schuss
