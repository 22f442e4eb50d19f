// The catalog: an include and a row for every rule, RULE(class, facts, plain function).
#pragma once
#include "adabelief.hpp"
#include "adadelta.hpp"
#include "adagrad.hpp"
#include "adam.hpp"
#include "adamax.hpp"
#include "adamw.hpp"
#include "adan.hpp"
#include "ademamix.hpp"
#include "adopt.hpp"
#include "asgd.hpp"
#include "grams.hpp"
#include "lamb.hpp"
#include "lars.hpp"
#include "lion.hpp"
#include "momentum.hpp"
#include "nadam.hpp"
#include "nesterov.hpp"
#include "novograd.hpp"
#include "qhadam.hpp"
#include "qhm.hpp"
#include "radam.hpp"
#include "rmsprop.hpp"
#include "rprop.hpp"
#include "schedule_free_adamw.hpp"
#include "schedule_free_sgd.hpp"
#include "sgd.hpp"
#include "signum.hpp"
#include "tiger.hpp"
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
  RULE(Grams, SCHUSS_GRAMS, grams)                                                                           \
  RULE(Lion, SCHUSS_LION, lion)                                                                              \
  RULE(Signum, SCHUSS_SIGNUM, signum)                                                                        \
  RULE(Tiger, SCHUSS_TIGER, tiger)                                                                           \
  RULE(QHM, SCHUSS_QHM, qhm)                                                                                 \
  RULE(Adadelta, SCHUSS_ADADELTA, adadelta)                                                                  \
  RULE(Rprop, SCHUSS_RPROP, rprop)                                                                           \
  RULE(ASGD, SCHUSS_ASGD, asgd)                                                                              \
  RULE(ADOPT, SCHUSS_ADOPT, adopt)                                                                           \
  RULE(LAMB, SCHUSS_LAMB, lamb)                                                                              \
  RULE(LARS, SCHUSS_LARS, lars)                                                                              \
  RULE(NovoGrad, SCHUSS_NOVOGRAD, novograd)                                                                  \
  RULE(ScheduleFreeSGD, SCHUSS_SCHEDULEFREESGD, schedulefreesgd)                                             \
  RULE(ScheduleFreeAdamW, SCHUSS_SCHEDULEFREEADAMW, schedulefreeadamw)
