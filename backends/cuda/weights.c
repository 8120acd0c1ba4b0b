/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "backends/cuda/device.h"
#include "core/half.h"

static void convert(void *dst, size_t at, float value, m2snet_dtype dtype)
{
    uint16_t half = dtype == M2SNET_DTYPE_F16 ? m2s_float_to_f16(value) : m2s_float_to_bf16(value);

    if (dtype == M2SNET_DTYPE_F32) {
        ((float *)dst)[at] = value;
    } else {
        ((uint16_t *)dst)[at] = half;
    }
}

static size_t filled(int64_t count)
{
    return (size_t)(count + 7) / 8 * 8;
}

/* How many numbers a value of this shape has on the device. */
static size_t arranged_count(m2s_shape shape, m2s_layout layout)
{
    return layout == M2S_LAYOUT_FILLED        ? filled(shape.o)
           : layout == M2S_LAYOUT_CONV_FILLED ? filled(shape.o) * filled(shape.i) * (size_t)(shape.kh * shape.kw)
                                              : (size_t)m2s_shape_elements(shape);
}

/* Numbers of the graph's order in the order and type that the device wants. dst is zeros. */
static void arrange(void *dst, const float *src, m2s_shape shape, m2s_layout layout, m2snet_dtype dtype)
{
    size_t count = (size_t)m2s_shape_elements(shape), window = (size_t)(shape.kh * shape.kw);

    if (layout != M2S_LAYOUT_CONV && layout != M2S_LAYOUT_CONV_FILLED) {
        for (size_t i = 0; i < count; i++) {
            convert(dst, i, src[i], dtype);
        }
        return;
    }
    size_t inputs = layout == M2S_LAYOUT_CONV ? (size_t)shape.i : filled(shape.i);
    for (size_t o = 0; o < (size_t)shape.o; o++, src += (size_t)shape.i * window) {
        for (size_t k = 0; k < window; k++) {
            for (size_t i = 0; i < (size_t)shape.i; i++) {
                convert(dst, (o * window + k) * inputs + i, src[i * window + k], dtype);
            }
        }
    }
}

static m2snet_status fill(m2s_device *device, const m2s_plan_request *request, m2s_value value, m2s_layout layout,
                          m2snet_dtype dtype, m2s_weight_entry *entry, m2snet_error *error)
{
    m2s_memory *memory = device->host.memory;
    m2s_shape shape = m2s_shape_of(request->graph, value);
    size_t count = (size_t)m2s_shape_elements(shape);
    float *numbers = m2s_alloc_array(memory, count, sizeof *numbers);
    void *arranged = m2s_calloc(memory, arranged_count(shape, layout), m2s_dtype_bytes(dtype));
    m2snet_status status;

    if (numbers == NULL || arranged == NULL) {
        status = m2s_fail_memory(error, "weights", count * sizeof *numbers);
        goto fail;
    }
    M2S_TRY(m2s_ref_constant(memory, request->graph, request->params, value, numbers, error));
    arrange(arranged, numbers, shape, layout, dtype);
    M2S_TRY(m2s_cuda_fail(error, m2s_device_alloc(&device->memory, &entry->data, entry->bytes),
                          "device memory for weights"));
    M2S_TRY(m2s_cuda_upload(device, entry->data, arranged, entry->bytes, error));
fail:
    m2s_free(memory, numbers);
    m2s_free(memory, arranged);
    return status;
}

m2snet_status m2s_cuda_weight_acquire(m2s_device *device, const m2s_plan_request *request, m2s_value value,
                                      m2s_layout layout, m2snet_dtype storage, m2s_weight_entry **acquired,
                                      m2snet_error *error)
{
    static const char *const layouts[] = { "cuda", "cuda", "cuda conv", "cuda filled", "cuda conv filled" };
    m2s_memory *memory = device->host.memory;
    m2snet_dtype dtype = layout == M2S_LAYOUT_F32 ? M2SNET_DTYPE_F32 : storage;
    m2s_weight_entry *made = NULL;
    char text[32], key[M2S_PACK_KEY_BYTES];
    m2snet_status status = M2SNET_STATUS_OK;

    *acquired = NULL;
    snprintf(text, sizeof text, "%s %s", layouts[layout], m2s_dtype_name(dtype));
    m2s_ref_constant_key(request->graph, request->params, value, text, key);
    /* Filling under the lock: a model's sessions want the same weights, and would fill them twice. */
    pthread_mutex_lock(&device->weights_guard);
    for (m2s_weight_entry *e = device->weights; e != NULL; e = e->next) {
        if (e->model == request->packs && strcmp(e->key, key) == 0) {
            e->users++;
            *acquired = e;
            goto fail;
        }
    }
    made = m2s_calloc(memory, 1, sizeof *made);
    if (made == NULL) {
        status = m2s_fail_memory(error, "weights", sizeof *made);
        goto fail;
    }
    made->model = request->packs;
    made->users = 1;
    made->bytes = arranged_count(m2s_shape_of(request->graph, value), layout) * m2s_dtype_bytes(dtype);
    memcpy(made->key, key, sizeof key);
    M2S_TRY(fill(device, request, value, layout, dtype, made, error));
    made->next = device->weights;
    device->weights = made;
    *acquired = made;
    made = NULL;
fail:
    pthread_mutex_unlock(&device->weights_guard);
    if (made != NULL) {
        m2s_device_free(&device->memory, made->data, made->bytes);
        m2s_free(memory, made);
    }
    return status;
}

void m2s_cuda_weight_release(m2s_device *device, m2s_weight_entry *entry)
{
    if (entry == NULL) {
        return;
    }
    pthread_mutex_lock(&device->weights_guard);
    bool last = --entry->users == 0;
    for (m2s_weight_entry **link = &device->weights; last && *link != NULL; link = &(*link)->next) {
        if (*link == entry) {
            *link = entry->next;
            break;
        }
    }
    pthread_mutex_unlock(&device->weights_guard);
    if (last) {
        m2s_device_free(&device->memory, entry->data, entry->bytes);
        m2s_free(device->host.memory, entry);
    }
}
