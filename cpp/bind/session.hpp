// An engine with the Python objects around it: what `opt.step(grads)` lands in.
#pragma once
#include <array>
#include <optional>
#include <type_traits>

#include "device_session.hpp"
#include "leaves.hpp"
#include "schuss/engine.hpp"

namespace schuss {

// A number, a schedule of the core, or any callable step -> float; else a TypeError naming the hyper.
Hyper read_hyper(const RuleInfo& rule, int index, const py::handle& value);

// All settings of a rule from a dict that has them.
std::vector<Hyper> read_hypers(const RuleInfo& rule, const py::dict& hypers);

class Session : private GradientSink {
 public:
  Session(std::shared_ptr<const RuleInfo> rule, EngineOptions options);

  // One leaf: its name, the array, and the indices of the sources (in the order met) that it serves.
  struct LeafPlan {
    std::string name;
    py::object object;
    std::vector<int> sources;
    std::vector<double> factors;  // on the hypers; empty: all 1
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
  void renew();  // on a device: the numbers of many steps to come

  const std::shared_ptr<const RuleInfo> rule;         // held for the engine
  Engine engine;                                      // on a device it keeps the settings alone
  py::object slot(int leaf, int slot) const;          // an array over the slot; None where it is not kept
  const char* slot_format(int leaf, int slot) const;  // "8bit", or the type of its elements
  py::dict stored(int leaf) const;                    // every array of the leaf's state as it lies in memory
  py::object master(int leaf) const;
  py::object scalar(int leaf, const std::string& name) const;
  py::object accumulator(int leaf) const;
  bool accumulated(int leaf) const;
  int64_t clock(int leaf) const;
  void set_clock(int leaf, int64_t clock);
  int64_t steps() const;
  void set_steps(int64_t steps);
  int pending() const;
  void set_pending(int pending, const std::vector<bool>& held);
  void set_frozen(int leaf, bool frozen);
  void set_hyper(int group, int hyper, const py::object& value);
  void set_factors(int leaf, std::vector<double> factors);

  int device() const { return device_; }  // CUDA's index; -1: the CPU
  const DeviceGradients& device_gradients() const { return device_gradients_; }
  bool has_torch() const { return !torch_leaves_.empty(); }
  bool calls_python() const;  // whether a hyper is a Python function, or holds one

  // For the garbage collector.
  std::array<PyObject*, 2> held() const { return {callables_.ptr(), device_engine_.ptr()}; }
  void drop_held();

 private:
  bool on_device() const { return bool(device_engine_); }
  // What the engine here says, or the device's engine under that name.
  template <class Host, class... Arguments>
  auto ask(const char* method, const Host& host, const Arguments&... arguments) const {
    using Result = decltype(host());
    if (!on_device()) return host();
    const py::object result = device_engine_.attr(method)(arguments...);
    if constexpr (!std::is_void_v<Result>) return result.template cast<Result>();
  }
  void settle_device(const std::vector<LeafPlan>& leaves, const std::vector<ArrayRef>& arrays);
  PyObject* run_on_device(bool flushed);
  void move_on_device(bool to_point, bool gradient_taken);
  void forget_group(std::size_t sources);
  void change_hypers(int group, std::vector<Hyper> hypers);
  void check_at_present_step(const std::vector<Hyper>& hypers);
  void take(const Source& source, ArrayRef&& array, PyObject* object) override;
  void let_go();
  void check_groups() const;
  void keep_callables(int group, const py::dict& hypers);
  void check_parameters();
  void tell_torch_of_all();
  void tell_torch(bool flushed);
  PyObject* run(const Gradient* gradients);

  Node root_;
  bool grouped_ = false, busy_ = false;
  bool at_point_ = false;  // on a device; else the engine knows
  int device_ = -1;
  py::object device_engine_;  // empty on the CPU
  DeviceGradients device_gradients_;
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

// For the device's engine: the numbers of the steps from `first` on, until the buffer is full or a step's
// hypers are refused; gives how many. Throws where the first is.
int64_t fill_entries(const Session& session, int group, int format, unsigned mask,
                     std::optional<bool> lookahead, int64_t behind, int64_t first, const py::object& entries,
                     int factors);
void bind_numbers(py::module_& module);

void bind_device_session(py::class_<Session>& session);
void bind_session(py::module_& module);
void bind_stepper(py::module_& module);

// Gives the outcome a Python face.
PyObject* make_step_info(const Outcome& outcome);
int pending_of(const py::object& step_info);
void bind_step_info(py::module_& module);

}  // namespace schuss
