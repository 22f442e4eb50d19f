// A number that counts what is done to it: a rule run on it tells its own cost.
#pragma once
#include "schuss/catalog.hpp"

namespace schuss {

struct Counted {
  static inline OperationCount* tally = nullptr;
  Counted() = default;
  explicit Counted(double) {}

  friend Counted operator+(Counted a, Counted) { return ++tally->add, a; }
  friend Counted operator-(Counted a, Counted) { return ++tally->add, a; }
  friend Counted operator*(Counted a, Counted) { return ++tally->multiply, a; }
  friend Counted operator/(Counted a, Counted) { return ++tally->divide, a; }
  friend Counted operator-(Counted a) { return a; }
  friend bool operator<(Counted, Counted) { return ++tally->compare, true; }
  friend bool operator>(Counted, Counted) { return ++tally->compare, true; }
  Counted& operator+=(Counted b) { return *this = *this + b; }
  Counted& operator-=(Counted b) { return *this = *this - b; }
  Counted& operator*=(Counted b) { return *this = *this * b; }
};

inline Counted sqrt(Counted a) { return ++Counted::tally->root, a; }
inline Counted magnitude(Counted a) { return a; }  // one bit cleared

}  // namespace schuss
