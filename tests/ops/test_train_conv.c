/* SPDX-License-Identifier: Apache-2.0
 * Convolutions as a training step has them, on the cpu backend: weights that change from run to run, both gradients,
 * and the sum over pixels. Against one loop over all products, in double; at every instruction set of this processor
 * and on 1, 2, 3 and 5 threads, which must agree bit for bit. */
#include <math.h>

#include "ops/harness.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef enum what {
    FORWARD, /* conv2d with weights, bias and residual that are inputs */
    TURNED,  /* conv2d of a gradient with transpose_weights, of stride 1 */
    SRC,     /* conv2d_grad_src */
    WEIGHTS, /* conv2d_grad_weights */
    SUM,     /* sum_pixels */
    WHAT_COUNT
} what;

static const char *const names[WHAT_COUNT] = { "forward", "turned", "diff_src", "diff_weights", "sum" };

typedef struct conv_case {
    int64_t n, h, w, in, out, kernel;
    int32_t stride, pad, dilation, groups;
    bool extra; /* bias, residual and ReLU */
} conv_case;

/* Shapes that take each way there is: Winograd of both sizes with its phases in one chunk and apart, points in place,
 * gathered, spread and cut by columns, few results, strides, borders, groups; parts of pixels and of tiles, blocks of
 * either operand. */
static const conv_case table[] = {
    { 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, false },     { 2, 7, 5, 3, 2, 3, 1, 1, 1, 1, true },
    { 2, 13, 11, 26, 26, 3, 1, 1, 1, 1, true },  { 2, 20, 23, 20, 33, 3, 1, 1, 1, 1, false },
    { 3, 17, 16, 52, 64, 3, 1, 1, 1, 1, true },  { 1, 44, 44, 64, 48, 3, 1, 1, 1, 1, false },
    { 1, 6, 6, 200, 64, 3, 1, 1, 1, 1, true },   { 2, 11, 11, 104, 104, 3, 1, 1, 1, 1, false },
    { 2, 22, 22, 64, 104, 1, 1, 0, 1, 1, true }, { 2, 11, 11, 512, 96, 1, 1, 0, 1, 1, false },
    { 1, 5, 5, 1024, 300, 1, 1, 0, 1, 1, true }, { 4, 9, 9, 70, 512, 1, 1, 0, 1, 1, false },
    { 2, 21, 18, 64, 1, 3, 1, 1, 1, 1, true },   { 2, 33, 31, 3, 32, 3, 2, 1, 1, 1, true },
    { 2, 20, 22, 52, 52, 3, 2, 1, 1, 1, true },  { 1, 11, 13, 104, 90, 3, 2, 1, 1, 1, false },
    { 2, 16, 12, 40, 70, 1, 2, 0, 1, 1, true },  { 2, 16, 20, 24, 40, 4, 4, 0, 1, 1, true },
    { 1, 19, 17, 3, 20, 7, 2, 3, 1, 1, false },  { 1, 9, 11, 26, 26, 3, 1, 2, 2, 1, true },
    { 1, 12, 9, 5, 6, 3, 2, 3, 3, 1, false },    { 1, 2, 2, 3, 4, 3, 1, 3, 1, 1, false },
    { 1, 1, 9, 32, 40, 3, 1, 1, 1, 1, false },   { 1, 8, 9, 13, 13, 3, 2, 0, 1, 1, false },
    { 1, 6, 7, 26, 52, 3, 1, 1, 1, 2, true },    { 1, 9, 10, 24, 24, 7, 1, 3, 1, 24, false },
    { 1, 9, 10, 16, 16, 3, 2, 1, 1, 16, false }, { 1, 18, 18, 150, 140, 3, 1, 1, 1, 1, false },
    { 5, 40, 41, 17, 16, 3, 1, 1, 1, 1, false }, { 1, 60, 70, 7, 9, 3, 1, 1, 1, 1, false },
};

typedef struct tensor {
    m2s_shape shape;
    double *data;
} tensor;

static tensor tensor_new(int64_t a, int64_t b, int64_t c, int64_t d, unsigned long long seed)
{
    tensor t = { { .d = { a, b, c, d } }, calloc((size_t)(a * b * c * d), sizeof(double)) };

    for (int64_t i = 0; seed != 0 && i < a * b * c * d; i++) {
        t.data[i] = (double)(float)check_random(&seed);
    }
    return t;
}

static double *at(tensor t, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return &t.data[((a * t.shape.d[1] + b) * t.shape.d[2] + c) * t.shape.d[3] + d];
}

