#include "array_ref.hpp"

#include "attributes.hpp"
#include "cuda_arrays.hpp"
#include "dlpack.hpp"

namespace schuss {
namespace {

constexpr int kCContiguous = 0x0001, kAligned = 0x0100, kWriteable = 0x0400;

// References that live as long as the process: no destructor runs after the interpreter is gone.
struct NumpyTypes {
  std::vector<std::pair<PyObject*, Format>> known;
  NumpyTypes() {
    known.emplace_back(py::dtype::of<float>().release().ptr(), Format::f32);
    known.emplace_back(py::dtype::of<double>().release().ptr(), Format::f64);
    known.emplace_back(py::dtype("e").release().ptr(), Format::f16);
  }
};

NumpyTypes& numpy_types() {
  static NumpyTypes& types = *new NumpyTypes;
  return types;
}

inline bool is_known(PyObject* dtype, Format& format) {
  for (const auto& [known, its] : numpy_types().known)
    if (known == dtype) {
      format = its;
      return true;
    }
  return false;
}

bool is_exactly_ndarray(PyObject* object) {
  return reinterpret_cast<PyObject*>(Py_TYPE(object)) ==
         reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
}

bool read_numpy(PyObject* object, ArrayRef& array, Refusal& refusal) {
  const auto* proxy = py::detail::array_proxy(object);
  if (!is_exactly_ndarray(object) && PyObject_HasAttrString(object, "mask"))
    return refusal = {true, kind_of(object) +
                                ", whose mask a step would not heed; expected a plain array (its .data)"},
           false;
  static_assert(sizeof(*proxy->dimensions) == sizeof(int64_t));
  array.data = proxy->data;
  array.dimensions = proxy->nd;
  array.shape = reinterpret_cast<const int64_t*>(proxy->dimensions);
  array.strides = reinterpret_cast<const int64_t*>(proxy->strides);
  array.c_order = (proxy->flags & (kCContiguous | kAligned)) == (kCContiguous | kAligned);
  array.writable = (proxy->flags & kWriteable) != 0;
  array.torch = false;
  return is_known(proxy->descr, array.format) || numpy_format(proxy->descr, array.format, refusal);
}

struct Torch {
  PyTypeObject* tensor = nullptr;
  PyObject *f64 = nullptr, *f32 = nullptr, *bf16 = nullptr, *f16 = nullptr, *strided = nullptr;
};

// Empty until somebody else has imported torch.
const Torch& torch_types() {
  static Torch types;
  if (types.tensor) return types;
  static const Name name("torch");
  PyObject* module = PyDict_GetItemWithError(PyImport_GetModuleDict(), name.text);
  if (!module || !PyObject_HasAttrString(module, "strided")) return types;
  const auto torch = py::reinterpret_borrow<py::object>(module);
  types.f64 = torch.attr("float64").cast<py::object>().release().ptr();
  types.f32 = torch.attr("float32").cast<py::object>().release().ptr();
  types.bf16 = torch.attr("bfloat16").cast<py::object>().release().ptr();
  types.f16 = torch.attr("float16").cast<py::object>().release().ptr();
  types.strided = torch.attr("strided").cast<py::object>().release().ptr();
  types.tensor = reinterpret_cast<PyTypeObject*>(torch.attr("Tensor").cast<py::object>().release().ptr());
  return types;
}

bool dense_rows(const ArrayRef& array) {
  if (array.count() == 0) return true;  // whatever its strides
  int64_t expected = int64_t(size_of(array.format));
  for (int d = array.dimensions - 1; d >= 0; --d) {
    if (array.shape[d] != 1 && array.strides[d] != expected) return false;
    expected *= array.shape[d];
  }
  return true;
}

bool is_aligned(const ArrayRef& array) {
  return reinterpret_cast<std::uintptr_t>(array.data) % size_of(array.format) == 0;
}

// Of CUDA tensors nothing more is asked than of the CPU's but where they are.
bool read_torch(PyObject* object, ArrayRef& array, Refusal& refusal) {
  static const Name dtype_name("dtype"), is_cpu("is_cpu"), is_cuda("is_cuda"), get_device("get_device"),
      device("device"), layout_name("layout"), is_neg("is_neg"), shape("shape"),
      is_contiguous("is_contiguous"), stride("stride"), data_ptr("data_ptr");
  const Torch& torch = torch_types();
  const auto text = [](const py::object& value) { return std::string(py::str(value)); };
  const py::object dtype = get(object, dtype_name);
  if (dtype.ptr() == torch.f32) array.format = Format::f32;
  else if (dtype.ptr() == torch.f64) array.format = Format::f64;
  else if (dtype.ptr() == torch.bf16) array.format = Format::bf16;
  else if (dtype.ptr() == torch.f16) array.format = Format::f16;
  else return refusal = {true, "dtype " + text(dtype) + ", expected " + kFormatNames}, false;
  const bool on_cpu = truth(get(object, is_cpu));
  if (!on_cpu && !truth(get(object, is_cuda)))
    return refusal = {false, "on device " + text(get(object, device)) + ", expected the CPU or CUDA"}, false;
  const py::object layout = get(object, layout_name);
  if (layout.ptr() != torch.strided)
    return refusal = {true, "a torch tensor of layout " + text(layout) + ", expected a strided one"}, false;
  if (truth(call(object, is_neg)))
    return refusal = {false, "a torch tensor whose sign is pending, expected its values: x.resolve_neg()"},
           false;
  array.device = on_cpu ? -1 : int(whole(call(object, get_device).ptr()));
  array.data = address(call(object, data_ptr));
  lay_out(array, get(object, shape), truth(call(object, is_contiguous)) ? py::object() : call(object, stride),
          int64_t(size_of(array.format)));
  array.writable = true;
  array.torch = true;
  return on_cpu || check_cuda(array, refusal);
}

bool is_jax(PyObject* object) {
  const std::string module = py::str(
      py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(object))).attr("__module__"));
  return module.rfind("jax", 0) == 0;
}

