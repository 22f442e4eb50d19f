// StepInfo: a small C struct, so that a step pays for no boxed number that nobody reads. What a device did is
// fetched when it is first asked for.
#include <pybind11/pybind11.h>
#include <structmember.h>

#include <cstddef>
#include <utility>

#include "session.hpp"

namespace schuss {
namespace {

struct StepInfo {
  PyObject_HEAD long long step;
  double lr, grad_norm, clip_coef;
  char has_norm, skipped;
  int pending;
  PyObject* fetch;  // gives the rest of it; null once it is there
};

PyTypeObject* step_info_type = nullptr;
PyObject* spare = nullptr;  // the last one freed: a step mostly takes the place of the one before

StepInfo* self(PyObject* object) { return reinterpret_cast<StepInfo*>(object); }

void put(StepInfo* info, const Outcome& outcome) {
  info->step = outcome.step;
  info->lr = outcome.lr;
  info->grad_norm = outcome.grad_norm;
  info->clip_coef = outcome.clip_coef;
  info->has_norm = outcome.has_norm;
  info->skipped = outcome.skipped;
  info->pending = outcome.pending;
}

// False with a Python error set; then the next reader tries again.
bool fetched(PyObject* object) {
  if (!self(object)->fetch) return true;
  const auto fetch = py::reinterpret_borrow<py::object>(self(object)->fetch);
  const auto given = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(fetch.ptr()));
  if (!given) return false;
  long long step = 0;
  PyObject* norm = nullptr;
  int skipped = 0;
  Outcome got;
  if (!PyArg_ParseTuple(given.ptr(), "LdOdp", &step, &got.lr, &norm, &got.clip_coef, &skipped)) return false;
  got.step = step;
  got.has_norm = norm != Py_None;
  if (got.has_norm) got.grad_norm = PyFloat_AsDouble(norm);
  if (PyErr_Occurred()) return false;
  got.skipped = skipped != 0;
  got.pending = self(object)->pending;
  put(self(object), got);
  // A captured step is asked anew each time: it is what its graph did last.
  if (!py::getattr(fetch, "live", py::bool_(false)).cast<bool>()) Py_CLEAR(self(object)->fetch);
  return true;
}

PyObject* step(PyObject* object, void*) {
  return fetched(object) ? PyLong_FromLongLong(self(object)->step) : nullptr;
}

PyObject* lr(PyObject* object, void*) {
  return fetched(object) ? PyFloat_FromDouble(self(object)->lr) : nullptr;
}

PyObject* clip_coef(PyObject* object, void*) {
  return fetched(object) ? PyFloat_FromDouble(self(object)->clip_coef) : nullptr;
}

PyObject* skipped(PyObject* object, void*) {
  return fetched(object) ? PyBool_FromLong(self(object)->skipped) : nullptr;
}

PyObject* grad_norm(PyObject* object, void*) {
  if (!fetched(object)) return nullptr;
  if (!self(object)->has_norm) Py_RETURN_NONE;
  return PyFloat_FromDouble(self(object)->grad_norm);
}

PyObject* repr(PyObject* object) {
  if (!fetched(object)) return nullptr;
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
  PyObject_GC_UnTrack(object);  // those of the CPU were never tracked, which this allows
  Py_CLEAR(self(object)->fetch);
  if (!spare) spare = object;
  else PyObject_GC_Del(object);
  Py_DECREF(type);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self(object)->fetch);
  return 0;
}

int clear(PyObject* object) {
  Py_CLEAR(self(object)->fetch);
  return 0;
}

PyMemberDef members[] = {{"pending", T_INT, offsetof(StepInfo, pending), READONLY,
                          "Micro-gradients held since the last real step."},
                         {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef getters[] = {
    {"step", step, nullptr, "Real steps done, this one included.", nullptr},
    {"lr", lr, nullptr, "Learning rate of the first group in this step.", nullptr},
    {"clip_coef", clip_coef, nullptr, "Factor that clipping put on the gradients; 1.0: none.", nullptr},
    {"skipped", skipped, nullptr, "Whether a norm that is not finite kept the step from being taken.",
     nullptr},
    {"grad_norm", grad_norm, nullptr,
     "Norm of the unscaled mean gradient before clipping; None where nothing asked for it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_members, members},
                       {Py_tp_getset, getters},
                       {Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_doc, const_cast<char*>("What a step did.")},
                       {0, nullptr}};

#if PY_VERSION_HEX >= 0x030A0000
constexpr unsigned kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION;
#endif

PyType_Spec spec = {"schuss._core.StepInfo", sizeof(StepInfo), 0, kFlags, slots};

py::object lazy_step_info(const py::function& fetch, int pending) {
  Outcome unknown;
  unknown.pending = pending;
  const auto info = py::reinterpret_steal<py::object>(make_step_info(unknown));
  self(info.ptr())->fetch = py::object(fetch).release().ptr();
  PyObject_GC_Track(info.ptr());
  return info;
}

}  // namespace

// Not tracked by the collector: it holds nothing.
PyObject* make_step_info(const Outcome& outcome) {
  PyObject* const reused = std::exchange(spare, nullptr);
  StepInfo* const info =
      reused ? self(PyObject_Init(reused, step_info_type)) : PyObject_GC_New(StepInfo, step_info_type);
  if (!info) throw py::error_already_set();
  info->fetch = nullptr;
  put(info, outcome);
  return reinterpret_cast<PyObject*>(info);
}

int pending_of(const py::object& info) {
  if (Py_TYPE(info.ptr()) != step_info_type)
    throw py::type_error("the device's engine gave " + kind_of(info.ptr()) + ", expected a StepInfo");
  return self(info.ptr())->pending;
}

void bind_step_info(py::module_& module) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  step_info_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  Py_INCREF(type.ptr());  // for as long as the process
  module.attr("StepInfo") = type;
  module.def("lazy_step_info", &lazy_step_info, py::arg("fetch"), py::arg("pending"),
             "A StepInfo that calls fetch() -> (step, lr, grad_norm, clip_coef, skipped) when first read.");
}

}  // namespace schuss
