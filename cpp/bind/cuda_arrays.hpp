// Arrays on CUDA devices: CuPy's, and those that speak the CUDA array interface. Nothing of CUDA is called
// here: what has to be asked of it, Python asks.
#pragma once
#include "array_ref.hpp"

namespace schuss {

bool is_cupy(PyObject* object);  // false until somebody else has imported CuPy
bool read_cupy(PyObject* object, ArrayRef& array, Refusal& refusal);
// Whether a CuPy array's memory and shape are these.
bool is_cupy_at(PyObject* object, const char* data, int dimensions, const int64_t* shape);

bool read_cuda_interface(PyObject* object, ArrayRef& array, Refusal& refusal);

// While one lives, arrays are made ready for torch's current stream in place of CuPy's: the one to be stepped
// on.
class OnTorchStream {
 public:
  explicit OnTorchStream(bool torch);
  ~OnTorchStream();
  OnTorchStream(const OnTorchStream&) = delete;
  OnTorchStream& operator=(const OnTorchStream&) = delete;

 private:
  bool before_;
};

// The stream that a producer of DLPack is to make its array ready for.
int64_t dlpack_stream(int device);

// Refuses what no kernel can read: memory that is gone, elements that are not aligned.
bool check_cuda(const ArrayRef& array, Refusal& refusal);

void bind_cuda_arrays(py::module_& module);

}  // namespace schuss
