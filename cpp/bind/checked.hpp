// Python values to C++ ones, with errors that name the argument, what it is and what was expected.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

namespace schuss {
namespace checked {

namespace py = pybind11;

[[noreturn]] inline void wrong_type(const std::string& name, py::handle value, const std::string& expected) {
  throw py::type_error(name + " is " + std::string(py::repr(value)) + ", expected " + expected);
}

inline bool is_boolean(py::handle value) {
  return PyBool_Check(value.ptr()) || std::string(Py_TYPE(value.ptr())->tp_name).rfind("numpy.bool", 0) == 0;
}

// An array of many has __float__ and __index__ too; one without dimensions refuses len().
inline bool is_single(py::handle value) {
  if (!py::hasattr(value, "__len__")) return true;
  if (PyObject_Size(value.ptr()) >= 0) return false;
  PyErr_Clear();
  return true;
}

inline bool is_integer(py::handle value) {
  if (PyLong_CheckExact(value.ptr())) return true;
  if (is_boolean(value) || !PyIndex_Check(value.ptr()) || !is_single(value)) return false;
  // Every 0-d array and tensor has __index__, which those of floats refuse.
  const auto whole = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!whole) PyErr_Clear();
  return static_cast<bool>(whole);
}

// Anything with __float__ or __index__ but a bool.
inline bool is_number(py::handle value) {
  if (PyFloat_Check(value.ptr()) || PyLong_CheckExact(value.ptr())) return true;
  const PyNumberMethods* methods = Py_TYPE(value.ptr())->tp_as_number;
  return is_integer(value) || (!is_boolean(value) && methods && methods->nb_float && is_single(value));
}

inline std::int64_t integer(py::handle value, const std::string& name) {
  if (!is_integer(value)) wrong_type(name, value, "an integer");
  const auto whole = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!whole) throw py::error_already_set();
  int overflow = 0;
  const long long result = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
  if (overflow)
    throw py::value_error(name + " is " + std::string(py::str(whole)) + ", expected an integer of 64 bits");
  return result;
}

inline double number(py::handle value, const std::string& name) {
  if (!is_number(value)) wrong_type(name, value, "a number");
  const double result = PyFloat_AsDouble(value.ptr());
  if (result == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    wrong_type(name, value, "a number");
  }
  return result;
}

inline bool boolean(py::handle value, const std::string& name) {
  if (!is_boolean(value)) wrong_type(name, value, "True or False");
  return PyObject_IsTrue(value.ptr()) == 1;
}

}  // namespace checked
}  // namespace schuss
