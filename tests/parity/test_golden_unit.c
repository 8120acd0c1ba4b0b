/* SPDX-License-Identifier: Apache-2.0
 * One bare multi-scale subtraction unit (k = 3, 5, 7, 9; ones and Gaussian) against values that PyTorch computed in
 * float64 from the same reproducible numbers: data/golden/golden_msu_unit.tsv, rows of eval mode.
 *
 * The unit is built twice: as the fused multi_scale_subtract, and as the published code has it (filters over all
 * channels, batch norms, ReLUs, absolute differences, a sum). */
#include <errno.h>
#include <math.h>

#include "ops/harness.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define FILE_NAME    M2S_TEST_DATA "/golden/golden_msu_unit.tsv"
#define MOST_SAMPLES 8
#define CHANNELS     64

static const int kernels[] = { 3, 5, 7, 9 };

/* ---- the file ---- */

typedef struct golden {
    int64_t shape[4]; /* n, c, h, w */
    double sum, sum_sq, deviation;
    int sample_count;
    int64_t index[MOST_SAMPLES];
    double value[MOST_SAMPLES];
} golden;

static bool read_row(const char *tag, golden *row)
{
    char line[2048];
    FILE *file = fopen(FILE_NAME, "r");
    bool found = false;

    if (!CHECK(file != NULL, "%s: %s", FILE_NAME, strerror(errno))) {
        return false;
    }
    while (!found && fgets(line, sizeof line, file) != NULL) {
        char *rest = line, *name = strsep(&rest, "\t"), *shape = strsep(&rest, "\t");
        if (rest == NULL || strcmp(name, tag) != 0) {
            continue;
        }
        memset(row, 0, sizeof *row);
        for (int i = 0; i < 4 && shape != NULL; i++) {
            row->shape[i] = strtoll(strsep(&shape, "x"), NULL, 10);
        }
        row->sum = strtod(strsep(&rest, "\t"), NULL);
        row->sum_sq = strtod(strsep(&rest, "\t"), NULL);
        row->deviation = strtod(strsep(&rest, "\t"), NULL);
        for (char *pair; row->sample_count < MOST_SAMPLES && (pair = strsep(&rest, " \n")) != NULL && *pair != '\0';) {
            char *number;
            row->index[row->sample_count] = strtoll(pair, &number, 10);
            row->value[row->sample_count++] = strtod(number + 1, NULL);
        }
        found = true;
    }
    fclose(file);
    return CHECK(found, "no row %s", tag) && CHECK(row->sample_count > 0, "row %s has no samples", tag);
}

/* ---- the numbers ---- */

/* Element i of the stream named key: FNV-1a of the name seeds splitmix64; 24 bits, in [-1, 1). */
static double recipe(const char *key, uint64_t i)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (const char *c = key; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    }
    uint64_t z = hash + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 40) / 8388608.0 - 1.0;
}

/* A and B are drawn as (n, c, h, w) and clamped at 0. */
static void fill_image(harness_numbers *numbers, const m2s_graph *graph, m2s_value value, const char *key)
{
    m2s_shape s = m2s_shape_of(graph, value);
    double *data = harness_numbers_of(numbers, graph, value);

    for (int64_t n = 0; n < s.n; n++) {
        for (int64_t c = 0; c < s.c; c++) {
            for (int64_t p = 0; p < s.h * s.w; p++) {
                double u = recipe(key, (uint64_t)((n * s.c + c) * s.h * s.w + p));
                data[(n * s.h * s.w + p) * s.c + c] = u > 0.0 ? u : 0.0;
            }
        }
    }
}

/* All parameters are rounded to float, then, for the Gaussian, the statistics are divided as the unit test's recipe
 * divides them. */
