#include "schedules.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "checked.hpp"

namespace py = pybind11;

namespace schuss {
namespace {

enum class Functions { refuse, null, keep };

const char* const schedule_like = "a schedule, a number or a function of the step";

// A Python function. Its last copy may go away on any thread.
struct PythonFunction {
  std::shared_ptr<PyObject> held;

  explicit PythonFunction(py::handle function)
      : held(function.inc_ref().ptr(), [](PyObject* object) {
          py::gil_scoped_acquire lock;
          Py_DECREF(object);
        }) {}

  double operator()(int64_t step) const {
    py::gil_scoped_acquire lock;
    const py::object value = py::handle(held.get())(step);
    if (checked::is_number(value)) return checked::number(value, "schedule");
    checked::wrong_type("schedule " + std::string(py::repr(held.get())) + " at step " + std::to_string(step),
                        value, "a number");
  }
};

const ScheduleFunction& function_of(const Schedule& schedule) {
  return *std::get<std::shared_ptr<const ScheduleFunction>>(schedule.spec().arguments[0].second);
}

Schedule wrapped(py::handle function) {
  const py::object name = py::getattr(function, "__qualname__", py::none());
  return schedules::function(PythonFunction(function),
                             py::isinstance<py::str>(name) ? std::string(py::str(name)) : "function",
                             function.ptr());
}

Schedule from_dict(py::handle value);

// Plain values as they stand; which type an argument needs is known to the schedule that takes it.
ScheduleArgument argument(py::handle value, const std::string& name) {
  if (value.is_none()) return std::monostate{};
  if (checked::is_boolean(value)) return checked::boolean(value, name);
  if (py::isinstance<Schedule>(value)) return py::cast<Schedule>(value);
  if (checked::is_integer(value)) return checked::integer(value, name);
  if (checked::is_number(value)) return checked::number(value, name);
  if (py::isinstance<py::str>(value)) return std::string(py::str(value));
  if (py::isinstance<py::dict>(value)) return from_dict(value);
  if (PyCallable_Check(value.ptr())) return wrapped(value);
  if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value) &&
      !py::isinstance<py::array>(value))
    checked::wrong_type(name, value, "a number, a string, a schedule or a list of them");
  const py::list items(py::reinterpret_borrow<py::object>(value));
  bool whole = true;
  for (const py::handle item : items) whole = whole && checked::is_integer(item);
  std::vector<int64_t> integers;
  std::vector<Schedule> parts;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string item_name = name + "[" + std::to_string(i) + "]";
    if (whole) integers.push_back(checked::integer(items[i], item_name));
    else
      parts.push_back(py::isinstance<py::dict>(items[i]) ? from_dict(items[i])
                                                         : as_schedule(items[i], item_name));
  }
  if (whole) return integers;
  return parts;
}

Schedule make_schedule(const std::string& kind, const py::dict& arguments) {
  ScheduleSpec spec{kind, {}};
  for (const auto& item : arguments) {
    const std::string name = py::str(item.first);
    spec.arguments.emplace_back(name, argument(item.second, kind + "(): " + name));
  }
  return schedules::from_spec(spec);
}

Schedule from_dict(py::handle value) {
  if (!py::isinstance<py::dict>(value))
    checked::wrong_type("from_dict(): the schedule", value,
                        value.is_none() ? "a dict; None stands where a Python function was" : "a dict");
  const auto plain = py::reinterpret_borrow<py::dict>(value);
  if (plain.size() != 2 || !plain.contains("kind") || !plain.contains("arguments") ||
      !py::isinstance<py::str>(plain["kind"]) || !py::isinstance<py::dict>(plain["arguments"]))
    throw py::value_error("from_dict(): the schedule is " + std::string(py::repr(value)) +
                          ", expected {'kind': a string, 'arguments': a dict}");
  const std::string kind = py::str(plain["kind"]);
  const auto arguments = py::reinterpret_borrow<py::dict>(plain["arguments"]);
  if (kind == "function" && arguments.contains("call") && PyCallable_Check(arguments["call"].ptr()))
    return wrapped(arguments["call"]);
  return make_schedule(kind, arguments);
}

py::object to_dict(const Schedule& schedule, Functions functions);

struct Plain {
  Functions functions;

