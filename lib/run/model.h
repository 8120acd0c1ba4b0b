/* SPDX-License-Identifier: Apache-2.0
 * Models: weights and configuration, immutable, with the packed weights that their sessions share. */
#ifndef M2S_RUN_MODEL_H
#define M2S_RUN_MODEL_H

#include <stdatomic.h>

#include "net/config.h"
#include "run/context.h"
#include "weights/store.h"

/* A tensor inside the network that can be asked for by name. */
typedef struct m2s_feature_row {
    const char *name;
    m2s_shape shape; /* at the default input size, one picture */
} m2s_feature_row;

struct m2snet_model {
    atomic_int references;
    m2snet_context *context;
    m2s_store *store;
    m2s_config config;
    char *config_json;
    m2s_pack_cache *packs;
    m2s_feature_row *features;
    char *feature_names; /* holds the names */
    int32_t feature_count;
    uint64_t parameters, multiply_adds;
    size_t weight_bytes;
};

void m2s_model_options_default(m2snet_model_options *options);
void m2s_save_options_default(m2snet_save_options *options);

m2snet_status m2s_model_load_file(m2snet_context *context, const char *path, const m2snet_model_options *options,
                                  m2snet_model **model, m2snet_error *error);
m2snet_status m2s_model_load_memory(m2snet_context *context, const void *data, size_t bytes,
                                    const m2snet_model_options *options, m2snet_model **model, m2snet_error *error);
m2snet_status m2s_model_create(m2snet_context *context, const char *config_json, uint64_t seed, m2snet_model **model,
                               m2snet_error *error);
/* What the file at path has under the same key (an encoder's: without its prefix) and in the same shape is taken from
 * it; MISMATCH when nothing is. */
m2snet_status m2s_model_create_from(m2snet_context *context, const char *config_json, uint64_t seed, const char *path,
                                    int32_t *taken, m2snet_model **model, m2snet_error *error);
/* A model of the same network with other weights and metadata: those of store, which it takes over (also on failure).
 * config is that of `like` but for what its tensors do not depend on. */
m2snet_status m2s_model_derive(const m2snet_model *like, const m2s_config *config, m2s_store *store,
                               m2snet_model **model, m2snet_error *error);
m2snet_model *m2s_model_retain(m2snet_model *model);
void m2s_model_release(m2snet_model *model); /* NULL is fine */

/* Of a configuration: as m2snet_network_count. */
m2snet_status m2s_network_count(m2snet_context *context, const char *config_json, int64_t h, int64_t w,
                                uint64_t *parameters, uint64_t *multiply_adds, m2snet_error *error);
m2snet_status m2s_model_multiply_adds(const m2snet_model *model, int64_t h, int64_t w, uint64_t *multiply_adds,
                                      m2snet_error *error);
m2snet_status m2s_model_save_file(const m2snet_model *model, const char *path, const m2snet_save_options *options,
                                  m2snet_error *error);
m2snet_status m2s_model_selftest(m2snet_model *model, double *largest_difference, m2snet_error *error);

#endif
