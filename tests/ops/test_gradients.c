/* SPDX-License-Identifier: Apache-2.0
 * Every gradient rule: a graph of one operation (or a few), m2s_autodiff over it, and
 *
 *   ref F64            against central differences of the same graph's result
 *   ref F32, cpu F32   against the gradients of ref F64
 *
 * The objective is the sum of the result times fixed weights, which are autodiff's seed. Inputs stay away from kinks:
 * a row with kinks is drawn again until all of them are far. */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "graph/autodiff.h"
#include "ops/harness.h"
#include "ops/naive.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define WANTED      8
#define COORDINATES 96      /* of one input that are moved, evenly spread */
#define STEP        0x1p-17 /* 7.6e-6: truncation and rounding of the differences are both about 1e-10 */
#define KINK_MARGIN 1e-4    /* no kink is nearer than this; a step moves what is tested by a few STEP */
#define DRAWS       50      /* at most, until no kink is near */

/* Central differences are off by STEP^2 / 6 = 1e-11 times a third derivative, and by the rounding of the objective, a
 * sum of up to a few hundred numbers near 1, over 2 STEP: 1e-10. All rows hold to 1e-9; a wrong factor or a lost term
 * is off by 1e-2 and more. */
#define DIFFERENCE_TOLERANCE 1e-8

/* Of F32 gradients, relative to the largest: 84 units of float's epsilon. Sums of up to 600 products walk like the root
 * of their number, 25 units; the normalisations by few pixels multiply that by up to 3. */
#define F32_TOLERANCE 1e-5

/* ---- what is tested ---- */

typedef struct subject {
    m2s_value objective, seed;
    m2s_value wanted[WANTED], diff[WANTED];
    int count;
} subject;

typedef struct gradient_case {
    const char *name;
    m2s_op op;
    m2s_attrs attrs;
    /* One letter an input: upper case ones are differentiated.
     *   a in [-1, 1)     k in [-1, -0.1] or [0.1, 1]     d no two alike, in [-1, 1)     n, m in [0, 1)     w in [1, 6)
     *   v in [0.5, 1.5)  l in [-3, 3) */
    const char *kinds;
    m2s_shape in[M2S_MAX_IN];
} gradient_case;

typedef struct composed_case {
    gradient_case c; /* op: the one it is about */
    /* Makes the result; NULL = by the operation alone. */
    m2s_value (*build)(m2s_graph *graph, const m2s_value *in, subject *s);
    /* Looks at the graph that autodiff made; may be NULL. */
    void (*inspect)(const m2s_graph *graph, const subject *s);
} composed_case;

static int input_count(const gradient_case *c)
{
    return (int)strlen(c->kinds);
}

static bool is_wanted(char kind)
{
    return kind >= 'A' && kind <= 'Z';
}

static void draw_input(char kind, naive t, unsigned long long *state)
{
    int64_t count = m2s_shape_elements(t.shape);

    for (int64_t e = 0; e < count; e++) {
        double u = check_random(state);
        switch (kind | 0x20) {
        case 'k':
            u = (u < 0.0 ? -0.1 : 0.1) + 0.9 * u;
            break;
        case 'n':
        case 'm':
            u = 0.5 + 0.5 * u;
            break;
        case 'w':
            u = 3.5 + 2.5 * u;
            break;
        case 'v':
            u = 1.0 + 0.5 * u;
            break;
        case 'l':
            u *= 3.0;
            break;
        case 'd': /* 2 / count apart, give or take a tenth */
            u = 2.0 * ((double)((e * 7919 + 13) % count) + 0.1 * u) / (double)count - 1.0;
            break;
        default:
            break;
        }
        t.data[e] = (double)(float)u;
    }
}

/* ---- graphs ---- */

static m2snet_status build(const composed_case *composed, harness *h, m2snet_dtype dtype, const naive *in,
                           m2s_graph **built, harness_numbers *numbers, subject *s, m2snet_error *error)
{
    const gradient_case *c = &composed->c;
    m2s_value value[M2S_MAX_IN];
    m2s_graph *graph = NULL;
    m2snet_status status;

    *s = (subject){ .count = 0 };
    M2S_TRY(m2s_graph_create(&h->memory, dtype, &graph, error));
    for (int i = 0; i < input_count(c); i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        value[i] = c->in[i].n == 0 ? M2S_NONE : m2s_graph_input(graph, name, c->in[i]);
        if (is_wanted(c->kinds[i])) {
            s->wanted[s->count++] = value[i];
        }
    }
    s->objective = composed->build != NULL ? composed->build(graph, value, s)
                                           : m2s_graph_node(graph, c->op, value, input_count(c), &c->attrs);
    M2S_TRY(m2s_graph_finish(graph, error));
    s->seed = m2s_graph_input(graph, "seed", m2s_shape_of(graph, s->objective));
    M2S_TRY(m2s_autodiff(graph, s->objective, s->seed, s->wanted, s->count, s->diff, error));
    m2s_graph_mark_output(graph, s->objective);
    for (int i = 0; i < s->count; i++) {
        if (s->diff[i] != M2S_NONE) {
            m2s_graph_mark_output(graph, s->diff[i]);
        }
    }
    M2S_TRY(m2s_graph_finish(graph, error));
    for (int i = 0; i < input_count(c); i++) {
        if (value[i] != M2S_NONE) {
            memcpy(harness_numbers_of(numbers, graph, value[i]), in[i].data,
                   harness_elements(graph, value[i]) * sizeof(double));
        }
    }
    unsigned long long state = 0xfeed;
    double *seed = harness_numbers_of(numbers, graph, s->seed);
    for (size_t e = 0; e < harness_elements(graph, s->seed); e++) {
        seed[e] = (double)(float)check_random(&state);
    }
    *built = graph;
    return M2SNET_STATUS_OK;
fail:
    m2s_graph_destroy(graph);
    return status;
}