  py::object operator()(const Schedule& value) const { return to_dict(value, functions); }
  py::object operator()(const std::vector<Schedule>& values) const {
    py::list list;
    for (const Schedule& value : values) list.append(to_dict(value, functions));
    return std::move(list);
  }
  py::object operator()(const std::shared_ptr<const ScheduleFunction>&) const { return py::none(); }
  py::object operator()(std::monostate) const { return py::none(); }
  template <class Value>
  py::object operator()(const Value& value) const {
    return py::cast(value);
  }
};

py::object to_dict(const Schedule& schedule, Functions functions) {
  py::dict arguments;
  if (schedule.spec().kind == "function") {
    const ScheduleFunction& function = function_of(schedule);
    if (functions == Functions::null) return py::none();
    const auto* python = function.call.target<PythonFunction>();
    if (functions == Functions::refuse || !python)
      throw py::type_error("schedule holds the function " + function.name +
                           ", which has no plain form, expected schedules only; functions='null' writes "
                           "None in its place");
    arguments["call"] = py::reinterpret_borrow<py::object>(python->held.get());
  } else {
    for (const auto& argument : schedule.spec().arguments)
      arguments[argument.first.c_str()] = std::visit(Plain{functions}, argument.second);
  }
  py::dict plain;
  plain["kind"] = schedule.spec().kind;
  plain["arguments"] = arguments;
  return std::move(plain);
}

std::string call_of(const Schedule& schedule);

struct Shown {
  std::string operator()(const Schedule& value) const { return call_of(value); }
  std::string operator()(const std::vector<Schedule>& values) const {
    std::string text = "[";
    for (const Schedule& value : values) text += (text.size() > 1 ? ", " : "") + call_of(value);
    return text + "]";
  }
  std::string operator()(const std::shared_ptr<const ScheduleFunction>& function) const {
    return function->name;
  }
  std::string operator()(std::monostate) const { return "None"; }
  template <class Value>
  std::string operator()(const Value& value) const {
    return py::repr(py::cast(value));
  }
};

// The call that makes it.
std::string call_of(const Schedule& schedule) {
  if (schedule.spec().kind == "function") return "Schedule(" + function_of(schedule).name + ")";
  std::string text;
  for (const auto& argument : schedule.spec().arguments)
    text += (text.empty() ? "" : ", ") + argument.first + "=" + std::visit(Shown{}, argument.second);
  return schedule.spec().kind + "(" + text + ")";
}

py::object evaluate(const Schedule& schedule, const py::object& steps) {
  const std::string expected = "an integer or an array of integers";
  if (PyLong_CheckExact(steps.ptr()) || (!py::isinstance<py::array>(steps) && checked::is_integer(steps)))
    return py::float_(schedule(checked::integer(steps, "schedule(): step")));
  if (!py::isinstance<py::array>(steps) &&
      (checked::is_boolean(steps) || checked::is_number(steps) || py::isinstance<py::str>(steps)))
    checked::wrong_type("schedule(): step", steps, expected);
  const py::array given = py::array::ensure(steps);
  if (!given) {
    PyErr_Clear();
    checked::wrong_type("schedule(): step", steps, expected);
  }
  const char kind = given.dtype().kind();
  if (kind != 'i' && kind != 'u' && given.size() > 0)
    throw py::type_error("schedule(): step is an array of " + std::string(py::str(given.dtype())) +
                         ", expected " + expected);
  const auto whole = py::array_t<int64_t, py::array::c_style | py::array::forcecast>::ensure(given);
  if (!whole) throw py::error_already_set();
  py::array_t<double> values(std::vector<py::ssize_t>(whole.shape(), whole.shape() + whole.ndim()));
  schedule(whole.data(), values.mutable_data(), static_cast<int64_t>(whole.size()));
  return std::move(values);
}

void bind_elementary(py::module_ module) {
  module.doc() = "The functions that schedules and bias corrections stand on, here for their tests.";
  module.def("exp", py::vectorize([](double x) { return elementary::exp(x); }));
  module.def("log", py::vectorize([](double x) { return elementary::log(x); }));
  module.def("cos", py::vectorize([](double x) { return elementary::cos(x); }));
  module.def("sin", py::vectorize([](double x) { return elementary::sin(x); }));
  module.def("root", py::vectorize([](double x) { return elementary::root(x); }));
  module.def("power", py::vectorize([](double x, double y) { return elementary::power(x, y); }));
  module.def("integer_power", py::vectorize([](double x, int64_t n) { return elementary::power(x, n); }));
}

}  // namespace

