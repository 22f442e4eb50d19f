// Plain functions on arrays: what an array is, norms and clipping, a rule without an optimizer, the bare
// stream.
#include "arrays.hpp"

#include <pybind11/stl.h>

#include "array_ref.hpp"
#include "schuss/catalog.hpp"
#include "session.hpp"

namespace schuss {
namespace {

PlainArray plain(const ArrayRef& array) {
  PlainArray result;
  result.data = array.data;
  result.format = array.format;
  result.shape.assign(array.shape, array.shape + array.dimensions);
  if (!array.c_order) result.strides.assign(array.strides, array.strides + array.dimensions);
  return result;
}

py::dict describe(const py::object& object, const std::string& where) {
  ArrayRef array;
  Refusal refusal;
  if (!read_writable(object.ptr(), array, refusal)) refusal.raise(where);
  py::list shape, strides;
  for (int d = 0; d < array.dimensions; ++d) shape.append(array.shape[d]), strides.append(array.strides[d]);
  return py::dict(py::arg("address") = reinterpret_cast<std::uintptr_t>(array.data),
                  py::arg("dtype") = name_of(array.format), py::arg("itemsize") = size_of(array.format),
                  py::arg("shape") = py::tuple(shape), py::arg("strides") = py::tuple(strides),
                  py::arg("c_order") = array.c_order);
}

// Every leaf of a container of arrays to be written, with the names they go by.
struct Tree {
  std::vector<ArrayRef> held;
  std::vector<PlainArray> arrays;
  std::vector<std::string> names;  // of the leaves
  py::list torch;

  Tree(const py::object& tree, const std::string& root) {
    int count = 0;
    const Node node = Node::read(tree, count);
    each_leaf(node, nullptr, [&](const Node& leaf, const Path* path) {
      if (leaf.object.is_none()) return;
      const std::string name = path ? path->text(root) : root;
      ArrayRef array;
      Refusal refusal;
      if (!read_writable(leaf.object.ptr(), array, refusal)) refusal.raise(name);
      if (array.torch) torch.append(leaf.object);
      arrays.push_back(plain(array));
      held.push_back(std::move(array));
      names.push_back(path ? path->name() : "param");
    });
  }
  ~Tree() = default;
  void written() const {
    if (!torch.empty()) raise_versions(torch);
  }
};

double norm(const py::object& grads) { return norms_of(Tree(grads, "grads").arrays).global; }

double clip_global_norm(const py::object& grads, double limit) {
  const Tree tree(grads, "grads");
  const double norm = norms_of(tree.arrays).global;
  if (norm - norm == 0 && norm > limit) {
    scale_arrays(tree.arrays, std::vector<double>(tree.arrays.size(), limit / norm),
                 std::numeric_limits<double>::infinity());
    tree.written();
  }
  return norm;
}

std::vector<std::pair<std::string, double>> clip_leaf_norm(const py::object& grads, double limit) {
  const Tree tree(grads, "grads");
  const Norms norms = norms_of(tree.arrays);
  std::vector<double> factors;
  for (double own : norms.each) factors.push_back(own - own == 0 && own > limit ? limit / own : 1);
  scale_arrays(tree.arrays, factors, std::numeric_limits<double>::infinity());
  tree.written();
  std::vector<std::pair<std::string, double>> named;
  for (std::size_t i = 0; i < norms.each.size(); ++i) named.emplace_back(tree.names[i], norms.each[i]);
  return named;
}

void clip_value(const py::object& grads, double limit) {
  const Tree tree(grads, "grads");
  scale_arrays(tree.arrays, std::vector<double>(tree.arrays.size(), 1), limit);
  tree.written();
}

// What one array argument of a plain rule function must be.
PlainArray argument(const py::object& object, const std::string& where, ArrayRef& array,
                    const PlainArray* like, bool written) {
  Refusal refusal;
  if (!(written ? read_writable(object.ptr(), array, refusal) : read_array(object.ptr(), array, refusal)))
    refusal.raise(where);
  if (like && !array.has_shape(like->shape))
    throw py::value_error(where + ": shape " + shape_text(array.shape, std::size_t(array.dimensions)) +
                          ", expected " + shape_text(like->shape.data(), like->shape.size()));
  return plain(array);
}

// `arrays`: p, g and the slots in the catalog's order; those at the end may be left out.
void apply(const std::string& name, const py::tuple& arrays, int64_t step, const py::dict& hypers) {
  const RuleInfo& rule = rule_named(name);
  const std::string call = name + "(): ";
  if (step < 1)
    throw py::value_error(call + "step is " + std::to_string(step) +
                          ", expected 1 or more: it counts this step");
  std::vector<double> values;
  for (const Hyper& hyper : read_hypers(rule, hypers)) {
    values.push_back(hyper.at(step - 1));
    rule.check(int(values.size()) - 1, values.back(), "");
  }
  rule.check_together(values.data());
  std::vector<ArrayRef> held(2 + rule.slots.size());
  const py::object p = arrays[0], g = arrays[1];
  const PlainArray parameter = argument(p, call + "p", held[0], nullptr, true);
  const PlainArray gradient = argument(g, call + "g", held[1], &parameter, false);
  const unsigned mask = rule.mask(values.data());
  std::vector<void*> pointers;
  py::list torch;
  if (held[0].torch) torch.append(p);
  for (std::size_t k = 0; k < rule.slots.size(); ++k) {
    const std::string& slot = rule.slots[k].name;
    const py::object given = 2 + k < arrays.size() ? py::object(arrays[2 + k]) : py::none();
    if (!has(mask, unsigned(k))) {
      pointers.push_back(nullptr);
      continue;
    }
    if (given.is_none()) throw py::type_error(call + "slot " + slot + " is missing: these hypers keep it");
    const PlainArray array = argument(given, call + slot, held[2 + k], &parameter, true);
    if (array.format != arithmetic_of(parameter.format))
      throw py::type_error(call + slot + ": dtype " + name_of(array.format) + ", expected " +
                           name_of(arithmetic_of(parameter.format)));
    if (!array.strides.empty())
      throw py::value_error(call + slot + ": strided, expected an array in C order");
    if (held[2 + k].torch) torch.append(given);
    pointers.push_back(array.data);
  }
  apply_rule(rule, parameter, gradient, pointers, step, values);
  if (!torch.empty()) raise_versions(torch);
}

}  // namespace

void bind_arrays(py::module_& module) {
  module.def("describe", &describe);
  module.def("global_norm", &norm);
  module.def("clip_global_norm", &clip_global_norm);
  module.def("clip_leaf_norm", &clip_leaf_norm);
  module.def("clip_value", &clip_value);
  module.def("apply", &apply, py::arg("rule"), py::arg("arrays"), py::arg("step"), py::arg("hypers"));
  module.def("stream", &time_stream, py::arg("reads"), py::arg("writes"), py::arg("elements"),
             py::arg("repeats"), py::call_guard<py::gil_scoped_release>(),
             "Seconds of each pass of a bare loop over float32 streams.");
}

}  // namespace schuss
