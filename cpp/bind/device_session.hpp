// A session whose arrays lie on a CUDA device: an engine in Python takes its steps and reads what is here.
#pragma once
#include <map>

#include "array_ref.hpp"
#include "schuss/engine.hpp"

namespace schuss {

// The gradients of a step, one entry a source, and what of them differs from the step before.
class DeviceGradients {
 public:
  // As numbers for the engine in Python, which compares nothing itself.
  enum Change { kNone = 0, kPointers = 1, kMore = 2 };
  static constexpr std::int8_t kNotGiven = -1;

  void resize(const Engine& engine);
  Change take(const std::vector<Gradient>& given);
  void forget() { known_ = false; }  // the engine did not take over what the last step gave

  // What the engine reads; the same memory for as long as no leaf is added.
  py::array_t<std::uint64_t> pointers{0};
  py::array_t<std::int8_t> formats{0};
  py::object strides(int source) const;  // bytes; None for C order
  std::vector<int> strided() const;      // the sources that are not in C order

 private:
  using Strides = std::map<int, std::vector<int64_t>>;

  Strides strides_;
  std::vector<int> dimensions_;
  bool known_ = false;
};

}  // namespace schuss
