/* SPDX-License-Identifier: Apache-2.0
 * For the tests of backend "cuda" through the public interface: the module that runs without a device, and what its
 * stand-in for the CUDA runtime (backends/cuda/runtime_host.c) does on demand. */
#ifndef M2S_TESTS_COMMON_CUDA_FIXTURE_H
#define M2S_TESTS_COMMON_CUDA_FIXTURE_H

#include "common/api_fixture.h"

/* Environment variables of the stand-in. */
#define FAIL_AT "M2SNET_CUDA_FAIL_AT"
#define LOSE_AT "M2SNET_CUDA_LOSE_AT"

typedef struct stand_in {
    char module[512], library[512], device_module[512]; /* files; the last one may not be there */
    long (*calls)(bool reset);                          /* of the runtime, that could have failed */
    long (*held)(void);                                 /* blocks, streams, graphs, events */
    void *(*stream)(void);                              /* one that keeps its work until somebody waits */
    void (*finish)(void *stream);
    void (*end)(void *stream);
    int (*capture)(void *stream, bool begin);
} stand_in;

extern stand_in cuda_host;

/* Finds the module: 0; 77 when this build has none; 1 when it is none of ours. */
int find_stand_in(void);

/* A context on it, or on another file. */
m2snet_status open_cuda(const char *path, m2snet_context **context, m2snet_error *error);

/* A context, a tiny trainer on it, three steps (launched, captured, replayed), and all of it freed: for fail_in_turn.
 */
m2snet_status train_from_nothing(m2snet_precision precision, m2snet_error *error);

/* Runs with each of the first calls of the runtime failing, and then one in `stride`: launches in a row fail alike.
 * Every failure is a status and a sentence, and leaves nothing behind. */
void fail_in_turn(m2snet_status (*run)(m2snet_error *error), long first, long stride);

#endif
