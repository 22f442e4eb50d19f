// The C++ interface: a typed front on the engine, which does everything that is done here.
//
//   schuss::Optimizer opt("adamw", {{"lr", schuss::schedules::cosine(1e-3, 1000)}, {"weight_decay", 0.1}});
//   opt.add("w", w, {64, 10});  // float, double, bf16 or f16, in C order; written in place
//   opt.add("b", b, {10});
//   schuss::Outcome info = opt.step({grad_w, grad_b});
//
// What is wrong is a std::invalid_argument that names it, thrown before anything is written.
#pragma once
#include <algorithm>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catalog.hpp"
#include "control/schedule.hpp"
#include "engine.hpp"
#include "formats/element.hpp"
#include "rules/table.hpp"

namespace schuss {

int thread_count();
void set_thread_count(int count);        // large steps are spread over so many threads
std::vector<std::string> levels_here();  // the instruction sets that this processor runs, best first

template <class T>
constexpr Format format_of() {
  using Stored = std::remove_cv_t<T>;
  static_assert(std::is_same_v<Stored, double> || std::is_same_v<Stored, float> ||
                    std::is_same_v<Stored, bf16> || std::is_same_v<Stored, f16>,
                "elements are double, float, schuss::bf16 or schuss::f16");
  return std::is_same_v<Stored, double>  ? Format::f64
         : std::is_same_v<Stored, float> ? Format::f32
         : std::is_same_v<Stored, bf16>  ? Format::bf16
                                         : Format::f16;
}

// What a hyper may be given as: a number, true or false, a schedule, any function of the step.
class Setting {
 public:
  template <class Number, std::enable_if_t<std::is_arithmetic_v<Number>, int> = 0>
  Setting(Number number) : hyper_{double(number), {}} {}
  template <class Function,
            std::enable_if_t<std::is_invocable_r_v<double, const Function&, int64_t>, int> = 0>
  Setting(Function function) : hyper_{0, std::move(function)} {}

  operator const Hyper&() const { return hyper_; }

 private:
  Hyper hyper_;
};

using Settings = std::initializer_list<std::pair<std::string, Setting>>;

// A gradient of its parameter's shape: a pointer to it in C order, or a Gradient with strides. A null pointer
// leaves the parameter, its slots and its clock alone.
class GradientLike {
 public:
  template <class T>
  GradientLike(const T* data) : gradient_{data, format_of<T>(), nullptr} {}
  GradientLike(std::nullptr_t) {}
  GradientLike(Gradient gradient) : gradient_(gradient) {}

  operator const Gradient&() const { return gradient_; }

 private:
  Gradient gradient_;
};

class Optimizer {
 public:
  explicit Optimizer(const std::string& rule, Settings settings = {}, EngineOptions options = {})
      : engine_(rule_named(rule), std::move(options)), own_(standard()) {
    own_ = with(own_, settings);
    engine_.add_group(own_);
  }

  // Another group; its settings differ from the optimizer's where they are given. Returns its number.
  int add_group(Settings settings) { return engine_.add_group(with(own_, settings)); }

  // A parameter, which must outlive the optimizer and overlap no other. Returns its number.
  template <class T>
  int add(const std::string& name, T* data, std::vector<int64_t> shape, int group = 0,
          std::vector<int64_t> strides_in_bytes = {}) {
    for (int i = 0; i < engine_.leaves(); ++i)
      if (engine_.leaf(i).name == name)
        throw std::invalid_argument("add(): there is a '" + name + "' already");
    if (!strides_in_bytes.empty() && strides_in_bytes.size() != shape.size())
      throw std::invalid_argument("add(): '" + name + "' has " + std::to_string(strides_in_bytes.size()) +
                                  " strides, expected " + std::to_string(shape.size()));
    for (const int64_t extent : shape)
      if (extent < 0)
        throw std::invalid_argument("add(): '" + name + "' has an extent of " + std::to_string(extent));
    prepared_ = false;
    return engine_.add_leaf(
        {name, data, format_of<T>(), std::move(shape), std::move(strides_in_bytes), group});
  }

  // One gradient a parameter, in the order in which they were added.
  Outcome step(std::initializer_list<GradientLike> gradients) { return step_over(gradients); }
  Outcome step(const std::vector<GradientLike>& gradients) { return step_over(gradients); }

  // The step of the micro-gradients held so far; none is taken where there are none.
  Outcome flush() {
    if (engine_.pending() > 0) return taken(engine_.flush());
    Outcome nothing;
    nothing.step = clock();
    return nothing;
  }