static int64_t out_size(const conv_case *c, int64_t size)
{
    return (size + 2 * c->pad - c->dilation * (c->kernel - 1) - 1) / c->stride + 1;
}

/* Adds every product of two of the three tensors to the third. */
static void add_products(const conv_case *c, what which, tensor src, tensor weights, tensor dst)
{
    int64_t group_in = c->in / c->groups, group_out = c->out / c->groups, k = c->kernel;

    for (int64_t p = 0; p < c->n * dst.shape.h * dst.shape.w; p++) {
        int64_t n = p / (dst.shape.h * dst.shape.w), oy = p / dst.shape.w % dst.shape.h, ox = p % dst.shape.w;
        for (int64_t tap = 0; tap < k * k; tap++) {
            int64_t y = oy * c->stride - c->pad + tap / k * c->dilation;
            int64_t x = ox * c->stride - c->pad + tap % k * c->dilation;
            if (y < 0 || y >= c->h || x < 0 || x >= c->w) {
                continue;
            }
            for (int64_t o = 0; o < c->out; o++) {
                double *d = at(dst, n, oy, ox, o);
                double *s = at(src, n, y, x, o / group_out * group_in);
                double *g = at(weights, o, 0, tap / k, tap % k);
                for (int64_t i = 0; i < group_in; i++, g += k * k) {
                    if (which == FORWARD) {
                        *d += s[i] * *g;
                    } else if (which == WEIGHTS) {
                        *g += s[i] * *d;
                    } else {
                        s[i] += *d * *g;
                    }
                }
            }
        }
    }
}

static void finish_forward(const conv_case *c, tensor bias, tensor residual, tensor dst)
{
    for (int64_t e = 0; e < m2s_shape_elements(dst.shape); e++) {
        dst.data[e] += bias.data[e % c->out] + residual.data[e];
        dst.data[e] = dst.data[e] > 0.0 ? dst.data[e] : 0.0;
    }
}

static m2s_value feed(m2s_graph *graph, harness_numbers *numbers, const char *name, tensor t)
{
    m2s_value value = m2s_graph_input(graph, name, t.shape);

    if (value != M2S_NONE) {
        memcpy(harness_numbers_of(numbers, graph, value), t.data, (size_t)m2s_shape_elements(t.shape) * sizeof(double));
    }
    return value;
}

typedef struct problem {
    const conv_case *c;
    what which;
    tensor src, weights, dst, bias, residual;
    tensor expected;
} problem;

static void prepare(problem *p, const conv_case *c, what which)
{
    int64_t oh = out_size(c, c->h), ow = out_size(c, c->w), k = c->kernel;

    *p = (problem){ .c = c, .which = which };
    p->src = tensor_new(c->n, c->h, c->w, c->in, which == SRC || which == TURNED ? 0 : 11);
    p->weights = tensor_new(c->out, c->in / c->groups, k, k, which == WEIGHTS ? 0 : 12);
    p->dst = tensor_new(c->n, oh, ow, c->out, which == FORWARD ? 0 : 13);
    p->bias = tensor_new(c->out, 1, 1, 1, 14);
    p->residual = tensor_new(c->n, oh, ow, c->out, 15);
    if (which == SUM) {
        p->expected = tensor_new(c->out, 1, 1, 1, 0);
        for (int64_t e = 0; e < m2s_shape_elements(p->dst.shape); e++) {
            p->expected.data[e % c->out] += p->dst.data[e];
        }
        return;
    }
    add_products(c, which, p->src, p->weights, p->dst);
    if (which == FORWARD && c->extra) {
        finish_forward(c, p->bias, p->residual, p->dst);
    }
    p->expected = which == FORWARD ? p->dst : which == WEIGHTS ? p->weights : p->src;
}

static void release(problem *p)
{
    if (p->which == SUM) {
        free(p->expected.data);
    }
    free(p->src.data);
    free(p->weights.data);
    free(p->dst.data);
    free(p->bias.data);
    free(p->residual.data);
}

