// A user's own rule, from the plain data that the parser in Python makes of its text.
#include "own_rule.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "rules.hpp"

namespace schuss {
namespace {

using HyperFacts = std::tuple<std::string, double, std::string, std::string>;
using SlotFacts = std::tuple<std::string, double, std::string>;
using StepFacts = std::tuple<int, int, int, int, double>;
using Rows = std::vector<int>;  // operation, to, x, y, z, w, k, l, m

Range range_named(const std::string& name) {
  return name == "nonnegative" ? Range::nonnegative
         : name == "unit"      ? Range::unit
         : name == "flag"      ? Range::flag
                               : Range::real;
}

Instruction instruction(const Rows& rows) {
  if (rows.size() != 9) throw py::value_error("an instruction has nine entries");
  for (const int one : rows)
    if (one < 0 || one > 255) throw py::value_error("an entry of an instruction is from 0 to 255");
  const auto at = [&](std::size_t i) { return std::uint8_t(rows[i]); };
  return {Operation(rows[0]), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)};
}

std::shared_ptr<RuleHandle> make(const std::string& name, const std::string& key, const std::string& summary,
                                 const std::string& paper, const std::vector<HyperFacts>& hypers,
                                 const std::vector<SlotFacts>& slots, const std::vector<StepFacts>& steps,
                                 const std::vector<int>& numbers, const std::vector<Rows>& code,
                                 const std::vector<double>& literals, const std::array<int, 5>& operations) {
  OwnRule rule;
  rule.name = name;
  rule.key = key;
  rule.summary = summary;
  rule.paper = paper;
  for (const auto& [hyper, standard, range, doc] : hypers)
    rule.hypers.push_back({hyper, standard, range_named(range), doc});
  for (const auto& [slot, initial, doc] : slots) rule.slots.push_back({slot, initial, doc});
  for (const auto& [operation, a, b, c, value] : steps) {
    if (operation < 0 || operation >= int(NumberOperation::count)) throw py::value_error("no such operation");
    rule.steps.push_back({NumberOperation(operation), a, b, c, value});
  }
  rule.numbers = numbers;
  for (const Rows& rows : code) rule.code.push_back(instruction(rows));
  rule.literals = literals;
  rule.operations = {operations[0], operations[1], operations[2], operations[3], operations[4]};
  auto made = make_rule(rule);
  for (std::size_t i = 0; i < made->hypers.size(); ++i) made->check(int(i), made->hypers[i].standard, "");
  return std::make_shared<RuleHandle>(RuleHandle{std::move(made)});
}

}  // namespace

std::shared_ptr<const RuleInfo> rule_of(const py::handle& rule) {
  if (py::isinstance<RuleHandle>(rule)) return rule.cast<const RuleHandle&>().rule;
  return {std::shared_ptr<const void>(), &rule_named(rule.cast<std::string>())};  // the catalog's, for ever
}

void bind_own_rule(py::module_& module) {
  py::class_<RuleHandle, std::shared_ptr<RuleHandle>>(module, "OwnRule", "A rule that is not in the catalog.")
      .def(py::init(&make), py::arg("name"), py::arg("key"), py::arg("summary"), py::arg("paper"),
           py::arg("hypers"), py::arg("slots"), py::arg("steps"), py::arg("numbers"), py::arg("code"),
           py::arg("literals"), py::arg("operations"))
      .def_property_readonly("facts", [](const RuleHandle& handle) { return describe(*handle.rule); });
  module.attr("number_operations") = py::cast(number_operation_names());
  module.attr("instructions") = py::cast(instruction_texts());
  module.attr("program_limits") = py::dict(
      py::arg("registers") = kMaxRegisters, py::arg("row_p") = int(row_p), py::arg("row_g") = int(row_g),
      py::arg("row_slots") = int(row_slots), py::arg("slots") = kMaxSlots,
      py::arg("instructions") = kMaxInstructions, py::arg("numbers") = kMaxOwnNumbers,
      py::arg("steps") = kMaxNumberSteps, py::arg("constants") = kMaxConstants);
}

}  // namespace schuss
