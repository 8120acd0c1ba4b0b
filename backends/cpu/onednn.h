/* SPDX-License-Identifier: Apache-2.0
 * oneDNN behind a small interface. onednn.c alone knows dnnl.h, for versions 2.6 and 3.x of its C API.
 *
 * A primitive takes the OpenMP thread count of the thread that creates or runs it. So all functions below, except
 * those marked "any thread", are called on pool threads; each sets the count to one for the thread it is on. */
#ifndef M2S_BACKENDS_CPU_ONEDNN_H
#define M2S_BACKENDS_CPU_ONEDNN_H

#include "core/host.h"

typedef struct m2s_onednn m2s_onednn;           /* an engine, and a stream for each pool thread */
typedef struct m2s_onednn_conv m2s_onednn_conv; /* a convolution of one image or a part of its rows */

/* "oneDNN 2.6.3", the version that is loaded. Any thread. */
const char *m2s_onednn_version(char *text, size_t bytes);
/* Any thread. */
m2snet_status m2s_onednn_open(const m2s_host *host, m2s_onednn **opened, m2snet_error *error);
void m2s_onednn_close(m2s_onednn *onednn); /* NULL is fine. Any thread. */

typedef struct m2s_onednn_conv_desc {
    int64_t h, w, in, oh, ow, out; /* in, out: all groups */
    int64_t kh, kw, stride, dilation, groups;
    int64_t pad_top, pad_left; /* what the other sides need follows from the sizes */
    bool bias, residual, relu;
} m2s_onednn_conv_desc;

/* Dense, channels last; weights in the layout that the primitive likes best. UNSUPPORTED, in words, where oneDNN
 * refuses or has only its reference code. */
m2snet_status m2s_onednn_conv_create(m2s_onednn *onednn, const m2s_onednn_conv_desc *desc, m2s_onednn_conv **created,
                                     m2snet_error *error);
void m2s_onednn_conv_destroy(m2s_onednn_conv *conv);           /* NULL is fine */
const char *m2s_onednn_conv_name(const m2s_onednn_conv *conv); /* "brgconv:avx512_core" */
size_t m2s_onednn_conv_weights_bytes(const m2s_onednn_conv *conv);
size_t m2s_onednn_conv_scratch_bytes(const m2s_onednn_conv *conv); /* for one run at a time */
/* The same number for the same layout of packed weights. */
uint64_t m2s_onednn_conv_layout(const m2s_onednn_conv *conv);
/* plain: (o, i, kh, kw). */
m2snet_status m2s_onednn_conv_pack(const m2s_onednn_conv *conv, const float *plain, void *packed, m2snet_error *error);
/* Several workers may run one convolution at once, each with its own scratch. bias and residual as in the desc. */
m2snet_status m2s_onednn_conv_run(const m2s_onednn_conv *conv, int worker, const float *src, const void *weights,
                                  const float *bias, const float *residual, float *dst, void *scratch,
                                  m2snet_error *error);

#endif
