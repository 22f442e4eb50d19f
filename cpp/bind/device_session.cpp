// What a session hands to the engine in Python that steps a CUDA device, and what it hears back.
#include "device_session.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <limits>

#include "schedules.hpp"
#include "session.hpp"

namespace schuss {
namespace {

py::tuple as_tuple(const std::vector<int64_t>& numbers) {
  py::tuple result(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) result[i] = numbers[i];
  return result;
}

py::object as_tuple_or_none(const std::vector<int64_t>& numbers) {
  return numbers.empty() ? py::object(py::none()) : py::object(as_tuple(numbers));
}

const char* word(ClipKind kind) {
  switch (kind) {
    case ClipKind::global_norm: return "global_norm";
    case ClipKind::leaf_norm: return "leaf_norm";
    case ClipKind::value: return "value";
    default: return "none";
  }
}

const char* word(Nonfinite nonfinite) {
  return nonfinite == Nonfinite::raise ? "raise" : nonfinite == Nonfinite::apply ? "apply" : "skip";
}

py::list leaf_facts(const Session& session) {
  const Engine& engine = session.engine;
  py::list facts;
  for (int i = 0; i < engine.leaves(); ++i) {
    const LeafSpec& leaf = engine.leaf(i);
    facts.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(leaf.data), int(leaf.format),
                                as_tuple(leaf.shape), as_tuple_or_none(leaf.strides), leaf.group,
                                leaf.sources, engine.frozen(i), engine.factor_set(i)));
  }
  return facts;
}

py::array_t<bool> frozen_leaves(const Session& session) {
  py::array_t<bool> flags(session.engine.leaves());
  for (int i = 0; i < session.engine.leaves(); ++i) flags.mutable_at(i) = session.engine.frozen(i);
  return flags;
}

py::dict options(const Session& session) {
  const EngineOptions& its = session.engine.options();
  const bool norm = its.grad_norm || its.scaler || its.clip.kind == ClipKind::global_norm ||
                    its.clip.kind == ClipKind::leaf_norm;
  return py::dict(py::arg("clip") = word(its.clip.kind), py::arg("limit") = its.clip.limit,
                  py::arg("nonfinite") = word(its.nonfinite), py::arg("accumulate") = its.accumulate,
                  py::arg("needs_norm") = norm, py::arg("has_scaler") = bool(its.scaler));
}

// What each slot of a group's leaves begins with; a scheduled hyper is NaN to it.
std::vector<double> slot_initials(const Session& session, int group) {
  const RuleInfo& rule = session.engine.rule();
  std::vector<double> hypers, initials;
  for (std::size_t i = 0; i < rule.hypers.size(); ++i) {
    const Hyper& hyper = session.engine.hyper(group, int(i));
    hypers.push_back(hyper.schedule ? std::numeric_limits<double>::quiet_NaN() : hyper.value);
  }
  for (const SlotInfo& slot : rule.slots) initials.push_back(slot.initial(hypers.data()));
  return initials;
}

// What only the CPU has.
void refuse_on_device(const EngineOptions& options) {
  const auto refuse = [](const std::string& what, const std::string& expected) {
    throw py::value_error(
        what + " is for parameters on the CPU, and these are on a CUDA device, where it takes " + expected);
  };
  if (options.slots == SlotFormat::bf16) refuse("slots='bfloat16'", "slots='float32'");
  if (options.slots == SlotFormat::block8) refuse("slots='8bit'", "slots='float32'");
  if (options.stochastic) refuse("rounding='stochastic'", "rounding='nearest'");
  if (options.master) refuse("master=True", "float32 parameters");
}

}  // namespace

void DeviceGradients::resize(const Engine& engine) {
  const auto sources = std::size_t(engine.sources());
  pointers = py::array_t<std::uint64_t>(py::ssize_t(sources));
  formats = py::array_t<std::int8_t>(py::ssize_t(sources));
  std::fill_n(pointers.mutable_data(), sources, 0);
  std::fill_n(formats.mutable_data(), sources, kNotGiven);
  strides_.clear();
  dimensions_.clear();
  for (int i = 0; i < engine.leaves(); ++i)
    dimensions_.insert(dimensions_.end(), std::size_t(engine.leaf(i).sources),
                       int(engine.leaf(i).shape.size()));
  forget();
}

DeviceGradients::Change DeviceGradients::take(const std::vector<Gradient>& given) {
  std::uint64_t* const pointer = pointers.mutable_data();
  std::int8_t* const format = formats.mutable_data();
  bool same = known_, alike = known_;
  Strides strides;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto its_pointer = reinterpret_cast<std::uintptr_t>(given[i].data);
    const auto its_format = given[i].data ? std::int8_t(given[i].format) : kNotGiven;
    same = same && pointer[i] == its_pointer;
    alike = alike && format[i] == its_format;
    pointer[i] = its_pointer;
    format[i] = its_format;
    if (given[i].strides) strides[int(i)].assign(given[i].strides, given[i].strides + dimensions_[i]);
  }
  alike = alike && strides == strides_;
  strides_ = std::move(strides);
  known_ = true;
  return !alike ? kMore : same ? kNone : kPointers;
}

