/* SPDX-License-Identifier: Apache-2.0
 * Objectives and their gradients. A map's pixels are cut into bands, none across two images; each sums in double what
 * the objective asks for, channel by channel; a short task adds up the bands in their order; where a gradient depends
 * on these sums, a last task makes it. */
#include <math.h>
#include <string.h>

#include "backends/cpu/plan.h"

#define MOST_SUMS 2 /* of a channel */

typedef struct objective {
    m2s_shape shape;
    int64_t bands;                        /* of an image */
    const float *logits, *mask, *weights; /* or probabilities; a and its target */
    const m2s_attrs *attrs;
    const m2s_cpu_kernels *kernels;
    double diff;  /* of a gradient: that of the value */
    double *sums; /* bands of all images, c, MOST_SUMS; then n, c, MOST_SUMS: of each image or, at 0, of all */
    float *dst;
} objective;

static bool is_gradient(m2s_op op)
{
    return op == M2S_OP_weighted_bce_grad || op == M2S_OP_weighted_iou_grad || op == M2S_OP_dice_grad ||
           op == M2S_OP_cross_entropy_grad || op == M2S_OP_feature_distance_grad;
}

static int64_t bands_of(m2s_shape shape, int64_t each)
{
    return m2s_cut_count(shape.h * shape.w, shape.c * each, M2S_CHUNK_NUMBERS);
}

/* What one number costs, in numbers that only go through memory. */
static int64_t cost_of(m2s_op op)
{
    return op == M2S_OP_feature_distance || op == M2S_OP_feature_distance_grad || op == M2S_OP_dice ||
                   op == M2S_OP_dice_grad
               ? 1
               : 8;
}

static objective describe(const m2s_step *step)
{
    int32_t first = is_gradient(step->node.op) ? 1 : 0;
    const void *const *in = step->args.in;

    return (objective){ .shape = step->args.in_shape[first],
                        .bands = bands_of(step->args.in_shape[first], cost_of(step->node.op)),
                        .logits = in[first],
                        .mask = in[first + 1],
                        .weights = step->args.in_count > first + 2 ? in[first + 2] : NULL,
                        .attrs = &step->node.attrs,
                        .kernels = step->kernels,
                        .diff = first == 1 ? (double)*(const float *)in[0] : 0.0,
                        .sums = step->args.scratch,
                        .dst = step->args.out[0] };
}

/* Numbers [begin, end) of a band of image `image`. */
static m2s_cut band_numbers(const objective *o, int64_t chunk, int64_t *image)
{
    int64_t pixels = o->shape.h * o->shape.w;
    m2s_cut part = m2s_cut_part(pixels, o->bands, chunk % o->bands);

    *image = chunk / o->bands;
    return (m2s_cut){ (*image * pixels + part.begin) * o->shape.c, (*image * pixels + part.end) * o->shape.c };
}

static double *band_sums(const objective *o, int64_t chunk)
{
    return o->sums + chunk * o->shape.c * MOST_SUMS;
}

static double *image_sums(const objective *o, int64_t image)
{
    return o->sums + (o->shape.n * o->bands + image) * o->shape.c * MOST_SUMS;
}

#define BLOCK 256 /* numbers whose logistic function is computed at once */

/* Numbers of the block that begins at i. */
static int64_t block_at(m2s_cut range, int64_t i)
{
    return range.end - i < BLOCK ? range.end - i : BLOCK;
}

/* ---- what is summed: sums of channel c at c MOST_SUMS ---- */

static void sum_bce(const objective *o, m2s_cut range, double *sums)
{
    float yes[BLOCK], tail[BLOCK];

    for (int64_t i = range.begin, c = 0; i < range.end; i++) {
        int64_t at = (i - range.begin) % BLOCK;
        if (at == 0) {
            o->kernels->logistic(yes, NULL, tail, o->logits + i, block_at(range, i));
        }
        float x = o->logits[i], weight = o->attrs->form == 0 ? o->weights[i] : 1.0f;
        float bce = (x < 0.0f ? 0.0f : x) - x * o->mask[i] + tail[at];
        sums[c * MOST_SUMS] += (double)weight * (double)bce;
        sums[c * MOST_SUMS + 1] += (double)weight;
        c = c + 1 < o->shape.c ? c + 1 : 0;
    }
}

