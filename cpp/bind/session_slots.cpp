// The state of a leaf as arrays: as it is computed with, and as it is stored.
#include "schuss/formats/block8.hpp"
#include "session.hpp"

namespace schuss {
namespace {

py::array array_over(const py::dtype& type, const void* data, const std::vector<int64_t>& shape,
                     std::shared_ptr<const void> owner) {
  auto* held = new std::shared_ptr<const void>(std::move(owner));
  const py::capsule base(held, [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); });
  return py::array(type, shape, data, base);
}

py::dtype bfloat16() {
  try {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) throw;
    throw py::import_error("bfloat16 slots are arrays of ml_dtypes.bfloat16: pip install ml_dtypes");
  }
}

py::dtype type_of(SlotFormat stored, Format arithmetic) {
  if (stored == SlotFormat::bf16) return bfloat16();
  if (stored == SlotFormat::block8) return py::dtype::of<uint8_t>();
  return arithmetic == Format::f64 ? py::dtype::of<double>() : py::dtype::of<float>();
}

}  // namespace

const char* Session::slot_format(int leaf, int slot) const {
  const SlotFormat format = engine.slot_format(leaf, slot);
  return format == SlotFormat::block8 ? "8bit"
         : format == SlotFormat::bf16 ? "bfloat16"
                                      : name_of(arithmetic_of(engine.leaf(leaf).format));
}

py::object Session::slot(int leaf, int slot) const {
  if (on_device()) return device_engine_.attr("slot")(leaf, slot);
  const auto owner = engine.slot_owner(leaf, slot);
  if (!owner) return py::none();
  const LeafSpec& spec = engine.leaf(leaf);
  const SlotFormat format = engine.slot_format(leaf, slot);
  if (format != SlotFormat::block8)
    return array_over(type_of(format, arithmetic_of(spec.format)), engine.slot(leaf, slot), spec.shape,
                      owner);
  py::array_t<float> decoded(spec.shape);
  engine.decode_slot(leaf, slot, decoded.mutable_data());
  return std::move(decoded);
}

py::object Session::scalar(int leaf, const std::string& name) const {
  const std::vector<ScalarInfo>& all = engine.rule().scalars;
  const std::shared_ptr<double[]> its = engine.scalars(leaf);
  for (std::size_t k = 0; k < all.size(); ++k)
    if (all[k].name == name)
      return array_over(py::dtype::of<double>(), its.get() + k, {},
                        std::shared_ptr<const void>(its, its.get()));
  throw py::key_error(name);
}

py::dict Session::stored(int leaf) const {
  py::dict arrays;
  const std::vector<SlotInfo>& slots = engine.rule().slots;
  for (int k = 0; k < int(slots.size()); ++k) {
    const py::str name(slots[std::size_t(k)].name);
    if (on_device() || engine.slot_format(leaf, k) != SlotFormat::block8) {
      const py::object array = slot(leaf, k);
      if (!array.is_none()) arrays[name] = array;
    } else if (const auto owner = engine.slot_owner(leaf, k)) {
      const std::vector<int64_t>& shape = engine.leaf(leaf).shape;
      arrays[name] = array_over(py::dtype::of<uint8_t>(), engine.slot(leaf, k), shape, owner);
      int64_t count = 1;
      for (const int64_t extent : shape) count *= extent;
      arrays[name + py::str(".scale")] =
          array_over(py::dtype::of<float>(), engine.scales(leaf, k), {(count + kBlock - 1) / kBlock}, owner);
    }
  }
  for (const ScalarInfo& one : engine.rule().scalars) arrays[py::str(one.name)] = scalar(leaf, one.name);
  if (engine.has_master(leaf)) arrays["master"] = master(leaf);
  return arrays;
}

py::object Session::master(int leaf) const {
  if (!engine.has_master(leaf)) return py::none();
  return array_over(py::dtype::of<float>(), engine.master(leaf), engine.leaf(leaf).shape,
                    engine.master_owner(leaf));
}

py::object Session::accumulator(int leaf) const {
  if (on_device()) return device_engine_.attr("accumulator")(leaf);
  void* data = engine.accumulator(leaf);
  if (!data) return py::none();
  // Borrowed: read or written at once while a state is saved or loaded, never handed on.
  const LeafSpec& spec = engine.leaf(leaf);
  return array_over(type_of(SlotFormat::arithmetic, arithmetic_of(spec.format)), data, spec.shape, nullptr);
}

}  // namespace schuss
