#include "session.hpp"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "schedules.hpp"

namespace schuss {
namespace {

// Large steps let other Python threads run; for small ones the two locks would cost more than the step.
constexpr int64_t kReleaseAbove = 1 << 17;

[[noreturn]] void refuse_hyper(const std::string& where, const py::handle& value,
                               const std::string& expected) {
  throw py::type_error(where + " is " + std::string(py::repr(value)) + " (" + Py_TYPE(value.ptr())->tp_name +
                       "), expected " + expected);
}

bool is_number(const py::handle& value) {
  return !PyBool_Check(value.ptr()) && !PyUnicode_Check(value.ptr()) && !PyBytes_Check(value.ptr()) &&
         PyNumber_Check(value.ptr()) && !PyComplex_Check(value.ptr());
}

double number(const std::string& where, const py::handle& value, const std::string& expected) {
  if (!is_number(value)) refuse_hyper(where, value, expected);
  const double x = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse_hyper(where, value, expected);
  }
  return x;
}

// The function is borrowed: whoever keeps the hyper holds it.
std::function<double(int64_t)> from_callable(const std::string& where, const py::handle& callable) {
  return [where, callable](int64_t step) {
    py::gil_scoped_acquire gil;
    const py::object value = callable(step);
    return number(where + " at step " + std::to_string(step), value, "a number from its schedule");
  };
}

py::object array_over(void* data, Format arithmetic, const std::vector<int64_t>& shape,
                      std::shared_ptr<const void> owner) {
  auto* held = new std::shared_ptr<const void>(std::move(owner));
  const py::capsule base(held, [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); });
  if (arithmetic == Format::f64) return py::array_t<double>(shape, static_cast<double*>(data), base);
  return py::array_t<float>(shape, static_cast<float*>(data), base);
}

}  // namespace

Hyper read_hyper(const RuleInfo& rule, int index, const py::handle& value) {
  const HyperInfo& info = rule.hypers[std::size_t(index)];
  Hyper hyper;
  if (info.range == Range::flag ? PyBool_Check(value.ptr()) : PyFloat_CheckExact(value.ptr())) {
    hyper.value = PyFloat_AsDouble(value.ptr());
    return hyper;
  }
  const std::string where = rule.name + "(): " + info.name;
  if (info.range == Range::flag) {
    if (PyCallable_Check(value.ptr()))
      refuse_hyper(where, value, "True or False: it decides which slots there are");
    hyper.value = number(where, value, "True or False");
  } else if (py::isinstance<Schedule>(value)) {
    const auto schedule = value.cast<Schedule>();
    if (holds_function(schedule)) hyper.schedule = from_callable(where, value);
    else hyper.schedule = schedule;
  } else if (is_number(value)) {
    hyper.value = number(where, value, "a number, a schedule or a callable step -> float");
  } else if (PyCallable_Check(value.ptr())) {
    hyper.schedule = from_callable(where, value);
  } else {
    refuse_hyper(where, value, "a number, a schedule or a callable step -> float");
  }
  return hyper;
}

std::vector<Hyper> read_hypers(const RuleInfo& rule, const py::dict& hypers) {
  std::vector<Hyper> values;
  values.reserve(rule.hypers.size());
  for (std::size_t i = 0; i < rule.hypers.size(); ++i) {
    PyObject* value = PyDict_GetItemString(hypers.ptr(), rule.hypers[i].name.c_str());
    if (!value) throw py::key_error(rule.hypers[i].name);
    values.push_back(read_hyper(rule, int(i), value));
  }
  return values;
}

Session::Session(const std::string& rule, EngineOptions options)
    : engine(rule_named(rule), std::move(options)) {
  root_.kind = Node::Kind::list;
}

Session::Turn::Turn(Session& session, bool may_be_at_point) : session_(session) {
  if (session.busy_)
    throw std::runtime_error(
        "this optimizer is in the middle of a step; neither another thread nor a schedule's "
        "function may step or change it until that ends");
  if (session.engine.at_point() && !may_be_at_point)
    throw std::runtime_error("the parameters are at the look-ahead point; leave the `with` block first");
  session.busy_ = true;
}

