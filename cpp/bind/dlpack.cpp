#include "dlpack.hpp"

#include "cuda_arrays.hpp"

namespace schuss::dlpack {
namespace {

// The layout that the protocol fixes.
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  int32_t device_type, device_id;
  int32_t dimensions;
  DataType type;
  int64_t* shape;
  int64_t* strides;  // elements; null for C order
  uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

constexpr uint8_t kFloat = 2, kBfloat = 4;
constexpr uint64_t kReadOnly = 1;

bool format_of(DataType type, Format& format) {
  if (type.lanes != 1) return false;
  if (type.code == kFloat && type.bits == 32) return format = Format::f32, true;
  if (type.code == kFloat && type.bits == 64) return format = Format::f64, true;
  if (type.code == kFloat && type.bits == 16) return format = Format::f16, true;
  if (type.code == kBfloat && type.bits == 16) return format = Format::bf16, true;
  return false;
}

py::object capsule_of(const py::object& source, int device) {
  const py::object export_ = source.attr("__dlpack__");
  py::dict arguments;
  if (device >= 0) arguments["stream"] = dlpack_stream(device);
  try {
    return export_(py::arg("max_version") = py::make_tuple(1, 0), **arguments);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;  // a producer of version 0 does not know the argument
    return export_(**arguments);
  }
}

}  // namespace

bool import(const py::object& source, int device, Import& result, Refusal& refusal) {
  py::object capsule;
  try {
    capsule = capsule_of(source, device);
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_ImportError)) throw;
    return refusal = {false, "its __dlpack__ failed: " + std::string(py::str(error.value()))}, false;
  }
  const Tensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed =
        static_cast<ManagedVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    tensor = &managed->tensor;
    result.read_only = (managed->flags & kReadOnly) != 0;
  } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    tensor = &static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))->tensor;
  } else {
    return refusal = {true, "its __dlpack__ gave no DLPack capsule"}, false;
  }
  if (!format_of(tensor->type, result.format))
    return refusal = {true, "DLPack type code " + std::to_string(tensor->type.code) + " of " +
                                std::to_string(tensor->type.bits) + " bits, expected " + kFormatNames},
           false;
  result.data = static_cast<char*>(tensor->data) + tensor->byte_offset;
  result.dimensions = tensor->dimensions;
  const auto size = int64_t(size_of(result.format));
  const auto dimensions = std::size_t(tensor->dimensions);
  result.shape_and_strides.assign(2 * dimensions, size);
  int64_t dense = size;
  for (std::size_t d = dimensions; d-- > 0; dense *= tensor->shape[d]) {
    result.shape_and_strides[d] = tensor->shape[d];
    result.shape_and_strides[dimensions + d] = tensor->strides ? tensor->strides[d] * size : dense;
  }
  // The capsule is left unconsumed: its own destructor frees the tensor when the last reference goes.
  result.capsule = std::move(capsule);
  return true;
}

}  // namespace schuss::dlpack
