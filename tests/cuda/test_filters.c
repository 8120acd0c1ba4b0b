/* SPDX-License-Identifier: Apache-2.0
 * Kernels whose inputs and results differ in shape, one by one against the reference: pools, resizes, channels moved
 * about, filters, the multi-scale subtraction unit; in F32, F16 and BF16 where there are such kernels, and from places
 * that are not aligned for vectors. */
#include "cuda/bench.h"

typedef enum family {
    POINTWISE, /* inputs and results of one shape */
    POOL,      /* to what attrs make of the shape */
    POOL_GRAD,
    RESIZE,      /* to h x w, with or without addend */
    RESIZE_GRAD, /* from h x w */
    CONCAT,      /* channels c, 2c, c + 1 */
    SLICE,       /* channels begin to begin + c of c + begin + 1 */
    PAD,
    PLANE,   /* to one channel */
    AFFINE,  /* from one channel */
    SUBTRACT /* from B's size and A's */
} family;

typedef struct row {
    const char *op;
    family family;
    m2s_attrs attrs;
    const char *kinds; /* of the inputs, as bench.h has them */
    double ulps;       /* roundings of the result, in ulps of its largest number */
    bool halves;
} row;

/* clang-format off */
#define UNIT2 .scales = 2, .scale = { 3, 5 }
#define UNIT3 .scales = 3, .scale = { 3, 5, 7 }

static const row rows[] = {
    { "relu", POINTWISE, { 0 }, "a", 0, true },
    { "add", POINTWISE, { .relu = 1 }, "aaa", 4, true },
    { "add", POINTWISE, { 0 }, "aaaaaaaa", 8, true },
    { "abs_diff", POINTWISE, { 0 }, "aa", 2, true },
    { "multiply", POINTWISE, { 0 }, "aa", 2, true },
    { "scale", POINTWISE, { .alpha = -0.3 }, "a", 2, true },
    { "relu_grad", POINTWISE, { 0 }, "aa", 0, true },
    { "abs_diff_grad", POINTWISE, { 0 }, "aaa", 0, true },
    { "abs_diff_grad", POINTWISE, { 0 }, "a00", 0, true },
    { "concat_c", CONCAT, { 0 }, "a", 0, true },
    { "concat_c", CONCAT, { 0 }, "aaa", 0, true },
    { "slice_c", SLICE, { .begin = 0 }, "a", 0, true },
    { "slice_c", SLICE, { .begin = 8 }, "a", 0, true },
    { "slice_c", SLICE, { .begin = 3 }, "a", 0, true },
    { "pad_c", PAD, { .begin = 0 }, "a", 0, true },
    { "pad_c", PAD, { .begin = 4 }, "a", 0, true },
    { "pad_c", PAD, { .begin = 5 }, "a", 0, true },

    { "max_pool", POOL, { .kernel = 3, .stride = 2, .pad = 1 }, "a", 0, true },
    { "max_pool", POOL, { .kernel = 2, .stride = 2 }, "a", 0, true },
    { "max_pool", POOL, { .kernel = 5, .stride = 3, .pad = 2 }, "a", 0, true },
    { "avg_pool", POOL, { .kernel = 3, .stride = 2, .pad = 1, .count_include_pad = 1 }, "a", 4, true },
    { "avg_pool", POOL, { .kernel = 2, .stride = 2, .ceil_mode = 1 }, "a", 4, true },
    { "avg_pool", POOL, { .kernel = 4, .stride = 3, .pad = 2, .ceil_mode = 1 }, "a", 16, true },
    { "max_pool_grad", POOL_GRAD, { .kernel = 3, .stride = 2, .pad = 1 }, "aa", 4, true },
    { "max_pool_grad", POOL_GRAD, { .kernel = 3, .stride = 2, .pad = 1 }, "a0", 4, true },
    { "max_pool_grad", POOL_GRAD, { .kernel = 5, .stride = 3, .pad = 2 }, "aa", 4, true },
    { "avg_pool_grad", POOL_GRAD, { .kernel = 3, .stride = 2, .pad = 1, .count_include_pad = 1 }, "a", 4, true },
    { "avg_pool_grad", POOL_GRAD, { .kernel = 2, .stride = 2, .ceil_mode = 1 }, "a", 4, true },

    { "resize", RESIZE, { .h = 22, .w = 22 }, "a", 4, true },
    { "resize", RESIZE, { .h = 9, .w = 31 }, "aa", 4, true },
    { "resize", RESIZE, { .h = 1, .w = 2 }, "a", 8, true },
    { "resize_grad", RESIZE_GRAD, { .h = 22, .w = 22 }, "a", 8, true },
    { "resize_grad", RESIZE_GRAD, { .h = 9, .w = 31 }, "a", 16, true },
    { "resize_grad", RESIZE_GRAD, { .h = 1, .w = 2 }, "a", 8, true },

    /* Sums of up to 31 x 31 x 64 numbers in float. */
    { "full_filter", POINTWISE, { .kernel = 3 }, "n", 16, true },
    { "full_filter", POINTWISE, { .kernel = 31, .gaussian = 1 }, "n", 32, true },
    { "channel_sum", PLANE, { 0 }, "n", 8, true },
    { "box_filter", POINTWISE, { .kernel = 5 }, "n", 8, true },
    { "box_filter", POINTWISE, { .kernel = 31, .gaussian = 1 }, "n", 32, true },
    { "plane_affine_relu", AFFINE, { 0 }, "aaa", 4, true },

    /* Of the largest window's sum over all channels (see ulps_of). */
    { "multi_scale_subtract", SUBTRACT, { .scales = 0 }, "nn", 4, true },
    { "multi_scale_subtract", SUBTRACT, { .scales = 1, .scale = { 3 } }, "nn", 0.25, true },
    { "multi_scale_subtract", SUBTRACT, { UNIT2 }, "nn", 0.25, true },
    { "multi_scale_subtract", SUBTRACT, { UNIT2, .gaussian = 1 }, "nn", 0.25, true },
    { "multi_scale_subtract", SUBTRACT, { UNIT2, .gaussian = 1, .alpha = 2.0 }, "nn", 0.25, true },
    { "multi_scale_subtract", SUBTRACT, { UNIT3 }, "nn", 0.25, true },
    { "multi_scale_subtract", SUBTRACT, { .scales = 7, .scale = { 1, 3, 5, 7, 9, 11, 31 } }, "nn", 0.25, true },
};