/* ---- kinks ---- */

static double nearest_to_zero(naive t)
{
    double least = HUGE_VAL;

    for (int64_t e = 0; e < m2s_shape_elements(t.shape); e++) {
        least = fmin(least, fabs(t.data[e]));
    }
    return least;
}

/* How near the kinks of the unit are: A' = B, a ReLU at 0, and equal results of a scale. */
static double subtraction_kinks(const gradient_case *c, const naive *in)
{
    const m2s_attrs *a = &c->attrs;
    naive none = { .shape = { .n = 0 } };
    naive up = naive_resize(in[0], in[1].shape.h, in[1].shape.w, none);
    double least = HUGE_VAL;

    NAIVE_EACH(up, n, y, x, i)
    {
        least = fmin(least, fabs(*naive_at(up, n, y, x, i) - *naive_at(in[1], n, y, x, i)));
    }
    for (int k = 0; k < a->scales; k++) {
        const naive *norm = in + 2 + 4 * k;
        naive f[2] = { naive_filter(up, a->scale[k], a->gaussian != 0, a->alpha, true),
                       naive_filter(in[1], a->scale[k], a->gaussian != 0, a->alpha, true) };
        double mean[2] = { 0.0, 0.0 }, square[2] = { 0.0, 0.0 };
        double count = (double)m2s_shape_elements(up.shape);
        for (int side = 0; side < 2; side++) {
            NAIVE_EACH(up, n, y, x, i)
            {
                mean[side] += *naive_at(f[side], n, y, x, i) / count;
                square[side] += pow(*naive_at(f[side], n, y, x, i), 2.0) / count;
            }
        }
        NAIVE_EACH(up, n, y, x, i)
        {
            double z[2];
            for (int side = 0; side < 2; side++) {
                double m = a->frozen ? norm[2].data[i] : mean[side];
                double v = a->frozen ? norm[3].data[i] : square[side] - mean[side] * mean[side];
                z[side] =
                    norm[0].data[i] * (*naive_at(f[side], n, y, x, i) - m) / sqrt(v + a->epsilon) + norm[1].data[i];
                least = fmin(least, fabs(z[side]));
            }
            least = z[0] > 0.0 || z[1] > 0.0 ? fmin(least, fabs(naive_relu(z[0]) - naive_relu(z[1]))) : least;
        }
        naive_free(&f[0]);
        naive_free(&f[1]);
    }
    naive_free(&up);
    return least;
}

/* HUGE_VAL where there is none, or where the inputs' kinds keep away from them. */
static double kink_distance(const composed_case *composed, const naive *in)
{
    const gradient_case *c = &composed->c;
    m2s_attrs plain = c->attrs;
    double least = HUGE_VAL;
    naive linear;

    if (composed->build != NULL) {
        return HUGE_VAL;
    }
    if (c->op == M2S_OP_multi_scale_subtract_train) {
        return subtraction_kinks(c, in);
    }
    if (c->attrs.relu == 0 && c->op != M2S_OP_abs_diff) {
        return HUGE_VAL;
    }
    plain.relu = 0;
    if (c->op == M2S_OP_batch_norm_train) { /* the batch's own mean and variance */
        int64_t channels = in[0].shape.c, each = m2s_shape_elements(in[0].shape) / channels;
        for (int64_t i = 0; i < channels; i++) {
            double mean = 0.0, var = 0.0;
            for (int64_t p = 0; p < each; p++) {
                mean += in[0].data[p * channels + i] / (double)each;
            }
            for (int64_t p = 0; p < each; p++) {
                var += pow(in[0].data[p * channels + i] - mean, 2.0) / (double)each;
            }
            for (int64_t p = 0; p < each; p++) {
                double normal = (in[0].data[p * channels + i] - mean) / sqrt(var + plain.epsilon);
                least = fmin(least, fabs(in[1].data[i] * normal + in[2].data[i]));
            }
        }
        return least;
    }
    linear = naive_op(c->op, in, input_count(c), &plain);
    least = nearest_to_zero(linear);
    naive_free(&linear);
    return least;
}

/* ---- checks ---- */

static double weighted_sum(const m2s_graph *graph, const subject *s, const harness_numbers *numbers)
{
    double sum = 0.0;

    for (size_t e = 0; e < harness_elements(graph, s->objective); e++) {
        sum += numbers->of[s->seed][e] * numbers->of[s->objective][e];
    }
    return sum;
}

/* Whether the graph can be moved at a wanted value: not where a node makes it. */
static bool is_input(const m2s_graph *graph, m2s_value value)
{
    return graph->values[value].kind == M2S_VALUE_INPUT;
}

