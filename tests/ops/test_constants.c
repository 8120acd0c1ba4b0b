/* SPDX-License-Identifier: Apache-2.0
 * Constants: parameters of every stored precision, chains of folding operations, and the keys of packs. */
#include <float.h>
#include <math.h>

#include "backends/ref/ref.h"
#include "core/half.h"
#include "ops/harness.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const m2s_shape weights_shape = { .d = { 6, 5, 3, 3 } }, vector_shape = { .d = { 6, 1, 1, 1 } };

/* out = concat_o(fold_weights(w, g, v), fold_weights(w, g, v)) and the parameters by name, values 0 to 4. */
static m2s_value build(m2s_memory *memory, m2snet_dtype dtype, double epsilon, const char *weights, m2s_graph **graph)
{
    m2s_attrs attrs = { .epsilon = epsilon };

    *graph = NULL;
    if (m2s_graph_create(memory, dtype, graph, NULL) != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    m2s_value in[] = { m2s_graph_param(*graph, weights, weights_shape), m2s_graph_param(*graph, "gamma", vector_shape),
                       m2s_graph_param(*graph, "var", vector_shape) };
    m2s_value folded = m2s_graph_node(*graph, M2S_OP_fold_weights, in, 3, &attrs);
    m2s_value joined = m2s_graph_node(*graph, M2S_OP_concat_o, (m2s_value[]){ folded, folded }, 2, NULL);
    return m2s_graph_name(*graph, joined, "joined");
}

static void *stored(m2snet_dtype dtype, const double *numbers, size_t count)
{
    /* At an odd address, as in a file. */
    unsigned char *block = malloc(count * 8 + 1);

    for (size_t i = 0; i < count; i++) {
        double f64 = numbers[i];
        float f32 = (float)f64;
        uint16_t f16 = m2s_float_to_f16(f32), bf16 = m2s_float_to_bf16(f32);
        const void *from = dtype == M2SNET_DTYPE_F64   ? (const void *)&f64
                           : dtype == M2SNET_DTYPE_F32 ? (const void *)&f32
                           : dtype == M2SNET_DTYPE_F16 ? (const void *)&f16
                                                       : (const void *)&bf16;
        memcpy(block + 1 + i * m2s_dtype_bytes(dtype), from, m2s_dtype_bytes(dtype));
    }
    return block;
}

static double read_number(const void *data, m2snet_dtype dtype, size_t i)
{
    return dtype == M2SNET_DTYPE_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void precisions(m2s_memory *memory)
{
    static const m2snet_dtype kept[] = { M2SNET_DTYPE_F64, M2SNET_DTYPE_F32, M2SNET_DTYPE_F16, M2SNET_DTYPE_BF16 };
    static const m2snet_dtype wanted[] = { M2SNET_DTYPE_F32, M2SNET_DTYPE_F64 };

    for (size_t s = 0; s < COUNT(kept); s++) {
        for (size_t w = 0; w < COUNT(wanted); w++) {
            if (!check_case("parameters kept as %s, wanted as %s", m2s_dtype_name(kept[s]),
                            m2s_dtype_name(wanted[w]))) {
                continue;
            }
            double numbers[270], result[2 * 270];
            m2s_param_view params[8] = { 0 };
            void *blocks[3];
            m2s_graph *graph;
            m2snet_error error;
            m2s_value joined = build(memory, wanted[w], 1e-5, "weights", &graph);
            unsigned long long state = 5;
            for (size_t i = 0; i < COUNT(numbers); i++) {
                numbers[i] = 1.0 + check_random(&state) / 3.0;
            }
            for (int p = 0; p < 3; p++) {
                blocks[p] = stored(kept[s], numbers, (size_t)m2s_shape_elements(m2s_shape_of(graph, p)));
                params[p] = (m2s_param_view){ (char *)blocks[p] + 1, kept[s], 1 };
            }
            /* a parameter alone */
            CHECK(m2s_ref_constant(memory, graph, params, 0, result, &error) == M2SNET_STATUS_OK, "%s", error.message);
            for (size_t i = 0; i < 270; i++) {
                float single = (float)numbers[i];
                double exact = kept[s] == M2SNET_DTYPE_F64   ? numbers[i]
                               : kept[s] == M2SNET_DTYPE_F32 ? (double)single
                               : kept[s] == M2SNET_DTYPE_F16 ? (double)m2s_f16_to_float(m2s_float_to_f16(single))
                                                             : (double)m2s_bf16_to_float(m2s_float_to_bf16(single));
                exact = wanted[w] == M2SNET_DTYPE_F32 ? (double)(float)exact : exact;
                if (!CHECK(read_number(result, wanted[w], i) == exact, "number %zu", i)) {
                    break;
                }
                numbers[i] = exact;
            }
            /* and under two operations */
            CHECK(m2s_ref_constant(memory, graph, params, joined, result, &error) == M2SNET_STATUS_OK, "%s",
                  error.message);
            for (size_t i = 0; i < 540; i++) {
                double expected = numbers[i % 270] * numbers[i % 270 / 45] / sqrt(numbers[i % 270 / 45] + 1e-5);
                if (!CHECK_NEAR(read_number(result, wanted[w], i), expected, 0.0,
                                wanted[w] == M2SNET_DTYPE_F32 ? (double)FLT_EPSILON : 4.0 * DBL_EPSILON, "number %zu",
                                i)) {
                    break;
                }
            }
            for (int p = 0; p < 3; p++) {
                free(blocks[p]);
            }
            m2s_graph_destroy(graph);
        }
    }
}

static void refusals(m2s_memory *memory)
{
    m2s_param_view params[8] = { 0 };
    float numbers[270] = { 0 }, result[540];
    m2s_graph *graph;
    m2snet_error error;
    m2s_value joined = build(memory, M2SNET_DTYPE_F32, 1e-5, "layer1.0.conv1.weight", &graph);

    for (int p = 0; p < 3; p++) {
        params[p] = (m2s_param_view){ numbers, M2SNET_DTYPE_F32, 1 };
    }
    if (check_case("a parameter without numbers is named")) {
        params[0].data = NULL;
        CHECK(m2s_ref_constant(memory, graph, params, joined, result, &error) == M2SNET_STATUS_MISMATCH, "accepted");
        CHECK(strstr(error.message, "layer1.0.conv1.weight") != NULL, "%s", error.message);
        params[0].data = numbers;
    }
    if (check_case("integers are no parameters")) {
        params[0].dtype = M2SNET_DTYPE_I64;
        CHECK(m2s_ref_constant(memory, graph, params, joined, result, &error) == M2SNET_STATUS_UNSUPPORTED, "accepted");
        CHECK(strstr(error.message, "I64") != NULL, "%s", error.message);
        params[0].dtype = M2SNET_DTYPE_F32;
    }
    if (check_case("an activation is no constant")) {
        m2s_value src = m2s_graph_input(graph, "src", vector_shape);
        CHECK(m2s_ref_constant(memory, graph, params, src, result, &error) == M2SNET_STATUS_INTERNAL, "accepted");
        CHECK(strstr(error.message, "src") != NULL, "%s", error.message);
    }
    if (check_case("out of memory in a constant")) {
        m2s_memory little;
        for (uint64_t limit = 1; limit < 8192; limit += 64) {
            m2s_memory_init(&little, NULL, limit);
            m2snet_status status = m2s_ref_constant(&little, graph, params, joined, result, &error);
            CHECK(status == M2SNET_STATUS_OK || status == M2SNET_STATUS_OUT_OF_MEMORY, "status %d", (int)status);
            CHECK(atomic_load(&little.used_bytes) == 0, "a leak with %llu bytes", (unsigned long long)limit);
        }
        CHECK(m2s_ref_constant(&little, graph, params, joined, result, &error) == M2SNET_STATUS_OK, "%s",
              error.message);
    }
    m2s_graph_destroy(graph);
}

static void keys(m2s_memory *memory)
{
    m2s_param_view params[8] = { 0 }, newer[8] = { 0 };
    char key[9][M2S_PACK_KEY_BYTES];
    m2s_graph *graph, *again, *other_epsilon, *other_name, *other_dtype;
    m2s_value joined = build(memory, M2SNET_DTYPE_F32, 1e-5, "weights", &graph);

    build(memory, M2SNET_DTYPE_F32, 1e-5, "weights", &again);
    build(memory, M2SNET_DTYPE_F32, 1e-4, "weights", &other_epsilon);
    build(memory, M2SNET_DTYPE_F32, 1e-5, "weight", &other_name);
    build(memory, M2SNET_DTYPE_F64, 1e-5, "weights", &other_dtype);
    newer[2].version = 1;
    if (check_case("keys of packs")) {
        char long_layout[400], long_key[M2S_PACK_KEY_BYTES], other_long_key[M2S_PACK_KEY_BYTES];
        m2s_ref_constant_key(graph, params, joined, "dense", key[0]);
        m2s_ref_constant_key(graph, newer, joined, "dense", key[1]);
        m2s_ref_constant_key(graph, params, joined, "blocked16", key[2]);
        m2s_ref_constant_key(graph, params, joined - 1, "dense", key[3]);
        m2s_ref_constant_key(graph, params, 0, "dense", key[4]);
        m2s_ref_constant_key(other_epsilon, params, joined, "dense", key[5]);
        m2s_ref_constant_key(other_name, params, joined, "dense", key[6]);
        m2s_ref_constant_key(other_dtype, params, joined, "dense", key[7]);
        m2s_ref_constant_key(graph, params, 1, "dense", key[8]);
        for (size_t i = 0; i < COUNT(key); i++) {
            for (size_t j = 0; j < i; j++) {
                CHECK(strcmp(key[i], key[j]) != 0, "keys %zu and %zu are both %s", i, j, key[i]);
            }
        }
        m2s_ref_constant_key(again, params, joined, "dense", key[1]);
        CHECK(strcmp(key[0], key[1]) == 0, "%s and %s", key[0], key[1]);
        memset(long_layout, 'x', sizeof long_layout);
        long_layout[sizeof long_layout - 1] = '\0';
        m2s_ref_constant_key(graph, params, joined, long_layout, long_key);
        CHECK(strlen(long_key) < M2S_PACK_KEY_BYTES, "%zu characters", strlen(long_key));
        long_layout[sizeof long_layout - 2] = 'y';
        m2s_ref_constant_key(graph, params, joined, long_layout, other_long_key);
        CHECK(strcmp(long_key, other_long_key) != 0, "the end of a long layout is lost");
    }
    m2s_graph_destroy(graph);
    m2s_graph_destroy(again);
    m2s_graph_destroy(other_epsilon);
    m2s_graph_destroy(other_name);
    m2s_graph_destroy(other_dtype);
}

int main(int argc, char **argv)
{
    m2s_memory memory;

    m2s_memory_init(&memory, NULL, 0);
    check_start(argc, argv);
    precisions(&memory);
    refusals(&memory);
    keys(&memory);
    if (check_case("nothing leaks")) {
        CHECK(atomic_load(&memory.used_bytes) == 0, "%llu bytes", (unsigned long long)atomic_load(&memory.used_bytes));
    }
    return check_finish();
}