  int64_t clock() const { return engine_.steps(); }
  const Hyper& operator[](const std::string& hyper) const { return engine_.hyper(0, index_of(hyper)); }
  void set(const std::string& hyper, const Setting& value, int group = 0) {
    engine_.set_hyper(group, index_of(hyper), value);
  }
  void freeze(const std::string& leaf, bool frozen = true) { engine_.set_frozen(number_of(leaf), frozen); }

  // A slot of a parameter: its elements in C order, or null where these settings do not keep it.
  template <class T>
  T* slot(const std::string& leaf, const std::string& name) {
    prepare();
    const int number = number_of(leaf);
    if (arithmetic_of(engine_.leaf(number).format) != format_of<T>())
      throw std::invalid_argument("slot(): those of '" + leaf + "' are " +
                                  name_of(arithmetic_of(engine_.leaf(number).format)));
    const std::vector<SlotInfo>& slots = engine_.rule().slots;
    for (std::size_t k = 0; k < slots.size(); ++k)
      if (slots[k].name == name && engine_.slot_format(number, int(k)) != SlotFormat::arithmetic)
        throw std::invalid_argument("slot(): '" + name + "' of '" + leaf + "' is stored in fewer bits");
      else if (slots[k].name == name) return static_cast<T*>(engine_.slot(number, int(k)));
    throw std::invalid_argument(engine_.rule().name + " has no slot '" + name + "'");
  }

  // While it lives, the parameters stand at the look-ahead point; the next step takes that form.
  class Lookahead {
   public:
    explicit Lookahead(Engine& engine) : engine_(engine) { engine_.to_point(); }
    ~Lookahead() {  // left by an exception, no gradient was taken
      if (engine_.at_point()) engine_.from_point(std::uncaught_exceptions() == exceptions_);
    }
    Lookahead(const Lookahead&) = delete;
    Lookahead& operator=(const Lookahead&) = delete;

   private:
    Engine& engine_;
    int exceptions_ = std::uncaught_exceptions();
  };
  [[nodiscard]] Lookahead lookahead() {
    prepare();
    return Lookahead(engine_);
  }

  Engine& engine() {  // for all else
    prepare();
    return engine_;
  }

 private:
  std::vector<Hyper> standard() const {
    std::vector<Hyper> hypers;
    for (const HyperInfo& info : engine_.rule().hypers) hypers.push_back({info.standard, {}});
    return hypers;
  }

  std::vector<Hyper> with(std::vector<Hyper> hypers, Settings settings) const {
    for (const auto& [name, value] : settings) hypers[std::size_t(index_of(name))] = value;
    return hypers;
  }

  int index_of(const std::string& hyper) const {
    const RuleInfo& rule = engine_.rule();
    const int index = rule.hyper_index(hyper);
    if (index >= 0) return index;
    throw std::invalid_argument(rule.name + "() got an unknown hyper '" + hyper + "'; it takes " +
                                rule.hyper_names());
  }

  int number_of(const std::string& leaf) const {
    std::string names;
    for (int i = 0; i < engine_.leaves(); ++i) {
      if (engine_.leaf(i).name == leaf) return i;
      names += (i ? ", " : "") + engine_.leaf(i).name;
    }
    throw std::invalid_argument("no parameter is named '" + leaf + "'; there are " + names);
  }

  void prepare() {
    if (prepared_) return;
    engine_.prepare();
    gradients_.resize(std::size_t(engine_.sources()));
    prepared_ = true;
  }

  template <class Gradients>
  Outcome step_over(const Gradients& gradients) {
    prepare();
    if (gradients.size() != gradients_.size())
      throw std::invalid_argument("step() got " + std::to_string(gradients.size()) + " gradients, expected " +
                                  std::to_string(gradients_.size()) + ", one a parameter");
    std::copy(gradients.begin(), gradients.end(), gradients_.begin());
    return taken(engine_.step(gradients_.data()));
  }

  Outcome taken(const Outcome& outcome) const {
    if (outcome.skipped && engine_.options().nonfinite == Nonfinite::raise)
      throw std::domain_error(
          "the norm of the gradients is not finite; no parameter, slot or clock was changed");
    return outcome;
  }

  Engine engine_;
  std::vector<Hyper> own_;
  std::vector<Gradient> gradients_;  // kept, so that a step allocates nothing
  bool prepared_ = false;
};

}  // namespace schuss
