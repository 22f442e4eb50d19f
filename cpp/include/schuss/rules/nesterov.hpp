#pragma once
#include "rule.hpp"

#define SCHUSS_NESTEROV(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                      \
  PAPER(1983,                                                                                                \
        "Nesterov's momentum in the averaging form: v = beta v + (1 - beta) g, p = p - lr (beta v + g)",     \
        "Nesterov 1983, A method for solving the convex programming problem with convergence rate O(1/k^2)") \
  TRAITS("mean of g", "none", "none", "none", "smooth problems, large steady batches")                       \
  HYPER(lr, 0.01, nonnegative, "learning rate")                                                              \
  HYPER(beta, 0.9, unit, "share of the velocity kept")                                                       \
  HYPER(lookahead, 0, flag,                                                                                  \
        "the gradient was taken at p - lr beta v, so the step is lr v; set by `with opt.lookahead():`")      \
  SLOT(v, 0, "velocity: the running mean of the gradients")

namespace schuss {
SCHUSS_DECLARE(Nesterov, SCHUSS_NESTEROV)

template <class T, unsigned Kept>
struct Nesterov {
  T lr, beta, keep, shift;
  bool lookahead;

  static Nesterov prepare(const NesterovHypers& h, Clock) {
    return {T(h.lr), T(h.beta), T(1 - h.beta), T(h.lr * h.beta), h.lookahead != 0};
  }

  SCHUSS_FN T update(T, T g, T& v) const {
    v += keep * (g - v);
    return lr * select(lookahead, v, beta * v + g);
  }

  SCHUSS_FN T point(T p, T v) const { return p - shift * v; }
};

}  // namespace schuss