static m2s_value build(const problem *p, m2s_graph *graph, harness_numbers *numbers)
{
    const conv_case *c = p->c;
    m2s_attrs attrs = { .stride = c->stride, .pad = c->pad, .dilation = c->dilation, .groups = c->groups };
    m2s_value in[4] = { M2S_NONE, M2S_NONE, M2S_NONE, M2S_NONE };

    switch (p->which) {
    case FORWARD:
        in[0] = feed(graph, numbers, "src", p->src);
        in[1] = feed(graph, numbers, "weights", p->weights);
        if (c->extra) {
            in[2] = feed(graph, numbers, "bias", p->bias);
            in[3] = feed(graph, numbers, "residual", p->residual);
            attrs.relu = 1;
        }
        return m2s_graph_node(graph, M2S_OP_conv2d, in, 4, &attrs);
    case TURNED:
        in[0] = feed(graph, numbers, "diff", p->dst);
        in[1] = feed(graph, numbers, "weights", p->weights);
        in[1] = m2s_graph_node(graph, M2S_OP_transpose_weights, &in[1], 1, NULL);
        attrs.pad = (int32_t)(c->dilation * (c->kernel - 1)) - c->pad;
        return m2s_graph_node(graph, M2S_OP_conv2d, in, 4, &attrs);
    case SRC:
        in[0] = feed(graph, numbers, "diff", p->dst);
        in[1] = feed(graph, numbers, "weights", p->weights);
        attrs.h = c->h;
        attrs.w = c->w;
        return m2s_graph_node(graph, M2S_OP_conv2d_grad_src, in, 2, &attrs);
    case WEIGHTS:
        in[0] = feed(graph, numbers, "src", p->src);
        in[1] = feed(graph, numbers, "diff", p->dst);
        attrs.kernel = (int32_t)c->kernel;
        return m2s_graph_node(graph, M2S_OP_conv2d_grad_weights, in, 2, &attrs);
    default:
        in[0] = feed(graph, numbers, "diff", p->dst);
        return m2s_graph_node(graph, M2S_OP_sum_pixels, in, 1, NULL);
    }
}

/* Relative L2. Winograd's transforms make an error of about 7e-7 over random data and the longest sum here; plain
 * sums stay below that. A wrong element of any case shows as 1e-3 at least. */
#define TOLERANCE 2e-6

static void check_result(const problem *p, const double *actual)
{
    double difference = 0.0, size = 0.0;

    for (int64_t e = 0; e < m2s_shape_elements(p->expected.shape); e++) {
        double d = actual[e] - p->expected.data[e];
        difference += d * d;
        size += p->expected.data[e] * p->expected.data[e];
    }
    CHECK(sqrt(difference) <= TOLERANCE * sqrt(size), "relative L2 error %.3g", sqrt(difference / size));
}

static void run(harness *h, const problem *p, m2s_isa isa)
{
    harness_numbers numbers = { 0 };
    unsigned char *first = NULL;
    m2s_graph *graph = NULL;
    m2snet_error error;

    if (!CHECK(m2s_graph_create(&h->memory, M2SNET_DTYPE_F32, &graph, &error) == M2SNET_STATUS_OK, "%s",
               error.message)) {
        return;
    }
    m2s_value result = build(p, graph, &numbers);
    m2s_graph_mark_output(graph, result);
    if (!CHECK(m2s_graph_finish(graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        m2s_graph_destroy(graph);
        return;
    }
    for (int pool = 0; pool < HARNESS_POOLS; pool++) {
        harness_request request = {
            .backend = m2s_backend_cpu(), .isa = isa, .pool = h->pools[pool], .graph = graph, .runs = pool == 0 ? 2 : 1
        };
        if (!CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
            break;
        }
        if (pool == 0) {
            check_result(p, numbers.of[result]);
            first = malloc(harness_bytes(graph, result));
            memcpy(first, numbers.raw[result], harness_bytes(graph, result));
        } else {
            CHECK(memcmp(first, numbers.raw[result], harness_bytes(graph, result)) == 0,
                  "%d threads give other bits than one", harness_threads[pool]);
        }
    }
    free(first);
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

static bool applies(const conv_case *c, what which)
{
    return which != TURNED || (c->stride == 1 && c->groups == 1 && c->dilation * (c->kernel - 1) >= c->pad);
}

int main(int argc, char **argv)
{
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h)) {
        return 1;
    }
    for (size_t i = 0; i < COUNT(table); i++) {
        const conv_case *c = &table[i];
        for (what which = FORWARD; which < WHAT_COUNT; which++) {
            problem p = { 0 };
            for (m2s_isa isa = M2S_ISA_BASELINE; isa <= m2s_isa_detect() && applies(c, which); isa++) {
                if (!check_case("%s %lldx%lldx%lld %lld->%lld k%lld s%d p%d d%d g%d %s", names[which], (long long)c->n,
                                (long long)c->h, (long long)c->w, (long long)c->in, (long long)c->out,
                                (long long)c->kernel, c->stride, c->pad, c->dilation, c->groups, m2s_isa_name(isa))) {
                    continue;
                }
                if (p.c == NULL) {
                    prepare(&p, c, which);
                }
                run(&h, &p, isa);
            }
            release(&p);
        }
    }
    harness_close(&h);
    return check_finish();
}
