// The part of the DLPack protocol that a reader of CPU arrays needs (versions 0 and 1).
#pragma once
#include "array_ref.hpp"

namespace schuss::dlpack {

constexpr int kCPU = 1;

struct Import {
  char* data = nullptr;
  Format format = Format::f32;
  int dimensions = 0;
  std::vector<int64_t> shape_and_strides;  // strides in bytes
  bool read_only = false;
  py::object capsule;  // owns the memory
};

bool import(const py::object& source, Import& result, Refusal& refusal);

}  // namespace schuss::dlpack
