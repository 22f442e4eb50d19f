#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "cuda_arrays.hpp"
#include "dispatch.hpp"
#include "plan.hpp"
#include "rules.hpp"
#include "session.hpp"
#include "threads.hpp"

namespace schuss {

void bind_catalog(py::module_& module);
void bind_arrays(py::module_& module);
void bind_gradients(py::module_& module);
void bind_shadow(py::module_& module);
namespace {

void set_threads(const py::object& threads) {
  if (!PyIndex_Check(threads.ptr()) || PyBool_Check(threads.ptr()))
    throw py::type_error("threads is " + std::string(py::repr(threads)) + " (" +
                         Py_TYPE(threads.ptr())->tp_name + "), expected a whole number");
  const Py_ssize_t count = PyNumber_AsSsize_t(threads.ptr(), nullptr);  // held within its range
  set_thread_count(int(std::clamp<Py_ssize_t>(count, -1, 1 << 30)));
}

}  // namespace
}  // namespace schuss

void bind_schedules(pybind11::module_& module);
void bind_scaling(pybind11::module_& module);

PYBIND11_MODULE(_core, module) {
  using namespace schuss;
  module.attr("__version__") = SCHUSS_VERSION;
  module.attr("levels") = levels_here();
  module.attr("thread_runtime") = thread_runtime();
  // Not while the module is made: an error there would come out as an ImportError.
  module.def(
      "start", [] { return thread_count(), std::string(level().name); },
      "The level in use. A wrong SCHUSS_CPU_LEVEL or SCHUSS_NUM_THREADS is a ValueError.");
  module.attr("elements_per_thread") = kElementsPerThread;
  module.def("get_num_threads", &thread_count, R"(Threads a large step is spread over.

Examples
--------
>>> import schuss
>>> schuss.get_num_threads() >= 1
True
)");
  module.def("set_num_threads", &set_threads, py::arg("threads"),
             R"(Spread large steps over so many threads. The bits of a step do not depend on it.

Parameters
----------
threads : int
    At least 1. At first: SCHUSS_NUM_THREADS, or what OpenMP takes.

Raises
------
TypeError, ValueError
    For anything but a whole number of at least 1.

Examples
--------
>>> import schuss
>>> before = schuss.get_num_threads()
>>> schuss.set_num_threads(1)
>>> schuss.get_num_threads()
1
>>> schuss.set_num_threads(before)
)");
  bind_catalog(module);
  bind_own_rule(module);
  bind_schedules(module);
  bind_scaling(module);
  bind_step_info(module);
  bind_stepper(module);
  bind_numbers(module);
  bind_cuda_arrays(module);
  bind_session(module);
  bind_arrays(module);
  bind_gradients(module);
  bind_shadow(module);
}
