// The part of the DLPack protocol that a reader of arrays needs (versions 0 and 1).
#pragma once
#include "array_ref.hpp"

namespace schuss::dlpack {

constexpr int kCPU = 1, kCUDA = 2, kCUDAManaged = 13;

struct Import {
  char* data = nullptr;
  Format format = Format::f32;
  int dimensions = 0;
  std::vector<int64_t> shape_and_strides;  // strides in bytes
  bool read_only = false;
  py::object capsule;  // owns the memory
};

// `device`: CUDA's index, whose current stream the array is made ready for; -1: the CPU.
bool import(const py::object& source, int device, Import& result, Refusal& refusal);

}  // namespace schuss::dlpack