/* The row's c, and the sizes of B and, beside it, of A: as large, half, a quarter, odd, larger. */
static const struct {
    m2s_shape fine;
    int64_t coarse_h, coarse_w;
} shapes[] = {
    { { .d = { 1, 1, 1, 1 } }, 1, 1 },    { { .d = { 2, 5, 3, 1 } }, 3, 2 },   { { .d = { 1, 1, 9, 3 } }, 1, 5 },
    { { .d = { 3, 12, 1, 8 } }, 6, 1 },   { { .d = { 1, 7, 9, 26 } }, 7, 9 },  { { .d = { 2, 22, 22, 64 } }, 11, 11 },
    { { .d = { 1, 24, 20, 64 } }, 6, 5 }, { { .d = { 1, 13, 6, 13 } }, 9, 14 }, { { .d = { 1, 44, 44, 32 } }, 22, 22 },
    { { .d = { 1, 10, 11, 4 } }, 10, 11 }, { { .d = { 1, 6, 5, 264 } }, 3, 3 }, { { .d = { 2, 37, 35, 16 } }, 19, 18 },
};
/* clang-format on */

static m2s_shape with_channels(m2s_shape shape, int64_t channels)
{
    shape.c = channels;
    return shape;
}

static m2s_shape sized(m2s_shape shape, int64_t h, int64_t w)
{
    shape.h = h;
    shape.w = w;
    return shape;
}

static int64_t pool_count(int64_t size, const m2s_attrs *attrs)
{
    int64_t room = size + 2 * attrs->pad - attrs->kernel;

    if (attrs->stride == 0) {
        return 0; /* no pool */
    }
    if (room < 0) {
        return attrs->ceil_mode != 0 && room + attrs->stride > 0 ? 1 : 0;
    }
    int64_t count = (attrs->ceil_mode != 0 ? room + attrs->stride - 1 : room) / attrs->stride + 1;
    return attrs->ceil_mode != 0 && (count - 1) * attrs->stride >= size + attrs->pad ? count - 1 : count;
}

/* What a node of this family has: its first inputs' shapes, its result's, how many inputs and results are stored as
 * activations, and vectors after them. */
typedef struct form {
    m2s_shape in[8], out;
    int stored, results, vectors;
} form;

