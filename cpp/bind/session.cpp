#include "session.hpp"

#include "cuda_arrays.hpp"

#include <pybind11/stl.h>

#include <algorithm>

namespace schuss {
namespace {

// Large steps let other Python threads run; for small ones the two locks would cost more than the step.
constexpr int64_t kReleaseAbove = 1 << 17;

std::vector<Hyper> hypers_of(const Engine& engine, int group) {
  std::vector<Hyper> hypers;
  for (std::size_t i = 0; i < engine.rule().hypers.size(); ++i) hypers.push_back(engine.hyper(group, int(i)));
  return hypers;
}

}  // namespace

Session::Session(std::shared_ptr<const RuleInfo> its, EngineOptions options)
    : rule(std::move(its)), engine(*rule, std::move(options)) {
  root_.kind = Node::Kind::list;
}

Session::Turn::Turn(Session& session, bool may_be_at_point) : session_(session) {
  if (session.busy_)
    throw std::runtime_error(
        "this optimizer is in the middle of a step; neither another thread nor a schedule's "
        "function may step or change it until that ends");
  if ((session.engine.at_point() || session.at_point_) && !may_be_at_point)
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
  change_hypers(group, read_hypers(engine.rule(), values));
  keep_callables(group, values);
}

void Session::set_hyper(int group, int hyper, const py::object& value) {
  const Turn turn(*this);
  std::vector<Hyper> hypers = hypers_of(engine, group);
  hypers.at(std::size_t(hyper)) = read_hyper(engine.rule(), hyper, value);
  change_hypers(group, std::move(hypers));
  py::dict one;
  one[py::str(engine.rule().hypers[std::size_t(hyper)].name)] = value;
  keep_callables(group, one);
}

// A schedule is checked at the step that comes; only a device's engine knows which that is.
// What the kernels do not do yet.
void refuse_on_device(const RuleInfo& rule, const std::vector<Hyper>& hypers) {
  const int caution = rule.hyper_index("cautious");
  const bool cautious = caution >= 0 && hypers[std::size_t(caution)].value != 0;
  if (!cautious && !rule.finishes()) return;
  throw py::value_error(rule.name + (cautious ? "(): cautious" : "()") +
                        " measures whole leaves before it steps, which no CUDA kernel does yet; expected " +
                        (cautious ? "cautious=False" : "a rule that does not, as AdamW") +
                        ", or arrays on the CPU");
}

void Session::check_at_present_step(const std::vector<Hyper>& hypers) {
  const auto scheduled = [](const Hyper& hyper) { return bool(hyper.schedule); };
  if (on_device() && std::any_of(hypers.begin(), hypers.end(), scheduled)) engine.set_steps(steps());
}

void Session::change_hypers(int group, std::vector<Hyper> hypers) {
  check_at_present_step(hypers);
  if (on_device()) refuse_on_device(engine.rule(), hypers);
  std::vector<Hyper> before = on_device() ? hypers_of(engine, group) : std::vector<Hyper>();
  engine.set_hypers(group, std::move(hypers));
  if (!on_device()) return;
  try {
    device_engine_.attr("changed_hypers")();
  } catch (...) {
    engine.set_hypers(group, std::move(before));
    throw;
  }
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
  settle_device(leaves, arrays);
  const std::size_t first = sources_.size();
  int count = int(first);
  Node node = Node::read(tree, count, "params");
  check_at_present_step(values);
  if (on_device()) refuse_on_device(engine.rule(), values);
  const int group = engine.add_group(std::move(values));
  engine.set_on_device(on_device());
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
    spec.factors = leaves[i].factors;
    int position = engine.sources();
    for (int source : leaves[i].sources)
      sources_[first + std::size_t(source)] = Source(leaves[i].object, array, position++);
    if (array.torch) torch_leaves_.push_back(engine.leaves());
    engine.add_leaf(std::move(spec));
    originals_.push_back(leaves[i].object);
  }
  for (ArrayRef& array : arrays) parameters_.push_back(std::move(array));
  held_.reserve(sources_.size());
  try {
    engine.prepare();
    if (on_device()) device_gradients_.resize(engine);
    if (on_device()) device_engine_.attr("added")();
  } catch (...) {
    forget_group(first);
    throw;
  }
  root_.children.push_back(std::move(node));
  groups_.push_back(owner);
  grouped_ = grouped_ || grouped;
}