static void sum_weights(const objective *o, m2s_cut range, double *sums)
{
    for (int64_t i = range.begin; i < range.end; i += o->shape.c) {
        for (int64_t c = 0; c < o->shape.c; c++) {
            sums[c * MOST_SUMS + 1] += o->attrs->form == 0 ? (double)o->weights[i + c] : 1.0;
        }
    }
}

static void sum_iou(const objective *o, m2s_cut range, double *sums)
{
    float yes[BLOCK];

    for (int64_t i = range.begin, c = 0; i < range.end; i++) {
        int64_t at = (i - range.begin) % BLOCK;
        if (at == 0) {
            o->kernels->logistic(yes, NULL, NULL, o->logits + i, block_at(range, i));
        }
        double p = (double)yes[at], m = (double)o->mask[i], w = (double)o->weights[i];
        sums[c * MOST_SUMS] += p * m * w;
        sums[c * MOST_SUMS + 1] += (p + m) * w;
        c = c + 1 < o->shape.c ? c + 1 : 0;
    }
}

static void sum_dice(const objective *o, m2s_cut range, double *sums)
{
    for (int64_t i = range.begin; i < range.end; i += o->shape.c) {
        for (int64_t c = 0; c < o->shape.c; c++) {
            double p = (double)o->logits[i + c], m = (double)o->mask[i + c];
            sums[c * MOST_SUMS] += 2.0 * p * m;
            sums[c * MOST_SUMS + 1] += p + m;
        }
    }
}

/* The greatest of a pixel's logits, and the sum of exp(logit - greatest). */
static float exponential_sum(const float *logits, int64_t count, float *greatest)
{
    float sum = 0.0f;

    *greatest = logits[0];
    for (int64_t c = 1; c < count; c++) {
        *greatest = logits[c] > *greatest ? logits[c] : *greatest;
    }
    for (int64_t c = 0; c < count; c++) {
        sum += expf(logits[c] - *greatest);
    }
    return sum;
}

static void sum_cross_entropy(const objective *o, m2s_cut range, double *sums)
{
    for (int64_t i = range.begin; i < range.end; i += o->shape.c) {
        float greatest, log_sum = logf(exponential_sum(o->logits + i, o->shape.c, &greatest));
        for (int64_t c = i; c < i + o->shape.c; c++) {
            sums[0] -= (double)o->mask[c] * ((double)(o->logits[c] - greatest) - (double)log_sum);
        }
    }
}

static void run_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    objective o = describe(step);
    int64_t image;
    m2s_cut range = band_numbers(&o, chunk, &image);
    double *sums = band_sums(&o, chunk);

    (void)task;
    (void)worker;
    memset(sums, 0, (size_t)(o.shape.c * MOST_SUMS) * sizeof(double));
    switch (step->node.op) {
    case M2S_OP_weighted_bce:
        sum_bce(&o, range, sums);
        break;
    case M2S_OP_weighted_bce_grad:
        sum_weights(&o, range, sums);
        break;
    case M2S_OP_weighted_iou:
    case M2S_OP_weighted_iou_grad:
        sum_iou(&o, range, sums);
        break;
    case M2S_OP_dice:
    case M2S_OP_dice_grad:
        sum_dice(&o, range, sums);
        break;
    case M2S_OP_cross_entropy:
        sum_cross_entropy(&o, range, sums);
        break;
    default: /* feature_distance */
        sums[0] = step->kernels->sum_squares(o.logits + range.begin, o.mask + range.begin, range.end - range.begin);
    }
}

/* ---- what becomes of the sums ---- */

/* Whether all images share their sums. */
static bool shared(const m2s_step *step)
{
    m2s_op op = step->node.op;

    return (op == M2S_OP_dice || op == M2S_OP_dice_grad) && step->node.attrs.form != 0;
}

/* The terms of the value, each of an image and a channel's two sums. */
static double term_of(m2s_op op, const m2s_attrs *attrs, const double *sum)
{
    switch (op) {
    case M2S_OP_weighted_bce:
        return sum[0] / sum[1];
    case M2S_OP_weighted_iou:
        return 1.0 - (sum[0] + 1.0) / (sum[1] - sum[0] + 1.0);
    case M2S_OP_dice:
        return (sum[0] + attrs->epsilon) / (sum[1] + attrs->epsilon);
    default: /* feature_distance, form 1 */
        return sqrt(sum[0]);
    }
}