bool read_dlpack(PyObject* object, ArrayRef& array, Refusal& refusal) {
  const auto source = py::reinterpret_borrow<py::object>(object);
  const py::tuple device = source.attr("__dlpack_device__")();
  const int type = device[0].cast<int>();
  const bool on_cuda = type == dlpack::kCUDA || type == dlpack::kCUDAManaged;
  if (type != dlpack::kCPU && !on_cuda)
    return refusal = {false, "on a device that is neither the CPU nor CUDA, expected one of them"}, false;
  array.device = on_cuda ? device[1].cast<int>() : -1;
  dlpack::Import import;
  if (!dlpack::import(source, array.device, import, refusal)) return false;
  array.own = std::move(import.shape_and_strides);
  array.dimensions = import.dimensions;
  array.format = import.format;
  array.data = import.data;
  array.shape = array.own.data();
  array.strides = array.own.data() + import.dimensions;
  array.writable = !import.read_only;
  array.c_order = dense_rows(array) && is_aligned(array);
  array.torch = false;
  array.keep = std::move(import.capsule);
  return !on_cuda || check_cuda(array, refusal);
}

}  // namespace

bool numpy_format(PyObject* dtype, Format& format, Refusal& refusal) {
  if (is_known(dtype, format)) return true;
  const auto type = py::reinterpret_borrow<py::dtype>(dtype);
  const std::string name = py::str(static_cast<py::handle>(type));
  const bool native = type.attr("isnative").cast<bool>();
  if (native && type.kind() == 'f' && type.itemsize() == 4) format = Format::f32;
  else if (native && type.kind() == 'f' && type.itemsize() == 8) format = Format::f64;
  else if (native && type.kind() == 'f' && type.itemsize() == 2) format = Format::f16;
  else if (native && name == "bfloat16" && type.itemsize() == 2) format = Format::bf16;
  else {
    refusal = {true, "dtype " + name + (native ? "" : " (not in this machine's byte order)") + ", expected " +
                         kFormatNames};
    return false;
  }
  if (numpy_types().known.size() < 16) numpy_types().known.emplace_back(type.inc_ref().ptr(), format);
  return true;
}

void Refusal::raise(const std::string& where) const {
  const std::string text = where + ": " + reason;
  if (is_type) throw py::type_error(text);
  throw py::value_error(text);
}

int64_t ArrayRef::count() const {
  int64_t product = 1;
  for (int d = 0; d < dimensions; ++d) product *= shape[d];
  return product;
}

