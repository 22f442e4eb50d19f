// The walk over containers: parameters once, when an optimizer is made; gradients beside them in every step.
#pragma once
#include <functional>

#include "array_ref.hpp"

namespace schuss {

// A leaf of the parameters as the walk meets it, packed: a step reads one for each gradient. A tied array is
// met more than once.
struct Source {
  enum class Kind : char { numpy, torch, cupy, other };

  Source() = default;
  Source(py::object object, const ArrayRef& array, int position);

  py::object object;
  const char* data = nullptr;
  const char *low = nullptr, *high = nullptr;  // the bytes it spans
  const void* dtype = nullptr;                 // NumPy's, of a NumPy array
  int position = 0;                            // of its gradient in the engine's list
  int dimensions = 0;
  int64_t near_shape[3] = {};  // of at most three dimensions, else `shape`
  Kind kind = Kind::other;
  bool c_order = true;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // bytes

  bool is_shape(const int64_t* extents) const;  // of as many dimensions
  bool has_shape_of(const ArrayRef& array) const;
  bool unchanged() const;  // its memory, shape and type, and that it may be written, are what they were
  bool foreign_unchanged() const;
};

struct Node {
  enum class Kind { leaf, dict, list, tuple };
  Kind kind = Kind::leaf;
  py::object object;             // the container, or the array
  std::vector<py::object> keys;  // of a dict
  std::vector<Node> children;
  int source = -1;  // of a leaf

  // Containers down to whatever is none; `root` is what messages call the whole.
  static Node read(const py::object& tree, int& sources, const std::string& root, int depth = 0);
};

// Where a walk stands, for messages only.
struct Path {
  const Path* up = nullptr;
  const Node* node = nullptr;
  std::size_t child = 0;

  std::string text(const std::string& root) const;  // "grads['encoder']['w']"
  py::tuple keys() const;
  std::string name() const;  // "encoder/w"
};

// Visits every leaf with its path.
void each_leaf(const Node& node, const Path* path,
               const std::function<void(const Node&, const Path*)>& visit);

// What is said of a parameter that is not as it was.
extern const char* const kChanged;

// What the walk hands over for each gradient given.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual void take(const Source& source, ArrayRef&& array, PyObject* object) = 0;
};

// Walks gradients beside parameters. Raises TypeError or ValueError that names the leaf: a wrong container,
// a missing or extra entry, a wrong shape, type or device, or a parameter bound to another array meanwhile.
class Walk {
 public:
  Walk(const std::vector<Source>& sources, GradientSink& sink, int device)
      : sources_(sources), sink_(sink), device_(device) {}
  void visit(const Node& node, PyObject* grads, const Path* path);

 private:
  void leaf(const Node& node, PyObject* grad, const Path* path);
  void dict(const Node& node, PyObject* grads, const Path* path);
  void sequence(const Node& node, PyObject* grads, const Path* path);
  void apart(const Source& source, const ArrayRef& grad, const Path* path);
  void same(const Node& child, PyObject* now, const Path& path);

  const std::vector<Source>& sources_;
  GradientSink& sink_;
  const int device_;  // of the parameters
};

}  // namespace schuss