static void fill_norm(harness_numbers *numbers, const m2s_graph *graph, int kernel, bool gaussian)
{
    static const char *const members[] = { "weight", "bias", "running_mean", "running_var" };
    double k2 = kernel * kernel;

    for (int m = 0; m < 4; m++) {
        char key[64];
        snprintf(key, sizeof key, "conv_%d.norm.%s", kernel, members[m]);
        m2s_value value = m2s_graph_find(graph, key);
        if (value == M2S_NONE) {
            continue;
        }
        double *data = harness_numbers_of(numbers, graph, value);
        for (uint64_t c = 0; c < CHANNELS; c++) {
            double u = recipe(key, c);
            double v = m == 0   ? 1.0 + 0.1 * u
                       : m == 1 ? 0.1 * u
                       : m == 2 ? k2 * (5.0 + u)
                                : 1e4 * k2 * k2 * (1.0 + 0.3 * u);
            data[c] = (double)(float)v / (!gaussian || m < 2 ? 1.0 : m == 2 ? k2 : k2 * k2);
        }
    }
}

/* ---- the unit ---- */

typedef enum form { UPSAMPLED, FUSED, AS_PUBLISHED } form;

static m2s_value norm_param(m2s_graph *graph, int kernel, const char *member)
{
    char key[64];

    snprintf(key, sizeof key, "conv_%d.norm.%s", kernel, member);
    return m2s_graph_param(graph, key, (m2s_shape){ .d = { CHANNELS, 1, 1, 1 } });
}

static m2s_value filtered(m2s_graph *graph, m2s_value src, int kernel, bool gaussian)
{
    m2s_value sum = m2s_full_filter(graph, src, (m2s_filter_window){ .kernel = kernel, .gaussian = gaussian });

    return m2s_relu(graph, m2s_batch_norm(graph, sum, norm_param(graph, kernel, "weight"),
                                          norm_param(graph, kernel, "bias"), norm_param(graph, kernel, "running_mean"),
                                          norm_param(graph, kernel, "running_var"), 1e-5));
}

static m2s_value build_unit(m2s_graph *graph, form how, bool gaussian)
{
    m2s_value a = m2s_graph_input(graph, "A", (m2s_shape){ .d = { 2, 5, 6, CHANNELS } });
    m2s_value b = m2s_graph_input(graph, "B", (m2s_shape){ .d = { 2, 10, 12, CHANNELS } });
    m2s_value in[M2S_MAX_IN] = { a, b }, parts[1 + COUNT(kernels)], up;
    m2s_attrs attrs = { .scales = COUNT(kernels), .gaussian = gaussian };

    if (how == FUSED) {
        for (size_t k = 0; k < COUNT(kernels); k++) {
            m2s_value gamma = norm_param(graph, kernels[k], "weight"), beta = norm_param(graph, kernels[k], "bias");
            m2s_value mean = norm_param(graph, kernels[k], "running_mean");
            m2s_value var = norm_param(graph, kernels[k], "running_var");
            m2s_attrs epsilon = { .epsilon = 1e-5 };
            attrs.scale[k] = kernels[k];
            in[2 + 2 * k] = m2s_graph_node(graph, M2S_OP_fold_scale, (m2s_value[]){ gamma, var }, 2, &epsilon);
            in[3 + 2 * k] =
                m2s_graph_node(graph, M2S_OP_fold_bias, (m2s_value[]){ M2S_NONE, gamma, beta, mean, var }, 5, &epsilon);
        }
        return m2s_graph_node(graph, M2S_OP_multi_scale_subtract, in, 2 + 2 * (int32_t)COUNT(kernels), &attrs);
    }
    up = m2s_resize(graph, a, 10, 12);
    if (how == UPSAMPLED) {
        return up;
    }
    parts[0] = m2s_abs_diff(graph, up, b);
    for (size_t k = 0; k < COUNT(kernels); k++) {
        parts[1 + k] =
            m2s_abs_diff(graph, filtered(graph, up, kernels[k], gaussian), filtered(graph, b, kernels[k], gaussian));
    }
    return m2s_sum(graph, parts, (int32_t)COUNT(parts));
}

/* ---- comparison ---- */

