// One block of zeroed memory for many slots: 64-byte aligned, huge pages advised.
#pragma once
#include <cstddef>
#include <memory>

namespace schuss {

class Slab {
 public:
  explicit Slab(std::size_t bytes);
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  char* data() const { return data_; }
  static std::size_t rounded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace schuss
