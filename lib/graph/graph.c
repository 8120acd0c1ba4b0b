/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/graph.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/ops.h"

/* Larger than any network here by two orders of magnitude. */
#define MAX_VALUES   (1 << 20)
#define MAX_ELEMENTS ((int64_t)1 << 40)

static const m2s_op_info *const op_table[M2S_OP_COUNT] = {
#define M2S_OP(name, min_in, max_in, out) [M2S_OP_##name] = &m2s_op_info_##name,
#include "graph/ops.def"
#undef M2S_OP
};

const m2s_op_info *m2s_op_get_info(m2s_op op)
{
    return op_table[op];
}

bool m2s_attrs_equal(const m2s_attrs *a, const m2s_attrs *b)
{
    return memcmp((const char *)a, (const char *)b, sizeof *a) == 0; /* no padding, and zeroed where unused */
}

int64_t m2s_shape_elements(m2s_shape shape)
{
    return shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3];
}

size_t m2s_dtype_bytes(m2snet_dtype dtype)
{
    switch (dtype) {
    case M2SNET_DTYPE_F64:
    case M2SNET_DTYPE_I64:
        return 8;
    case M2SNET_DTYPE_F32:
    case M2SNET_DTYPE_I32:
        return 4;
    case M2SNET_DTYPE_F16:
    case M2SNET_DTYPE_BF16:
    case M2SNET_DTYPE_I16:
        return 2;
    case M2SNET_DTYPE_I8:
    case M2SNET_DTYPE_U8:
    case M2SNET_DTYPE_BOOL:
        return 1;
    }
    return 0;
}

const char *m2s_dtype_name(m2snet_dtype dtype)
{
    switch (dtype) {
    case M2SNET_DTYPE_F64:
        return "F64";
    case M2SNET_DTYPE_I64:
        return "I64";
    case M2SNET_DTYPE_F32:
        return "F32";
    case M2SNET_DTYPE_I32:
        return "I32";
    case M2SNET_DTYPE_F16:
        return "F16";
    case M2SNET_DTYPE_BF16:
        return "BF16";
    case M2SNET_DTYPE_I16:
        return "I16";
    case M2SNET_DTYPE_I8:
        return "I8";
    case M2SNET_DTYPE_U8:
        return "U8";
    case M2SNET_DTYPE_BOOL:
        return "BOOL";
    }
    return "unknown";
}

m2snet_status m2s_graph_create(m2s_memory *memory, m2snet_dtype dtype, m2s_graph **created, m2snet_error *error)
{
    m2s_graph *graph = m2s_calloc(memory, 1, sizeof *graph);

    *created = NULL;
    if (graph == NULL || (graph->pile = m2s_pile_create(memory)) == NULL) {
        m2s_free(memory, graph);
        return m2s_fail_memory(error, "a graph", sizeof *graph);
    }
    graph->memory = memory;
    graph->dtype = dtype;
    *created = graph;
    return M2SNET_STATUS_OK;
}

void m2s_graph_destroy(m2s_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    m2s_free(graph->memory, graph->values);
    m2s_free(graph->memory, graph->nodes);
    m2s_pile_destroy(graph->pile);
    m2s_free(graph->memory, graph);
}

m2snet_status m2s_graph_finish(const m2s_graph *graph, m2snet_error *error)
{
    return graph->status == M2SNET_STATUS_OK ? M2SNET_STATUS_OK
                                             : m2s_fail(error, graph->status, "%s", graph->error.message);
}

/* ---- values ---- */

static m2s_value fail_memory(m2s_graph *graph, size_t bytes)
{
    graph->status = m2s_fail_memory(&graph->error, "a graph", bytes);
    return M2S_NONE;
}

/* Makes room for one more; false = out of memory. */
static bool grow(m2s_graph *graph, void **array, int32_t count, int32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return true;
    }
    int32_t wanted = *capacity == 0 ? 256 : 2 * *capacity;
    void *larger = wanted <= MAX_VALUES ? m2s_realloc(graph->memory, *array, (size_t)wanted * size) : NULL;
    if (larger == NULL) {
        fail_memory(graph, (size_t)wanted * size);
        return false;
    }
    *array = larger;
    *capacity = wanted;
    return true;
}

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 0x811c9dc5u;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x01000193u;
    }
    return hash;
}

