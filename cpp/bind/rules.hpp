// How Python names a rule to the core: by its plain function, or by the handle of one of the user's own.
#pragma once
#include <pybind11/pybind11.h>

#include <memory>

#include "schuss/catalog.hpp"

namespace schuss {

namespace py = pybind11;

struct RuleHandle {
  std::shared_ptr<const RuleInfo> rule;
};

std::shared_ptr<const RuleInfo> rule_of(const py::handle& rule);
py::dict describe(const RuleInfo& rule);
void bind_own_rule(py::module_& module);

}  // namespace schuss
