// Plain functions on arrays: what an array is, norms and clipping, a rule without an optimizer, the bare
// stream. Arrays on a device are checked here, too; the work is Python's then.
#include "arrays.hpp"

#include <pybind11/stl.h>

#include <algorithm>

#include "rules.hpp"
#include "schuss/catalog.hpp"
#include "schuss/control/clip.hpp"
#include "session.hpp"
#include "tree.hpp"

namespace schuss {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

double norm(const py::object& grads) {
  const Tree tree(grads, "grads", false);
  if (tree.on_device()) return ask_device("global_norm", tree.for_device()).cast<double>();
  return norms_of(tree.arrays).global;
}

double clip_global_norm(const py::object& grads, double limit) {
  const Tree tree(grads, "grads", true);
  const bool on_device = tree.on_device();
  const double norm = on_device ? ask_device("clip_global_norm", tree.for_device(), limit).cast<double>()
                                : norms_of(tree.arrays).global;
  const double coef = clip_coef(norm, limit);
  if (coef == 1) return norm;
  if (on_device) tree.tell_torch();
  else tree.scale(coef, kUnlimited);
  return norm;
}

std::vector<std::pair<std::string, double>> clip_leaf_norm(const py::object& grads, double limit) {
  const Tree tree(grads, "grads", true);
  if (tree.on_device()) {
    const py::object named = ask_device("clip_leaf_norm", tree.for_device(), limit);
    tree.tell_torch();
    return named.cast<std::vector<std::pair<std::string, double>>>();
  }
  const Norms norms = norms_of(tree.arrays);
  std::vector<double> factors;
  for (double own : norms.each) factors.push_back(clip_coef(own, limit));
  tree.scale(factors, kUnlimited);
  std::vector<std::pair<std::string, double>> named;
  for (std::size_t i = 0; i < norms.each.size(); ++i) named.emplace_back(tree.names[i], norms.each[i]);
  return named;
}

void clip_value(const py::object& grads, double limit) {
  const Tree tree(grads, "grads", true);
  if (!tree.on_device()) return tree.scale(1, limit);
  ask_device("clip_value", tree.for_device(), limit);
  tree.tell_torch();
}

// For the leaves met, each with its name for messages: the index of the first that is the same array.
std::vector<int> ties(const std::vector<std::pair<py::object, std::string>>& met) {
  std::vector<ArrayRef> arrays(met.size());
  std::vector<NamedArray> named;
  for (std::size_t i = 0; i < met.size(); ++i) {
    Refusal refusal;
    if (!read_writable(met[i].first.ptr(), arrays[i], refusal)) refusal.raise(met[i].second);
    named.push_back({&arrays[i], met[i].second});
  }
  return ties_of(named);
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

// The hypers' values at a step: those given, and defaults, which cost nothing to read.
std::vector<double> values_at(const RuleInfo& rule, const py::dict& given, int64_t step) {
  std::vector<double> values;
  values.reserve(rule.hypers.size());
  for (const HyperInfo& hyper : rule.hypers) values.push_back(hyper.standard);
  for (const auto& [name, value] : given) {
    const int index = rule.hyper_index(name.cast<std::string>());
    if (index < 0) throw py::key_error(name.cast<std::string>());
    double& here = values[std::size_t(index)];
    here = read_hyper(rule, index, value).at(step);
    rule.check(index, here, "");
  }
  rule.check_together(values.data());
  return values;
}

// `arrays`: p, g and the slots in the catalog's order; those at the end may be left out.
void apply(const py::object& which, const py::tuple& arrays, int64_t step, const py::dict& hypers) {
  const auto held_rule = rule_of(which);
  const RuleInfo& rule = *held_rule;
  const std::string& name = rule.function;
  const std::string call = name + "(): ";
  if (step < 1)
    throw py::value_error(call + "step is " + std::to_string(step) +
                          ", expected 1 or more: it counts this step");
  const std::vector<double> values = values_at(rule, hypers, step - 1);
  std::vector<ArrayRef> held(2 + rule.slots.size() + rule.scalars.size());
  const py::object p = arrays[0], g = arrays[1];
  const OnTorchStream on_its_stream(
      std::any_of(arrays.begin(), arrays.end(), [](const py::handle& one) { return is_torch(one.ptr()); }));
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
  std::vector<double*> scalars;
  for (std::size_t k = 2 + rule.slots.size(); k < held.size(); ++k) {
    const std::string& scalar = rule.scalars[k - 2 - rule.slots.size()].name;
    if (k >= arrays.size() || arrays[k].is_none())
      throw py::type_error(call + "scalar " + scalar + " is missing");
    const PlainArray array = argument(arrays[k], call + scalar, held[k], nullptr, true);
    if (array.format != Format::f64 || !array.shape.empty() || held[k].device >= 0)
      throw py::type_error(call + scalar + ": expected a float64 array without dimensions, np.zeros(())");
    scalars.push_back(static_cast<double*>(array.data));
  }
  // Of p and the slots each is written: none may lie across another, nor g across any but p itself.
  std::vector<NamedArray> named{{&held[0], call + "p"}};
  for (std::size_t k = 0; k < pointers.size(); ++k)
    if (pointers[k]) named.push_back({&held[2 + k], call + rule.slots[k].name});
  if (held[1].data != held[0].data || !held[1].c_order || !held[0].c_order)
    named.push_back({&held[1], call + "g"});
  const std::vector<int> same = ties_of(named);
  for (std::size_t i = 0; i < same.size(); ++i)
    if (same[i] != int(i))
      throw py::value_error(named[i].where + " is the same array as " + named[std::size_t(same[i])].where +
                            ", expected one of its own");
  if (held[0].device >= 0) {
    if (rule.finish(arithmetic_of(parameter.format), mask))
      throw py::value_error(call + "measures whole arrays before it steps, which no CUDA kernel does yet");
    py::list leaves;
    for (std::size_t i = 0; i < held.size(); ++i)
      leaves.append(i >= 2 && !pointers[i - 2] ? py::object(py::none())
                                               : described(held[i],
                                                           i == 0   ? "p"
                                                           : i == 1 ? "g"
                                                                    : rule.slots[i - 2].name,
                                                           true));
    ask_device("apply", name, leaves, step, values);
  } else {
    apply_rule(rule, parameter, gradient, pointers, scalars, step, values);
  }
  if (!torch.empty()) raise_versions(torch);
}

}  // namespace

void bind_arrays(py::module_& module) {
  module.def("ties", &ties,
             "For each (array, name) the index of the first that is the same array; overlaps are refused.");
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
