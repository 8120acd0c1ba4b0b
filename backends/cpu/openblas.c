/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/openblas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The serial build takes its work buffers from a table of its own without locking: of two calls at once both may get
 * the same buffer, and results are then wrong now and then (seen with 0.3.21). The table is process-wide, so the lock
 * has to be. */
static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;

const char *m2s_openblas_version(char *text, size_t bytes)
{
    /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
    const char *config = openblas_get_config();
    size_t length = strcspn(config, " ");

    length += config[length] == ' ' ? 1 + strcspn(config + length + 1, " ") : 0;
    snprintf(text, bytes, "%.*s", (int)length, config);
    return text;
}

void m2s_openblas_gemm(const m2s_gemm *g)
{
    pthread_mutex_lock(&one_call);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)g->rows, (blasint)g->columns, (blasint)g->depth,
                1.0f, g->a, (blasint)g->a_stride, g->b, (blasint)g->columns, g->accumulate ? 1.0f : 0.0f, g->c,
                (blasint)g->c_stride);
    pthread_mutex_unlock(&one_call);
    for (int64_t r = 0; r < g->rows && (g->bias != NULL || g->residual != NULL || g->relu); r++) {
        float *c = g->c + r * g->c_stride;
        for (int64_t j = 0; j < g->columns; j++) {
            float x = c[j];
            x += g->bias != NULL ? g->bias[j] : 0.0f;
            x += g->residual != NULL ? g->residual[r * g->residual_stride + j] : 0.0f;
            c[j] = g->relu && x < 0.0f ? 0.0f : x;
        }
    }
}
