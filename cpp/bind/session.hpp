// An engine with the Python objects around it: what `opt.step(grads)` lands in.
#pragma once
#include "leaves.hpp"
#include "schuss/engine.hpp"

namespace schuss {

// A number, a schedule of the core, or any callable step -> float; else a TypeError naming the hyper.
Hyper read_hyper(const RuleInfo& rule, int index, const py::handle& value);

// All settings of a rule from a dict that has them.
std::vector<Hyper> read_hypers(const RuleInfo& rule, const py::dict& hypers);

class Session : private GradientSink {
 public:
  Session(const std::string& rule, EngineOptions options);

  // One leaf: its name, the array, and the indices of the sources (in the order met) that it serves.
  struct LeafPlan {
    std::string name;
    py::object object;
    std::vector<int> sources;
  };
  // `tree` was read by `begin_group`; either all of it is taken in or nothing.
  py::list begin_group(const py::object& tree);  // [(keys, object), …] in the order met
  void commit_group(const py::object& tree, const py::dict& hypers, const std::vector<LeafPlan>& leaves,
                    bool grouped);

  PyObject* step(PyObject* grads);  // a StepInfo
  PyObject* flush();
  void to_point();  // the parameters to where the rule wants its gradient taken
  void from_point();

  Engine engine;
  py::object slot(int leaf, int slot) const;  // an array over the slot; None where it is not kept
  py::object accumulator(int leaf) const;
  py::object original(int leaf) const { return originals_.at(std::size_t(leaf)); }

 private:
  void take(const Source& source, ArrayRef&& array) override;
  void check_parameters();
  void tell_torch_of_all();
  void tell_torch(const Outcome& outcome, bool flushed);
  PyObject* run(const Gradient* gradients);

  Node root_;
  bool any_ = false, grouped_ = false, stepping_ = false;
  std::vector<Source> sources_;
  std::vector<Gradient> gradients_;
  std::vector<ArrayRef> kept_;        // gradients whose pointers lean on what the read made
  std::vector<ArrayRef> parameters_;  // held as long as the session
  std::vector<py::object> originals_;
  std::vector<int> torch_leaves_;
};

void bind_session(py::module_& module);
void bind_stepper(py::module_& module);

// Gives the outcome a Python face.
PyObject* make_step_info(const Outcome& outcome);
void bind_step_info(py::module_& module);

}  // namespace schuss
