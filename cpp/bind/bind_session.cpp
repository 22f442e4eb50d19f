#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "rules.hpp"
#include "session.hpp"

namespace schuss {
namespace {

EngineOptions options(const std::string& clip, double limit, const std::string& nonfinite, int accumulate,
                      bool grad_norm, std::shared_ptr<LossScale> scaler, const std::string& slots,
                      bool stochastic, uint64_t seed, bool master) {
  EngineOptions result;
  result.clip.kind = clip == "global_norm" ? ClipKind::global_norm
                     : clip == "leaf_norm" ? ClipKind::leaf_norm
                     : clip == "value"     ? ClipKind::value
                                           : ClipKind::none;
  result.clip.limit = limit;
  result.nonfinite = nonfinite == "raise"   ? Nonfinite::raise
                     : nonfinite == "apply" ? Nonfinite::apply
                                            : Nonfinite::skip;
  result.accumulate = accumulate;
  result.grad_norm = grad_norm;
  result.scaler = std::move(scaler);
  result.slots = slots == "bfloat16" ? SlotFormat::bf16
                 : slots == "8bit"   ? SlotFormat::block8
                                     : SlotFormat::arithmetic;
  result.stochastic = stochastic;
  result.seed = seed;
  result.master = master;
  return result;
}

int slot_index(const Session& session, const std::string& name) {
  const auto& slots = session.engine.rule().slots;
  for (std::size_t i = 0; i < slots.size(); ++i)
    if (slots[i].name == name) return int(i);
  throw py::key_error(name);
}

std::vector<std::string> slots_kept(const py::object& which, const py::dict& values, int64_t step) {
  const auto held = rule_of(which);
  const RuleInfo& rule = *held;
  const unsigned mask = mask_of(rule, read_hypers(rule, values), step);
  std::vector<std::string> names;
  for (std::size_t k = 0; k < rule.slots.size(); ++k)
    if (has(mask, unsigned(k))) names.push_back(rule.slots[k].name);
  return names;
}

// A schedule's function often belongs to the object that owns the optimizer, and a device's engine knows its
// session: cycles the collector must see.
void collectable(PyHeapTypeObject* heap_type) {
  PyTypeObject* type = &heap_type->ht_type;
  type->tp_flags |= Py_TPFLAGS_HAVE_GC;
  type->tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!py::detail::is_holder_constructed(self)) return 0;
    for (PyObject* held : py::handle(self).cast<Session&>().held()) Py_VISIT(held);
    return 0;
  };
  type->tp_clear = [](PyObject* self) {
    if (py::detail::is_holder_constructed(self)) py::handle(self).cast<Session&>().drop_held();
    return 0;
  };
}

}  // namespace

void bind_session(py::module_& module) {
  module.def("slots_kept", &slots_kept,
             "Names of the slots a rule keeps under these hypers, which are checked.");
  py::class_<Session> type(module, "Session", py::custom_type_setup(&collectable));
  bind_device_session(type);
  type.def(py::init([](const py::object& rule, const std::string& clip, double limit,
                       const std::string& nonfinite, int accumulate, bool grad_norm,
                       std::shared_ptr<LossScale> scaler, const std::string& slots, bool stochastic,
                       uint64_t seed, bool master) {
             return std::make_unique<Session>(
                 rule_of(rule), options(clip, limit, nonfinite, accumulate, grad_norm, std::move(scaler),
                                        slots, stochastic, seed, master));
           }),
           py::arg("rule"), py::kw_only(), py::arg("clip"), py::arg("limit"), py::arg("nonfinite"),
           py::arg("accumulate"), py::arg("grad_norm"), py::arg("scaler"), py::arg("slots") = "float32",
           py::arg("stochastic") = false, py::arg("seed") = 0, py::arg("master") = false)
      .def("begin_group", &Session::begin_group)
      .def("commit_group",
           [](Session& session, const py::object& tree, const py::object& group, const py::dict& hypers,
              const std::vector<std::tuple<std::string, py::object, std::vector<int>, std::vector<double>>>&
                  leaves,
              bool grouped) {
             std::vector<Session::LeafPlan> plans;
             for (const auto& [name, object, sources, factors] : leaves)
               plans.push_back({name, object, sources, factors});
             session.commit_group(tree, group, hypers, plans, grouped);
           })
      .def("set_hyper", &Session::set_hyper)
      .def("set_hypers", &Session::set_hypers)
      .def("check_idle", [](Session& s) { const Session::Turn turn(s); })
      .def("set_frozen", &Session::set_frozen)
      .def("set_factors", &Session::set_factors)
      .def("factors", [](const Session& s, int leaf) { return s.engine.factors(s.engine.factor_set(leaf)); })
      .def("frozen", [](const Session& s, int leaf) { return s.engine.frozen(leaf); })
      .def("slot", [](const Session& s, int leaf,
                      const std::string& name) { return s.slot(leaf, slot_index(s, name)); })
      .def("slot_format", [](const Session& s, int leaf,
                             const std::string& name) { return s.slot_format(leaf, slot_index(s, name)); })
      .def("stored", &Session::stored)
      .def("master", &Session::master)
      .def("has_master", [](const Session& s, int leaf) { return s.engine.has_master(leaf); })
      .def("scalar", &Session::scalar)
      .def("accumulator", &Session::accumulator)
      .def("accumulated", &Session::accumulated)
      .def("shape", [](const Session& s, int leaf) { return py::tuple(py::cast(s.engine.leaf(leaf).shape)); })
      .def("dtype", [](const Session& s, int leaf) { return name_of(s.engine.leaf(leaf).format); })
      .def("clock", &Session::clock)
      .def("set_clock", &Session::set_clock)
      .def("set_pending", &Session::set_pending)
      .def("to_point", &Session::to_point)
      .def("from_point", &Session::from_point)
      .def_property("steps", &Session::steps, &Session::set_steps)
      .def_property_readonly("pending", &Session::pending)
      .def_property_readonly("leaves", [](const Session& s) { return s.engine.leaves(); })
      .def_property_readonly("elements", [](const Session& s) { return s.engine.elements(); });
}

}  // namespace schuss
