/* SPDX-License-Identifier: Apache-2.0
 * Constants: parameters converted to the plan's precision, and the operations over them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/ref/ref.h"
#include "core/half.h"

/* ---- numbers of a parameter ---- */

/* Files keep their tensors at any address, so no element is read through a pointer of its own type. */
static double load(const unsigned char *at, m2snet_dtype dtype)
{
    uint16_t half;
    float single;
    double whole;

    switch (dtype) {
    case M2SNET_DTYPE_F64:
        memcpy(&whole, at, sizeof whole);
        return whole;
    case M2SNET_DTYPE_F32:
        memcpy(&single, at, sizeof single);
        return (double)single;
    case M2SNET_DTYPE_F16:
        memcpy(&half, at, sizeof half);
        return (double)m2s_f16_to_float(half);
    default:
        memcpy(&half, at, sizeof half);
        return (double)m2s_bf16_to_float(half);
    }
}

static bool is_float(m2snet_dtype dtype)
{
    return dtype == M2SNET_DTYPE_F64 || dtype == M2SNET_DTYPE_F32 || dtype == M2SNET_DTYPE_F16 ||
           dtype == M2SNET_DTYPE_BF16;
}

static const char *label_of(const m2s_graph *graph, m2s_value value)
{
    return graph->values[value].name != NULL ? graph->values[value].name : "a constant";
}

static m2snet_status convert(const m2s_graph *graph, const m2s_param_view *params, m2s_value value, void *dst,
                             m2snet_error *error)
{
    const m2s_param_view *view = &params[value];
    m2snet_dtype dtype = graph->values[value].dtype;
    size_t count = (size_t)m2s_shape_elements(m2s_shape_of(graph, value));
    size_t size = m2s_dtype_bytes(view->dtype);

    if (view->data == NULL) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "parameter %s has no numbers", label_of(graph, value));
    }
    if (!is_float(view->dtype) || (dtype != M2SNET_DTYPE_F32 && dtype != M2SNET_DTYPE_F64)) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "parameter %s is stored as %s and wanted as %s; known are F64, F32, F16, BF16 and F32, F64",
                        label_of(graph, value), m2s_dtype_name(view->dtype), m2s_dtype_name(dtype));
    }
    if (view->dtype == dtype) {
        memcpy(dst, view->data, count * size);
        return M2SNET_STATUS_OK;
    }
    const unsigned char *src = view->data;
    for (size_t i = 0; i < count; i++) {
        double number = load(src + i * size, view->dtype);
        if (dtype == M2SNET_DTYPE_F32) {
            ((float *)dst)[i] = (float)number;
        } else {
            ((double *)dst)[i] = number;
        }
    }
    return M2SNET_STATUS_OK;
}

/* ---- evaluation ---- */

static m2snet_status run_node(m2s_memory *memory, const m2s_graph *graph, const m2s_node *node, void *const *data,
                              m2snet_error *error)
{
    const m2s_ref_kernel *kernel = m2s_ref_get_kernel(node->op, graph->values[node->out[0]].dtype);
    m2s_ref_args args;
    void *scratch = NULL;

    if (kernel == NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: constants are evaluated in F32 or F64, not %s",
                        m2s_op_get_info(node->op)->name, m2s_dtype_name(graph->values[node->out[0]].dtype));
    }
    m2s_ref_args_init(&args, graph, node);
    for (int32_t i = 0; i < node->in_count; i++) {
        args.in[i] = node->in[i] != M2S_NONE ? data[node->in[i]] : NULL;
    }
    for (int32_t i = 0; i < node->out_count; i++) {
        args.out[i] = data[node->out[i]];
    }
    size_t scratch_bytes = kernel->scratch_bytes != NULL ? kernel->scratch_bytes(&args) : 0;
    if (scratch_bytes != 0) {
        scratch = args.scratch = m2s_alloc(memory, scratch_bytes);
        if (scratch == NULL) {
            return m2s_fail_memory(error, m2s_op_get_info(node->op)->name, scratch_bytes);
        }
    }
    for (int64_t chunk = 0, chunks = kernel->chunks != NULL ? kernel->chunks(&args) : 1; chunk < chunks; chunk++) {
        kernel->run(&args, chunk);
    }
    m2s_free(memory, scratch);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_ref_constant(m2s_memory *memory, const m2s_graph *graph, const m2s_param_view *params,
                               m2s_value value, void *dst, m2snet_error *error)
{
    const m2s_value_info *info = &graph->values[value];
    m2snet_status status = M2SNET_STATUS_OK;
    void **data = NULL; /* by value: NULL = not needed */

    if (!info->constant) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s is no constant", label_of(graph, value));
    }
    if (info->kind == M2S_VALUE_PARAM) {
        return convert(graph, params, value, dst, error);
    }
    data = m2s_calloc(memory, (size_t)graph->value_count, sizeof *data);
    if (data == NULL) {
        return m2s_fail_memory(error, label_of(graph, value), (size_t)graph->value_count * sizeof *data);
    }
    data[value] = dst;

    /* Backwards: room for all that the value is made of. */
    for (int32_t n = info->node; n >= 0; n--) {
        const m2s_node *node = &graph->nodes[n];
        bool needed = false;
        for (int32_t i = 0; i < node->out_count; i++) {
            needed = needed || data[node->out[i]] != NULL;
        }
        for (int32_t i = 0; needed && i < node->in_count + node->out_count; i++) {
            m2s_value v = i < node->in_count ? node->in[i] : node->out[i - node->in_count];
            if (v == M2S_NONE || data[v] != NULL) {
                continue;
            }
            size_t bytes = (size_t)m2s_shape_elements(m2s_shape_of(graph, v)) * m2s_dtype_bytes(graph->values[v].dtype);
            data[v] = m2s_alloc(memory, bytes);
            if (data[v] == NULL) {
                status = m2s_fail_memory(error, label_of(graph, v), bytes);
                goto fail;
            }
            if (graph->values[v].kind == M2S_VALUE_PARAM) {
                M2S_TRY(convert(graph, params, v, data[v], error));
            }
        }
    }
    for (int32_t n = 0; n <= info->node; n++) {
        if (data[graph->nodes[n].out[0]] != NULL) {
            M2S_TRY(run_node(memory, graph, &graph->nodes[n], data, error));
        }
    }