Session::Turn::~Turn() {
  session_.let_go();
  session_.busy_ = false;
}

void Session::let_go() {
  kept_.clear();
  std::vector<PyObject*> held;
  held.swap(held_);  // dropping a gradient may run Python code
  for (PyObject* object : held) Py_DECREF(object);
  held.clear();
  if (held_.empty()) held_.swap(held);  // its room is kept for the next step
}

py::list Session::begin_group(const py::object& tree, const std::string& root) {
  int count = 0;
  const Node node = Node::read(tree, count, root);
  py::list leaves;
  each_leaf(node, nullptr, [&](const Node& leaf, const Path* path) {
    leaves.append(
        py::make_tuple(path ? path->keys() : py::tuple(0), leaf.object, path ? path->text(root) : root));
  });
  return leaves;
}

void Session::keep_callables(int group, const py::dict& hypers) {
  for (const auto& [name, value] : hypers)
    if (PyCallable_Check(value.ptr())) callables_[py::make_tuple(group, name)] = value;
    else if (callables_.contains(py::make_tuple(group, name)))
      callables_.attr("pop")(py::make_tuple(group, name));
}

void Session::set_hypers(int group, const py::dict& values) {
  const Turn turn(*this);
  engine.set_hypers(group, read_hypers(engine.rule(), values));
  keep_callables(group, values);
}

void Session::set_hyper(int group, int hyper, const py::object& value) {
  const Turn turn(*this);
  engine.set_hyper(group, hyper, read_hyper(engine.rule(), hyper, value));
  py::dict one;
  one[py::str(engine.rule().hypers[std::size_t(hyper)].name)] = value;
  keep_callables(group, one);
}

void Session::commit_group(const py::object& tree, const py::object& owner, const py::dict& hypers,
                           const std::vector<LeafPlan>& leaves, bool grouped) {
  const Turn turn(*this);
  std::vector<Hyper> values = read_hypers(engine.rule(), hypers);
  std::vector<ArrayRef> arrays(leaves.size());
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    Refusal refusal;
    if (!read_writable(leaves[i].object.ptr(), arrays[i], refusal)) refusal.raise(leaves[i].name);
  }
  const std::size_t first = sources_.size();
  int count = int(first);
  Node node = Node::read(tree, count, "params");
  const int group = engine.add_group(std::move(values));
  keep_callables(group, hypers);
  sources_.resize(std::size_t(count));
  gradients_.resize(std::size_t(count));
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    ArrayRef& array = arrays[i];
    LeafSpec spec;
    spec.name = leaves[i].name;
    spec.data = array.data;
    spec.format = array.format;
    spec.shape.assign(array.shape, array.shape + array.dimensions);
    if (!array.c_order) spec.strides.assign(array.strides, array.strides + array.dimensions);
    spec.group = group;
    spec.sources = int(leaves[i].sources.size());
    int position = engine.sources();
    for (int source : leaves[i].sources)
      sources_[first + std::size_t(source)] = Source(leaves[i].object, array, position++);
    if (array.torch) torch_leaves_.push_back(engine.leaves());
    engine.add_leaf(std::move(spec));
    originals_.push_back(leaves[i].object);
  }
  for (ArrayRef& array : arrays) parameters_.push_back(std::move(array));
  engine.prepare();
  root_.children.push_back(std::move(node));
  groups_.push_back(owner);
  held_.reserve(sources_.size());
  grouped_ = grouped_ || grouped;
}

void Session::take(const Source& source, ArrayRef&& array, PyObject* object) {
  Py_INCREF(object);
  held_.push_back(object);
  gradients_[std::size_t(source.position)] = {array.data, array.format,
                                              array.c_order ? nullptr : array.strides};
  if (array.keep || !array.own.empty()) kept_.push_back(std::move(array));
}

