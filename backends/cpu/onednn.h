/* SPDX-License-Identifier: Apache-2.0
 * oneDNN behind a small interface. onednn.c alone knows dnnl.h, for versions 2.6 and 3.x of its C API.
 *
 * Its calls are made on pool threads only: a primitive takes the OpenMP thread count of the thread that creates it,
 * which each of these functions sets to one, for that thread alone. */
#ifndef M2S_BACKENDS_CPU_ONEDNN_H
#define M2S_BACKENDS_CPU_ONEDNN_H

#include "core/host.h"

typedef struct m2s_onednn m2s_onednn;

/* "oneDNN 2.6.3", or NULL where it is not built in. Any thread. */
const char *m2s_onednn_version(char *text, size_t bytes);
/* *opened NULL with OK where it is not built in. Any thread. */
m2snet_status m2s_onednn_open(const m2s_host *host, m2s_onednn **opened, m2snet_error *error);
void m2s_onednn_close(m2s_onednn *onednn); /* NULL is fine. Any thread. */

#endif
