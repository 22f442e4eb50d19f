// Slow weights beside an optimizer's parameters.
#include "shadow.hpp"

#include <pybind11/stl.h>

#include "session.hpp"
#include "tree.hpp"

namespace schuss {
namespace {

// Holds the arrays it points into; whoever steps them has checked that they are where they were.
class HeldShadow {
 public:
  void add(const std::vector<std::pair<py::object, std::string>>& leaves) {
    std::vector<ArrayRef> read(leaves.size());
    std::vector<PlainArray> arrays;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      Refusal refusal;
      if (!read_writable(leaves[i].first.ptr(), read[i], refusal)) refusal.raise(leaves[i].second);
      arrays.push_back(plain(read[i]));
    }
    shadow_.add(arrays);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      if (read[i].torch) torch_.append(leaves[i].first);
      held_.push_back({leaves[i].first, std::move(read[i])});
    }
  }

  void pull(double alpha) {
    {
      const py::gil_scoped_release release;
      shadow_.pull(alpha);
    }
    tell_torch();
  }
  void show() {
    shadow_.show();
    tell_torch();
  }
  void hide() {
    shadow_.hide();
    tell_torch();
  }

  py::object slow(std::size_t leaf) const {
    const PlainArray& array = shadow_.parameter(leaf);
    const auto& slab = shadow_.slow(leaf);
    auto* held = new std::shared_ptr<const void>(slab);
    const py::capsule base(held, [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); });
    if (array.format == Format::f64)
      return py::array_t<double>(array.shape, reinterpret_cast<double*>(slab->data()), base);
    return py::array_t<float>(array.shape, reinterpret_cast<float*>(slab->data()), base);
  }
  std::size_t leaves() const { return shadow_.leaves(); }
  bool shown() const { return shadow_.shown(); }

 private:
  void tell_torch() const {
    if (!torch_.empty()) raise_versions(torch_);
  }

  Shadow shadow_;
  std::vector<std::pair<py::object, ArrayRef>> held_;
  py::list torch_;
};

}  // namespace

void bind_shadow(py::module_& module) {
  py::class_<HeldShadow>(module, "Shadow")
      .def(py::init<>())
      .def("add", &HeldShadow::add)
      .def("pull", &HeldShadow::pull)
      .def("show", &HeldShadow::show)
      .def("hide", &HeldShadow::hide)
      .def("slow", &HeldShadow::slow)
      .def_property_readonly("leaves", &HeldShadow::leaves)
      .def_property_readonly("shown", &HeldShadow::shown);
}

}  // namespace schuss