void Session::forget_group(std::size_t sources) {
  engine.forget_group();
  const auto leaves = std::size_t(engine.leaves());
  sources_.resize(sources);
  gradients_.resize(sources);
  originals_.resize(leaves);
  parameters_.resize(leaves);
  while (!torch_leaves_.empty() && torch_leaves_.back() >= int(leaves)) torch_leaves_.pop_back();
  if (on_device()) device_gradients_.resize(engine);
}

void Session::take(const Source& source, ArrayRef&& array, PyObject* object) {
  Py_INCREF(object);
  held_.push_back(object);
  static char nowhere;  // an empty array may have no address, which would say that no gradient was given
  gradients_[std::size_t(source.position)] = {array.data ? array.data : &nowhere, array.format,
                                              array.c_order ? nullptr : array.strides};
  if (array.keep || !(array.c_order || array.own.empty())) kept_.push_back(std::move(array));
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

// After a real step.
void Session::tell_torch(bool flushed) {
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
  if (on_device()) move_on_device(true, false);
  else engine.to_point();
  tell_torch_of_all();
}

void Session::from_point(bool gradient_taken) {
  const Turn turn(*this, true);
  check_parameters();
  if (on_device()) move_on_device(false, gradient_taken);
  else engine.from_point(gradient_taken);
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
  if (!torch_leaves_.empty() && !outcome.skipped && outcome.pending == 0) tell_torch(!gradients);
  return make_step_info(outcome);
}

PyObject* Session::step(PyObject* grads) {
  const Turn turn(*this);
  std::fill(gradients_.begin(), gradients_.end(), Gradient{});
  if (grouped_) check_groups();
  const OnTorchStream on_its_stream(has_torch());
  Walk walk(sources_, *this, device_);
  walk.visit(grouped_ ? root_ : root_.children.front(), grads, nullptr);
  return on_device() ? run_on_device(false) : run(gradients_.data());
}

PyObject* Session::flush() {
  const Turn turn(*this);
  if (pending() == 0) Py_RETURN_NONE;
  check_parameters();
  return on_device() ? run_on_device(true) : run(nullptr);
}

bool Session::accumulated(int leaf) const {
  return ask("accumulated", [&] { return engine.accumulated(leaf); }, leaf);
}

int64_t Session::clock(int leaf) const {
  return ask("clock", [&] { return engine.leaf_clock(leaf); }, leaf);
}

void Session::set_clock(int leaf, int64_t clock) {
  const Turn turn(*this);
  ask("set_clock", [&] { engine.set_leaf_clock(leaf, clock); }, leaf, clock);
}

int64_t Session::steps() const {
  return on_device() ? device_engine_.attr("steps").cast<int64_t>() : engine.steps();
}

void Session::set_steps(int64_t steps) {
  const Turn turn(*this);
  engine.set_steps(steps);
  if (on_device()) device_engine_.attr("steps") = steps;
}

int Session::pending() const {
  return on_device() ? device_engine_.attr("pending").cast<int>() : engine.pending();
}

void Session::set_pending(int pending, const std::vector<bool>& held) {
  const Turn turn(*this);
  ask("set_pending", [&] { engine.set_pending(pending, held); }, pending, held);
}

void Session::set_frozen(int leaf, bool frozen) {
  const Turn turn(*this);
  engine.set_frozen(leaf, frozen);
  if (on_device()) device_engine_.attr("changed")();
}

void Session::set_factors(int leaf, std::vector<double> factors) {
  const Turn turn(*this);
  engine.set_factors(leaf, std::move(factors));
  if (on_device()) device_engine_.attr("changed_factors")();
}

void Session::drop_held() {
  callables_ = py::dict();
  device_engine_ = py::object();
}

}  // namespace schuss