/* truth: of the run at the inputs as they are; numbers: the same inputs, to be moved. */
static void check_differences(harness *h, const m2s_graph *graph, const subject *s, const harness_numbers *truth,
                              harness_numbers *numbers)
{
    harness_request request = { .backend = m2s_backend_ref(), .pool = h->pools[0], .graph = graph, .runs = 1 };
    m2snet_error error;
    int moved = 0;

    for (int i = 0; i < s->count; i++) {
        if (!is_input(graph, s->wanted[i])) {
            continue;
        }
        size_t count = harness_elements(graph, s->wanted[i]);
        size_t stride = count > COORDINATES ? count / COORDINATES : 1;
        double *gradient = calloc(count, sizeof *gradient), *at = numbers->of[s->wanted[i]], largest = 1.0;
        if (s->diff[i] != M2S_NONE) {
            memcpy(gradient, truth->of[s->diff[i]], count * sizeof *gradient);
        }
        for (size_t e = 0; e < count; e++) {
            largest = fmax(largest, fabs(gradient[e]));
        }
        for (size_t e = 0; e < count; e += stride) {
            double here = at[e], value[2];
            for (int side = 0; side < 2; side++) {
                at[e] = side == 0 ? here - STEP : here + STEP;
                if (!CHECK(harness_run(h, &request, numbers, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
                    free(gradient);
                    return;
                }
                value[side] = weighted_sum(graph, s, numbers);
            }
            at[e] = here;
            moved++;
            double difference = (value[1] - value[0]) / (2.0 * STEP);
            if (!CHECK(fabs(gradient[e] - difference) <= DIFFERENCE_TOLERANCE * largest,
                       "wanted %d, element %zu of %zu: gradient %.10g, difference %.10g", i, e, count, gradient[e],
                       difference)) {
                break;
            }
        }
        free(gradient);
    }
    CHECK(moved > 0, "nothing was moved");
}

/* The gradients of an F32 backend against those of ref F64. */
static void check_single(harness *h, const composed_case *composed, const naive *in, const m2s_backend *backend,
                         m2s_isa isa, const subject *expected, const harness_numbers *truth)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph;
    subject s;
    m2snet_error error;

    if (!CHECK(build(composed, h, M2SNET_DTYPE_F32, in, &graph, &numbers, &s, &error) == M2SNET_STATUS_OK, "%s",
               error.message)) {
        return;
    }
    harness_request request = { .backend = backend, .isa = isa, .pool = h->pools[1], .graph = graph, .runs = 1 };
    if (CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        for (int i = 0; i < s.count; i++) {
            size_t count = s.diff[i] != M2S_NONE ? harness_elements(graph, s.diff[i]) : 0;
            double largest = 1.0;
            for (size_t e = 0; e < count; e++) {
                largest = fmax(largest, fabs(truth->of[expected->diff[i]][e]));
            }
            for (size_t e = 0; e < count; e++) {
                double actual = numbers.of[s.diff[i]][e], wanted = truth->of[expected->diff[i]][e];
                if (!CHECK(fabs(actual - wanted) <= F32_TOLERANCE * largest,
                           "wanted %d, element %zu of %zu: %.9g, in F64 %.9g, the largest %.3g", i, e, count, actual,
                           wanted, largest)) {
                    break;
                }
            }
        }
    }
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

static void run_case(harness *h, const composed_case *composed, m2s_isa highest)
{
    const gradient_case *c = &composed->c;
    static const char *const cpu_names[M2S_ISA_COUNT] = { "cpu baseline F32", "cpu avx2 F32", "cpu avx512 F32" };
    const char *op = m2s_op_get_info(c->op)->name;
    naive in[M2S_MAX_IN] = { { .data = NULL } };
    harness_numbers truth = { 0 };
    m2s_graph *graph;
    subject s;
    m2snet_error error;
    double distance = 0.0;

    for (unsigned long long seed = 1; seed <= DRAWS && distance < KINK_MARGIN; seed++) {
        unsigned long long state = seed * 7777;
        for (int i = 0; i < input_count(c); i++) {
            naive_free(&in[i]);
            in[i] = naive_new(c->in[i].d[0], c->in[i].d[1], c->in[i].d[2], c->in[i].d[3]);
            draw_input(c->kinds[i], in[i], &state);
        }
        distance = kink_distance(composed, in);
    }
    if (check_case("%s %s: differences", op, c->name)) {
        CHECK(distance >= KINK_MARGIN, "a kink is %.3g away, after %d draws", distance, DRAWS);
    }
    if (!CHECK(build(composed, h, M2SNET_DTYPE_F64, in, &graph, &truth, &s, &error) == M2SNET_STATUS_OK, "%s",
               error.message)) {
        return;
    }
    harness_request request = { .backend = m2s_backend_ref(), .pool = h->pools[0], .graph = graph, .runs = 1 };
    if (CHECK(harness_run(h, &request, &truth, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        harness_numbers moved = { 0 };
        for (m2s_value v = 0; v < graph->value_count; v++) {
            if (truth.of[v] != NULL) {
                memcpy(harness_numbers_of(&moved, graph, v), truth.of[v], harness_elements(graph, v) * sizeof(double));
            }
        }
        check_differences(h, graph, &s, &truth, &moved);
        harness_numbers_free(&moved);
        if (composed->inspect != NULL && check_case("%s %s: the graph", op, c->name)) {
            composed->inspect(graph, &s);
        }
        if (check_case("%s %s: ref F32", op, c->name)) {
            check_single(h, composed, in, m2s_backend_ref(), M2S_ISA_BASELINE, &s, &truth);
        }
        for (int isa = 0; isa <= (int)highest; isa++) {
            if (check_case("%s %s: %s", op, c->name, cpu_names[isa])) {
                check_single(h, composed, in, m2s_backend_cpu(), (m2s_isa)isa, &s, &truth);
            }
        }
    }
    for (int i = 0; i < input_count(c); i++) {
        naive_free(&in[i]);
    }
    harness_numbers_free(&truth);
    m2s_graph_destroy(graph);
}

/* ---- graphs of several operations ---- */

static int nodes_of(const m2s_graph *graph, m2s_op op)
{
    int count = 0;

    for (int32_t n = 0; n < graph->node_count; n++) {
        count += graph->nodes[n].op == op;
    }
    return count;
}

/* More uses than one sum takes. */
static m2s_value used_often(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value part[8], sum[2];

    (void)s;
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 5; i++) {
            part[i] = m2s_scale(graph, i % 2 == 0 ? m2s_multiply(graph, in[0], in[1]) : m2s_sigmoid(graph, in[0]),
                                0.3 + i + half);
        }
        sum[half] = m2s_sum(graph, part, 5);
    }
    return m2s_multiply(graph, m2s_sum(graph, sum, 2), in[0]);
}

static void inspect_used_often(const m2s_graph *graph, const subject *s)
{
    const m2s_node *node = &graph->nodes[graph->values[s->diff[0]].node];

    CHECK(node->op == M2S_OP_add, "the gradient is made by %s", m2s_op_get_info(node->op)->name);
}

/* Slices that tile a tensor, in another order than their channels. */
static m2s_value sliced(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value x = m2s_sigmoid(graph, in[0]);
    m2s_value part[] = { m2s_sigmoid(graph, m2s_slice_c(graph, x, 3, 2)),
                         m2s_scale(graph, m2s_slice_c(graph, x, 0, 3), 2.0),
                         m2s_softmax_c(graph, m2s_slice_c(graph, x, 5, 4)) };

    (void)s;
    return m2s_concat_c(graph, part, 3);
}

static void inspect_sliced(const m2s_graph *graph, const subject *s)
{
    (void)s;
    CHECK(nodes_of(graph, M2S_OP_concat_c) == 2, "%d nodes join channels, expected the result's and the gradient's",
          nodes_of(graph, M2S_OP_concat_c));
    CHECK(nodes_of(graph, M2S_OP_add) == 0, "padded slices are summed");
}

/* Slices that overlap, and leave a channel out. */
static m2s_value overlapping(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value part[] = { m2s_sigmoid(graph, m2s_slice_c(graph, in[0], 0, 3)),
                         m2s_scale(graph, m2s_slice_c(graph, in[0], 2, 2), 2.0),
                         m2s_sigmoid(graph, m2s_slice_c(graph, in[0], 5, 4)) };

    (void)s;
    return m2s_concat_c(graph, part, 3);
}

static void inspect_overlapping(const m2s_graph *graph, const subject *s)
{
    (void)s;
    CHECK(nodes_of(graph, M2S_OP_add) == 1, "%d sums, expected one", nodes_of(graph, M2S_OP_add));
}

/* As many slices as tile it, two of them the same. */
static m2s_value sliced_twice(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value part[] = { m2s_sigmoid(graph, m2s_slice_c(graph, in[0], 0, 3)),
                         m2s_scale(graph, m2s_slice_c(graph, in[0], 0, 3), 2.0),
                         m2s_sigmoid(graph, m2s_slice_c(graph, in[0], 3, 6)) };

    (void)s;
    return m2s_concat_c(graph, part, 3);
}

/* Wanted: an input, the same again, a value in the middle, and one that has no say. */
static m2s_value middle(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value x = m2s_multiply(graph, in[0], in[1]);
    m2s_value y = m2s_sum(graph, (m2s_value[]){ m2s_sigmoid(graph, x), m2s_multiply(graph, x, in[0]) }, 2);

    s->wanted[s->count++] = x;
    s->wanted[s->count++] = in[0];
    s->wanted[s->count++] = m2s_sigmoid(graph, in[1]);
    return y;
}

static void inspect_middle(const m2s_graph *graph, const subject *s)
{
    (void)graph;
    CHECK(s->count == 4 && s->diff[0] != M2S_NONE && s->diff[1] != M2S_NONE, "a gradient is missing");
    CHECK(s->diff[2] == s->diff[0], "the same value twice has two gradients");
    CHECK(s->diff[3] == M2S_NONE, "what has no say has a gradient");
}

/* A whole little network: convolution, batch norm, residual, pools, unit, decoder, structure loss. */
static m2s_value little_network(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_value none = M2S_NONE;
    m2s_value x = m2s_conv2d(graph, in[0], in[1], none, (m2s_conv){ .pad = 1 });
    m2s_value norm[] = { x, in[2], in[3], in[4], in[5] };
    m2s_value fine =
        m2s_graph_node(graph, M2S_OP_batch_norm_train, norm, 5, &(m2s_attrs){ .epsilon = 1e-5, .relu = 1 });
    m2s_value coarse = m2s_conv2d(graph, m2s_max_pool(graph, fine, 3, 2, 1), in[6], none, (m2s_conv){ .pad = 1 });
    m2s_value unit[] = { m2s_sigmoid(graph, coarse), fine, in[2], in[3], in[4], in[5] };
    m2s_value t = m2s_graph_node(graph, M2S_OP_multi_scale_subtract_train, unit, 6,
                                 &(m2s_attrs){ .scales = 1, .scale = { 3 }, .epsilon = 1e-5 });
    m2s_value logits = m2s_slice_c(graph, m2s_resize(graph, t, 9, 11), 0, 1);
    m2s_value loss[] = {
        m2s_graph_node(graph, M2S_OP_weighted_bce, (m2s_value[]){ logits, in[7], in[8] }, 3, NULL),
        m2s_graph_node(graph, M2S_OP_weighted_iou, (m2s_value[]){ logits, in[7], in[8] }, 3, NULL),
    };

    (void)s;
    return m2s_sum(graph, loss, 2);
}

/* The second convolution's result is batch_norm's src and, past it, the residual of the third. */
static m2s_value fused(m2s_graph *graph, const m2s_value *in, subject *s)
{
    m2s_attrs attrs = { .stride = 1, .pad = 1, .dilation = 1, .groups = 1, .relu = 1 };
    m2s_value x = m2s_graph_node(graph, M2S_OP_conv2d, (m2s_value[]){ in[0], in[1], in[2], in[0] }, 4, &attrs);
    m2s_value y = m2s_graph_node(graph, M2S_OP_conv2d, (m2s_value[]){ x, in[1], in[2], x }, 4, &attrs);

    (void)s;
    return m2s_graph_node(graph, M2S_OP_resize, (m2s_value[]){ y, in[3] }, 2, &(m2s_attrs){ .h = 7, .w = 9 });
}

/* ---- the table ---- */

/* clang-format off */
#define A(n_, h_, w_, c_)   { .d = { n_, h_, w_, c_ } }
#define W(o_, i_, kh_, kw_) { .d = { o_, i_, kh_, kw_ } }
#define V(o_)               { .d = { o_, 1, 1, 1 } }
#define ONE                 { .d = { 1, 1, 1, 1 } }
#define NONE                { .d = { 0, 0, 0, 0 } }
#define CONV(s, p, dil, g)  .stride = s, .pad = p, .dilation = dil, .groups = g
#define POOL(k, s, p)       .kernel = k, .stride = s, .pad = p
#define NORM(c)             V(c), V(c), V(c), V(c)
#define WINDOWS(k, s, g)    .kernel = k, .begin = s, .groups = g, .alpha = 0.25

static const gradient_case table[] = {
    { "1x1", M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, "AA", { A(2, 3, 4, 5), W(3, 5, 1, 1) } },
    { "one pixel", M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, "AAA", { A(1, 1, 1, 3), W(2, 3, 3, 3), V(2) } },
    { "3x3, bias", M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, "AAA", { A(2, 5, 6, 3), W(4, 3, 3, 3), V(4) } },
    { "stride 2", M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, "AA", { A(1, 6, 7, 3), W(4, 3, 3, 3) } },
    { "stride 2, 1x1", M2S_OP_conv2d, { CONV(2, 0, 1, 1) }, "AA", { A(1, 6, 7, 3), W(4, 3, 1, 1) } },
    { "stride 3 leaves pixels out", M2S_OP_conv2d, { CONV(3, 0, 1, 1) }, "AA", { A(1, 7, 8, 2), W(3, 2, 2, 2) } },
    { "dilation", M2S_OP_conv2d, { CONV(1, 2, 2, 1) }, "AA", { A(1, 5, 6, 3), W(4, 3, 3, 3) } },
    { "dilation, stride", M2S_OP_conv2d, { CONV(2, 1, 2, 1) }, "AAA", { A(2, 7, 6, 3), W(4, 3, 3, 3), V(4) } },
    { "groups", M2S_OP_conv2d, { CONV(1, 1, 1, 2) }, "AAA", { A(1, 4, 5, 6), W(4, 3, 3, 3), V(4) } },
    { "depthwise, stride", M2S_OP_conv2d, { CONV(2, 1, 1, 5) }, "AA", { A(1, 6, 5, 5), W(5, 1, 3, 3) } },
    { "more padding than window", M2S_OP_conv2d, { CONV(1, 3, 1, 1) }, "AA", { A(1, 2, 2, 3), W(4, 3, 3, 3) } },
    { "no padding", M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, "AA", { A(1, 6, 5, 3), W(2, 3, 3, 3) } },
    { "17 to 18 channels", M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, "AA", { A(1, 3, 4, 17), W(18, 17, 3, 3) } },
    { "ReLU", M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, "AAA", { A(1, 4, 5, 3), W(4, 3, 3, 3), V(4) } },
    { "ReLU and residual", M2S_OP_conv2d, { CONV(2, 1, 1, 1), .relu = 1 }, "AAAA",
      { A(1, 5, 4, 3), W(4, 3, 3, 3), V(4), A(1, 3, 2, 4) } },
    { "residual, no bias", M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, "AAaA",
      { A(2, 3, 4, 3), W(4, 3, 1, 1), NONE, A(2, 3, 4, 4) } },
    { "weights alone", M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, "aA", { A(1, 4, 5, 3), W(4, 3, 3, 3) } },
    { "source alone", M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, "Aa", { A(1, 4, 5, 3), W(4, 3, 3, 3) } },

    { "frozen", M2S_OP_batch_norm, { .epsilon = 1e-5 }, "AAAav", { A(2, 3, 4, 5), NORM(5) } },
    { "frozen, ReLU", M2S_OP_batch_norm, { .epsilon = 1e-5, .relu = 1 }, "AAAav", { A(2, 3, 4, 5), NORM(5) } },
    { "", M2S_OP_batch_norm_train, { .epsilon = 1e-5 }, "AAAav", { A(2, 3, 4, 5), NORM(5) } },
    { "17 channels", M2S_OP_batch_norm_train, { .epsilon = 1e-3 }, "AAAav", { A(1, 3, 3, 17), NORM(17) } },
    { "two pixels", M2S_OP_batch_norm_train, { .epsilon = 0.5 }, "AAAav", { A(2, 1, 1, 3), NORM(3) } },
    { "one pixel", M2S_OP_batch_norm_train, { .epsilon = 0.5 }, "AAAav", { A(1, 1, 1, 3), NORM(3) } },
    { "ReLU", M2S_OP_batch_norm_train, { .epsilon = 1e-5, .relu = 1 }, "AAAav", { A(2, 4, 3, 5), NORM(5) } },

    { "", M2S_OP_layer_norm, { .epsilon = 1e-6 }, "AAA", { A(2, 3, 2, 5), V(5), V(5) } },
    { "33 channels", M2S_OP_layer_norm, { .epsilon = 1e-5 }, "AAA", { A(1, 2, 3, 33), V(33), V(33) } },
    { "one channel", M2S_OP_layer_norm, { .epsilon = 0.5 }, "AAA", { A(1, 2, 3, 1), V(1), V(1) } },
    { "", M2S_OP_gelu, { 0 }, "L", { A(2, 3, 4, 5) } },
    { "", M2S_OP_scale_c, { 0 }, "AA", { A(2, 3, 4, 5), V(5) } },
    { "of seven", M2S_OP_drop_path, { .alpha = 0.5, .begin = 2 }, "Aw", { A(7, 1, 2, 3), ONE } },
    { "gamma alone", M2S_OP_scale_c, { 0 }, "aA", { A(1, 3, 4, 17), V(17) } },
    { "source alone", M2S_OP_scale_c, { 0 }, "Aa", { A(1, 3, 4, 17), V(17) } },

    { "", M2S_OP_relu, { 0 }, "K", { A(2, 3, 4, 5) } },
    { "of three", M2S_OP_add, { 0 }, "AaA", { A(1, 3, 4, 5), A(1, 3, 4, 5), A(1, 3, 4, 5) } },
    { "ReLU", M2S_OP_add, { .relu = 1 }, "AA", { A(1, 3, 4, 5), A(1, 3, 4, 5) } },
    { "", M2S_OP_abs_diff, { 0 }, "AA", { A(1, 3, 4, 5), A(1, 3, 4, 5) } },
    { "", M2S_OP_slice_c, { .begin = 2, .count = 3 }, "A", { A(2, 3, 2, 7) } },
    { "", M2S_OP_pad_c, { .begin = 2, .count = 9 }, "A", { A(2, 3, 2, 5) } },
    { "", M2S_OP_concat_c, { 0 }, "AaA", { A(1, 3, 4, 1), A(1, 3, 4, 2), A(1, 3, 4, 5) } },
    { "", M2S_OP_scale, { .alpha = -2.5 }, "A", { A(1, 3, 4, 5) } },
    { "", M2S_OP_multiply, { 0 }, "AA", { A(1, 3, 4, 5), A(1, 3, 4, 5) } },
    { "one side", M2S_OP_multiply, { 0 }, "aA", { A(1, 3, 4, 5), A(1, 3, 4, 5) } },
    { "", M2S_OP_sigmoid, { 0 }, "L", { A(2, 3, 4, 5) } },
    { "", M2S_OP_softmax_c, { 0 }, "L", { A(2, 3, 4, 5) } },

    { "3, 2, 1", M2S_OP_max_pool, { POOL(3, 2, 1) }, "D", { A(2, 5, 6, 3) } },
    { "2, 2, 0", M2S_OP_max_pool, { POOL(2, 2, 0) }, "D", { A(1, 5, 6, 3) } },
    { "windows that overlap much", M2S_OP_max_pool, { POOL(5, 1, 2) }, "D", { A(1, 5, 4, 2) } },
    { "ceil", M2S_OP_max_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, "D", { A(1, 5, 5, 3) } },
    { "3, 2, 1", M2S_OP_avg_pool, { POOL(3, 2, 1), .count_include_pad = 1 }, "A", { A(2, 5, 6, 3) } },
    { "without the padding", M2S_OP_avg_pool, { POOL(3, 2, 1) }, "A", { A(2, 5, 6, 3) } },
    { "ceil", M2S_OP_avg_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, "A", { A(1, 5, 7, 3) } },
    { "ceil, pad", M2S_OP_avg_pool, { POOL(3, 3, 1), .ceil_mode = 1 }, "A", { A(1, 8, 9, 2) } },
    { "x 2", M2S_OP_resize, { .h = 6, .w = 8 }, "A", { A(2, 3, 4, 3) } },
    { "odd", M2S_OP_resize, { .h = 7, .w = 11 }, "A", { A(1, 3, 4, 17) } },
    { "down", M2S_OP_resize, { .h = 2, .w = 3 }, "A", { A(1, 7, 8, 2) } },
    { "one pixel", M2S_OP_resize, { .h = 3, .w = 5 }, "A", { A(1, 1, 1, 2) } },
    { "addend", M2S_OP_resize, { .h = 6, .w = 5 }, "AA", { A(1, 3, 4, 2), A(1, 6, 5, 2) } },
    { "addend alone", M2S_OP_resize, { .h = 6, .w = 5 }, "aA", { A(1, 3, 4, 2), A(1, 6, 5, 2) } },

    { "", M2S_OP_full_filter, { .kernel = 3 }, "A", { A(2, 3, 4, 5) } },
    { "Gaussian", M2S_OP_full_filter, { .kernel = 5, .gaussian = 1 }, "A", { A(1, 4, 3, 3) } },
    { "", M2S_OP_box_filter, { .kernel = 5 }, "A", { A(1, 4, 3, 3) } },
    { "Gaussian", M2S_OP_box_filter, { .kernel = 3, .gaussian = 1 }, "A", { A(1, 4, 3, 3) } },
    { "Gaussian of a width", M2S_OP_box_filter, { .kernel = 5, .gaussian = 1, .alpha = 2.5 }, "A", { A(1, 4, 3, 3) } },
    { "one scale", M2S_OP_multi_scale_subtract_train, { .scales = 1, .scale = { 3 }, .epsilon = 1e-5 }, "NNAAav",
      { A(2, 2, 3, 5), A(2, 4, 6, 5), NORM(5) } },
    { "3 and 5", M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "NNAAavAAav",
      { A(1, 3, 2, 3), A(1, 5, 4, 3), NORM(3), NORM(3) } },
    { "of one size", M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 },
      "NNAAavAAav", { A(2, 4, 3, 3), A(2, 4, 3, 3), NORM(3), NORM(3) } },
    { "Gaussian", M2S_OP_multi_scale_subtract_train,
      { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .epsilon = 1e-5 }, "NNAAavAAav",
      { A(1, 3, 2, 3), A(1, 6, 4, 3), NORM(3), NORM(3) } },
    { "frozen", M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .frozen = 1, .epsilon = 1e-5 },
      "NNAAavAAav", { A(1, 3, 2, 3), A(1, 6, 4, 3), NORM(3), NORM(3) } },
    { "sources alone", M2S_OP_multi_scale_subtract_train, { .scales = 1, .scale = { 3 }, .epsilon = 1e-5 }, "nNaaav",
      { A(1, 2, 3, 3), A(1, 4, 6, 3), NORM(3) } },

    { "one window", M2S_OP_window_attention, { WINDOWS(3, 1, 2) }, "LA", { A(2, 3, 3, 12), W(25, 2, 1, 1) } },
    { "padded", M2S_OP_window_attention, { WINDOWS(3, 0, 2) }, "LAA", { A(1, 4, 5, 12), W(25, 2, 1, 1), V(12) } },
    { "rolled", M2S_OP_window_attention, { WINDOWS(3, 1, 1) }, "LAA", { A(1, 7, 5, 15), W(25, 1, 1, 1), V(15) } },
    { "rolled, padded with zeros", M2S_OP_window_attention, { WINDOWS(4, 2, 1) }, "LA", { A(1, 6, 3, 9), W(49, 1, 1, 1) } },
    { "map alone", M2S_OP_window_attention, { WINDOWS(3, 1, 2) }, "Laa", { A(1, 5, 4, 12), W(25, 2, 1, 1), V(12) } },
    { "", M2S_OP_merge_patches, { 0 }, "A", { A(2, 4, 6, 3) } },
    { "odd", M2S_OP_merge_patches, { 0 }, "A", { A(1, 5, 3, 5) } },

    { "", M2S_OP_attention, { .groups = 1, .alpha = 0.5 }, "AA", { A(2, 3, 4, 5), A(2, 2, 3, 10) } },
    { "three heads", M2S_OP_attention, { .groups = 3, .alpha = 0.7 }, "LA", { A(1, 5, 4, 6), A(1, 3, 3, 12) } },
    { "one key", M2S_OP_attention, { .groups = 2, .alpha = 1.0 }, "AA", { A(1, 2, 2, 4), A(1, 1, 1, 8) } },
    { "query alone", M2S_OP_attention, { .groups = 1, .alpha = 0.5 }, "Aa", { A(1, 2, 2, 17), A(1, 4, 5, 34) } },

    { "paper", M2S_OP_weighted_bce, { .form = 0 }, "Lmw", { A(2, 3, 4, 2), A(2, 3, 4, 2), A(2, 3, 4, 2) } },
    { "released", M2S_OP_weighted_bce, { .form = 1 }, "Lmw", { A(2, 3, 4, 2), A(2, 3, 4, 2), A(2, 3, 4, 2) } },
    { "", M2S_OP_weighted_iou, { 0 }, "Lmw", { A(2, 3, 4, 2), A(2, 3, 4, 2), A(2, 3, 4, 2) } },
    { "", M2S_OP_dice, { .epsilon = 1e-5 }, "Nm", { A(2, 3, 4, 3), A(2, 3, 4, 3) } },
    { "from 1, batch", M2S_OP_dice, { .form = 1, .begin = 1, .epsilon = 1e-5 }, "Nm", { A(2, 3, 4, 3), A(2, 3, 4, 3) } },
    { "", M2S_OP_cross_entropy, { 0 }, "Lm", { A(2, 3, 4, 3), A(2, 3, 4, 3) } },
    { "one channel", M2S_OP_normalise_rgb, { .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 } }, "N",
      { A(2, 3, 4, 1) } },
    { "three", M2S_OP_normalise_rgb, { .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 } }, "N",
      { A(2, 3, 4, 3) } },
    { "mean of squares", M2S_OP_feature_distance, { .form = 0 }, "Aa", { A(2, 3, 4, 3), A(2, 3, 4, 3) } },
    { "norm", M2S_OP_feature_distance, { .form = 1 }, "Aa", { A(2, 3, 4, 3), A(2, 3, 4, 3) } },
};

