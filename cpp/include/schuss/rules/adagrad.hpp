#pragma once
#include "rule.hpp"

#define SCHUSS_ADAGRAD(PAPER, TRAITS, HYPER, SLOT, SLOT_IF, COPY, SCALAR, CHECK, FORM)                       \
  PAPER(2011, "A rate of its own for each weight, shrinking with the squares of its gradients so far",       \
        "Duchi, Hazan & Singer 2011, Adaptive subgradient methods, JMLR 12")                                 \
  TRAITS("none", "sum of g^2", "none", "L2", "sparse features, embeddings, recommenders")                    \
  HYPER(lr, 0.01, nonnegative, "learning rate")                                                              \
  HYPER(lr_decay, 0, nonnegative, "the rate of step t is lr / (1 + (t - 1) lr_decay)")                       \
  HYPER(eps, 1e-10, nonnegative, "added to the root")                                                        \
  HYPER(eps_root, 0, nonnegative, "added inside the root")                                                   \
  HYPER(initial_accumulator, 0, nonnegative, "what the sum starts from")                                     \
  HYPER(weight_decay, 0, nonnegative, "L2 penalty, added to the gradient")                                   \
  SCHUSS_DECOUPLED_FLAG(HYPER)                                                                               \
  SLOT(sum, h.initial_accumulator, "sum of the squared gradients")                                           \
  FORM(textbook, "lr=0.01 eps=0 eps_root=1e-8", "eps inside the root: p = p - lr g / sqrt(G + eps)")

namespace schuss {
SCHUSS_DECLARE(Adagrad, SCHUSS_ADAGRAD)

template <class T, unsigned Kept>
struct Adagrad {
  T lr, eps, eps_root, decay, decoupled;

  static Adagrad prepare(const AdagradHypers& h, Clock clock) {
    const double steps_before = double(clock.step - 1);
    const bool apart = h.decoupled_weight_decay != 0;
    const double rate = h.lr / (1 + steps_before * h.lr_decay);
    return {T(rate), T(h.eps), T(h.eps_root), T(apart ? 0.0 : h.weight_decay),
            T(apart ? rate * h.weight_decay : 0.0)};
  }

  SCHUSS_FN T update(T p, T g, T& sum) const {
    g += decay * p;
    sum += g * g;
    return lr * g / (sqrt(sum + eps_root) + eps);
  }
};

}  // namespace schuss