fail:
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (v != value) {
            m2s_free(memory, data[v]);
        }
    }
    m2s_free(memory, data);
    return status;
}

/* ---- keys ---- */

typedef struct hash128 {
    uint64_t a, b;
} hash128;

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Two 64-bit hashes with different starts and steps; what they take in is a few dozen bytes. */
static void hash_bytes(hash128 *hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < bytes; i++) {
        hash->a = (hash->a ^ p[i]) * 0x100000001b3u;
        hash->b = mix(hash->b + p[i] + 0x9e3779b97f4a7c15u);
    }
    hash->a = mix(hash->a ^ bytes);
    hash->b = mix(hash->b + bytes);
}

/* Without holes, or the bytes of equal attributes could differ. */
_Static_assert(sizeof(m2s_attrs) ==
                   15 * sizeof(int32_t) + M2S_MAX_SCALES * sizeof(int32_t) + 2 * sizeof(int64_t) + 11 * sizeof(double),
               "m2s_attrs has padding");

/* Constants are a few operations deep (a fold, a join), so going down again for a shared part costs nothing. */
static hash128 hash_value(const m2s_graph *graph, const m2s_param_view *params, m2s_value value)
{
    hash128 hash = { 0xcbf29ce484222325u, 0x6a09e667f3bcc908u };

    if (value == M2S_NONE) {
        hash_bytes(&hash, "-", 1);
        return hash;
    }
    const m2s_value_info *info = &graph->values[value];
    hash_bytes(&hash, info->shape.d, sizeof info->shape.d);
    hash_bytes(&hash, &info->dtype, sizeof info->dtype);
    if (info->kind != M2S_VALUE_NODE) {
        hash_bytes(&hash, "p", 1);
        hash_bytes(&hash, info->name, info->name != NULL ? strlen(info->name) : 0);
        hash_bytes(&hash, &params[value].version, sizeof params[value].version);
        return hash;
    }
    const m2s_node *node = &graph->nodes[info->node];
    const char *op = m2s_op_get_info(node->op)->name;
    hash_bytes(&hash, "n", 1);
    hash_bytes(&hash, op, strlen(op));
    hash_bytes(&hash, &node->attrs, sizeof node->attrs);
    hash_bytes(&hash, &node->in_count, sizeof node->in_count);
    for (int32_t i = 0; i < node->out_count; i++) {
        if (node->out[i] == value) {
            hash_bytes(&hash, &i, sizeof i);
        }
    }
    for (int32_t i = 0; i < node->in_count; i++) {
        hash128 part = hash_value(graph, params, node->in[i]);
        hash_bytes(&hash, &part, sizeof part);
    }
    return hash;
}

void m2s_ref_constant_key(const m2s_graph *graph, const m2s_param_view *params, m2s_value value, const char *layout,
                          char key[M2S_PACK_KEY_BYTES])
{
    hash128 hash = hash_value(graph, params, value);

    hash_bytes(&hash, layout, strlen(layout)); /* whole, in case the text below is cut */
    snprintf(key, M2S_PACK_KEY_BYTES, "%016" PRIx64 "%016" PRIx64 " %s %.100s", hash.a, hash.b,
             m2s_dtype_name(graph->values[value].dtype), layout);
}