static const composed_case composed_table[] = {
    { { "used often", M2S_OP_multiply, { 0 }, "AA", { A(1, 2, 3, 2), A(1, 2, 3, 2) } }, used_often, inspect_used_often },
    { { "in tiles", M2S_OP_slice_c, { 0 }, "A", { A(1, 2, 3, 9) } }, sliced, inspect_sliced },
    { { "that overlap", M2S_OP_slice_c, { 0 }, "A", { A(1, 2, 3, 9) } }, overlapping, inspect_overlapping },
    { { "the same twice", M2S_OP_slice_c, { 0 }, "A", { A(1, 2, 3, 9) } }, sliced_twice, NULL },
    { { "in the middle", M2S_OP_multiply, { 0 }, "Aa", { A(1, 2, 3, 2), A(1, 2, 3, 2) } }, middle, inspect_middle },
    { { "with residuals, then resized", M2S_OP_conv2d, { 0 }, "AAAA",
        { A(1, 4, 3, 3), W(3, 3, 3, 3), V(3), A(1, 7, 9, 3) } }, fused, NULL },
    { { "a little network", M2S_OP_weighted_iou, { 0 }, "AAAAavAmw",
        { A(2, 9, 11, 3), W(4, 3, 3, 3), NORM(4), W(4, 4, 3, 3), A(2, 9, 11, 1), A(2, 9, 11, 1) } },
      little_network, NULL },
};
/* clang-format on */

