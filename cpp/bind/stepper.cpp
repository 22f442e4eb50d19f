// Stepper: the base of every optimizer class. Its step() is a plain C method, since a pybind11 method
// would cost a third of a small step.
#include "session.hpp"

namespace schuss {
namespace {

struct Stepper {
  PyObject_HEAD PyObject* owner;  // the Session as Python holds it
  Session* session;
};

Stepper* self(PyObject* object) { return reinterpret_cast<Stepper*>(object); }

Session& session_of(PyObject* object) {
  if (!self(object)->session) throw py::value_error("this optimizer was not initialised");
  return *self(object)->session;
}

template <class Call>
PyObject* guarded(Call call) {
  try {
    return call();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* step(PyObject* object, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  const bool named = count == 0 && names && PyTuple_GET_SIZE(names) == 1 &&
                     PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "grads") == 0;
  if (!named && (count != 1 || (names && PyTuple_GET_SIZE(names) != 0))) {
    PyErr_SetString(PyExc_TypeError, "step() takes the gradients and nothing else: opt.step(grads)");
    return nullptr;
  }
  return guarded([&] { return session_of(object).step(arguments[0]); });
}

PyObject* flush(PyObject* object, PyObject*) {
  return guarded([&] { return session_of(object).flush(); });
}

PyObject* get_session(PyObject* object, void*) {
  PyObject* owner = self(object)->owner ? self(object)->owner : Py_None;
  Py_INCREF(owner);
  return owner;
}

int set_session(PyObject* object, PyObject* value, void*) {
  const auto set = [&]() -> PyObject* {
    if (!value) throw py::type_error("the session cannot be taken away");
    self(object)->session = py::handle(value).cast<Session*>();
    Py_INCREF(value);
    Py_XSETREF(self(object)->owner, value);
    return value;
  };
  return guarded(set) ? 0 : -1;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self(object)->owner);
  return 0;
}

int clear(PyObject* object) {
  self(object)->session = nullptr;
  Py_CLEAR(self(object)->owner);
  return 0;
}

void release(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_FASTCALL | METH_KEYWORDS,
     "step(grads)\n--\n\n"
     "Apply one step in place.\n\n"
     "Parameters\n----------\n"
     "grads : same structure as the parameters\n"
     "    Gradients, each of its parameter's shape; None leaves a parameter, its slots and its clock "
     "alone.\n\n"
     "Returns\n-------\n"
     "StepInfo\n"
     "    ``.step``, ``.lr``, ``.grad_norm``, ``.clip_coef``, ``.skipped``, ``.pending``.\n\n"
     "Raises\n------\n"
     "TypeError, ValueError\n"
     "    Naming the leaf, before anything is written.\n"
     "FloatingPointError\n"
     "    With ``nonfinite=\"raise\"``, for a norm that is not finite; nothing is written.\n"},
    {"flush", flush, METH_NOARGS,
     "flush()\n--\n\n"
     "Take the real step with the micro-gradients held so far, as their mean; None where there are none."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef getters[] = {{"_session", get_session, set_session, nullptr, nullptr},
                         {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_methods, methods},
                       {Py_tp_getset, getters},
                       {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {0, nullptr}};

PyType_Spec spec = {"schuss._core.Stepper", sizeof(Stepper), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

void bind_stepper(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  module.attr("Stepper") = type;
}

}  // namespace schuss
