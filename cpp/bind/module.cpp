#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "dispatch.hpp"
#include "session.hpp"
#include "threads.hpp"

namespace schuss {

void bind_catalog(py::module_& module);
void bind_arrays(py::module_& module);
}  // namespace schuss

void bind_schedules(pybind11::module_& module);
void bind_scaling(pybind11::module_& module);

PYBIND11_MODULE(_core, module) {
  using namespace schuss;
  module.attr("__version__") = SCHUSS_VERSION;
  module.attr("level") = level().name;  // a wrong SCHUSS_CPU_LEVEL stops the import
  module.attr("levels") = levels_here();
  module.attr("thread_runtime") = thread_runtime();
  thread_count();  // as does a wrong SCHUSS_NUM_THREADS
  module.def("get_num_threads", &thread_count);
  module.def("set_num_threads", &set_thread_count, py::arg("threads"));
  bind_catalog(module);
  bind_schedules(module);
  bind_scaling(module);
  bind_step_info(module);
  bind_stepper(module);
  bind_session(module);
  bind_arrays(module);
}
