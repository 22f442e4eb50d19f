#include "leaves.hpp"

#include <algorithm>
#include <tuple>

#include "attributes.hpp"
#include "cuda_arrays.hpp"

namespace schuss {
namespace {

constexpr int kWriteable = 0x0400;  // NumPy's flag

bool is_container(PyObject* object) {
  return PyDict_Check(object) || PyList_Check(object) || PyTuple_Check(object);
}

std::string key_text(const py::handle& key) { return "[" + std::string(py::repr(key)) + "]"; }

const char* kind_name(Node::Kind kind) {
  return kind == Node::Kind::dict    ? "a dict"
         : kind == Node::Kind::list  ? "a list"
         : kind == Node::Kind::tuple ? "a tuple"
                                     : "an array";
}

}  // namespace

const char* const kChanged =
    " is not as it was when the optimizer was made (moved, resized, reshaped, of another dtype or "
    "read-only); "
    "update it in place, or make a new optimizer";

Source::Source(py::object o, const ArrayRef& array, int where)
    : object(std::move(o)),
      data(array.data),
      position(where),
      dimensions(array.dimensions),
      c_order(array.c_order) {
  std::tie(low, high) = array.extent();
  shape.assign(array.shape, array.shape + dimensions);
  strides.assign(array.strides, array.strides + dimensions);
  std::copy_n(array.shape, std::min(dimensions, 3), near_shape);
  if (array.torch) kind = Kind::torch;
  else if (is_cupy(object.ptr())) kind = Kind::cupy;
  else if (PyObject_TypeCheck(object.ptr(), py::detail::npy_api::get().PyArray_Type_)) {
    kind = Kind::numpy;
    dtype = py::detail::array_proxy(object.ptr())->descr;
  }
}

// A loop of its own: for so few numbers a call of memcmp would cost more.
bool Source::is_shape(const int64_t* extents) const {
  const int64_t* mine = dimensions <= 3 ? near_shape : shape.data();
  for (int d = 0; d < dimensions; ++d)
    if (extents[d] != mine[d]) return false;
  return true;
}

bool Source::has_shape_of(const ArrayRef& array) const {
  return array.dimensions == dimensions && is_shape(array.shape);
}

bool Source::foreign_unchanged() const {
  static const Name data_ptr("data_ptr");
  if (kind == Kind::torch) return address(call(object.ptr(), data_ptr)) == data;
  return kind != Kind::cupy || is_cupy_at(object.ptr(), data, dimensions, shape.data());
}

bool Source::unchanged() const {
  if (kind != Kind::numpy) return foreign_unchanged();
  const auto* now = py::detail::array_proxy(object.ptr());
  return now->data == data && now->nd == dimensions && now->descr == dtype &&
         (now->flags & kWriteable) != 0 && is_shape(reinterpret_cast<const int64_t*>(now->dimensions));
}

Node Node::read(const py::object& tree, int& sources, const std::string& root, int depth) {
  constexpr int kDeepest = 200;
  if (depth > kDeepest)
    throw py::value_error(root + ": nested deeper than " + std::to_string(kDeepest) +
                          " containers, or a container that holds itself");
  Node node;
  node.object = tree;
  const auto child = [&](const py::handle& value) {
    node.children.push_back(read(py::reinterpret_borrow<py::object>(value), sources, root, depth + 1));
  };
  if (PyDict_Check(tree.ptr())) {
    node.kind = Kind::dict;
    for (const auto& [key, value] : tree.cast<py::dict>()) {
      node.keys.push_back(py::reinterpret_borrow<py::object>(key));
      child(value);
    }
  } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    node.kind = PyList_Check(tree.ptr()) ? Kind::list : Kind::tuple;
    for (const auto& value : tree.cast<py::sequence>()) child(value);
  } else {
    node.source = sources++;
  }
  return node;
}

std::string Path::text(const std::string& root) const {
  std::string mine;
  if (node) {
    const bool keyed = node->kind == Node::Kind::dict;
    mine = keyed ? key_text(node->keys[child]) : "[" + std::to_string(child) + "]";
  }
  return (up ? up->text(root) : root) + mine;
}

