// A second set of weights beside the parameters: Lookahead's slow ones.
#pragma once
#include "array_pass.hpp"

namespace schuss {

class Shadow {
 public:
  // Leaves that begin where their parameters are. The arrays outlive this.
  void add(const std::vector<PlainArray>& parameters);
  void pull(double alpha);  // slow += alpha (p - slow), and p = slow
  void show();              // p is the slow weights, until it is itself again
  void hide();
  bool shown() const { return !fast_.empty(); }

  std::size_t leaves() const { return arrays_.size(); }
  const PlainArray& parameter(std::size_t leaf) const { return arrays_[leaf]; }
  const std::shared_ptr<Slab>& slow(std::size_t leaf) const { return slow_[leaf]; }

 private:
  template <class Visit>
  void each_chunk(Visit visit);

  std::vector<PlainArray> arrays_;
  std::vector<std::shared_ptr<Slab>> slow_, fast_;  // of the arithmetic type; fast while the slow are shown
};

}  // namespace schuss
