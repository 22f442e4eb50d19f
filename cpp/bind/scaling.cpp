#include <pybind11/pybind11.h>

#include <memory>

#include "checked.hpp"
#include "schuss/control/loss_scale.hpp"

namespace py = pybind11;

namespace schuss {
namespace {

const char* const names[] = {"scale",   "growth",     "backoff", "growth_interval", "floor",
                             "ceiling", "hysteresis", "dynamic", "good_steps",      "hysteresis_left"};

void require(bool holds, const std::string& call, const char* name, py::handle value,
             const std::string& expected) {
  if (holds) return;
  throw py::value_error(call + name + " is " + std::string(py::repr(value)) + ", expected " + expected);
}

bool positive(double value) { return value > 0 && value <= 0x1.fffffffffffffp+1023; }

// All ten values, or an error and nothing: `call` begins the message.
LossScale checked_state(const py::dict& state, const std::string& call) {
  const auto number = [&](const char* name) { return checked::number(state[name], call + name); };
  const auto integer = [&](const char* name) { return checked::integer(state[name], call + name); };
  LossScale s;
  s.scale = number("scale");
  require(positive(s.scale), call, "scale", state["scale"], "a positive number");
  s.growth = number("growth");
  require(positive(s.growth) && s.growth >= 1, call, "growth", state["growth"], "a number of at least 1");
  s.backoff = number("backoff");
  require(s.backoff > 0 && s.backoff < 1, call, "backoff", state["backoff"], "a number between 0 and 1");
  s.growth_interval = integer("growth_interval");
  require(s.growth_interval >= 1, call, "growth_interval", state["growth_interval"],
          "an integer of at least 1");
  s.floor = number("floor");
  require(positive(s.floor), call, "floor", state["floor"], "a positive number");
  s.ceiling = number("ceiling");
  require(positive(s.ceiling) && s.ceiling >= s.floor, call, "ceiling", state["ceiling"],
          "a number of at least floor, " + std::string(py::repr(state["floor"])));
  s.hysteresis = integer("hysteresis");
  require(s.hysteresis >= 1, call, "hysteresis", state["hysteresis"], "an integer of at least 1");
  s.dynamic = checked::boolean(state["dynamic"], call + "dynamic");
  require(!s.dynamic || (s.scale >= s.floor && s.scale <= s.ceiling), call, "scale", state["scale"],
          "a number from floor to ceiling, " + std::string(py::repr(state["floor"])) + " to " +
              std::string(py::repr(state["ceiling"])));
  s.good_steps = integer("good_steps");
  require(s.good_steps >= 0, call, "good_steps", state["good_steps"], "an integer of at least 0");
  s.hysteresis_left = integer("hysteresis_left");
  require(s.hysteresis_left >= 1 && s.hysteresis_left <= s.hysteresis, call, "hysteresis_left",
          state["hysteresis_left"], "an integer from 1 to hysteresis");
  return s;
}

py::dict state_dict(const LossScale& s) {
  py::dict state;
  state["scale"] = s.scale;
  state["growth"] = s.growth;
  state["backoff"] = s.backoff;
  state["growth_interval"] = s.growth_interval;
  state["floor"] = s.floor;
  state["ceiling"] = s.ceiling;
  state["hysteresis"] = s.hysteresis;
  state["dynamic"] = s.dynamic;
  state["good_steps"] = s.good_steps;
  state["hysteresis_left"] = s.hysteresis_left;
  return state;
}

void load_state_dict(LossScale& scale, const py::object& given) {
  const std::string call = "LossScaler.load_state_dict(): ";
  if (!py::isinstance<py::dict>(given)) checked::wrong_type(call + "state", given, "a dict");
  const auto state = py::reinterpret_borrow<py::dict>(given);
  for (const char* name : names)
    if (!state.contains(name))
      throw py::value_error(call + name + " is missing, expected all of a state_dict()");
  for (const auto& item : state) {
    bool known = false;
    for (const char* name : names) known = known || std::string(py::str(item.first)) == name;
    if (!known)
      throw py::value_error(call + "state has " + std::string(py::repr(item.first)) +
                            ", expected only the names of a state_dict()");
  }
  scale = checked_state(state, call);
}

std::string shown(const LossScale& s) {
  const auto text = [](auto value) { return std::string(py::repr(py::cast(value))); };
  if (!s.dynamic) return "LossScaler.static(" + text(s.scale) + ")";
  return "LossScaler(scale=" + text(s.scale) + ", growth=" + text(s.growth) + ", backoff=" + text(s.backoff) +
         ", growth_interval=" + text(s.growth_interval) + ", floor=" + text(s.floor) +
         ", ceiling=" + text(s.ceiling) + ", hysteresis=" + text(s.hysteresis) + ")";
}

}  // namespace
}  // namespace schuss

void bind_scaling(py::module_& module) {
  using schuss::LossScale;
  py::class_<LossScale, std::shared_ptr<LossScale>>(module, "LossScaler")
      .def(py::init([](const py::object& scale, const py::object& growth, const py::object& backoff,
                       const py::object& growth_interval, const py::object& floor, const py::object& ceiling,
                       const py::object& hysteresis, const py::object& dynamic) {
             py::dict state;
             const py::object values[] = {scale, growth,  backoff,    growth_interval,
                                          floor, ceiling, hysteresis, dynamic};
             for (std::size_t i = 0; i < 8; ++i) state[schuss::names[i]] = values[i];
             state["good_steps"] = 0;
             state["hysteresis_left"] = hysteresis;
             return std::make_shared<LossScale>(schuss::checked_state(state, "LossScaler(): "));
           }),
           py::arg("scale") = 65536.0, py::arg("growth") = 2.0, py::arg("backoff") = 0.5,
           py::arg("growth_interval") = 2000, py::arg("floor") = 1.0, py::arg("ceiling") = 16777216.0,
           py::arg("hysteresis") = 1, py::arg("dynamic") = true)
      .def_readonly("scale", &LossScale::scale, "What the loss is multiplied by.")
      .def_readonly("growth", &LossScale::growth,
                    "Multiplies the scale after growth_interval good steps in a row.")
      .def_readonly("backoff", &LossScale::backoff, "Multiplies the scale on overflow.")
      .def_readonly("growth_interval", &LossScale::growth_interval,
                    "Good steps in a row before the scale grows.")
      .def_readonly("floor", &LossScale::floor, "The smallest scale.")
      .def_readonly("ceiling", &LossScale::ceiling, "The largest scale.")
      .def_readonly("hysteresis", &LossScale::hysteresis, "The overflow in a row that backs off.")
      .def_readonly("dynamic", &LossScale::dynamic, "Whether the scale changes.")
      .def_readonly("good_steps", &LossScale::good_steps, "Good steps since the last overflow or growth.")
      .def_readonly("hysteresis_left", &LossScale::hysteresis_left,
                    "Overflows until the scale backs off, the next one counted.")
      .def(
          "update",
          [](LossScale& scale, const py::object& overflow) {
            scale.update(schuss::checked::boolean(overflow, "LossScaler.update(): overflow"));
          },
          py::arg("overflow"))
      .def("state_dict", &schuss::state_dict)
      .def("load_state_dict", &schuss::load_state_dict, py::arg("state"))
      .def("__repr__", &schuss::shown)
      .def(py::pickle(&schuss::state_dict, [](const py::dict& state) {
        return std::make_shared<LossScale>(schuss::checked_state(state, "LossScaler: "));
      }));
}
