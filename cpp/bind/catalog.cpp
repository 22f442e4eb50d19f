// The catalog as plain Python data.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "rules.hpp"

namespace schuss {
namespace {

const char* range_name(Range range) {
  switch (range) {
    case Range::real: return "real";
    case Range::nonnegative: return "nonnegative";
    case Range::unit: return "unit";
    default: return "flag";
  }
}

py::dict operations(const OperationCount& count) {
  return py::dict(py::arg("add") = count.add, py::arg("multiply") = count.multiply,
                  py::arg("divide") = count.divide, py::arg("root") = count.root,
                  py::arg("compare") = count.compare);
}

}  // namespace

py::dict describe(const RuleInfo& rule) {
  py::list hypers, slots, scalars, forms, costs;
  for (const HyperInfo& hyper : rule.hypers)
    hypers.append(py::dict(py::arg("name") = hyper.name, py::arg("default") = hyper.standard,
                           py::arg("range") = range_name(hyper.range), py::arg("doc") = hyper.doc));
  for (const SlotInfo& slot : rule.slots)
    slots.append(
        py::dict(py::arg("name") = slot.name, py::arg("always") = slot.always, py::arg("doc") = slot.doc));
  for (const ScalarInfo& scalar : rule.scalars)
    scalars.append(py::dict(py::arg("name") = scalar.name, py::arg("doc") = scalar.doc));
  for (const FormInfo& form : rule.forms)
    forms.append(
        py::dict(py::arg("name") = form.name, py::arg("hypers") = form.hypers, py::arg("doc") = form.doc));
  for (const OperationCount& count : rule.operations) costs.append(operations(count));
  const py::dict traits(py::arg("first_moment") = rule.traits.first_moment,
                        py::arg("second_moment") = rule.traits.second_moment,
                        py::arg("bias_correction") = rule.traits.bias_correction,
                        py::arg("decay") = rule.traits.decay, py::arg("use") = rule.traits.use);
  return py::dict(py::arg("name") = rule.name, py::arg("function") = rule.function,
                  py::arg("year") = rule.year, py::arg("summary") = rule.summary,
                  py::arg("paper") = rule.paper, py::arg("traits") = traits, py::arg("hypers") = hypers,
                  py::arg("slots") = slots, py::arg("forms") = forms, py::arg("has_point") = rule.has_point,
                  py::arg("scalars") = scalars, py::arg("is_global") = rule.is_global,
                  py::arg("sums") = rule.sums, py::arg("operations") = costs);
}

void bind_catalog(py::module_& module) {
  module.def(
      "catalog",
      [] {
        py::list rules;
        for (const RuleInfo& rule : catalog()) rules.append(describe(rule));
        return rules;
      },
      "Every rule's facts, in the order of the table.");
}

}  // namespace schuss
