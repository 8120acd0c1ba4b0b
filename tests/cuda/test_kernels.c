/* SPDX-License-Identifier: Apache-2.0
 * Kernels one by one against the reference in F64, called as a plan calls them, over shapes from one pixel to 2048
 * channels, odd sizes, several images, and places that are not aligned for vectors. On the stand-in runtime, or, linked
 * with the runtime's own file, on a device.
 *
 * Results and scratch begin as NaNs and end in canaries; each row runs twice, as on a device of 132 and of 3
 * multiprocessors, and must give the same bits. */
#include "backends/cuda/cast.h"
#include "backends/cuda/lower.h"
#include "cuda/bench.h"

typedef struct row {
    const char *op;
    m2s_attrs attrs;
    const char *kinds; /* of the inputs, as bench.h has them */
    /* Their shapes, and those of the results: s the row's, v a vector of its channels, 1 a scalar, t its weights
     * transposed, g s with one channel, 3 with three. */
    const char *shapes, *results;
    /* Roundings of the result, in ulps of its largest number: of the kernel's few float operations, or of what these
     * amplify; sums are in double. */
    double ulps;
    bool halves;   /* also with what the plan stores in F16 and BF16 */
    bool as_float; /* against the reference in F32: what it stores between two steps is rounded as well */
} row;

/* clang-format off */
#define NORM .epsilon = 1e-5
#define RGB  .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 }