/* ---- what is no row ---- */

static void coverage(void)
{
    int rules = 0;

    if (!check_case("every rule has rows")) {
        return;
    }
    for (int op = 0; op < M2S_OP_COUNT; op++) {
        int rows = 0;
        for (size_t i = 0; i < COUNT(table); i++) {
            rows += (int)table[i].op == op;
        }
        bool rule = m2s_op_get_info((m2s_op)op)->gradient != NULL;
        CHECK(rule == (rows > 0), "%s has %s rule and %d rows", m2s_op_get_info((m2s_op)op)->name, rule ? "a" : "no",
              rows);
        rules += rule;
    }
    CHECK(rules >= 25, "%d rules", rules);
}

static m2s_graph *new_graph(harness *h)
{
    m2s_graph *graph = NULL;
    m2snet_error error;

    CHECK(m2s_graph_create(&h->memory, M2SNET_DTYPE_F32, &graph, &error) == M2SNET_STATUS_OK, "%s", error.message);
    return graph;
}

/* An operation without a rule is named; one beside the way does not matter. */
static void refusals(harness *h)
{
    m2snet_error error;
    m2s_value diff;

    if (check_case("an operation without a rule is refused by name")) {
        m2s_graph *graph = new_graph(h);
        m2s_value x = m2s_graph_input(graph, "x", (m2s_shape)A(1, 2, 2, 3));
        m2s_value y = m2s_graph_node(graph, M2S_OP_channel_sum, (m2s_value[]){ m2s_sigmoid(graph, x) }, 1, NULL);
        m2s_value seed = m2s_graph_input(graph, "seed", (m2s_shape)A(1, 2, 2, 1));
        m2s_graph_name(graph, y, "the.sum");
        m2snet_status status = m2s_autodiff(graph, m2s_sigmoid(graph, y), seed, &x, 1, &diff, &error);
        CHECK(status == M2SNET_STATUS_UNSUPPORTED, "status %d", (int)status);
        CHECK(strstr(error.message, "the.sum") != NULL && strstr(error.message, "channel_sum") != NULL,
              "the message names neither: %s", error.message);
        m2s_graph_destroy(graph);
    }
    if (check_case("an operation without a rule beside the way does not matter")) {
        m2s_graph *graph = new_graph(h);
        m2s_value x = m2s_graph_input(graph, "x", (m2s_shape)A(1, 2, 2, 1));
        m2s_value plane = m2s_graph_input(graph, "plane", (m2s_shape)A(1, 2, 2, 4));
        m2s_value y = m2s_graph_node(graph, M2S_OP_channel_sum, &plane, 1, NULL);
        m2s_value seed = m2s_graph_input(graph, "seed", (m2s_shape)A(1, 2, 2, 1));
        m2snet_status status = m2s_autodiff(graph, m2s_multiply(graph, x, y), seed, &x, 1, &diff, &error);
        CHECK(status == M2SNET_STATUS_OK && diff != M2S_NONE, "%s", error.message);
        m2s_graph_destroy(graph);
    }
    if (check_case("a gradient of the statistics is refused")) {
        m2s_graph *graph = new_graph(h);
        m2s_value in[5] = { m2s_graph_input(graph, "x", (m2s_shape)A(1, 2, 2, 3)) };
        for (int i = 1; i < 5; i++) {
            char name[16];
            snprintf(name, sizeof name, "v%d", i);
            in[i] = m2s_graph_input(graph, name, (m2s_shape)V(3));
        }
        m2s_value y = m2s_graph_node(graph, M2S_OP_batch_norm_train, in, 5, &(m2s_attrs){ .epsilon = 1e-5 });
        m2s_value seed = m2s_graph_input(graph, "seed", (m2s_shape)A(1, 2, 2, 3));
        m2s_value mean = m2s_sigmoid(graph, m2s_graph_out(graph, y, 1));
        m2s_value both = m2s_graph_node(graph, M2S_OP_batch_norm, (m2s_value[]){ y, mean, in[1], in[2], in[3] }, 5,
                                        &(m2s_attrs){ .epsilon = 1e-5 });
        m2snet_status status = m2s_autodiff(graph, both, seed, in, 1, &diff, &error);
        CHECK(status == M2SNET_STATUS_UNSUPPORTED && strstr(error.message, "batch_norm_train") != NULL, "status %d, %s",
              (int)status, error.message);
        m2s_graph_destroy(graph);
    }
}

