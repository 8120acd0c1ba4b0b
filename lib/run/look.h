/* SPDX-License-Identifier: Apache-2.0
 * Plans that show what the network computes inside: named tensors as outputs, and the gradient of the logits in one. */
#ifndef M2S_RUN_LOOK_H
#define M2S_RUN_LOOK_H

#include "run/model.h"
#include "run/program.h"

#define M2S_NAME_SEED     "gradcam.seed" /* input of a gradient plan: the gradient of the logits, in their shape */
#define M2S_NAME_GRADIENT "gradcam.diff" /* its output: of the tensor's shape */

typedef struct m2s_look {
    const char *const *names;
    int32_t count;
    bool gradient; /* of names[0], the only one */
} m2s_look;

/* Whether value v of a network's graph can be asked for: a named tensor that depends on the picture. */
bool m2s_look_shows(const m2s_graph *graph, m2s_value v);
/* Fills model->features and feature_count from the network's graph. */
m2snet_status m2s_look_list(m2snet_model *model, const m2s_graph *graph, m2snet_error *error);
/* The index in model->features of a name, or -1. */
int32_t m2s_look_find(const m2snet_model *model, const char *name);

/* Looks of one key have one plan. m2s_free it; NULL = out of memory. */
char *m2s_look_key(const m2s_look *look, m2s_memory *memory);

/* Compiles the network of model, in dtype, with what look asks for. INVALID_ARGUMENT names a tensor that is not there,
 * or that the logits do not depend on. */
m2snet_status m2s_look_compile(m2snet_model *model, const m2s_look *look, int64_t n, int64_t h, int64_t w,
                               m2snet_dtype dtype, m2snet_precision precision, m2s_control *control,
                               m2s_program **program, m2snet_error *error);

#endif