static double value_of(const m2s_step *step, const objective *o)
{
    m2s_op op = step->node.op;
    double numbers = (double)m2s_shape_elements(o->shape), total = 0.0;
    int64_t groups = shared(step) ? 1 : o->shape.n, first = op == M2S_OP_dice ? o->attrs->begin : 0;

    if (op == M2S_OP_cross_entropy || (op == M2S_OP_feature_distance && o->attrs->form == 0)) {
        for (int64_t n = 0; n < o->shape.n; n++) {
            total += image_sums(o, n)[0];
        }
        return total / (op == M2S_OP_cross_entropy ? numbers / (double)o->shape.c : numbers);
    }
    int64_t channels = op == M2S_OP_feature_distance ? 1 : o->shape.c;
    for (int64_t n = 0; n < groups; n++) {
        for (int64_t c = first; c < channels; c++) {
            total += term_of(op, o->attrs, image_sums(o, n) + c * MOST_SUMS);
        }
    }
    total /= (double)(groups * (channels - first));
    return op == M2S_OP_dice ? 1.0 - total : total;
}

/* In a gradient the two sums of a channel become what its numbers are multiplied by, k0 and k1:
 *   weighted_bce k0 w (p - m)   weighted_iou w (k0 - k1 m) p (1 - p)   dice k0 - k1 m   feature_distance k0 (a - t) */
static void make_factors(const m2s_step *step, const objective *o, double *sum, int64_t c)
{
    double each = o->diff / (double)(o->shape.n * o->shape.c), joint, areas;

    switch (step->node.op) {
    case M2S_OP_weighted_bce_grad:
        sum[0] = each / sum[1];
        break;
    case M2S_OP_weighted_iou_grad:
        joint = sum[1] - sum[0] + 1.0;
        sum[1] = each * (joint + sum[0] + 1.0) / (joint * joint);
        sum[0] = each * (sum[0] + 1.0) / (joint * joint);
        break;
    case M2S_OP_dice_grad:
        each = o->diff / (double)((shared(step) ? 1 : o->shape.n) * (o->shape.c - o->attrs->begin));
        each = c < o->attrs->begin ? 0.0 : each;
        areas = sum[1] + o->attrs->epsilon;
        sum[0] = each * (sum[0] + o->attrs->epsilon) / (areas * areas);
        sum[1] = 2.0 * each / areas;
        break;
    default: /* feature_distance, form 1 */
        sum[0] = sum[0] == 0.0 ? 0.0 : o->diff / (double)o->shape.n / sqrt(sum[0]);
    }
}

static void run_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    objective o = describe(step);
    int64_t row = o.shape.c * MOST_SUMS;

    (void)task;
    (void)chunk;
    (void)worker;
    memset(image_sums(&o, 0), 0, (size_t)(o.shape.n * row) * sizeof(double));
    for (int64_t band = 0; band < o.shape.n * o.bands; band++) {
        double *sums = image_sums(&o, shared(step) ? 0 : band / o.bands);
        for (int64_t i = 0; i < row; i++) {
            sums[i] += band_sums(&o, band)[i];
        }
    }
    if (!is_gradient(step->node.op)) {
        *o.dst = (float)value_of(step, &o);
        return;
    }
    for (int64_t i = 0; i < o.shape.n * o.shape.c; i++) {
        make_factors(step, &o, image_sums(&o, 0) + i * MOST_SUMS, i % o.shape.c);
    }
}

/* ---- gradients ---- */

static void bce_gradient(const objective *o, m2s_cut range, const double *factors)
{
    float yes[BLOCK], no[BLOCK];

    for (int64_t i = range.begin, c = 0; i < range.end; i++) {
        int64_t at = (i - range.begin) % BLOCK;
        if (at == 0) {
            o->kernels->logistic(yes, no, NULL, o->logits + i, block_at(range, i));
        }
        float m = o->mask[i], weight = o->attrs->form == 0 ? o->weights[i] : 1.0f;
        o->dst[i] = (float)factors[c * MOST_SUMS] * weight * (yes[at] * (1.0f - m) - no[at] * m);
        c = c + 1 < o->shape.c ? c + 1 : 0;
    }
}