py::object DeviceGradients::strides(int source) const {
  const auto found = strides_.find(source);
  return found == strides_.end() ? py::object(py::none()) : py::object(as_tuple(found->second));
}

void Session::renew() {
  const Turn turn(*this);
  check_parameters();
  if (on_device()) device_engine_.attr("renew")();
}

std::vector<int> DeviceGradients::strided() const {
  std::vector<int> sources;
  for (const auto& one : strides_) sources.push_back(one.first);
  return sources;
}

// Such a hyper may lean on what changes between steps, so it is asked for no step ahead of time.
bool Session::calls_python() const {
  for (const auto& item : callables_)
    if (!py::isinstance<Schedule>(item.second) || holds_function(item.second.cast<Schedule>())) return true;
  return false;
}

// The first leaf decides; the device's engine comes with it.
void Session::settle_device(const std::vector<LeafPlan>& leaves, const std::vector<ArrayRef>& arrays) {
  if (arrays.empty()) return;
  if (engine.leaves() == 0) device_ = arrays.front().device;
  for (std::size_t i = 0; i < arrays.size(); ++i)
    if (arrays[i].device != device_)
      throw py::value_error("params " + leaves[i].name + ": on " + place_of(arrays[i].device) +
                            ", expected " + place_of(device_));
  if (engine.leaves() > 0) return;
  device_engine_ = py::object();
  if (device_ >= 0) {
    refuse_on_device(engine.options());
    device_engine_ = py::module_::import("schuss._engine.cuda.engine").attr("Engine")(py::cast(this));
  }
}

PyObject* Session::run_on_device(bool flushed) {
  const int change = flushed ? 0 : device_gradients_.take(gradients_);
  py::list foreign;  // who lent them may use the memory anew as soon as they are let go
  for (const ArrayRef& array : kept_)
    if (array.keep) foreign.append(array.keep);
  py::object info;
  try {
    if (!foreign.empty()) device_engine_.attr("hold")(foreign);
    info = flushed ? device_engine_.attr("flush")() : device_engine_.attr("step")(change);
  } catch (...) {
    device_gradients_.forget();
    throw;
  }
  if (!torch_leaves_.empty() && pending_of(info) == 0) tell_torch(flushed);
  return info.release().ptr();
}

void Session::move_on_device(bool to_point, bool gradient_taken) {
  if (to_point && !engine.rule().has_point)
    throw std::invalid_argument(engine.rule().name + " takes its gradients where the parameters are");
  if (to_point == at_point_)
    throw std::runtime_error(at_point_ ? "the parameters are at the look-ahead point already"
                                       : "the parameters are not at the look-ahead point");
  if (to_point) device_engine_.attr("to_point")();
  else device_engine_.attr("from_point")(gradient_taken);
  at_point_ = to_point;
}

void bind_device_session(py::class_<Session>& session) {
  session
      .def_property_readonly(
          "device",
          [](const Session& s) { return s.device() < 0 ? py::object(py::none()) : py::int_(s.device()); })
      .def("leaf_facts", &leaf_facts)
      .def("frozen_leaves", &frozen_leaves)
      .def("leaf_name", [](const Session& s, int leaf) { return s.engine.leaf(leaf).name; })
      .def_property_readonly("gradient_pointers",
                             [](const Session& s) { return s.device_gradients().pointers; })
      .def_property_readonly("gradient_formats",
                             [](const Session& s) { return s.device_gradients().formats; })
      .def("gradient_strides",
           [](const Session& s, int source) { return s.device_gradients().strides(source); })
      .def("mask", [](const Session& s, int group) { return s.engine.mask(group); })
      .def_property_readonly("has_torch", &Session::has_torch)
      .def_property_readonly("options", &options)
      .def_property_readonly("scaler", [](const Session& s) { return s.engine.options().scaler; })
      .def_property_readonly("rule_name", [](const Session& s) { return s.engine.rule().key; })
      .def_property_readonly("strided_sources",
                             [](const Session& s) { return s.device_gradients().strided(); })
      .def_property_readonly("calls_python", &Session::calls_python)
      .def("slot_initials", &slot_initials)
      .def("renew", &Session::renew)
      .def("fill", &fill_entries, py::arg("group"), py::arg("format"), py::arg("mask"), py::arg("lookahead"),
           py::arg("behind"), py::arg("first"), py::arg("entries"), py::arg("factors") = 0);
}

}  // namespace schuss
