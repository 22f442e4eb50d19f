// Gradients before a rule sees them, as plain functions on containers of arrays.
#include "around.hpp"

#include <map>

#include "session.hpp"
#include "tree.hpp"

namespace schuss {
namespace {

void refuse_device(const Tree& tree, const char* function) {
  if (tree.on_device())
    throw py::type_error(std::string(function) + "() takes arrays on the CPU; on " +
                         place_of(tree.held.front().device) +
                         " do it with the arrays' own library before the step, as torch or CuPy");
}

OutputAxis axis_of(const std::string& axes) { return axes == "torch" ? OutputAxis::first : OutputAxis::last; }

// Each memory once, however often it is met.
template <class Visit>
void each_once(const Tree& tree, Visit visit) {
  for (std::size_t k = 0; k < tree.arrays.size(); ++k)
    if (tree.ties[k] == int(k)) visit(k);
}

void centralize_tree(const py::object& grads, const std::string& axes) {
  const Tree tree(grads, "grads", true);
  refuse_device(tree, "centralize");
  std::vector<PlainArray> once;
  each_once(tree, [&](std::size_t k) { once.push_back(tree.arrays[k]); });
  centralize(once, axis_of(axes));
  tree.tell_torch();
}

void clip_adaptive(const py::object& params, const py::object& grads, double limit, double eps,
                   const std::string& axes) {
  const Tree weights(params, "params", false), tree(grads, "grads", true);
  refuse_device(weights, "adaptive");
  refuse_device(tree, "adaptive");
  std::map<std::string, std::size_t> places;
  for (std::size_t k = 0; k < weights.names.size(); ++k) places[weights.names[k]] = k;
  std::vector<PlainArray> of_params, once;
  each_once(tree, [&](std::size_t k) {
    const auto place = places.find(tree.names[k]);
    const PlainArray& g = tree.arrays[k];
    if (place == places.end())
      throw py::value_error("grads have a leaf " + tree.names[k] + ", which params lack");
    const PlainArray& p = weights.arrays[place->second];
    if (p.shape != g.shape)
      throw py::value_error("grads " + tree.names[k] + ": shape " +
                            shape_text(g.shape.data(), g.shape.size()) + ", expected " +
                            shape_text(p.shape.data(), p.shape.size()));
    of_params.push_back(p);
    once.push_back(g);
  });
  clip_units(of_params, once, limit, eps, axis_of(axes));
  tree.tell_torch();
}

void add_noise_to(const py::object& grads, double deviation, uint64_t seed, int64_t step) {
  const Tree tree(grads, "grads", true);
  refuse_device(tree, "add_noise");
  std::vector<PlainArray> once;
  std::vector<std::string> names;
  each_once(tree, [&](std::size_t k) {
    once.push_back(tree.arrays[k]);
    names.push_back(tree.names[k]);
  });
  add_noise(once, names, seed, step, deviation);
  tree.tell_torch();
}

}  // namespace

void bind_gradients(py::module_& module) {
  module.def("centralize", &centralize_tree);
  module.def("clip_adaptive", &clip_adaptive);
  module.def("add_noise", &add_noise_to);
}

}  // namespace schuss