static const row pixel_rows[] = {
    { "batch_norm", { NORM }, "aaaav", "svvvv", "s", 16, true, false },
    { "batch_norm", { NORM, .relu = 1 }, "aaaav", "svvvv", "s", 16, true, false },
    /* A few pixels may be far from each other and near their mean: what subtracting the stored mean rounds counts. */
    { "batch_norm_train", { NORM }, "aaaav", "svvvv", "svv", 24, true, false },
    { "batch_norm_train", { NORM, .relu = 1 }, "aaaav", "svvvv", "svv", 24, true, false },
    { "batch_norm_train", { NORM }, "maaav", "svvvv", "svv", 24, true, true },
    { "batch_norm_train", { NORM }, "faaav", "svvvv", "svv", 24, true, true },
    { "batch_norm_grad", { NORM }, "aaaaav", "ssvvvv", "svv", 48, true, false },
    { "batch_norm_grad", { NORM, .relu = 1 }, "aaaaav", "ssvvvv", "svv", 48, true, false },
    { "batch_norm_grad", { NORM, .relu = 1, .frozen = 1 }, "aaaaav", "ssvvvv", "svv", 48, true, false },
    { "sum_pixels", { 0 }, "a", "s", "v", 2, true, false },

    { "layer_norm", { NORM }, "aaa", "svv", "s", 24, true, false },
    { "layer_norm", { NORM }, "maa", "svv", "s", 24, false, false },
    { "layer_norm_grad", { NORM }, "aaa", "ssv", "svv", 64, true, false },
    { "layer_norm_grad", { NORM }, "ama", "ssv", "svv", 64, false, false },
    { "gelu", { 0 }, "l", "s", "s", 32, true, false }, /* the square of a rounded number, in an exponent */
    { "gelu_grad", { 0 }, "al", "ss", "s", 32, true, false },
    { "scale_c", { 0 }, "aa", "sv", "s", 2, true, false },
    { "scale_c_grad", { 0 }, "aaa", "ssv", "sv", 4, true, false },
    { "drop_path", { .alpha = 0.5, .begin = 3 }, "aw", "s1", "s", 2, true, false },
    { "drop_path", { .alpha = 0.25 }, "aw", "s1", "s", 2, true, false },

    { "sigmoid", { 0 }, "l", "s", "s", 4, false, false },
    { "sigmoid_grad", { 0 }, "ap", "ss", "s", 4, false, false },
    { "softmax_c", { 0 }, "l", "s", "s", 32, false, false },      /* sums over up to 2048 channels, in float */
    { "softmax_c_grad", { 0 }, "ap", "ss", "s", 128, false, false },
    { "normalise_rgb", { RGB }, "n", "g", "3", 4, false, false },
    { "normalise_rgb", { RGB }, "n", "3", "3", 4, false, false },
    { "normalise_rgb_grad", { RGB, .count = 1 }, "a", "3", "g", 4, false, false },
    { "normalise_rgb_grad", { RGB, .count = 3 }, "a", "3", "3", 4, false, false },

    { "boundary_weights", { .kernel = 1, .alpha = 2 }, "n", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 3, .alpha = 5 }, "n", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 31, .alpha = 5 }, "b", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 301, .alpha = 5 }, "n", "s", "s", 4, false, false },
    { "weighted_bce", { 0 }, "lbw", "sss", "1", 4, false, false },
    { "weighted_bce", { .form = 1 }, "lnw", "sss", "1", 4, false, false },
    { "weighted_bce_grad", { 0 }, "alnw", "1sss", "s", 8, false, false },
    { "weighted_bce_grad", { .form = 1 }, "albw", "1sss", "s", 8, false, false },
    { "weighted_iou", { 0 }, "lnw", "sss", "1", 4, false, false },
    { "weighted_iou", { 0 }, "l0w", "sss", "1", 4, false, false },
    { "weighted_iou_grad", { 0 }, "alnw", "1sss", "s", 12, false, false },
    { "dice", { .epsilon = 1e-5 }, "pb", "ss", "1", 4, false, false },
    { "dice", { .epsilon = 1e-5, .begin = 1 }, "pb", "33", "1", 4, false, false },
    { "dice", { .epsilon = 1.0, .form = 1 }, "pn", "ss", "1", 4, false, false },
    { "dice_grad", { .epsilon = 1e-5 }, "apb", "1ss", "s", 4, false, false },
    { "dice_grad", { .epsilon = 1e-5, .begin = 2, .form = 1 }, "apn", "133", "3", 4, false, false },
    { "cross_entropy", { 0 }, "lb", "33", "1", 4, false, false },
    { "cross_entropy", { 0 }, "ln", "ss", "1", 16, false, false },
    { "cross_entropy_grad", { 0 }, "aln", "133", "3", 12, false, false },
    { "feature_distance", { 0 }, "aa", "ss", "1", 2, false, false },
    { "feature_distance", { .form = 1 }, "aa", "ss", "1", 2, false, false },
    { "feature_distance_grad", { 0 }, "aaa", "1ss", "s", 4, false, false },
    { "feature_distance_grad", { .form = 1 }, "aaa", "1ss", "s", 4, false, false },
    { "feature_distance_grad", { .form = 1 }, "a11", "1ss", "s", 4, false, false },

    { "sum_squares", { 0 }, "aaa", "s13", "1", 2, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.125 }, "aa1", "ss1", "s", 4, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.0, .count = 1 }, "aa1", "sv1", "s", 4, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.0 }, "a?0", "ss1", "s", 0, false, false },
    { "accumulate", { 0 }, "aa11", "ss11", "s", 1, false, false },
    { "accumulate", { 0 }, "aan1", "ss11", "s", 4, false, false },
    { "accumulate", { 0 }, "?a01", "ss11", "s", 0, false, false },
    { "accumulate", { 0 }, "a?10", "ss11", "s", 0, false, false },
    { "accumulate", { 0 }, "??00", "ss11", "s", 0, false, false },
    { "sgd", { .alpha = 0.1, .momentum = 0.9, .weight_decay = 5e-4, .form = 1 }, "avvn1n", "sss111", "ss", 4, false, false },
    { "sgd", { .alpha = 1.0, .momentum = 0.9 }, "av0n1", "sss11", "ss", 4, false, false },
    { "sgd", { .alpha = 1.0, .momentum = 0.9, .form = 1 }, "a?an0?", "sss111", "ss", 0, false, false },
    { "adamw", { .alpha = 0.1, .momentum = 0.9, .beta = 0.999, .weight_decay = 1e-2, .epsilon = 1e-8 }, "avvvn1pp", "ssss1111", "sss", 32, false, false },
    { "adamw", { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "av00n1ppn", "ssss11111", "sss", 32, false, false },
    { "adamw", { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "a?aan0pp?", "ssss11111", "sss", 0, false, false },
};

static const m2s_shape pixel_shapes[] = {
    { .d = { 1, 1, 1, 1 } },    { .d = { 1, 1, 1, 3 } },      { .d = { 2, 1, 1, 5 } },     { .d = { 2, 3, 5, 8 } },
    { .d = { 1, 7, 9, 26 } },   { .d = { 3, 5, 7, 13 } },     { .d = { 2, 17, 11, 64 } },  { .d = { 1, 2, 3, 2048 } },
    { .d = { 2, 11, 11, 2048 } }, { .d = { 1, 33, 1, 52 } },  { .d = { 2, 1, 45, 104 } },  { .d = { 1, 64, 65, 6 } },
    { .d = { 2, 176, 176, 3 } }, { .d = { 1, 352, 352, 1 } }, { .d = { 2, 31, 33, 1 } },   { .d = { 1, 3, 3, 34 } },
};

static const row weight_rows[] = {
    { "transpose_weights", { 0 }, "a", "s", "t", 0, false, false },
    { "sum_squares", { 0 }, "a", "s", "1", 2, false, false },
};

static const m2s_shape weight_shapes[] = {
    { .d = { 1, 1, 1, 1 } },  { .d = { 13, 26, 3, 3 } }, { .d = { 5, 3, 2, 7 } },  { .d = { 104, 64, 1, 1 } },
    { .d = { 65, 33, 3, 3 } }, { .d = { 64, 1, 7, 7 } }, { .d = { 3, 64, 7, 7 } }, { .d = { 2, 3, 40, 40 } },
};

static const row scalar_rows[] = {
    { "all_finite", { 0 }, "aaa", "111", "1", 0, false, false },
    { "all_finite", { 0 }, "aa?", "111", "1", 0, false, false },
    { "clip_factor", { .alpha = 0.25 }, "w", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "n", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "0", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "?", "1", "1", 2, false, false },
};

static const m2s_shape scalar_shapes[] = { { .d = { 1, 1, 1, 1 } } };

/* clang-format on */

static m2s_shape shape_of(char letter, m2s_shape s)
{
    switch (letter) {
    case 's':
        return s;
    case 'v':
        return (m2s_shape){ .d = { s.c, 1, 1, 1 } };
    case 't':
        return (m2s_shape){ .d = { s.i, s.o, s.kh, s.kw } };
    case 'g':
        return (m2s_shape){ .d = { s.n, s.h, s.w, 1 } };
    case '3':
        return (m2s_shape){ .d = { s.n, s.h, s.w, 3 } };
    default:
        return (m2s_shape){ .d = { 1, 1, 1, 1 } };
    }
}

static void prepare(bench *b, const row *r, m2s_op op, m2s_shape s, m2snet_dtype storage, size_t shift)
{
    unsigned long long random = 77;

    *b = (bench){ .truth = r->as_float ? M2SNET_DTYPE_F32 : M2SNET_DTYPE_F64 };
    b->device.attrs = &r->attrs;
    b->device.in_count = (int32_t)strlen(r->kinds);
    b->device.out_count = (int32_t)strlen(r->results);
    b->ref = b->device;
    for (int i = 0; i < b->device.in_count; i++) {
        m2snet_dtype dtype = m2s_cuda_input_is_stored(op, i) ? storage : M2SNET_DTYPE_F32;
        bench_input(b, i, r->kinds[i], shape_of(r->shapes[i], s), dtype, shift, &random);
    }
    for (int i = 0; i < b->device.out_count; i++) {
        m2snet_dtype dtype = m2s_cuda_result_is_stored(op, i) ? storage : M2SNET_DTYPE_F32;
        bench_result(b, i, shape_of(r->results[i], s), dtype, shift);
    }
}

static void run_row(const row *r, m2s_shape s, m2snet_dtype storage, size_t shift)
{
    bench b;
    size_t k = 0;

    while (strcmp(kernels[k].name, r->op) != 0) {
        k++;
    }
    if (!check_case("%s %s %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " %s%s", r->op, r->kinds, s.d[0], s.d[1],
                    s.d[2], s.d[3], m2s_dtype_name(storage), shift != 0 ? " unaligned" : "")) {
        return;
    }
    prepare(&b, r, kernels[k].op, s, storage, shift);
    run_reference(&b, kernels[k].op);
    run_device(&b, r->ulps, kernels[k].kernel, storage);
    discard(&b);
}

/* Larger ones would take the reference too long, or have nothing to normalise. */
static bool is_sensible(const row *r, m2s_shape s)
{
    int64_t pixels = s.n * s.h * s.w;

    if (strcmp(r->op, "batch_norm_train") == 0 && pixels == 1) {
        return false;
    }
    return strcmp(r->op, "boundary_weights") != 0 || m2s_shape_elements(s) <= 20000 || r->attrs.kernel == 31;
}

static void run_rows(const row *rows, size_t row_count, const m2s_shape *shapes, size_t shape_count)
{
    for (size_t i = 0; i < row_count; i++) {
        for (size_t j = 0; j < shape_count; j++) {
            if (!is_sensible(&rows[i], shapes[j])) {
                continue;
            }
            run_row(&rows[i], shapes[j], M2SNET_DTYPE_F32, 0);
            run_row(&rows[i], shapes[j], M2SNET_DTYPE_F32, 1);
            if (rows[i].halves) {
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_F16, 0);
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_BF16, 0);
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_BF16, 3);
            }
        }
    }
}

