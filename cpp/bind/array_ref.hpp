// Any array Python may hand over, as a pointer with a shape: NumPy by its struct, torch by its data pointer,
// the rest by DLPack or the array interface. Nothing is copied.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "schuss/formats/format.hpp"

namespace schuss {

namespace py = pybind11;

// Why an object cannot serve, without the name of where it was found.
struct Refusal {
  bool is_type = false;  // a TypeError, else a ValueError
  std::string reason;

  [[noreturn]] void raise(const std::string& where) const;
};

struct ArrayRef {
  char* data = nullptr;
  Format format = Format::f32;
  int dimensions = 0;
  const int64_t* shape = nullptr;
  const int64_t* strides = nullptr;  // bytes
  bool c_order = true;               // and aligned
  bool writable = true;
  bool torch = false;
  int device = -1;           // CUDA's index; -1: the CPU
  py::object keep;           // what the pointers lean on, beyond the object itself
  std::vector<int64_t> own;  // shape and strides where the object keeps none that can be pointed at

  int64_t count() const;
  std::pair<const char*, const char*> extent() const;  // of the bytes it spans
  bool has_shape(const std::vector<int64_t>& other) const;
};

bool is_torch(PyObject* object);  // a tensor; false until somebody else has imported torch

// False: refused, and why. A read-only array is not refused here.
bool read_array(PyObject* object, ArrayRef& array, Refusal& refusal);

// One that is to be written: read-only and immutable arrays are refused too.
bool read_writable(PyObject* object, ArrayRef& array, Refusal& refusal);

std::string shape_text(const int64_t* shape, std::size_t dimensions);
std::string kind_of(PyObject* object);  // "a list", for messages
std::string place_of(int device);       // "the CPU", "CUDA device 0"

// For readers of arrays. False: refused, and why.
bool numpy_format(PyObject* dtype, Format& format, Refusal& refusal);
// Takes shape and strides over from tuples of numbers, strides in units of so many bytes; without strides in
// C order. Data and format are there already.
void lay_out(ArrayRef& array, const py::object& shape, const py::object& strides, int64_t unit);

// Tells autograd that these torch tensors were written.
void raise_versions(const py::list& tensors);

}  // namespace schuss