py::tuple Path::keys() const {
  const py::tuple before = up ? up->keys() : py::tuple(0);
  if (!node) return before;
  py::list all(before);
  if (node->kind == Node::Kind::dict) all.append(node->keys[child]);
  else all.append(py::int_(child));
  return py::tuple(all);
}

std::string Path::name() const {
  std::string joined;
  for (const auto key : keys()) joined += (joined.empty() ? "" : "/") + std::string(py::str(key));
  return joined;
}

void each_leaf(const Node& node, const Path* path,
               const std::function<void(const Node&, const Path*)>& visit) {
  if (node.kind == Node::Kind::leaf) return visit(node, path);
  for (std::size_t i = 0; i < node.children.size(); ++i) {
    const Path here{path, &node, i};
    each_leaf(node.children[i], &here, visit);
  }
}

void Walk::visit(const Node& node, PyObject* grads, const Path* path) {
  if (!path && grads == Py_None && node.kind != Node::Kind::leaf)
    throw py::type_error("grads: None, expected " + std::string(kind_name(node.kind)) +
                         " as the parameters have");
  switch (node.kind) {
    case Node::Kind::leaf: return leaf(node, grads, path);
    case Node::Kind::dict: return dict(node, grads, path);
    default: return sequence(node, grads, path);
  }
}

void Walk::leaf(const Node& node, PyObject* grad, const Path* path) {
  const Source& source = sources_[std::size_t(node.source)];
  if (!source.unchanged())
    throw py::value_error((path ? path->text("params") : std::string("params")) + kChanged);
  if (grad == Py_None) return;
  const auto where = [&] { return path ? path->text("grads") : std::string("grads"); };
  ArrayRef array;
  Refusal refusal;
  if (!read_array(grad, array, refusal)) {
    if (is_container(grad))
      refusal.reason = kind_of(grad) + ", expected an array of shape " +
                       shape_text(source.shape.data(), source.shape.size());
    refusal.raise(where());
  }
  if (array.device != device_)
    throw py::value_error(where() + ": on " + place_of(array.device) + ", expected " + place_of(device_) +
                          " as " + (path ? path->text("params") : std::string("params")) + " is");
  if (!source.has_shape_of(array))
    throw py::value_error(where() + ": shape " + shape_text(array.shape, std::size_t(array.dimensions)) +
                          ", expected " + shape_text(source.shape.data(), source.shape.size()));
  apart(source, array, path);
  sink_.take(source, std::move(array), grad);
}

// A gradient may be its parameter itself, but not lie across it: some of it would be overwritten before it is
// read.
void Walk::apart(const Source& source, const ArrayRef& grad, const Path* path) {
  if (grad.c_order && grad.data >= source.high) return;
  const bool lies_alike = (source.c_order && grad.c_order) ||
                          std::equal(source.strides.begin(), source.strides.end(), grad.strides);
  if (grad.data == source.data && lies_alike) return;
  const auto [low, high] = grad.extent();
  if (high <= source.low || low >= source.high) return;
  const auto text = [&](const char* root) { return path ? path->text(root) : std::string(root); };
  throw py::value_error(text("grads") + " overlaps " + text("params") +
                        " in memory, expected an array of its own; pass a copy");
}

// A parameter that was bound anew would be left behind: nobody would see its updates.
void Walk::same(const Node& child, PyObject* now, const Path& path) {
  if (now == child.object.ptr()) return;
  if (!now)
    throw py::value_error(path.text("params") + " is gone from the container the optimizer was made with");
  throw py::value_error(path.text("params") + " was bound to another " +
                        (child.kind == Node::Kind::leaf ? "array" : "container") +
                        " after the optimizer was made; write into it (" + path.text("params") +
                        "[...] = new), or make a new optimizer");
}

// The value at a key. Dicts mostly keep one order, so the next entry is looked at before the key is looked
// up, and objects a few entries on are fetched ahead: with thousands of leaves their memory is what a walk
// waits for.
class InOrder {
 public:
  explicit InOrder(PyObject* dict) : dict_(dict) {
    for (unsigned i = 0; i < kAhead; ++i) fetch_next();
  }
  PyObject* at(PyObject* key) {
    PyObject *next_key = nullptr, *value = nullptr;
    fetch_next();
    if (in_step_ && PyDict_Next(dict_, &position_, &next_key, &value) && next_key == key) return value;
    in_step_ = false;
    return PyDict_GetItemWithError(dict_, key);
  }

