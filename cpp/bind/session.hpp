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
  // `root` is what messages call the parameters. Gives [(keys, object, name for messages), …] in the order
  // met.
  py::list begin_group(const py::object& tree, const std::string& root);
  // `tree` was read by `begin_group`; either all of it is taken in or nothing. `group` is the user's own
  // dict.
  void commit_group(const py::object& tree, const py::object& group, const py::dict& hypers,
                    const std::vector<LeafPlan>& leaves, bool grouped);
  void set_hypers(int group, const py::dict& values);

  // While one lives, nothing else may step or change this optimizer: not another thread, not a schedule's
  // function.
  class Turn {
   public:
    explicit Turn(Session& session, bool may_be_at_point = false);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Session& session_;
  };

  PyObject* step(PyObject* grads);  // a StepInfo
  PyObject* flush();
  void to_point();  // the parameters to where the rule wants its gradient taken
  void from_point(bool gradient_taken);

  Engine engine;
  py::object slot(int leaf, int slot) const;  // an array over the slot; None where it is not kept
  py::object accumulator(int leaf) const;
  void set_hyper(int group, int hyper, const py::object& value);
  PyObject* callables() const { return callables_.ptr(); }  // for the garbage collector
  void drop_callables() { callables_ = py::dict(); }

 private:
  void take(const Source& source, ArrayRef&& array, PyObject* object) override;
  void let_go();
  void check_groups() const;
  void keep_callables(int group, const py::dict& hypers);
  void check_parameters();
  void tell_torch_of_all();
  void tell_torch(const Outcome& outcome, bool flushed);
  PyObject* run(const Gradient* gradients);

  Node root_;
  bool grouped_ = false, busy_ = false;
  std::vector<Source> sources_;
  std::vector<Gradient> gradients_;
  std::vector<py::object> groups_;    // the users' dicts, to see that their "params" stay
  std::vector<PyObject*> held_;       // the gradients of the step under way
  std::vector<ArrayRef> kept_;        // of those, what the read made
  std::vector<ArrayRef> parameters_;  // held as long as the session
  std::vector<py::object> originals_;
  std::vector<int> torch_leaves_;
  py::dict
      callables_;  // Python functions among the hypers, by (group, hyper): held here, where the GC sees them
};

void bind_session(py::module_& module);
void bind_stepper(py::module_& module);

// Gives the outcome a Python face.
PyObject* make_step_info(const Outcome& outcome);
void bind_step_info(py::module_& module);

}  // namespace schuss
