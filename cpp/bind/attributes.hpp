// Attributes of Python objects by names that are made once: a step over thousands of arrays asks for many.
#pragma once
#include <pybind11/pybind11.h>

namespace schuss {

namespace py = pybind11;

struct Name {
  PyObject* const text;
  explicit Name(const char* name) : text(PyUnicode_InternFromString(name)) {}
};

inline py::object owned(PyObject* result) {
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

inline py::object get(PyObject* object, const Name& name) {
  return owned(PyObject_GetAttr(object, name.text));
}

inline py::object call(PyObject* object, const Name& method) {
  return owned(PyObject_CallMethodNoArgs(object, method.text));
}

inline bool truth(const py::object& object) {
  const int result = PyObject_IsTrue(object.ptr());
  if (result < 0) throw py::error_already_set();
  return result == 1;
}

inline long long whole(PyObject* object) {
  const long long result = PyLong_AsLongLong(object);
  if (result == -1 && PyErr_Occurred()) throw py::error_already_set();
  return result;
}

inline char* address(const py::object& object) {
  const unsigned long long result = PyLong_AsUnsignedLongLong(object.ptr());
  if (PyErr_Occurred()) throw py::error_already_set();
  return reinterpret_cast<char*>(static_cast<std::uintptr_t>(result));
}

}  // namespace schuss
