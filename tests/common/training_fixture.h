/* SPDX-License-Identifier: Apache-2.0
 * Training steps of whole networks with weights, input and mask from a formula: what the parity tests compare. */
#ifndef M2S_TESTS_COMMON_TRAINING_FIXTURE_H
#define M2S_TESTS_COMMON_TRAINING_FIXTURE_H

#include "common/network_fixture.h"
#include "run/program.h"
#include "run/state.h"
#include "train/step.h"

typedef struct training_run {
    m2snet_context *context;
    m2s_store *weights, *lossnet;
    m2s_pack_cache *packs;
    m2s_state *state;
    m2s_program *program;
    m2s_buffer *arena;
    m2snet_dtype dtype;
} training_run;

#define TRAINING_LOSS_SCALE 1024.0 /* where the recipe is scaled */

/* Of the steps that are compiled. */
extern m2snet_precision training_precision;

/* Compiles a step of n pictures of h x w and fills weights, input, mask and scalars (rate 0.05; every run ends with an
 * update). The mask follows the recipe of the weights. Fails the test (cmocka) when anything goes wrong. */
void training_run_make(training_run *run, const char *backend, int threads, m2snet_dtype dtype,
                       const m2s_config *config, network_recipe weights, const m2s_recipe *recipe, int64_t n, int64_t h,
                       int64_t w);
void training_run_release(training_run *run);
void training_run_step(training_run *run);

/* An output of the last step, or a state now, as doubles: activations in (n, c, h, w) order. Free with free(). */
double *training_run_output(const training_run *run, const char *name, int64_t *count);
double *training_run_state(const training_run *run, const char *name, int64_t *count);
bool training_run_has(const training_run *run, const char *name); /* an output */
double training_run_scalar(const training_run *run, const char *name);

/* The vectors' mask, 1 inside. */
void training_mask(network_recipe recipe, int64_t n, int64_t h, int64_t w, double *mask);

#endif