static form form_of(const row *r, m2s_shape fine, m2s_shape coarse)
{
    form f = { .out = fine, .stored = (int)strlen(r->kinds), .results = 1 };
    m2s_shape pooled = sized(fine, pool_count(fine.h, &r->attrs), pool_count(fine.w, &r->attrs));

    for (int i = 0; i < 8; i++) {
        f.in[i] = fine;
    }
    switch (r->family) {
    case POINTWISE:
        f.results = strcmp(r->op, "abs_diff_grad") == 0 ? 2 : 1;
        break;
    case POOL:
        f.out = pooled;
        break;
    case POOL_GRAD:
        f.in[0] = pooled;
        break;
    case RESIZE:
        f.in[1] = f.out = sized(fine, r->attrs.h, r->attrs.w);
        break;
    case RESIZE_GRAD:
        f.in[0] = sized(fine, r->attrs.h, r->attrs.w);
        break;
    case CONCAT:
        f.in[1].c = f.stored > 1 ? 2 * fine.c : 0;
        f.in[2].c = f.stored > 1 ? fine.c + 1 : 0;
        f.out.c = fine.c + f.in[1].c + f.in[2].c;
        break;
    case SLICE:
        f.in[0].c = fine.c + 1 + r->attrs.begin;
        f.in[0].c += fine.c % 2 == 0 && r->attrs.begin % 2 == 0 ? 7 : 0;
        break;
    case PAD:
        f.out.c = fine.c + r->attrs.begin + 4;
        break;
    case PLANE:
        f.out.c = 1;
        break;
    case AFFINE:
        f.in[0].c = 1;
        f.in[1] = f.in[2] = (m2s_shape){ .d = { fine.c, 1, 1, 1 } };
        f.stored = 1;
        break;
    default:
        f.in[0] = with_channels(coarse, fine.c);
        f.vectors = 2 * r->attrs.scales;
        break;
    }
    return f;
}

/* The unit's result may be the small difference of large sums: what counts is how large these can be. A pixel too many
 * or too few in a window would still be seen: it is one part in kernel^2, not in 2^23. */
static double ulps_of(const row *r, m2s_shape fine)
{
    double kernel = r->attrs.scales > 0 && r->attrs.gaussian == 0 ? r->attrs.scale[r->attrs.scales - 1] : 1.0;

    return r->attrs.scales > 0 ? r->ulps * fmax(kernel * kernel * (double)fine.c, 64.0) : r->ulps;
}

static void run_row(const row *r, m2s_shape fine, m2s_shape coarse, m2snet_dtype storage, size_t shift)
{
    bench b = { .truth = M2SNET_DTYPE_F64 };
    form f = form_of(r, fine, coarse);
    unsigned long long random = 77;
    size_t k = 0;

    while (strcmp(kernels[k].name, r->op) != 0) {
        k++;
    }
    if (f.out.h < 1 || f.out.w < 1 || f.in[0].h < 1 || f.in[0].w < 1 || r->attrs.kernel > 2 * (fine.h + fine.w)) {
        return;
    }
    if (!check_case("%s %s %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " %dx%d/%d %d scales%s %s%s", r->op, r->kinds,
                    fine.d[0], fine.d[1], fine.d[2], fine.d[3], r->attrs.kernel, r->attrs.kernel, r->attrs.stride,
                    r->attrs.scales, r->attrs.gaussian != 0 ? " gaussian" : "", m2s_dtype_name(storage),
                    shift != 0 ? " unaligned" : "")) {
        return;
    }
    b.device.attrs = &r->attrs;
    b.device.in_count = (int32_t)strlen(r->kinds) + f.vectors;
    b.device.out_count = f.results;
    b.ref = b.device;
    for (int i = 0; i < (int)strlen(r->kinds); i++) {
        bench_input(&b, i, r->kinds[i], f.in[i], i < f.stored ? storage : M2SNET_DTYPE_F32, shift, &random);
    }
    for (int i = (int)strlen(r->kinds); i < b.device.in_count; i++) {
        m2s_shape vector = { .d = { fine.c, 1, 1, 1 } };
        bench_input(&b, i, 'a', vector, M2SNET_DTYPE_F32, shift, &random);
    }
    for (int i = 0; i < f.results; i++) {
        bench_result(&b, i, f.out, storage, shift);
    }
    run_reference(&b, kernels[k].op);
    run_device(&b, ulps_of(r, fine), kernels[k].kernel, storage);
    discard(&b);
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t j = 0; j < COUNT(shapes); j++) {
            m2s_shape fine = shapes[j].fine, coarse = sized(fine, shapes[j].coarse_h, shapes[j].coarse_w);
            run_row(&rows[i], fine, coarse, M2SNET_DTYPE_F32, 0);
            run_row(&rows[i], fine, coarse, M2SNET_DTYPE_F32, 1);
            if (rows[i].halves) {
                run_row(&rows[i], fine, coarse, M2SNET_DTYPE_F16, 0);
                run_row(&rows[i], fine, coarse, M2SNET_DTYPE_BF16, 0);
                run_row(&rows[i], fine, coarse, M2SNET_DTYPE_BF16, 3);
            }
        }
    }
    return check_finish();
}
