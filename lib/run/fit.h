/* SPDX-License-Identifier: Apache-2.0
 * Fitting weights to a network: reading the architecture off a file, and saying what does not fit. */
#ifndef M2S_RUN_FIT_H
#define M2S_RUN_FIT_H

#include "backends/backend.h"
#include "net/encoder.h"
#include "weights/store.h"

#define M2S_METADATA_CONFIG "m2snet.config"
#define M2S_SELFTEST_INPUT  "m2snet.selftest.input"  /* (1, 3, h, w) F32, normalised */
#define M2S_SELFTEST_LOGITS "m2snet.selftest.logits" /* (1, classes, h, w) F32 */

/* The configuration of a file: its metadata, then override_json (nullable), and what neither says from keys and
 * shapes. */
m2snet_status m2s_fit_config(const m2s_store *store, const char *override_json, m2s_config *config,
                             m2snet_error *error);

/* Whether store has every parameter of graph in its shape: OK, or MISMATCH with a short table; the whole table goes to
 * the log. Weights that the network does not use are logged and ignored; stored all-ones filters are checked. */
m2snet_status m2s_fit_check(const m2s_graph *graph, const m2s_store *store, const m2s_config *config,
                            const m2s_log *log, m2snet_error *error);

/* Fails naming the first parameter of graph that holds NaN or infinity. */
m2snet_status m2s_fit_check_finite(const m2s_host *host, const m2s_graph *graph, const m2s_store *store,
                                   m2s_control *control, m2snet_error *error);

/* Views of graph's parameters, indexed by value; m2s_free it. Their names in store are without prefix. */
m2snet_status m2s_fit_views(m2s_memory *memory, const m2s_graph *graph, const m2s_store *store, const char *prefix,
                            m2s_param_view **views, m2snet_error *error);

/* The weight of store for a parameter: numbers in its shape, under its key or, an encoder's, under another of its names
 * (m2s_encoder_other_name): so an encoder comes from a classifier's file. NULL: there is none. */
const m2s_weight *m2s_fit_find(const m2s_store *store, const m2s_encoder *encoder, const m2s_value_info *info);

/* Weights of the encoder that store has under other names get the network's. */
m2snet_status m2s_fit_rename(const m2s_graph *graph, const m2s_encoder *encoder, m2s_store *store, m2snet_error *error);

/* Rank of a tensor of this shape: 4 for convolution weights, 1 for vectors. */
int32_t m2s_fit_rank(m2s_shape shape);
/* Rank of a parameter in model files: 2 for linear layers' weights, else the above. Files with another number of sides
 * of 1 at the end are read too. */
int32_t m2s_fit_file_rank(const m2s_value_info *info);

/* Elements of all trainable parameters of graph: weights, biases and norms, without running statistics. */
uint64_t m2s_fit_parameters(const m2s_graph *graph);

#endif