Schedule as_schedule(py::handle value, const std::string& name) {
  if (py::isinstance<Schedule>(value)) return py::cast<Schedule>(value);
  if (checked::is_number(value)) {
    const double number = checked::number(value, name);
    if (!(elementary::magnitude(number) < elementary::infinity()))
      throw py::value_error(name + " is " + std::string(py::repr(value)) + ", expected a finite number");
    return Schedule(number);
  }
  if (PyCallable_Check(value.ptr())) return wrapped(value);
  checked::wrong_type(name, value, schedule_like);
}

bool holds_function(const Schedule& schedule) {
  if (schedule.spec().kind == "function") return true;
  for (const auto& argument : schedule.spec().arguments) {
    if (const auto* part = std::get_if<Schedule>(&argument.second))
      if (holds_function(*part)) return true;
    if (const auto* parts = std::get_if<std::vector<Schedule>>(&argument.second))
      for (const Schedule& part : *parts)
        if (holds_function(part)) return true;
  }
  return false;
}

}  // namespace schuss

void bind_schedules(py::module_& module) {
  using schuss::Schedule;
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const schuss::WrongType& wrong) {
      PyErr_SetString(PyExc_TypeError, wrong.what());
    }
  });
  schuss::bind_elementary(module.def_submodule("elementary"));

  py::class_<Schedule>(module, "Schedule", R"(A pure function of the step.

Made by the functions of `schuss.schedules`, or from a number (which stays) or any Python function of the
step. Immutable; equal when made by equal calls; picklable, as far as the Python functions in it are.

Parameters
----------
value : Schedule, number, or function of the step
    What it is at each step.

Raises
------
TypeError
    If `value` is none of these.

Examples
--------
>>> from schuss.schedules import Schedule
>>> Schedule(lambda step: 0.1 / (1 + step))(4)
0.02
>>> Schedule(0.1) == Schedule(0.1)
True
)")
      .def(py::init([](const py::object& value) { return schuss::as_schedule(value, "Schedule(): value"); }),
           py::arg("value"))
      .def("__call__", &schuss::evaluate, py::arg("step"),
           R"(The value at a step (the first real step is 0), or at each step of an array.

Parameters
----------
step : int or array of ints
    At least 0.

Returns
-------
float or numpy.ndarray
    A float64 array of the same shape for an array; the same bits as one step at a time.
)")
      .def(
          "to_dict",
          [](const Schedule& schedule, const std::string& functions) {
            if (functions != "refuse" && functions != "null")
              throw py::value_error("to_dict(): functions is '" + functions +
                                    "', expected 'refuse' or 'null'");
            return schuss::to_dict(schedule,
                                   functions == "null" ? schuss::Functions::null : schuss::Functions::refuse);
          },
          py::arg("functions") = "refuse",
          R"(Plain dicts, lists, numbers and strings, as JSON has them.

Parameters
----------
functions : {'refuse', 'null'}
    What to do about a Python function inside: raise TypeError, or write None in its place.
)")
      .def_static(
          "from_dict", [](const py::object& plain) { return schuss::from_dict(plain); }, py::arg("plain"),
          "The schedule that `to_dict` wrote down.")
      .def_property_readonly(
          "kind", [](const Schedule& schedule) { return schedule.spec().kind; },
          "The name of the function that made it: 'cosine', 'warmup', …")
      .def_property_readonly("holds_function", &schuss::holds_function,
                             "Whether a Python function is in it, which has no plain form.")
      .def("__repr__", &schuss::call_of)
      .def("__eq__",
           [](const Schedule& schedule, const py::object& other) -> py::object {
             if (!py::isinstance<Schedule>(other))
               return py::reinterpret_borrow<py::object>(Py_NotImplemented);
             return py::bool_(schedule == py::cast<Schedule>(other));
           })
      .def("__hash__", [](const Schedule& schedule) { return py::hash(py::str(schuss::call_of(schedule))); })
      .def(py::pickle(
          [](const Schedule& schedule) { return schuss::to_dict(schedule, schuss::Functions::keep); },
          [](const py::object& plain) { return schuss::from_dict(plain); }));

  module.def("make_schedule", &schuss::make_schedule, py::arg("kind"), py::arg("arguments"),
             "A schedule by its kind and named arguments; None counts as left out.");
}