static void iou_gradient(const objective *o, m2s_cut range, const double *factors)
{
    float yes[BLOCK], no[BLOCK];

    for (int64_t i = range.begin, c = 0; i < range.end; i++) {
        int64_t at = (i - range.begin) % BLOCK;
        if (at == 0) {
            o->kernels->logistic(yes, no, NULL, o->logits + i, block_at(range, i));
        }
        double slope = factors[c * MOST_SUMS] - factors[c * MOST_SUMS + 1] * (double)o->mask[i];
        o->dst[i] = o->weights[i] * (float)slope * yes[at] * no[at];
        c = c + 1 < o->shape.c ? c + 1 : 0;
    }
}

static void dice_gradient(const objective *o, m2s_cut range, const double *factors)
{
    for (int64_t i = range.begin; i < range.end; i += o->shape.c) {
        for (int64_t c = 0; c < o->shape.c; c++) {
            const double *factor = factors + c * MOST_SUMS;
            o->dst[i + c] = (float)(factor[0] - factor[1] * (double)o->mask[i + c]);
        }
    }
}

static void cross_entropy_gradient(const objective *o, m2s_cut range)
{
    double diff = o->diff / (double)(o->shape.n * o->shape.h * o->shape.w);

    for (int64_t i = range.begin; i < range.end; i += o->shape.c) {
        float greatest, sum = exponential_sum(o->logits + i, o->shape.c, &greatest), mass = 0.0f;
        for (int64_t c = i; c < i + o->shape.c; c++) {
            mass += o->mask[c];
        }
        for (int64_t c = i; c < i + o->shape.c; c++) {
            double probability = (double)expf(o->logits[c] - greatest) / (double)sum;
            o->dst[c] = (float)(diff * ((double)mass * probability - (double)o->mask[c]));
        }
    }
}

static void distance_gradient(const m2s_step *step, const objective *o, m2s_cut range, const double *factors)
{
    double factor = o->attrs->form != 0 ? factors[0] : 2.0 * o->diff / (double)m2s_shape_elements(o->shape);

    step->kernels->scaled_diff(o->dst + range.begin, o->logits + range.begin, o->mask + range.begin, (float)factor,
                               range.end - range.begin);
}

static void run_gradient(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    objective o = describe(step);
    int64_t image;
    m2s_cut range = band_numbers(&o, chunk, &image);
    const double *factors = o.sums != NULL ? image_sums(&o, shared(step) ? 0 : image) : NULL;

    (void)task;
    (void)worker;
    switch (step->node.op) {
    case M2S_OP_weighted_bce_grad:
        bce_gradient(&o, range, factors);
        break;
    case M2S_OP_weighted_iou_grad:
        iou_gradient(&o, range, factors);
        break;
    case M2S_OP_dice_grad:
        dice_gradient(&o, range, factors);
        break;
    case M2S_OP_cross_entropy_grad:
        cross_entropy_gradient(&o, range);
        break;
    default:
        distance_gradient(step, &o, range, factors);
    }
}

static bool needs_sums(const m2s_step *step)
{
    return step->node.op != M2S_OP_cross_entropy_grad &&
           (step->node.op != M2S_OP_feature_distance_grad || step->node.attrs.form != 0);
}

m2snet_status m2s_lower_objective(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    bool gradient = is_gradient(step->node.op);
    m2s_shape shape = step->args.in_shape[gradient ? 1 : 0];
    int64_t bands = bands_of(shape, cost_of(step->node.op));
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    m2s_step_set_kernel(step, "bands");
    if (needs_sums(step)) {
        step->scratch_bytes = (size_t)(shape.n * (bands + 1) * shape.c * MOST_SUMS) * sizeof(double);
        m2s_step_add_task(step, run_sums, shape.n * bands);
        m2s_step_add_task(step, run_totals, 1);
    }
    if (gradient) {
        m2s_step_add_task(step, run_gradient, shape.n * bands);
    }
    return status;
}