static m2s_value add_value(m2s_graph *graph, m2s_value_info info)
{
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    int64_t elements = 1;
    for (int i = 0; i < 4; i++) {
        elements = info.shape.d[i] < 1 || info.shape.d[i] > MAX_ELEMENTS / elements ? 0 : elements * info.shape.d[i];
        if (elements == 0) {
            graph->status =
                m2s_fail(&graph->error, M2SNET_STATUS_LIMIT,
                         "%s: a tensor of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " is empty or too large",
                         info.name != NULL ? info.name : "graph", info.shape.d[0], info.shape.d[1], info.shape.d[2],
                         info.shape.d[3]);
            return M2S_NONE;
        }
    }
    if (info.name != NULL && (info.name = m2s_pile_strdup(graph->pile, info.name)) == NULL) {
        return fail_memory(graph, 64);
    }
    if (!grow(graph, (void **)&graph->values, graph->value_count, &graph->value_capacity, sizeof *graph->values)) {
        return M2S_NONE;
    }
    info.replaces = M2S_NONE;
    info.name_hash = info.name != NULL ? hash_name(info.name) : 0;
    graph->values[graph->value_count] = info;
    return graph->value_count++;
}

m2s_value m2s_graph_find(const m2s_graph *graph, const char *name)
{
    uint32_t hash = hash_name(name);

    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].name_hash == hash && graph->values[v].name != NULL &&
            strcmp(graph->values[v].name, name) == 0) {
            return v;
        }
    }
    return M2S_NONE;
}

m2s_value m2s_graph_input(m2s_graph *graph, const char *name, m2s_shape shape)
{
    return add_value(
        graph,
        (m2s_value_info){ .kind = M2S_VALUE_INPUT, .shape = shape, .dtype = graph->dtype, .name = name, .node = -1 });
}

m2s_value m2s_graph_scalar(m2s_graph *graph, const char *name)
{
    return add_value(graph, (m2s_value_info){ .kind = M2S_VALUE_SCALAR,
                                              .shape = { .d = { 1, 1, 1, 1 } },
                                              .dtype = graph->dtype,
                                              .name = name,
                                              .node = -1 });
}

/* The value of that name, made on the first call. */
static m2s_value named(m2s_graph *graph, m2s_value_kind kind, const char *name, m2s_shape shape)
{
    m2s_value known = graph->status == M2SNET_STATUS_OK ? m2s_graph_find(graph, name) : M2S_NONE;

    if (known == M2S_NONE) {
        return add_value(graph, (m2s_value_info){ .kind = kind,
                                                  .shape = shape,
                                                  .dtype = graph->dtype,
                                                  .name = name,
                                                  .node = -1,
                                                  .constant = kind == M2S_VALUE_PARAM });
    }
    if (graph->values[known].kind != kind || memcmp(&graph->values[known].shape, &shape, sizeof shape) != 0) {
        graph->status = m2s_fail(&graph->error, M2SNET_STATUS_INTERNAL,
                                 "parameter %s is asked for in two shapes, or is the name of another value", name);
        return M2S_NONE;
    }
    return known;
}

m2s_value m2s_graph_param(m2s_graph *graph, const char *name, m2s_shape shape)
{
    return named(graph, M2S_VALUE_PARAM, name, shape);
}

m2s_value m2s_graph_param_of_rank(m2s_graph *graph, const char *name, m2s_shape shape, int32_t rank)
{
    m2s_value param = m2s_graph_param(graph, name, shape);

    if (param != M2S_NONE) {
        graph->values[param].rank = rank;
    }
    return param;
}

m2s_value m2s_graph_state(m2s_graph *graph, const char *name, m2s_shape shape)
{
    return named(graph, M2S_VALUE_STATE, name, shape);
}

m2s_value m2s_graph_name(m2s_graph *graph, m2s_value value, const char *name)
{
    if (graph->status != M2SNET_STATUS_OK || value == M2S_NONE || name == NULL) {
        return value;
    }
    if ((graph->values[value].name = m2s_pile_strdup(graph->pile, name)) == NULL) {
        return fail_memory(graph, strlen(name));
    }
    graph->values[value].name_hash = hash_name(name);
    return value;
}

void m2s_graph_mark_output(m2s_graph *graph, m2s_value value)
{
    if (graph->status == M2SNET_STATUS_OK && value != M2S_NONE) {
        graph->values[value].output = true;
    }
}

/* ---- state ---- */