/* index counts (n, c, h, w). */
static double element(const double *data, const golden *row, int64_t index)
{
    int64_t pixels = row->shape[2] * row->shape[3];
    int64_t n = index / (row->shape[1] * pixels), c = index / pixels % row->shape[1], p = index % pixels;

    return data[(n * pixels + p) * row->shape[1] + c];
}

static void compare(const golden *row, const double *data, bool single)
{
    /* In double the file's twelve digits are the limit; in float, ten times PyTorch's own deviation and some. */
    double relative = single ? 10.0 * row->deviation + 1e-6 : 1e-9;
    int64_t count = row->shape[0] * row->shape[1] * row->shape[2] * row->shape[3];
    double absolute = single ? relative * sqrt(row->sum_sq / (double)count) : 1e-12; /* of the mean size */
    double sum = 0.0, sum_sq = 0.0;

    for (int64_t i = 0; i < count; i++) {
        sum += data[i];
        sum_sq += data[i] * data[i];
    }
    CHECK_NEAR(sum, row->sum, 1e-12, relative, "sum");
    CHECK_NEAR(sum_sq, row->sum_sq, 1e-12, 2.0 * relative, "sum of squares");
    for (int i = 0; i < row->sample_count; i++) {
        CHECK_NEAR(element(data, row, row->index[i]), row->value[i], absolute, relative, "element %lld",
                   (long long)row->index[i]);
    }
}

typedef struct variant {
    const m2s_backend *backend;
    m2snet_dtype dtype;
    const char *name;
} variant;

static void run(harness *h, const variant *v, m2s_isa isa, form how, bool gaussian, const char *tag)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph = NULL;
    m2snet_error error;
    golden row;

    if (!read_row(tag, &row) ||
        !CHECK(m2s_graph_create(&h->memory, v->dtype, &graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        return;
    }
    m2s_value result = build_unit(graph, how, gaussian);
    m2s_graph_mark_output(graph, result);
    if (CHECK(m2s_graph_finish(graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        fill_image(&numbers, graph, m2s_graph_find(graph, "A"), "A");
        fill_image(&numbers, graph, m2s_graph_find(graph, "B"), "B");
        for (size_t k = 0; k < COUNT(kernels); k++) {
            fill_norm(&numbers, graph, kernels[k], gaussian);
        }
        harness_request request = {
            .backend = v->backend, .isa = isa, .pool = h->pools[1], .graph = graph, .stored = v->dtype, .runs = 1
        };
        if (CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
            compare(&row, numbers.of[result], v->dtype == M2SNET_DTYPE_F32);
        }
    }
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    const variant variants[] = { { m2s_backend_ref(), M2SNET_DTYPE_F64, "ref F64" },
                                 { m2s_backend_ref(), M2SNET_DTYPE_F32, "ref F32" },
                                 { m2s_backend_cpu(), M2SNET_DTYPE_F32, "cpu F32" } };
    static const char *const forms[] = { "upsampled A", "fused", "as published" };
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h)) {
        return check_finish();
    }
    for (size_t v = 0; v < COUNT(variants); v++) {
        bool has_levels = variants[v].backend != m2s_backend_ref();
        for (int isa = M2S_ISA_BASELINE; isa <= (int)(has_levels ? m2s_isa_detect() : M2S_ISA_BASELINE); isa++) {
            for (int gaussian = 0; gaussian <= 1; gaussian++) {
                for (int f = UPSAMPLED; f <= AS_PUBLISHED; f++) {
                    char tag[64];
                    snprintf(tag, sizeof tag, "%s.eval.%s", gaussian ? "gauss" : "ones",
                             f == UPSAMPLED ? "upsampled_A" : "out");
                    if (check_case("%s %s, %s %s", tag, forms[f], variants[v].name,
                                   has_levels ? m2s_isa_name((m2s_isa)isa) : "")) {
                        run(&h, &variants[v], (m2s_isa)isa, (form)f, gaussian != 0, tag);
                    }
                }
            }
        }
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
