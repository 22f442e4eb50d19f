#include "slab.hpp"

#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace schuss {
namespace {
constexpr std::size_t kHugePage = std::size_t(2) << 20;
}

Slab::Slab(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  bytes_ = (bytes + alignment - 1) / alignment * alignment;
  if (bytes_ == 0) return;
  data_ = static_cast<char*>(::operator new(bytes_, std::align_val_t(alignment)));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
  std::memset(data_, 0, bytes_);
}

Slab::~Slab() {
  const std::size_t alignment = bytes_ >= kHugePage ? kHugePage : 64;
  if (data_) ::operator delete(data_, std::align_val_t(alignment));
}

}  // namespace schuss
