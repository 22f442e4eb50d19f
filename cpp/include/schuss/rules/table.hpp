// The catalog: an include and a row for every rule, RULE(class, facts, plain function).
#pragma once
#include "adabelief.hpp"
#include "adagrad.hpp"
#include "adam.hpp"
#include "adamax.hpp"
#include "adamw.hpp"
#include "adan.hpp"
#include "ademamix.hpp"
#include "grams.hpp"
#include "momentum.hpp"
#include "nadam.hpp"
#include "nesterov.hpp"
#include "qhadam.hpp"
#include "radam.hpp"
#include "rmsprop.hpp"
#include "sgd.hpp"
#include "yogi.hpp"

#define SCHUSS_RULES(RULE)                                                                                   \
  RULE(SGD, SCHUSS_SGD, sgd)                                                                                 \
  RULE(Momentum, SCHUSS_MOMENTUM, momentum)                                                                  \
  RULE(Nesterov, SCHUSS_NESTEROV, nesterov)                                                                  \
  RULE(Adagrad, SCHUSS_ADAGRAD, adagrad)                                                                     \
  RULE(RMSprop, SCHUSS_RMSPROP, rmsprop)                                                                     \
  RULE(Adam, SCHUSS_ADAM, adam)                                                                              \
  RULE(AdamW, SCHUSS_ADAMW, adamw)                                                                           \
  RULE(Adamax, SCHUSS_ADAMAX, adamax)                                                                        \
  RULE(NAdam, SCHUSS_NADAM, nadam)                                                                           \
  RULE(RAdam, SCHUSS_RADAM, radam)                                                                           \
  RULE(AdaBelief, SCHUSS_ADABELIEF, adabelief)                                                               \
  RULE(Yogi, SCHUSS_YOGI, yogi)                                                                              \
  RULE(AdEMAMix, SCHUSS_ADEMAMIX, ademamix)                                                                  \
  RULE(Adan, SCHUSS_ADAN, adan)                                                                              \
  RULE(QHAdam, SCHUSS_QHADAM, qhadam)                                                                        \
  RULE(Grams, SCHUSS_GRAMS, grams)
