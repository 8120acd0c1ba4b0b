/* SPDX-License-Identifier: Apache-2.0
 * Objectives as callers describe them: checked, and evaluated for logits and a mask of their own. */
#ifndef M2S_TRAIN_OBJECTIVE_VALUE_H
#define M2S_TRAIN_OBJECTIVE_VALUE_H

#include "run/program.h"
#include "run/tensor.h"
#include "train/lossnet_weights.h"
#include "train/objective.h"

void m2s_objective_options_default(m2snet_objective_options *options);
m2snet_status m2s_objective_options_preset(m2snet_objective_options *options, const char *name, m2snet_error *error);

/* Fills known (complete) and objective from the caller's options (NULL: defaults). INVALID_ARGUMENT names the member
 * that makes no sense; a loss network of another context is refused. */
m2snet_status m2s_objective_import(const m2snet_context *context, const m2snet_objective_options *options,
                                   int64_t classes, m2snet_objective_options *known, m2s_objective *objective,
                                   m2snet_error *error);

/* The terms' outputs of a program that has run. */
m2snet_status m2s_objective_read(m2s_program *program, const m2s_objective *objective, m2snet_dtype dtype,
                                 m2snet_objective_values *values, m2snet_error *error);

/* One scalar of a program, in its dtype. */
m2snet_status m2s_scalar_write(m2s_program *program, m2snet_dtype dtype, const char *name, double value,
                               m2snet_error *error);
m2snet_status m2s_scalar_read(m2s_program *program, m2snet_dtype dtype, const char *name, double *value,
                              m2snet_error *error);

/* See m2snet_objective_evaluate. */
m2snet_status m2s_objective_evaluate(m2snet_context *context, const m2snet_objective_options *options,
                                     const m2snet_tensor *logits, const m2snet_tensor *mask,
                                     m2snet_objective_values *values, m2snet_tensor *gradient, m2s_control *control,
                                     m2snet_error *error);

#endif
