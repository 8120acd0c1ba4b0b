/* SPDX-License-Identifier: Apache-2.0
 * A device of the CUDA backend: its streams, its convolutions and the weights that lie on it. */
#ifndef M2S_BACKENDS_CUDA_DEVICE_H
#define M2S_BACKENDS_CUDA_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/runtime.h"

/* How a value lies in device memory. */
typedef enum m2s_layout {
    M2S_LAYOUT_STORED,     /* as the graph has it, in the storage type of activations */
    M2S_LAYOUT_F32,        /* as the graph has it, F32 whatever the storage type */
    M2S_LAYOUT_CONV,       /* convolution weights: (o, kh, kw, i), storage type */
    M2S_LAYOUT_FILLED,     /* a vector, storage type, zeros up to a multiple of 8 */
    M2S_LAYOUT_CONV_FILLED /* as CONV, o and i with zeros up to multiples of 8 */
} m2s_layout;

/* A constant on the device. */
typedef struct m2s_weight_entry {
    struct m2s_weight_entry *next;
    const m2s_pack_cache *model; /* keys say nothing of the model */
    char key[M2S_PACK_KEY_BYTES];
    void *data;
    size_t bytes;
    int64_t users;
} m2s_weight_entry;

struct m2s_device {
    m2s_host host;
    int index;
    atomic_bool lost; /* a failure has taken it from this process */
    m2s_device_memory memory;
    m2s_cuda_properties properties;
    m2s_conv_chooser *convs;
    pthread_mutex_t
        launching;           /* around every use of convs and of what they made: libraries have one stream at a time */
    pthread_mutex_t copying; /* guards what follows */
    void *stream;
    unsigned char *staging; /* pinned */
    pthread_mutex_t weights_guard;
    m2s_weight_entry *weights;
};

#define M2S_STAGING_BYTES ((size_t)8 << 20)

struct m2s_buffer {
    unsigned char *data;
    size_t bytes;
    void *used; /* an arena's: the event behind the last run that was enqueued with it; NULL before the first */
    bool busy;  /* `used` may not have happened yet */
};

/* Waits for `used`. The device is current. */
m2snet_status m2s_cuda_buffer_settle(m2s_buffer *buffer, m2snet_error *error);

/* ---- copies between host and device, through the pinned memory; the device is current ---- */

m2snet_status m2s_cuda_upload(m2s_device *device, void *dst, const void *src, size_t bytes, m2snet_error *error);
m2snet_status m2s_cuda_download(m2s_device *device, void *dst, const void *src, size_t bytes, m2snet_error *error);

/* ---- pictures.c: pictures to inputs (backend.h, buffer_prepare, buffer_augment); the device is current ---- */

size_t m2s_cuda_prepare_bytes(const m2s_device *device, const m2s_prepare_request *request);
/* scratch: so many bytes, free of work under way. */
m2snet_status m2s_cuda_prepare_inputs(m2s_device *device, float *inputs, const m2s_prepare_request *request,
                                      unsigned char *scratch, m2snet_error *error);

size_t m2s_cuda_augment_bytes(const m2s_device *device, const m2s_augment_request *request);
m2snet_status m2s_cuda_augment_batch(m2s_device *device, float *images, float *masks,
                                     const m2s_augment_request *request, unsigned char *scratch, m2snet_error *error);

/* ---- weights.c: constants, evaluated on the host, uploaded once for all plans of a model that hold them ---- */

m2snet_status m2s_cuda_weight_acquire(m2s_device *device, const m2s_plan_request *request, m2s_value value,
                                      m2s_layout layout, m2snet_dtype storage, m2s_weight_entry **entry,
                                      m2snet_error *error);
void m2s_cuda_weight_release(m2s_device *device, m2s_weight_entry *entry); /* NULL is fine */

#endif
