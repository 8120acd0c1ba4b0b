/* SPDX-License-Identifier: Apache-2.0
 * The structure loss's two terms, and the released form of the first, against truth that was computed in float64 and
 * stored in float32: values, values of each image, and gradients in full, at real logits of a network in training. */
#include <inttypes.h>
#include <math.h>

#include "common/training_vectors.h"
#include "graph/autodiff.h"
#include "ops/harness.h"

#define PIXELS (96 * 96)

/* Float32's rounding of the truth is 3e-8 in L2; a F64 plan adds nothing that shows. F32 plans round the logits' and
 * the weights' terms and their sums: a few units of 6e-8 each, sums of 9216 terms of one sign 1e-6 at most. */
#define TOLERANCE_F64 2e-7
#define TOLERANCE_F32 3e-6

typedef struct term {
    const char *name; /* in the vectors */
    m2s_op op;
    int32_t form;
} term;

static const term terms[] = { { "wbce", M2S_OP_weighted_bce, 0 },
                              { "wbce_legacy", M2S_OP_weighted_bce, 1 },
                              { "wiou", M2S_OP_weighted_iou, 0 } };

static bool load(const char *what, double *numbers, int64_t count)
{
    return CHECK(training_vectors_load(what, numbers, count), "no entry %s of %" PRId64 " numbers", what, count);
}

/* Value and gradient of a term over the images [first, first + n). */
static void evaluate(harness *h, const term *t, const m2s_backend *backend, m2snet_dtype dtype, int64_t first,
                     int64_t n, const double *logits, const double *mask, double *value, double *gradient)
{
    m2s_shape shape = { .n = n, .h = 96, .w = 96, .c = 1 };
    harness_numbers numbers = { 0 };
    m2s_graph *graph = NULL;
    m2snet_error error;
    m2s_value diff = M2S_NONE;

    *value = NAN;
    if (!CHECK(m2s_graph_create(&h->memory, dtype, &graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        return;
    }
    m2s_value x = m2s_graph_input(graph, "logits", shape), m = m2s_graph_input(graph, "mask", shape);
    m2s_value seed = m2s_graph_scalar(graph, "seed");
    m2s_value weights =
        m2s_graph_node(graph, M2S_OP_boundary_weights, &m, 1, &(m2s_attrs){ .kernel = 31, .alpha = 5.0 });
    m2s_value loss = m2s_graph_node(graph, t->op, (m2s_value[]){ x, m, weights }, 3, &(m2s_attrs){ .form = t->form });
    m2s_graph_mark_output(graph, loss);
    bool ready = CHECK(m2s_autodiff(graph, loss, seed, &x, 1, &diff, &error) == M2SNET_STATUS_OK, "%s", error.message);
    if (ready) {
        m2s_graph_mark_output(graph, diff);
        memcpy(harness_numbers_of(&numbers, graph, x), logits + first * PIXELS, (size_t)(n * PIXELS) * sizeof(double));
        memcpy(harness_numbers_of(&numbers, graph, m), mask + first * PIXELS, (size_t)(n * PIXELS) * sizeof(double));
        *harness_numbers_of(&numbers, graph, seed) = 1.0;
        harness_request request = {
            .backend = backend, .isa = m2s_isa_detect(), .pool = h->pools[1], .graph = graph, .runs = 1
        };
        if (CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
            *value = *numbers.of[loss];
            memcpy(gradient, numbers.of[diff], (size_t)(n * PIXELS) * sizeof(double));
        }
    }
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

static void check_term(harness *h, const term *t, const m2s_backend *backend, m2snet_dtype dtype, const double *logits,
                       const double *mask)
{
    double tolerance = dtype == M2SNET_DTYPE_F64 ? TOLERANCE_F64 : TOLERANCE_F32;
    double *truth = malloc(2 * PIXELS * sizeof *truth), *gradient = calloc(2 * PIXELS, sizeof *gradient);
    double expected, value, each[2], difference = 0.0, norm = 0.0;
    char what[64];

    snprintf(what, sizeof what, "loss/%s", t->name);
    if (load(what, &expected, 1)) {
        evaluate(h, t, backend, dtype, 0, 2, logits, mask, &value, gradient);
        CHECK_NEAR(value, expected, 0.0, tolerance, "%s", what);
    }
    snprintf(what, sizeof what, "dlogits/%s", t->name);
    if (load(what, truth, 2 * PIXELS)) {
        for (int64_t i = 0; i < 2 * PIXELS; i++) {
            difference += pow(gradient[i] - truth[i], 2.0);
            norm += truth[i] * truth[i];
        }
        CHECK(norm > 0.0 && sqrt(difference) <= tolerance * sqrt(norm), "gradient: off by %.3g of %.3g",
              sqrt(difference), sqrt(norm));
    }
    if (t->form == 0) {
        snprintf(what, sizeof what, "loss/%s_per_sample", t->name);
        for (int n = 0; n < 2 && load(what, each, 2); n++) {
            evaluate(h, t, backend, dtype, n, 1, logits, mask, &value, gradient);
            CHECK_NEAR(value, each[n], 0.0, tolerance, "image %d", n);
        }
    }
    free(truth);
    free(gradient);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        m2snet_dtype dtype;
        bool cpu;
    } variants[] = { { "ref F64", M2SNET_DTYPE_F64, false },
                     { "ref F32", M2SNET_DTYPE_F32, false },
                     { "cpu F32", M2SNET_DTYPE_F32, true } };
    static double logits[2 * PIXELS], mask[2 * PIXELS];
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h) || !load("logits", logits, 2 * PIXELS) || !load("mask", mask, 2 * PIXELS)) {
        return check_finish();
    }
    for (size_t t = 0; t < sizeof terms / sizeof terms[0]; t++) {
        for (size_t v = 0; v < sizeof variants / sizeof variants[0]; v++) {
            if (check_case("%s: %s", terms[t].name, variants[v].name)) {
                check_term(&h, &terms[t], variants[v].cpu ? m2s_backend_cpu() : m2s_backend_ref(), variants[v].dtype,
                           logits, mask);
            }
        }
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