/* Parameters that nobody wants the gradient of make no gradient nodes, and what depends on them alone is constant. */
static void constants(harness *h)
{
    m2snet_error error;
    m2s_value diff;

    if (!check_case("constants are not differentiated")) {
        return;
    }
    m2s_graph *graph = new_graph(h);
    m2s_value x = m2s_graph_input(graph, "x", (m2s_shape)A(1, 4, 4, 3));
    m2s_value w = m2s_graph_param(graph, "w", (m2s_shape)W(5, 3, 3, 3));
    m2s_value bias = m2s_graph_param(graph, "b", (m2s_shape)V(5));
    m2s_value y = m2s_conv2d(graph, x, w, bias, (m2s_conv){ .pad = 1 });
    m2s_value seed = m2s_graph_input(graph, "seed", (m2s_shape)A(1, 4, 4, 5));
    if (CHECK(m2s_autodiff(graph, y, seed, &x, 1, &diff, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        CHECK(nodes_of(graph, M2S_OP_conv2d_grad_weights) == 0 && nodes_of(graph, M2S_OP_sum_pixels) == 0,
              "gradients of parameters are made");
        const m2s_node *node = &graph->nodes[graph->values[diff].node];
        CHECK(node->op == M2S_OP_conv2d && graph->values[node->in[1]].constant, "the turned weights are no constant");
    }
    m2s_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h)) {
        return check_finish();
    }
    coverage();
    refusals(&h);
    constants(&h);
    for (size_t i = 0; i < COUNT(table); i++) {
        run_case(&h, &(composed_case){ .c = table[i] }, m2s_isa_detect());
    }
    for (size_t i = 0; i < COUNT(composed_table); i++) {
        run_case(&h, &composed_table[i], m2s_isa_detect());
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
