#include "cuda_arrays.hpp"

#include "attributes.hpp"

namespace schuss {
namespace {

// The class of CuPy's arrays. Held as long as the process, like the module that it was found in.
PyTypeObject* cupy_class() {
  static const Name cupy("cupy"), ndarray("ndarray");
  static PyObject* known = nullptr;
  static PyTypeObject* type = nullptr;
  PyObject* const module = PyDict_GetItemWithError(PyImport_GetModuleDict(), cupy.text);
  if (!module) return nullptr;
  if (module == known) return type;
  PyObject* const found = PyObject_GetAttr(module, ndarray.text);
  if (!found) PyErr_Clear();  // it is only just being imported
  if (!found || !PyType_Check(found)) return nullptr;
  Py_INCREF(module);
  known = module;
  type = reinterpret_cast<PyTypeObject*>(found);
  return type;
}

bool lies_in_c_order(PyObject* object) {
  static const Name flag("_c_contiguous"), flags("flags"), c_contiguous("c_contiguous");
  if (PyObject* const own = PyObject_GetAttr(object, flag.text)) return truth(owned(own));
  PyErr_Clear();
  return truth(get(get(object, flags).ptr(), c_contiguous));
}

// What Python asks CUDA for us.
struct Hooks {
  py::object stream, wait, device_of;
};

Hooks& hooks() {
  static Hooks& hooks = *new Hooks;  // no destructor runs after the interpreter is gone
  return hooks;
}

const Hooks& loaded_hooks() {
  if (!hooks().stream) py::module_::import("schuss._engine.cuda.runtime");
  if (!hooks().stream) throw std::logic_error("nothing has set the hooks that ask CUDA");
  return hooks();
}

thread_local bool of_torch = false;

int64_t current_stream(int device) { return loaded_hooks().stream(device, of_torch).cast<int64_t>(); }

void set_stream_hook(py::object stream, py::object wait, py::object device_of) {
  hooks() = {std::move(stream), std::move(wait), std::move(device_of)};
}

}  // namespace

OnTorchStream::OnTorchStream(bool torch) : before_(of_torch) { of_torch = torch; }
OnTorchStream::~OnTorchStream() { of_torch = before_; }

bool is_cupy(PyObject* object) {
  PyTypeObject* const type = cupy_class();
  return type && PyObject_TypeCheck(object, type);
}

bool read_cupy(PyObject* object, ArrayRef& array, Refusal& refusal) {
  static const Name dtype("dtype"), data("data"), ptr("ptr"), device_id("device_id"), shape("shape"),
      strides("strides");
  if (!numpy_format(get(object, dtype).ptr(), array.format, refusal)) return false;
  const py::object memory = get(object, data);
  array.data = address(get(memory.ptr(), ptr));
  array.device = int(whole(get(memory.ptr(), device_id).ptr()));
  lay_out(array, get(object, shape), lies_in_c_order(object) ? py::object() : get(object, strides), 1);
  array.writable = true;
  array.torch = false;
  return check_cuda(array, refusal);
}

bool is_cupy_at(PyObject* object, const char* data, int dimensions, const int64_t* shape) {
  static const Name data_name("data"), ptr("ptr"), shape_name("shape");
  if (address(get(get(object, data_name).ptr(), ptr)) != data) return false;
  const py::object now = get(object, shape_name);
  if (!PyTuple_Check(now.ptr()) || PyTuple_GET_SIZE(now.ptr()) != dimensions) return false;
  for (int d = 0; d < dimensions; ++d)
    if (whole(PyTuple_GET_ITEM(now.ptr(), d)) != shape[d]) return false;
  return true;
}

bool read_cuda_interface(PyObject* object, ArrayRef& array, Refusal& refusal) {
  static const Name interface("__cuda_array_interface__");
  const py::dict given = get(object, interface);
  const auto entry = [&](const char* name) {
    return given.contains(name) ? py::object(given[name]) : py::object(py::none());
  };
  if (!entry("mask").is_none())
    return refusal = {true, kind_of(object) + ", whose mask a step would not heed; expected a plain array"},
           false;
  const py::dtype type{entry("typestr").cast<std::string>()};
  if (!numpy_format(type.ptr(), array.format, refusal)) return false;
  const auto data = entry("data").cast<py::tuple>();
  array.data = address(data[0]);
  array.writable = !truth(data[1]);
  array.torch = false;
  array.device = loaded_hooks().device_of(data[0]).cast<int>();
  if (array.device < 0)
    return refusal = {false, kind_of(object) +
                                 " whose memory no CUDA device knows, expected one that is alive (was its "
                                 "buffer deleted?)"},
           false;
  const py::object strides = entry("strides");
  lay_out(array, entry("shape"), strides.is_none() ? py::object() : strides, 1);
  const py::object stream = entry("stream");
  if (!stream.is_none() && stream.cast<int64_t>() != dlpack_stream(array.device))
    loaded_hooks().wait(array.device, stream, of_torch);
  return check_cuda(array, refusal);
}

// Both protocols call the legacy default stream 1, since 0 could mean another one too.
int64_t dlpack_stream(int device) {
  const int64_t stream = current_stream(device);
  return stream == 0 ? 1 : stream;
}

bool check_cuda(const ArrayRef& array, Refusal& refusal) {
  if (array.format == Format::f16)
    return refusal =
               {true,
                "float16 on a CUDA device, where Schuss steps float64, float32 and bfloat16; use one of "
                "those, or keep float16 on the CPU"},
           false;
  const auto size = int64_t(size_of(array.format));
  bool aligned = reinterpret_cast<std::uintptr_t>(array.data) % std::uintptr_t(size) == 0;
  for (int d = 0; d < array.dimensions; ++d)
    aligned = aligned && (array.shape[d] < 2 || array.strides[d] % size == 0);
  if (aligned || array.count() == 0) return true;
  refusal = {false, "elements that do not lie at multiples of their " + std::to_string(size) +
                        " bytes, which a device cannot read; pass a copy"};
  return false;
}

void bind_cuda_arrays(py::module_& module) {
  module.def("set_stream_hook", &set_stream_hook, py::arg("stream"), py::arg("wait"), py::arg("device_of"),
             "What asks CUDA: stream(device, of_torch) -> int, the current one of CuPy or of torch; "
             "wait(device, stream, "
             "of_torch), to make that one wait for another; device_of(pointer) -> int, below 0 where none "
             "knows it.");
}

}  // namespace schuss