void m2s_graph_make_state(m2s_graph *graph, m2s_value param)
{
    graph->values[param].kind = M2S_VALUE_STATE;
    graph->values[param].constant = false;
}

void m2s_graph_replace(m2s_graph *graph, m2s_value value, m2s_value old)
{
    if (graph->status == M2SNET_STATUS_OK) {
        graph->status = m2s_expect_same_shape(graph, value, old, &graph->error);
        graph->values[value].replaces = old;
    }
}

m2s_value m2s_graph_state_root(const m2s_graph *graph, m2s_value value)
{
    while (graph->values[value].replaces != M2S_NONE) {
        value = graph->values[value].replaces;
    }
    return graph->values[value].kind == M2S_VALUE_STATE ? value : M2S_NONE;
}

static bool writes_state(const m2s_graph *graph, const m2s_node *node)
{
    bool writes = false;

    for (int32_t i = 0; i < node->out_count; i++) {
        writes = writes || graph->values[node->out[i]].replaces != M2S_NONE;
    }
    return writes;
}

/* Each value is read for the last time by the node that writes over it, or before. */
static m2snet_status check_readers(const m2s_graph *graph, int32_t reader, m2snet_error *error)
{
    const m2s_node *node = &graph->nodes[reader];

    for (int32_t i = 0; i < node->in_count; i++) {
        for (int32_t w = 0; node->in[i] != M2S_NONE && w < reader; w++) {
            for (int32_t k = 0; k < graph->nodes[w].out_count; k++) {
                if (graph->values[graph->nodes[w].out[k]].replaces == node->in[i]) {
                    char a[64], b[64];
                    return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s reads what %s has written over",
                                    m2s_node_label(graph, reader, a), m2s_node_label(graph, w, b));
                }
            }
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_graph_first_update(const m2s_graph *graph, int32_t *first, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    *first = graph->node_count;
    for (int32_t n = graph->node_count - 1; n >= 0; n--) {
        *first = writes_state(graph, &graph->nodes[n]) ? n : *first;
    }
    for (int32_t n = *first; n < graph->node_count; n++) {
        M2S_TRY(check_readers(graph, n, error));
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        bool is_state = m2s_graph_state_root(graph, v) != M2S_NONE;
        if ((info->replaces != M2S_NONE && !is_state) || (info->output && is_state)) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%s: %s", info->name != NULL ? info->name : "a value",
                            is_state ? "state cannot be a result" : "replaces what is no state");
        }
    }
fail:
    return status;
}

/* ---- nodes ---- */

m2s_value m2s_graph_out(const m2s_graph *graph, m2s_value value, int32_t index)
{
    return graph->status == M2SNET_STATUS_OK ? graph->nodes[graph->values[value].node].out[index] : M2S_NONE;
}

m2s_value m2s_graph_node(m2s_graph *graph, m2s_op op, const m2s_value *in, int32_t in_count, const m2s_attrs *attrs)
{
    const m2s_op_info *info = m2s_op_get_info(op);
    m2s_node node = { .op = op, .in_count = in_count, .out_count = info->out };
    m2s_shape shape[M2S_MAX_OUT] = { 0 };
    bool constant = true;

    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    if (in_count < info->min_in || in_count > info->max_in) {
        graph->status = m2s_fail(&graph->error, M2SNET_STATUS_INTERNAL, "%s: %d inputs, expected %d to %d", info->name,
                                 in_count, info->min_in, info->max_in);
        return M2S_NONE;
    }
    for (int32_t i = 0; i < M2S_MAX_IN; i++) {
        node.in[i] = i < in_count ? in[i] : M2S_NONE;
        constant = constant && (node.in[i] == M2S_NONE || graph->values[node.in[i]].constant);
    }
    if (attrs != NULL) {
        node.attrs = *attrs;
    }
    graph->status = info->shape(graph, &node, shape, &graph->error);
    if (graph->status != M2SNET_STATUS_OK) {
        m2s_error_prefix(&graph->error, "%s", info->name);
        return M2S_NONE;
    }
    if (!grow(graph, (void **)&graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes)) {
        return M2S_NONE;
    }
    while (node.out_count > 1 && shape[node.out_count - 1].d[0] == 0) {
        node.out_count--;
    }
    for (int32_t i = 0; i < M2S_MAX_OUT; i++) {
        node.out[i] = i >= node.out_count ? M2S_NONE
                                          : add_value(graph, (m2s_value_info){ .kind = M2S_VALUE_NODE,
                                                                               .shape = shape[i],
                                                                               .dtype = graph->dtype,
                                                                               .node = graph->node_count,
                                                                               .constant = constant });
    }
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    graph->nodes[graph->node_count++] = node;
    return node.out[0];
}

