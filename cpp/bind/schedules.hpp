// Schedules between Python and C++.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "schuss/control/schedule.hpp"

namespace schuss {

// A schedule, a number, or a Python function of the step. The result calls Python where it holds a function:
// evaluate it with the interpreter's lock held.
Schedule as_schedule(pybind11::handle value, const std::string& name);

// Whether it holds a Python function anywhere: then it cannot be written down.
bool holds_function(const Schedule& schedule);

}  // namespace schuss

void bind_schedules(pybind11::module_& module);
