/* SPDX-License-Identifier: Apache-2.0
 * Gradients of whole networks beside float64 truth of twelve digits (tests/data/golden). All fail the test (cmocka). */
#ifndef M2S_TESTS_COMMON_GOLDEN_GRADIENTS_H
#define M2S_TESTS_COMMON_GOLDEN_GRADIENTS_H

#include "common/training_fixture.h"

#define GOLDEN_SAMPLES 8

typedef struct golden_row {
    char tag[96];
    double sum, sum_sq, deviation;
    int samples;
    long index[GOLDEN_SAMPLES];
    double value[GOLDEN_SAMPLES];
} golden_row;

/* A bound for every row: relative, or times the row's own deviation (what PyTorch loses in float32) plus 1e-6. */
typedef struct golden_bound {
    double relative;
    double deviations;
    double kinked; /* where a ReLU's or a difference's argument is within rounding of 0, and falls on the other side */
} golden_bound;

typedef struct golden_network {
    const char *name; /* of the files: NAME_training.tsv */
    const char *json; /* its configuration */
    int gradients;    /* how many the file has with frozen batch norm */
} golden_network;

/* Reads a network's file; the rows stay until the next is read. */
void golden_read(const char *network);
const golden_row *golden_find(const char *tag);
/* All rows of the file, ended by NULL: call with 0, 1, ... */
const golden_row *golden_row_at(int i);
/* Returns whether the row is within its bound but for a kink. */
bool golden_expect(const char *network, const golden_row *r, const double *numbers, int64_t count, golden_bound b,
                   double *worst);
/* All gradients of a mode, "eval" or "train"; returns how many, and counts kinks. encoder: the prefix of its keys. */
int golden_compare(const char *network, const char *encoder, const training_run *run, const char *mode, golden_bound b,
                   int *kinked);
void golden_compare_scalar(const char *network, const training_run *run, const char *name, const char *tag,
                           golden_bound b);

void golden_configure(m2s_config *config, const golden_network *network);
/* One step; frozen: batch norm by its running statistics. */
void golden_start(training_run *run, const char *backend, m2snet_dtype dtype, const m2s_config *config, bool frozen,
                  bool lossnet);
/* Loss and all gradients with frozen batch norm. Returns how many gradients show a kink. */
int golden_compare_frozen(const golden_network *network, const char *backend, m2snet_dtype dtype, golden_bound b);

#endif
