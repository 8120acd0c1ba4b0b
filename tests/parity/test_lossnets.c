/* SPDX-License-Identifier: Apache-2.0
 * The other loss networks against float64 truth (tests/data/lossnets): value and gradient of the feature distance, with
 * whole pictures of 64 px, of a size that no stride divides, and of 224 px, where they are used. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"
#include "run/tensor.h"
#include "train/objective_value.h"

#define SAMPLES  12
#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct truth {
    char network[32];
    int64_t n, h, w;
    int size;
    double value, norm;
    long index[SAMPLES];
    double gradient[SAMPLES];
} truth;

static truth rows[16];
static size_t row_count;

static void read_truth(void)
{
    char line[1024];
    FILE *file = fopen(M2S_TEST_DATA "/lossnets/lossnets.tsv", "r");

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        truth *r = &rows[row_count++];
        int used = 0, more = 0, samples = 0;
        assert_true(row_count <= COUNT(rows));
        assert_int_equal(sscanf(line, "%31s %" SCNd64 " %" SCNd64 " %" SCNd64 " %d %lf %lf%n", r->network, &r->n, &r->h,
                                &r->w, &r->size, &r->value, &r->norm, &used),
                         7);
        for (const char *p = line + used; samples < SAMPLES; samples++, p += more) {
            assert_int_equal(sscanf(p, " %ld:%lf%n", &r->index[samples], &r->gradient[samples], &more), 2);
        }
    }
    fclose(file);
}

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

/* The family with the recipe's weights in place of those it was created with. */
static m2snet_lossnet *open_lossnet(m2snet_context *context, const char *family)
{
    m2snet_lossnet *lossnet;
    m2snet_error error;

    expect_ok(m2s_lossnet_create(context, family, 1, &lossnet, &error), &error);
    m2s_store_destroy(lossnet->store);
    lossnet->store = network_lossnet_weights(&context->memory, family, RECIPE_GOLDEN);
    return lossnet;
}

static void write_numbers(m2snet_tensor *logits, m2snet_tensor *mask, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double x = (double)(float)(6.0 * network_uniform("logits", (uint64_t)i) - 3.0);
        double m = network_uniform("mask", (uint64_t)i) > 0.6;
        if (logits->desc.dtype == M2SNET_DTYPE_F64) {
            ((double *)logits->data)[i] = x;
            ((double *)mask->data)[i] = m;
        } else {
            ((float *)logits->data)[i] = (float)x;
            ((float *)mask->data)[i] = (float)m;
        }
    }
}

/* Relative; the samples' differences against the root of the mean square of the gradient. */
typedef struct bounds {
    double value, gradient;
} bounds;

static void compare(m2snet_lossnet *lossnet, const truth *r, m2snet_dtype dtype, bounds allowed)
{
    m2snet_context *context = lossnet->context;
    m2snet_tensor_desc desc = { .dtype = dtype, .n = r->n, .h = r->h, .w = r->w, .c = 1 };
    m2snet_objective_values values = { .struct_size = sizeof values };
    m2snet_objective_options options;
    m2snet_tensor *logits, *mask, *gradient;
    m2snet_error error;
    int64_t count = r->n * r->h * r->w;
    double *dense = malloc((size_t)count * sizeof *dense);
    double squares = 0.0, difference = 0.0;

    assert_non_null(dense);
    expect_ok(m2s_tensor_create(context, &desc, NULL, &logits, &error), &error);
    expect_ok(m2s_tensor_create(context, &desc, NULL, &mask, &error), &error);
    expect_ok(m2s_tensor_create(context, &desc, NULL, &gradient, &error), &error);
    write_numbers(logits, mask, count);
    m2s_objective_options_default(&options);
    options.bce_weight = options.iou_weight = 0.0;
    options.lossnet = lossnet;
    options.lossnet_weight = 1.0;
    options.lossnet_size_px = r->size;
    expect_ok(m2s_objective_evaluate(context, &options, logits, mask, &values, gradient, NULL, &error), &error);
    m2s_tensor_gather(gradient, M2SNET_DTYPE_F64, dense);
    for (int64_t i = 0; i < count; i++) {
        squares += dense[i] * dense[i];
    }
    for (int s = 0; s < SAMPLES; s++) {
        difference += pow(dense[r->index[s]] - r->gradient[s], 2.0);
    }
    bounds off = { fabs(values.loss - r->value) / r->value,
                   fmax(sqrt(difference / SAMPLES) / (r->norm / sqrt((double)count)),
                        fabs(sqrt(squares) - r->norm) / r->norm) };
    printf("    %s %s, %dx%d: value off by %.1e, gradient by %.1e\n", context->backend->name, r->network, (int)r->h,
           (int)r->w, off.value, off.gradient);
    assert_true(off.value <= allowed.value && off.gradient <= allowed.gradient);
    free(dense);
    m2s_tensor_destroy(logits);
    m2s_tensor_destroy(mask);
    m2s_tensor_destroy(gradient);
}

/* Rows of a network whose pictures are at most `side` px. */
static int compare_all(const char *backend, m2snet_dtype dtype, const char *network, int64_t side, bounds allowed)
{
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_error error;
    int compared = 0;

    m2s_context_options_default(&options);
    options.backend = network_backend(backend);
    options.threads = 2;
    expect_ok(m2s_context_create(&options, &context, &error), &error);
    m2snet_lossnet *lossnet = open_lossnet(context, network);
    for (size_t i = 0; i < row_count; i++) {
        if (strcmp(rows[i].network, network) == 0 && rows[i].h <= side) {
            compare(lossnet, &rows[i], dtype, allowed);
            compared++;
        }
    }
    m2s_lossnet_release(lossnet);
    m2s_context_release(context);
    return compared;
}

/* float64 on both sides, fifteen digits written down. */
static void test_reference(void **state)
{
    const bounds exact = { 1e-11, 1e-10 };

    (void)state;
    assert_int_equal(compare_all("ref", M2SNET_DTYPE_F64, "resnet50", 64, exact), 2);
    assert_int_equal(compare_all("ref", M2SNET_DTYPE_F64, "resnet50-stem", 64, exact), 1);
    assert_int_equal(compare_all("ref", M2SNET_DTYPE_F64, "swin_t", 64, exact), 2);
}

/* float32: seen at 1.4e-7 and, where a ReLU or a maximum of 224 x 224 falls on the other side, 1.1e-5. */
static void test_cpu(void **state)
{
    const bounds allowed = { 1e-6, 1e-4 };

    (void)state;
    assert_int_equal(compare_all("cpu", M2SNET_DTYPE_F32, "resnet50", 224, allowed), 3);
    assert_int_equal(compare_all("cpu", M2SNET_DTYPE_F32, "resnet50-stem", 224, allowed), 1);
    assert_int_equal(compare_all("cpu", M2SNET_DTYPE_F32, "swin_t", 224, allowed), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reference), cmocka_unit_test(test_cpu) };

    read_truth();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
