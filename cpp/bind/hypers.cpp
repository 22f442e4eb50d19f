// Settings as Python gives them: numbers, schedules, functions of the step.
#include "schedules.hpp"
#include "session.hpp"

namespace schuss {
namespace {

[[noreturn]] void refuse_hyper(const std::string& where, const py::handle& value,
                               const std::string& expected) {
  throw py::type_error(where + " is " + std::string(py::repr(value)) + " (" + Py_TYPE(value.ptr())->tp_name +
                       "), expected " + expected);
}

bool is_number(const py::handle& value) {
  return !PyBool_Check(value.ptr()) && !PyUnicode_Check(value.ptr()) && !PyBytes_Check(value.ptr()) &&
         PyNumber_Check(value.ptr()) && !PyComplex_Check(value.ptr());
}

double number(const std::string& where, const py::handle& value, const std::string& expected) {
  if (!is_number(value)) refuse_hyper(where, value, expected);
  const double x = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse_hyper(where, value, expected);
  }
  return x;
}

// The function is borrowed: whoever keeps the hyper holds it.
std::function<double(int64_t)> from_callable(const std::string& where, const py::handle& callable) {
  return [where, callable](int64_t step) {
    py::gil_scoped_acquire gil;
    const py::object value = callable(step);
    return number(where + " at step " + std::to_string(step), value, "a number from its schedule");
  };
}

}  // namespace

Hyper read_hyper(const RuleInfo& rule, int index, const py::handle& value) {
  const HyperInfo& info = rule.hypers[std::size_t(index)];
  Hyper hyper;
  if (info.range == Range::flag ? PyBool_Check(value.ptr()) : PyFloat_CheckExact(value.ptr())) {
    hyper.value = PyFloat_AsDouble(value.ptr());
    return hyper;
  }
  const std::string where = rule.name + "(): " + info.name;
  if (info.range == Range::flag) {
    if (PyCallable_Check(value.ptr()))
      refuse_hyper(where, value, "True or False: it decides which slots there are");
    hyper.value = number(where, value, "True or False");
  } else if (py::isinstance<Schedule>(value)) {
    const auto schedule = value.cast<Schedule>();
    if (holds_function(schedule)) hyper.schedule = from_callable(where, value);
    else hyper.schedule = schedule;
  } else if (is_number(value)) {
    hyper.value = number(where, value, "a number, a schedule or a callable step -> float");
  } else if (PyCallable_Check(value.ptr())) {
    hyper.schedule = from_callable(where, value);
  } else {
    refuse_hyper(where, value, "a number, a schedule or a callable step -> float");
  }
  return hyper;
}

std::vector<Hyper> read_hypers(const RuleInfo& rule, const py::dict& hypers) {
  std::vector<Hyper> values;
  values.reserve(rule.hypers.size());
  for (std::size_t i = 0; i < rule.hypers.size(); ++i) {
    PyObject* value = PyDict_GetItemString(hypers.ptr(), rule.hypers[i].name.c_str());
    if (!value) throw py::key_error(rule.hypers[i].name);
    values.push_back(read_hyper(rule, int(i), value));
  }
  return values;
}

}  // namespace schuss
