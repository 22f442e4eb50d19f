// StepInfo: a small C struct, so that a step pays for no boxed number that nobody reads.
#include <pybind11/pybind11.h>
#include <structmember.h>

#include <cstddef>

#include "session.hpp"

namespace schuss {
namespace {

struct StepInfo {
  PyObject_HEAD long long step;
  double lr, grad_norm, clip_coef;
  char has_norm, skipped;
  int pending;
};

PyTypeObject* step_info_type = nullptr;

StepInfo* self(PyObject* object) { return reinterpret_cast<StepInfo*>(object); }

PyObject* grad_norm(PyObject* object, void*) {
  if (!self(object)->has_norm) Py_RETURN_NONE;
  return PyFloat_FromDouble(self(object)->grad_norm);
}

PyObject* repr(PyObject* object) {
  const StepInfo* info = self(object);
  const auto number = [](double x) { return std::string(py::repr(py::float_(x))); };
  const std::string text = "StepInfo(step=" + std::to_string(info->step) + ", lr=" + number(info->lr) +
                           ", grad_norm=" + (info->has_norm ? number(info->grad_norm) : "None") +
                           ", clip_coef=" + number(info->clip_coef) +
                           ", skipped=" + (info->skipped ? "True" : "False") +
                           ", pending=" + std::to_string(info->pending) + ")";
  return PyUnicode_FromString(text.c_str());
}

void release(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_Free(object);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"step", T_LONGLONG, offsetof(StepInfo, step), READONLY, "Real steps done, this one included."},
    {"lr", T_DOUBLE, offsetof(StepInfo, lr), READONLY, "Learning rate of the first group in this step."},
    {"clip_coef", T_DOUBLE, offsetof(StepInfo, clip_coef), READONLY,
     "Factor that clipping put on the gradients; 1.0: none."},
    {"skipped", T_BOOL, offsetof(StepInfo, skipped), READONLY,
     "Whether a norm that is not finite kept the step from being taken."},
    {"pending", T_INT, offsetof(StepInfo, pending), READONLY,
     "Micro-gradients held since the last real step."},
    {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef getters[] = {
    {"grad_norm", grad_norm, nullptr,
     "Norm of the unscaled mean gradient before clipping; None where nothing asked for it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_members, members},
                       {Py_tp_getset, getters},
                       {Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(release)},
                       {Py_tp_doc, const_cast<char*>("What a step did.")},
                       {0, nullptr}};

#if PY_VERSION_HEX >= 0x030A0000
constexpr unsigned kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
#endif

PyType_Spec spec = {"schuss._core.StepInfo", sizeof(StepInfo), 0, kFlags, slots};

}  // namespace

PyObject* make_step_info(const Outcome& outcome) {
  StepInfo* info = PyObject_New(StepInfo, step_info_type);
  if (!info) throw py::error_already_set();
  info->step = outcome.step;
  info->lr = outcome.lr;
  info->grad_norm = outcome.grad_norm;
  info->clip_coef = outcome.clip_coef;
  info->has_norm = outcome.has_norm;
  info->skipped = outcome.skipped;
  info->pending = outcome.pending;
  return reinterpret_cast<PyObject*>(info);
}

void bind_step_info(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  step_info_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  Py_INCREF(type.ptr());  // for as long as the process
  module.attr("StepInfo") = type;
}

}  // namespace schuss