void Session::check_parameters() {
  check_groups();
  for (const Source& source : sources_) {
    if (source.unchanged()) continue;
    for (std::size_t i = 0; i < originals_.size(); ++i)
      if (originals_[i].is(source.object))
        throw py::value_error("params " + engine.leaf(int(i)).name + kChanged);
  }
}

void Session::check_groups() const {
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (!PyDict_Check(groups_[i].ptr())) continue;
    if (PyDict_GetItemString(groups_[i].ptr(), "params") != root_.children[i].object.ptr())
      throw py::value_error(
          "params[" + std::to_string(i) +
          "]['params'] was bound to something else after the optimizer was made; write into the "
          "arrays, or make a new optimizer");
  }
}

void Session::tell_torch(const Outcome& outcome, bool flushed) {
  if (torch_leaves_.empty() || outcome.skipped || outcome.pending != 0) return;
  py::list written;
  std::size_t position = 0;
  std::vector<bool> given(originals_.size(), flushed || engine.options().accumulate > 1);
  for (std::size_t i = 0; i < originals_.size(); ++i)
    for (int s = 0; s < engine.leaf(int(i)).sources; ++s, ++position)
      if (gradients_[position].data) given[i] = true;
  for (int leaf : torch_leaves_)
    if (given[std::size_t(leaf)] && !engine.frozen(leaf)) written.append(originals_[std::size_t(leaf)]);
  if (!written.empty()) raise_versions(written);
}

void Session::tell_torch_of_all() {
  py::list moved;
  for (int leaf : torch_leaves_) moved.append(originals_[std::size_t(leaf)]);
  if (!moved.empty()) raise_versions(moved);
}

void Session::to_point() {
  const Turn turn(*this, true);
  check_parameters();
  engine.to_point();
  tell_torch_of_all();
}

void Session::from_point(bool gradient_taken) {
  const Turn turn(*this, true);
  check_parameters();
  engine.from_point(gradient_taken);
  tell_torch_of_all();
}

PyObject* Session::run(const Gradient* gradients) {
  Outcome outcome;
  if (engine.elements() > kReleaseAbove) {
    py::gil_scoped_release release;
    outcome = gradients ? engine.step(gradients) : engine.flush();
  } else {
    outcome = gradients ? engine.step(gradients) : engine.flush();
  }
  if (outcome.skipped && engine.options().nonfinite == Nonfinite::raise) {
    PyErr_Format(PyExc_FloatingPointError,
                 "the norm of the gradients is %s; no parameter, slot or clock was changed",
                 std::to_string(outcome.grad_norm).c_str());
    throw py::error_already_set();
  }
  if (!torch_leaves_.empty()) tell_torch(outcome, !gradients);
  return make_step_info(outcome);
}

PyObject* Session::step(PyObject* grads) {
  const Turn turn(*this);
  std::fill(gradients_.begin(), gradients_.end(), Gradient{});
  if (grouped_) check_groups();
  Walk walk(sources_, *this);
  walk.visit(grouped_ ? root_ : root_.children.front(), grads, nullptr);
  return run(gradients_.data());
}

PyObject* Session::flush() {
  const Turn turn(*this);
  if (engine.pending() == 0) Py_RETURN_NONE;
  check_parameters();
  return run(nullptr);
}

py::object Session::slot(int leaf, int slot) const {
  void* data = engine.slot(leaf, slot);
  if (!engine.slot_owner(leaf, slot)) return py::none();
  return array_over(data, arithmetic_of(engine.leaf(leaf).format), engine.leaf(leaf).shape,
                    engine.slot_owner(leaf, slot));
}

py::object Session::accumulator(int leaf) const {
  void* data = engine.accumulator(leaf);
  if (!data) return py::none();
  // Borrowed: read or written at once while a state is saved or loaded, never handed on.
  return array_over(data, arithmetic_of(engine.leaf(leaf).format), engine.leaf(leaf).shape, nullptr);
}

}  // namespace schuss