/* ---- casts ---- */

static void run_casts(void)
{
    static const m2snet_dtype types[] = { M2SNET_DTYPE_F32, M2SNET_DTYPE_F16, M2SNET_DTYPE_BF16 };
    static const int64_t counts[] = { 1, 4, 1023, 70001 };

    for (size_t k = 0; k < COUNT(types) * COUNT(types) * COUNT(counts); k++) {
        m2snet_dtype from = types[k % 3], to = types[k / 3 % 3];
        int64_t count = counts[k / 9];
        unsigned long long random = 5;
        tensor src, dst, wanted;
        void *stream = NULL;
        if (!check_case("cast %s to %s, %" PRId64, m2s_dtype_name(from), m2s_dtype_name(to), count)) {
            continue;
        }
        error_of_setup = m2s_cuda_stream_create(&stream);
        tensor_make(&src, count, from, (size_t)(count % 4));
        tensor_make(&dst, count, to, 0);
        tensor_make(&wanted, count, to, 0);
        for (int64_t i = 0; i < count; i++) {
            tensor_put(&src, i,
                       i % 97 == 3   ? 1e30
                       : i % 89 == 5 ? 1e-7 * check_random(&random)
                                     : 100.0 * check_random(&random));
            tensor_put(&wanted, i, tensor_get(&src, i));
        }
        tensor_send(&src, stream);
        tensor_send(&dst, stream);
        int error = m2s_cuda_cast(&(m2s_cuda_call){ .stream = stream, .multiprocessors = 132 }, tensor_data(&dst), to,
                                  tensor_data(&src), from, count);
        CHECK(error == 0 && error_of_setup == 0, "launched with error %d, %d", error, error_of_setup);
        tensor_receive(&dst, stream);
        CHECK(memcmp(dst.host + dst.lead, wanted.host + wanted.lead, dst.bytes) == 0, "other bits than on the host");
        m2s_cuda_stream_destroy(stream);
        tensor_free(&src);
        tensor_free(&dst);
        tensor_free(&wanted);
    }
}

int main(int argc, char **argv)
{
    int previous = 0;

    check_start(argc, argv);
    int error = m2s_cuda_enter(0, &previous);
    if (error != 0) {
        check_case("a device");
        CHECK(false, "the runtime failed: %d", error);
        return check_finish();
    }
    run_rows(pixel_rows, COUNT(pixel_rows), pixel_shapes, COUNT(pixel_shapes));
    run_rows(weight_rows, COUNT(weight_rows), weight_shapes, COUNT(weight_shapes));
    run_rows(scalar_rows, COUNT(scalar_rows), scalar_shapes, COUNT(scalar_shapes));
    run_casts();
    m2s_cuda_leave(previous);
    return check_finish();
}
