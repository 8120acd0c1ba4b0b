/* SPDX-License-Identifier: Apache-2.0
 * Networks with weights from a formula, and runs of them on a backend: what the parity tests compare. */
#ifndef M2S_TESTS_COMMON_NETWORK_FIXTURE_H
#define M2S_TESTS_COMMON_NETWORK_FIXTURE_H

#include "net/config.h"
#include "run/context.h"
#include "weights/store.h"

/* Two recipes for weights and input; tests/data/README.md has the formulas. */
typedef enum network_recipe {
    RECIPE_PARITY, /* tests/data/parity */
    RECIPE_GOLDEN  /* tests/data/golden */
} network_recipe;

/* Number i of the stream of a name, in [0, 1): 24 bits of SplitMix64 seeded with FNV-1a-64 of the name. */
double network_uniform(const char *name, uint64_t i);

/* All parameters of the network, in F32. */
m2s_store *network_weights(m2s_memory *memory, const m2s_config *config, network_recipe recipe);
/* What a loss network ("vgg16", "resnet50") reads, under its own keys: "features.0.weight", ... */
m2s_store *network_lossnet_weights(m2s_memory *memory, const char *family, network_recipe recipe);
/* The input, (n, h, w, 3) in dtype F32 or F64; m2s_free it. */
void *network_input(m2s_memory *memory, network_recipe recipe, int64_t n, int64_t h, int64_t w, m2snet_dtype dtype);

/* Of the networks that are compiled. */
extern m2snet_precision network_precision;

/* One run, whose named values are kept as doubles in (n, c, h, w) order. */
typedef struct network_value {
    m2s_shape shape; /* n, h, w, c */
    double *numbers; /* n x c x h x w */
} network_value;

typedef struct network_run {
    m2snet_context *context;
    network_value *values; /* one for each name */
    int32_t count;
} network_run;

/* What a test opens in the place of the backend that it names: with M2SNET_TEST_BACKEND in the environment that one
 * stands in for "cpu", and tests of "ref" are skipped: so the parity tests run on a device. */
const char *network_backend(const char *backend);

/* Builds, compiles and runs on a backend ("ref", "cpu") with `threads` threads; names are values of the graph. Fails
 * the test (cmocka) when anything goes wrong. */
void network_run_make(network_run *run, const char *backend, int threads, m2snet_dtype dtype, const m2s_config *config,
                      network_recipe recipe, int64_t n, int64_t h, int64_t w, const char *const *names, int32_t count);
void network_run_release(network_run *run);

/* ||a - b|| / ||b|| */
double network_distance(const network_value *a, const network_value *b);

#endif
