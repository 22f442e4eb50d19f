// A rule's numbers for steps to come, where a device's engine keeps them ahead of time.
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>

#include "rules.hpp"
#include "schuss/control/clip.hpp"
#include "schuss/control/exact_sum.hpp"
#include "session.hpp"

namespace schuss {
namespace {

// As the kernels read it.
struct Entry {
  double lr, unused;
  unsigned char numbers[kMaxNumbers];
};
static_assert(sizeof(Entry) == 144 && kMaxNumbers == 128);

RuleInfo::Prepare preparing(const RuleInfo& rule, int format, unsigned mask) {
  if (format < 0 || format >= kFormats)
    throw std::invalid_argument("format is " + std::to_string(format) +
                                ", expected 0 (float64) or 1 (float32)");
  const auto& prepare = Format(format) == Format::f64 ? rule.prepare_f64 : rule.prepare_f32;
  if (mask < prepare.size() && prepare[mask]) return prepare[mask];
  throw std::invalid_argument(rule.name + "() has no form that keeps the slots of mask " +
                              std::to_string(mask));
}

// The numbers that one group, arithmetic and mask have at each step.
class Numbers {
 public:
  Numbers(const Session& session, int group, int format, unsigned mask, std::optional<bool> lookahead,
          int64_t behind, int factors)
      : engine_(session.engine),
        rule_(engine_.rule()),
        group_(group),
        prepare_(preparing(rule_, format, mask)),
        lookahead_(lookahead.value_or(false) ? rule_.hyper_index("lookahead") : -1),
        lr_(rule_.hyper_index("lr")),
        behind_(behind),
        factors_(engine_.factors(factors)),
        values_(rule_.hypers.size()) {
    engine_.mask(group);  // refuses a group that is not there
  }

  // Throws what a bad setting at that step throws, with nothing written.
  void write(int64_t step, Entry& entry) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const Hyper& hyper = engine_.hyper(group_, int(i));
      values_[i] = hyper.at(step);
      if (hyper.schedule) rule_.check(int(i), values_[i], " at step " + std::to_string(step));
    }
    rule_.check_together(values_.data());
    if (lookahead_ >= 0) values_[std::size_t(lookahead_)] = 1;
    entry = {};
    entry.lr = lr_ >= 0 ? values_[std::size_t(lr_)] : std::numeric_limits<double>::quiet_NaN();
    for (std::size_t i = 0; i < factors_.size(); ++i) values_[i] *= factors_[i];
    prepare_(values_.data(), Clock{step - behind_ + 1}, entry.numbers);
  }

 private:
  const Engine& engine_;
  const RuleInfo& rule_;
  const int group_;
  const RuleInfo::Prepare prepare_;
  const int lookahead_, lr_;  // places among the hypers; -1: none
  const int64_t behind_;
  const std::vector<double>& factors_;
  std::vector<double> values_;
};

class WritableBuffer {
 public:
  explicit WritableBuffer(const py::object& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_WRITABLE) != 0) throw py::error_already_set();
  }
  ~WritableBuffer() { PyBuffer_Release(&view_); }
  WritableBuffer(const WritableBuffer&) = delete;
  WritableBuffer& operator=(const WritableBuffer&) = delete;

  Entry* entries() const { return static_cast<Entry*>(view_.buf); }
  int64_t capacity() const { return int64_t(view_.len / py::ssize_t(sizeof(Entry))); }

 private:
  Py_buffer view_;
};

std::shared_ptr<const RuleInfo> rule_taking(const py::object& which, std::size_t hypers) {
  auto held = rule_of(which);
  const RuleInfo& rule = *held;
  if (hypers == rule.hypers.size()) return held;
  throw std::invalid_argument(rule.name + "() takes " + std::to_string(rule.hypers.size()) + " hypers, got " +
                              std::to_string(hypers));
}

py::bytes prepare(const py::object& which, int format, unsigned mask, const std::vector<double>& values,
                  int64_t clock) {
  const auto rule = rule_taking(which, values.size());
  char numbers[kMaxNumbers] = {};
  preparing(*rule, format, mask)(values.data(), Clock{clock}, numbers);
  return py::bytes(numbers, sizeof numbers);
}

}  // namespace

int64_t fill_entries(const Session& session, int group, int format, unsigned mask,
                     std::optional<bool> lookahead, int64_t behind, int64_t first, const py::object& entries,
                     int factors) {
  const WritableBuffer buffer(entries);
  if (first < 0) throw std::invalid_argument("first is " + std::to_string(first) + ", expected 0 or more");
  Numbers numbers(session, group, format, mask, lookahead, behind, factors);
  for (int64_t i = 0; i < buffer.capacity(); ++i) {
    Entry entry;
    try {
      numbers.write(first + i, entry);
    } catch (const std::exception& error) {  // raised when that step is the next one
      const auto* python = dynamic_cast<const py::error_already_set*>(&error);
      if (i == 0 || (python && !python->matches(PyExc_Exception))) throw;
      return i;
    }
    std::memcpy(&buffer.entries()[i], &entry, sizeof entry);
  }
  return buffer.capacity();
}

void bind_numbers(py::module_& module) {
  module.def("clip_coef", &clip_coef, py::arg("norm"), py::arg("limit"),
             "What gradients of this norm are multiplied by, so that it is at most the limit.");
  module.def(
      "exact_root",
      [](const py::array_t<double, py::array::c_style | py::array::forcecast>& terms) {
        ExactSum sum;
        for (py::ssize_t i = 0; i < terms.size(); ++i) sum.add(terms.data()[i]);
        return std::sqrt(sum.value());
      },
      py::arg("terms"), "The root of their sum, which is rounded once.");
  module.def("prepare", &prepare, py::arg("rule"), py::arg("format"), py::arg("mask"), py::arg("values"),
             py::arg("clock"), "A rule's numbers at a clock, as the loops read them.");
  module.def(
      "rule_mask",
      [](const py::object& which, const std::vector<double>& values) {
        return rule_taking(which, values.size())->mask(values.data());
      },
      py::arg("rule"), py::arg("values"), "A bit for each slot that the rule keeps under these hypers.");
}

}  // namespace schuss
