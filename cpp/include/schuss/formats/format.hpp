#pragma once
#include <cstddef>
#include <cstdint>

namespace schuss {

// How the elements of an array are stored. The arithmetic on them is float64 for f64, else float32.
enum class Format : unsigned char { f64, f32, bf16, f16 };

constexpr int kFormats = 4;
constexpr std::size_t size_of(Format format) {
  return format == Format::f64 ? 8 : format == Format::f32 ? 4 : 2;
}
constexpr Format arithmetic_of(Format format) { return format == Format::f64 ? Format::f64 : Format::f32; }
constexpr const char* name_of(Format format) {
  return format == Format::f64    ? "float64"
         : format == Format::f32  ? "float32"
         : format == Format::bf16 ? "bfloat16"
                                  : "float16";
}

constexpr const char* kFormatNames = "float64, float32, bfloat16 or float16";

// How a slot is stored: in the type of the arithmetic, or smaller.
enum class SlotFormat : unsigned char { arithmetic, bf16, block8 };

}  // namespace schuss
