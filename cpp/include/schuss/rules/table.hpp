// The catalog: an include and a row for every rule, RULE(class, facts, plain function).
#pragma once
#include "adagrad.hpp"
#include "adam.hpp"
#include "adamw.hpp"
#include "grams.hpp"
#include "momentum.hpp"
#include "nesterov.hpp"
#include "rmsprop.hpp"
#include "sgd.hpp"

#define SCHUSS_RULES(RULE)                                                                                   \
  RULE(SGD, SCHUSS_SGD, sgd)                                                                                 \
  RULE(Momentum, SCHUSS_MOMENTUM, momentum)                                                                  \
  RULE(Nesterov, SCHUSS_NESTEROV, nesterov)                                                                  \
  RULE(Adagrad, SCHUSS_ADAGRAD, adagrad)                                                                     \
  RULE(RMSprop, SCHUSS_RMSPROP, rmsprop)                                                                     \
  RULE(Adam, SCHUSS_ADAM, adam)                                                                              \
  RULE(AdamW, SCHUSS_ADAMW, adamw)                                                                           \
  RULE(Grams, SCHUSS_GRAMS, grams)