const char *m2s_node_label(const m2s_graph *graph, int32_t node, char buffer[64])
{
    const m2s_node *n = &graph->nodes[node];
    const char *name = graph->values[n->out[0]].name;

    if (name != NULL) {
        return name;
    }
    snprintf(buffer, 64, "%s#%" PRId32, m2s_op_get_info(n->op)->name, node);
    return buffer;
}

uint64_t m2s_node_multiply_adds(const m2s_graph *graph, const m2s_node *node)
{
    m2s_cost_rule cost = m2s_op_get_info(node->op)->cost;

    return cost != NULL ? cost(graph, node) : 0;
}

uint64_t m2s_graph_multiply_adds(const m2s_graph *graph)
{
    uint64_t sum = 0;

    for (int32_t i = 0; i < graph->node_count; i++) {
        sum += m2s_node_multiply_adds(graph, &graph->nodes[i]);
    }
    return sum;
}

/* ---- hash and dump ---- */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3u;
    }
    return hash;
}

uint64_t m2s_graph_hash(const m2s_graph *graph)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (int32_t i = 0; i < graph->value_count; i++) {
        const m2s_value_info *v = &graph->values[i];
        hash = hash_bytes(hash, &v->kind, sizeof v->kind);
        hash = hash_bytes(hash, &v->shape, sizeof v->shape);
        hash = hash_bytes(hash, &v->dtype, sizeof v->dtype);
        hash = hash_bytes(hash, &v->output, sizeof v->output);
        hash = hash_bytes(hash, &v->replaces, sizeof v->replaces);
        if (v->kind != M2S_VALUE_NODE && v->name != NULL) {
            hash = hash_bytes(hash, v->name, strlen(v->name) + 1);
        }
    }
    for (int32_t i = 0; i < graph->node_count; i++) {
        const m2s_node *n = &graph->nodes[i];
        hash = hash_bytes(hash, &n->op, sizeof n->op);
        hash = hash_bytes(hash, n->in, sizeof n->in);
        hash = hash_bytes(hash, n->out, sizeof n->out);
        hash = hash_bytes(hash, &n->attrs, sizeof n->attrs);
    }
    return hash;
}

static const char *value_label(const m2s_graph *graph, m2s_value value, char buffer[32])
{
    if (value == M2S_NONE) {
        return "-";
    }
    if (graph->values[value].name != NULL) {
        return graph->values[value].name;
    }
    snprintf(buffer, 32, "%%%" PRId32, value);
    return buffer;
}

void m2s_graph_dump(const m2s_graph *graph, const m2s_log *log, const char *title)
{
    if (!m2s_log_wants(log, M2SNET_LOG_DEBUG)) {
        return;
    }
    m2s_log_write(log, M2SNET_LOG_DEBUG, "graph %s: %" PRId32 " nodes, %" PRId32 " values, %" PRIu64 " multiply-adds",
                  title, graph->node_count, graph->value_count, m2s_graph_multiply_adds(graph));
    for (int32_t i = 0; i < graph->node_count; i++) {
        const m2s_node *n = &graph->nodes[i];
        const m2s_value_info *out = &graph->values[n->out[0]];
        char inputs[512] = "", label[32], out_label[32];
        size_t used = 0;
        for (int32_t k = 0; k < n->in_count && used < sizeof inputs; k++) {
            int written = snprintf(inputs + used, sizeof inputs - used, "%s%s", k > 0 ? ", " : "",
                                   value_label(graph, n->in[k], label));
            used += written > 0 ? (size_t)written : 0;
        }
        m2s_log_write(log, M2SNET_LOG_DEBUG,
                      "%4" PRId32 "  %s = %s(%s) %s%" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 "%s%s", i,
                      value_label(graph, n->out[0], out_label), m2s_op_get_info(n->op)->name, inputs,
                      out->constant ? "constant " : "", out->shape.d[0], out->shape.d[1], out->shape.d[2],
                      out->shape.d[3], n->attrs.relu ? " relu" : "", out->output ? " output" : "");
    }
}