 private:
  static constexpr unsigned kAhead = 8;
  void fetch_next() {
    PyObject* value = nullptr;
    if (!PyDict_Next(dict_, &ahead_, nullptr, &value)) return;
    __builtin_prefetch(value);
    __builtin_prefetch(reinterpret_cast<const char*>(value) + 64);
    // Halfway there the object has come, and tells where its shape lies.
    PyObject* const come = coming_[(count_ + kAhead / 2) % kAhead];
    if (come && reinterpret_cast<PyTypeObject*>(Py_TYPE(come)) == py::detail::npy_api::get().PyArray_Type_)
      __builtin_prefetch(py::detail::array_proxy(come)->dimensions);
    coming_[count_++ % kAhead] = value;
  }

  PyObject* coming_[kAhead] = {};
  unsigned count_ = 0;
  PyObject* dict_;
  Py_ssize_t position_ = 0, ahead_ = 0;
  bool in_step_ = true;
};

void Walk::dict(const Node& node, PyObject* grads, const Path* path) {
  const auto where = [&] { return path ? path->text("grads") : std::string("grads"); };
  const bool none = grads == Py_None;
  if (!none && !PyDict_Check(grads))
    throw py::type_error(where() + ": " + kind_of(grads) + ", expected a dict as the parameters have");
  InOrder params(node.object.ptr()), given(none ? node.object.ptr() : grads);
  for (std::size_t i = 0; i < node.children.size(); ++i) {
    const Path here{path, &node, i};
    same(node.children[i], params.at(node.keys[i].ptr()), here);
    PyObject* grad = none ? Py_None : given.at(node.keys[i].ptr());
    if (!grad) {
      if (PyErr_Occurred()) throw py::error_already_set();
      throw py::value_error(here.text("grads") + " is missing; a leaf without a gradient takes None");
    }
    const auto held = py::reinterpret_borrow<py::object>(grad);
    visit(node.children[i], held.ptr(), &here);
  }
  if (none || PyDict_GET_SIZE(grads) == Py_ssize_t(node.children.size())) return;
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(grads)) {
    if (PyDict_Contains(node.object.ptr(), key.ptr()) == 1) continue;
    throw py::value_error(where() + key_text(key) + " is extra: the parameters have no such entry");
  }
}

void Walk::sequence(const Node& node, PyObject* grads, const Path* path) {
  const auto where = [&] { return path ? path->text("grads") : std::string("grads"); };
  const bool none = grads == Py_None;
  if (!none && !PyList_Check(grads) && !PyTuple_Check(grads))
    throw py::type_error(where() + ": " + kind_of(grads) + ", expected " + kind_name(node.kind) +
                         " as the parameters have");
  const auto wanted = Py_ssize_t(node.children.size());
  if (!none && PySequence_Fast_GET_SIZE(grads) != wanted)
    throw py::value_error(where() + ": " + std::to_string(PySequence_Fast_GET_SIZE(grads)) +
                          " entries, expected " + std::to_string(wanted));
  for (Py_ssize_t i = 0; i < wanted; ++i) {
    const Path here{path, &node, std::size_t(i)};
    if (node.kind == Node::Kind::list && node.object) {
      PyObject* const params = node.object.ptr();
      same(node.children[std::size_t(i)], i < PyList_GET_SIZE(params) ? PyList_GET_ITEM(params, i) : nullptr,
           here);
    }
    // Reading an array may run Python code, and that may change the list.
    if (!none && i >= PySequence_Fast_GET_SIZE(grads))
      throw py::value_error(where() + " changed while it was read");
    const auto grad = py::reinterpret_borrow<py::object>(none ? Py_None : PySequence_Fast_GET_ITEM(grads, i));
    visit(node.children[std::size_t(i)], grad.ptr(), &here);
  }
}

}  // namespace schuss