std::pair<const char*, const char*> ArrayRef::extent() const {
  const char *low = data, *high = data + size_of(format);
  for (int d = 0; d < dimensions; ++d) {
    if (shape[d] == 0) return {data, data};
    const int64_t reach = (shape[d] - 1) * strides[d];
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool ArrayRef::has_shape(const std::vector<int64_t>& other) const {
  if (dimensions != int(other.size())) return false;
  for (int d = 0; d < dimensions; ++d)
    if (shape[d] != other[std::size_t(d)]) return false;
  return true;
}

namespace {

bool read_foreign(PyObject* object, ArrayRef& array, Refusal& refusal) {
  static const Name dlpack("__dlpack__"), interface("__array_interface__"),
      cuda_interface("__cuda_array_interface__");
  const auto has = [&](const Name& name) {
    return !PyType_Check(object) && PyObject_HasAttr(object, name.text);
  };
  if (torch_types().tensor && PyObject_TypeCheck(object, torch_types().tensor))
    return read_torch(object, array, refusal);
  if (is_cupy(object)) return read_cupy(object, array, refusal);
  if (has(dlpack)) return read_dlpack(object, array, refusal);
  if (has(interface)) {
    py::object view =
        py::module_::import("numpy").attr("asarray")(py::reinterpret_borrow<py::object>(object));
    if (!read_numpy(view.ptr(), array, refusal)) return false;
    array.keep = std::move(view);
    return true;
  }
  if (has(cuda_interface)) return read_cuda_interface(object, array, refusal);
  return refusal = {true, kind_of(object) + ", expected an array"}, false;
}

}  // namespace

bool is_torch(PyObject* object) {
  return torch_types().tensor && PyObject_TypeCheck(object, torch_types().tensor);
}

bool read_array(PyObject* object, ArrayRef& array, Refusal& refusal) {
  if (PyObject_TypeCheck(object, py::detail::npy_api::get().PyArray_Type_))
    return read_numpy(object, array, refusal);
  try {
    if (!read_foreign(object, array, refusal)) return false;
    if (array.data || array.count() == 0) return true;
    refusal = {false, kind_of(object) + " whose memory is gone, expected an array"};
    return false;
  } catch (py::error_already_set& error) {  // as with tracers, which stand for arrays that are not there yet
    // What is not installed says itself what it would take.
    if (!error.matches(PyExc_Exception) || error.matches(PyExc_ImportError)) throw;
    refusal = {true, kind_of(object) + " that gives no memory to read (" +
                         std::string(py::str(error.value())) + "), expected an array"};
    return false;
  }
}

bool read_writable(PyObject* object, ArrayRef& array, Refusal& refusal) {
  if (is_jax(object))
    return refusal = {true,
                      "a JAX array, which is immutable; Schuss updates in place, so keep the parameters in a "
                      "NumPy array (np.array(x)), and hand JAX gradients to step()"},
           false;
  if (PyObject_TypeCheck(object,
                         reinterpret_cast<PyTypeObject*>(py::module_::import("numpy").attr("generic").ptr())))
    return refusal = {true, kind_of(object) + ", a scalar that cannot be written; expected an array"}, false;
  if (!read_array(object, array, refusal)) return false;
  if (!array.writable) return refusal = {false, "read-only, expected an array that can be written"}, false;
  return true;
}

void lay_out(ArrayRef& array, const py::object& shape, const py::object& strides, int64_t unit) {
  const auto extents =
      py::reinterpret_steal<py::object>(PySequence_Fast(shape.ptr(), "a shape that is no tuple"));
  if (!extents) throw py::error_already_set();
  const auto dimensions = std::size_t(PySequence_Fast_GET_SIZE(extents.ptr()));
  array.own.resize(2 * dimensions);
  array.dimensions = int(dimensions);
  array.shape = array.own.data();
  array.strides = array.own.data() + dimensions;
  auto dense = int64_t(size_of(array.format));
  for (std::size_t d = dimensions; d-- > 0; dense *= array.own[d]) {
    array.own[d] = whole(PySequence_Fast_GET_ITEM(extents.ptr(), Py_ssize_t(d)));
    array.own[dimensions + d] =
        strides ? whole(PyTuple_GET_ITEM(strides.ptr(), Py_ssize_t(d))) * unit : dense;
  }
  array.c_order = dense_rows(array) && is_aligned(array);
}

std::string shape_text(const int64_t* shape, std::size_t dimensions) {
  std::string text = "(";
  for (std::size_t d = 0; d < dimensions; ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + (dimensions == 1 ? ",)" : ")");
}

std::string kind_of(PyObject* object) {
  if (object == Py_None) return "None";
  const std::string name = Py_TYPE(object)->tp_name;
  const bool vowel = std::string("aeiouAEIOU").find(name[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + name;
}

std::string place_of(int device) { return device < 0 ? "the CPU" : "CUDA device " + std::to_string(device); }

void raise_versions(const py::list& tensors) {
  py::module_::import("torch.autograd.graph").attr("increment_version")(tensors);
}

}  // namespace schuss
