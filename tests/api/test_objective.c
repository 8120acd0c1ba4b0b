/* SPDX-License-Identifier: Apache-2.0
 * Objectives of the caller's own logits: values by formulas written out here, gradients by central differences, on both
 * backends, for any strides; loss networks from files; refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#define N 2
#define H 20
#define W 24

typedef struct data {
    m2snet_tensor *logits, *mask, *gradient;
} data;

static m2snet_tensor *tensor(m2snet_context *context, m2snet_dtype dtype, int64_t channels)
{
    const m2snet_tensor_desc desc = { .dtype = dtype, .n = N, .h = H, .w = W, .c = channels };
    m2snet_tensor *made;
    m2snet_error error;

    OK(m2snet_tensor_create(context, &desc, NULL, &made, &error));
    return made;
}

static void set(m2snet_tensor *t, m2snet_dtype dtype, size_t i, double value)
{
    if (dtype == M2SNET_DTYPE_F64) {
        ((double *)m2snet_tensor_data(t))[i] = value;
    } else {
        ((float *)m2snet_tensor_data(t))[i] = (float)value;
    }
}

static double get(m2snet_tensor *t, m2snet_dtype dtype, size_t i)
{
    return dtype == M2SNET_DTYPE_F64 ? ((double *)m2snet_tensor_data(t))[i]
                                     : (double)((float *)m2snet_tensor_data(t))[i];
}

/* Logits between -3 and 3; masks: a box a channel, or with one_hot each pixel one channel. */
static data make(m2snet_context *context, m2snet_dtype dtype, int64_t channels, int one_hot)
{
    data d = { tensor(context, dtype, channels), tensor(context, dtype, channels), tensor(context, dtype, channels) };
    uint32_t state = 99u;

    for (int64_t i = 0; i < N * H * W; i++) {
        int64_t x = i % W, y = i / W % H, n = i / (W * H);
        for (int64_t c = 0; c < channels; c++) {
            int inside = x > 3 + 2 * c && x < 14 + n && y > 2 + n && y < 15 - c;
            state = state * 1664525u + 1013904223u;
            set(d.logits, dtype, (size_t)(i * channels + c), 6.0 * (double)(state >> 8) / (double)(1 << 24) - 3.0);
            set(d.mask, dtype, (size_t)(i * channels + c), one_hot ? (x / 3 + y) % channels == c : inside);
        }
    }
    return d;
}

static void release(data *d)
{
    m2snet_tensor_destroy(d->logits);
    m2snet_tensor_destroy(d->mask);
    m2snet_tensor_destroy(d->gradient);
}

/* ---- the paper's terms, written out (MODELS.md 4.4) ---- */

static double weight_at(const data *d, m2snet_dtype dtype, int64_t n, int64_t y, int64_t x)
{
    double sum = 0.0;

    for (int64_t v = y - 15; v <= y + 15; v++) {
        for (int64_t u = x - 15; u <= x + 15; u++) {
            sum += v < 0 || u < 0 || v >= H || u >= W ? 0.0 : get(d->mask, dtype, (size_t)((n * H + v) * W + u));
        }
    }
    return 1.0 + 5.0 * fabs(sum / 961.0 - get(d->mask, dtype, (size_t)((n * H + y) * W + x)));
}

static void expect(const data *d, m2snet_dtype dtype, int plain, double *bce, double *iou)
{
    *bce = *iou = 0.0;
    for (int64_t n = 0; n < N; n++) {
        double w_bce = 0.0, w_sum = 0.0, both = 0.0, either = 0.0;
        for (int64_t i = 0; i < H * W; i++) {
            double w = weight_at(d, dtype, n, i / W, i % W);
            double x = get(d->logits, dtype, (size_t)(n * H * W + i));
            double m = get(d->mask, dtype, (size_t)(n * H * W + i)), p = 1.0 / (1.0 + exp(-x));
            double entropy = fmax(x, 0.0) - x * m + log1p(exp(-fabs(x)));
            w_bce += plain ? entropy : w * entropy;
            w_sum += plain ? 1.0 : w;
            both += p * m * w;
            either += (p + m) * w;
        }
        *bce += w_bce / w_sum / N;
        *iou += (1.0 - (both + 1.0) / (either - both + 1.0)) / N;
    }
}

static void check_values(const char *backend, m2snet_dtype dtype, double tolerance)
{
    m2snet_context *context = open_context(backend, 2);
    data d = make(context, dtype, 1, 0);
    m2snet_error error;

    for (int plain = 0; plain < 2; plain++) {
        m2snet_objective_options options;
        m2snet_objective_values values = { .struct_size = sizeof values };
        double bce, iou;
        m2snet_objective_options_init(&options);
        OK(m2snet_objective_options_preset(&options, plain ? "released" : "paper", &error));
        options.iou_weight = 0.5;
        expect(&d, dtype, plain, &bce, &iou);
        OK(m2snet_objective_evaluate(context, &options, d.logits, d.mask, &values, NULL, NULL, &error));
        assert_true(fabs(values.bce - bce) <= tolerance);
        assert_true(fabs(values.iou - iou) <= tolerance);
        assert_true(fabs(values.loss - (bce + 0.5 * iou)) <= 2.0 * tolerance);
        assert_true(values.dice == 0.0 && values.cross_entropy == 0.0 && values.lossnet == 0.0);
    }
    release(&d);
    m2snet_context_destroy(context);
}

/* F64: sums of some thousand terms. F32: the same with 2^-24 a term, and the exponential's last bits. */
static void test_values(void **state)
{
    (void)state;
    check_values("ref", M2SNET_DTYPE_F64, 1e-12);
    check_values("ref", M2SNET_DTYPE_F32, 1e-5);
    check_values("cpu", M2SNET_DTYPE_F32, 1e-5);
}

/* ---- gradients ---- */

static double loss_of(m2snet_context *context, const m2snet_objective_options *options, const data *d)
{
    m2snet_objective_values values = { .struct_size = sizeof values };
    m2snet_error error;

    OK(m2snet_objective_evaluate(context, options, d->logits, d->mask, &values, NULL, NULL, &error));
    return values.loss;
}

/* In float64, step 1e-4: the error of the differences is about 1e-8 of the curvature, the rounding 1e-12. Then cpu
 * against ref. */
static void check_gradient(const m2snet_objective_options *given, int64_t channels, int one_hot)
{
    m2snet_context *ref = open_context("ref", 2), *cpu = open_context("cpu", 2);
    data d = make(ref, M2SNET_DTYPE_F64, channels, one_hot), f = make(cpu, M2SNET_DTYPE_F32, channels, one_hot);
    m2snet_objective_values values = { .struct_size = sizeof values };
    m2snet_objective_options options = *given;
    size_t count = (size_t)(N * H * W * channels);
    double distance = 0.0, norm = 0.0;
    m2snet_error error;

    OK(m2snet_objective_evaluate(ref, &options, d.logits, d.mask, &values, d.gradient, NULL, &error));
    for (size_t i = 3; i < count; i += 61) {
        double x = get(d.logits, M2SNET_DTYPE_F64, i), h = 1e-4;
        set(d.logits, M2SNET_DTYPE_F64, i, x + h);
        double above = loss_of(ref, &options, &d);
        set(d.logits, M2SNET_DTYPE_F64, i, x - h);
        double below = loss_of(ref, &options, &d);
        set(d.logits, M2SNET_DTYPE_F64, i, x);
        double numeric = (above - below) / (2.0 * h), exact = get(d.gradient, M2SNET_DTYPE_F64, i);
        assert_true(fabs(numeric - exact) <= 1e-9 + 1e-6 * fabs(exact));
    }
    OK(m2snet_objective_evaluate(cpu, &options, f.logits, f.mask, &values, f.gradient, NULL, &error));
    for (size_t i = 0; i < count; i++) {
        double a = get(f.gradient, M2SNET_DTYPE_F32, i), b = get(d.gradient, M2SNET_DTYPE_F64, i);
        distance += (a - b) * (a - b);
        norm += b * b;
    }
    assert_true(norm > 0.0);
    assert_true(sqrt(distance) <= 1e-5 * sqrt(norm)); /* the bound for float32 */
    release(&d);
    release(&f);
    m2snet_context_destroy(ref);
    m2snet_context_destroy(cpu);
}

static void test_gradients(void **state)
{
    m2snet_objective_options options;
    m2snet_error error;

    (void)state;
    m2snet_objective_options_init(&options);
    check_gradient(&options, 1, 0);
    check_gradient(&options, 3, 0); /* channels on their own */
    OK(m2snet_objective_options_preset(&options, "released", &error));
    options.dice_weight = 0.7;
    check_gradient(&options, 1, 0);
    OK(m2snet_objective_options_preset(&options, "softmax", &error));
    check_gradient(&options, 3, 1);
    options.batch_dice = 1;
    check_gradient(&options, 4, 1);
}

/* The loss network: its term is there, the same on both backends (1e-4 is the bound), and 0 for a perfect
 * prediction. */
static void test_lossnet(void **state)
{
    m2snet_context *contexts[2] = { open_context("ref", 2), open_context("cpu", 2) };
    double term[2][2] = { { 0.0 } };
    m2snet_error error;

    (void)state;
    for (int k = 0; k < 2; k++) {
        data d = make(contexts[k], M2SNET_DTYPE_F32, 1, 0);
        m2snet_objective_options options;
        m2snet_objective_values values = { .struct_size = sizeof values };
        m2snet_lossnet *lossnet;
        OK(m2snet_lossnet_create(contexts[k], NULL, 3, &lossnet, &error));
        m2snet_objective_options_init(&options);
        options.lossnet = lossnet;
        options.lossnet_size_px = 0;
        for (int form = 0; form < 2; form++) {
            options.lossnet_distance = form == 0 ? M2SNET_LOSSNET_MSE : M2SNET_LOSSNET_L2;
            OK(m2snet_objective_evaluate(contexts[k], &options, d.logits, d.mask, &values, d.gradient, NULL, &error));
            term[k][form] = values.lossnet;
            assert_true(values.lossnet > 0.0);
            assert_true(fabs(values.loss - values.bce - values.iou - 0.1 * values.lossnet) <= 1e-5);
        }
        for (size_t i = 0; i < N * H * W; i++) {
            set(d.logits, M2SNET_DTYPE_F32, i, get(d.mask, M2SNET_DTYPE_F32, i) > 0.5 ? 100.0 : -100.0);
        }
        OK(m2snet_objective_evaluate(contexts[k], &options, d.logits, d.mask, &values, NULL, NULL, &error));
        assert_true(values.lossnet < 1e-6);
        m2snet_lossnet_destroy(lossnet);
        release(&d);
    }
    for (int form = 0; form < 2; form++) {
        assert_true(fabs(term[0][form] - term[1][form]) <= 1e-4 * term[0][form]);
    }
    assert_true(term[0][0] != term[0][1]);
    m2snet_context_destroy(contexts[0]);
    m2snet_context_destroy(contexts[1]);
}

/* ---- strides, refusals ---- */

/* (n, c, h, w) views give the same numbers as dense tensors, and the gradient goes back through the view. */
static void test_strides(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    data d = make(context, M2SNET_DTYPE_F32, 2, 0);
    float planes[3][N * H * W * 2];
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = N, .h = H, .w = W, .c = 2 };
    m2snet_tensor *views[3];
    m2snet_objective_values a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
    m2snet_error error;

    (void)state;
    desc.stride_n_bytes = 4 * 2 * H * W;
    desc.stride_c_bytes = 4 * H * W;
    desc.stride_h_bytes = 4 * W;
    desc.stride_w_bytes = 4;
    for (int k = 0; k < 3; k++) {
        OK(m2snet_tensor_create(context, &desc, planes[k], &views[k], &error));
    }
    for (size_t i = 0; i < N * H * W * 2; i++) {
        size_t c = i % 2, pixel = i / 2 % (H * W), n = i / (2 * H * W), at = (n * 2 + c) * H * W + pixel;
        planes[0][at] = (float)get(d.logits, M2SNET_DTYPE_F32, i);
        planes[1][at] = (float)get(d.mask, M2SNET_DTYPE_F32, i);
    }
    OK(m2snet_objective_evaluate(context, NULL, d.logits, d.mask, &a, d.gradient, NULL, &error));
    OK(m2snet_objective_evaluate(context, NULL, views[0], views[1], &b, views[2], NULL, &error));
    assert_memory_equal(&a, &b, sizeof a);
    for (size_t i = 0; i < N * H * W * 2; i++) {
        size_t c = i % 2, pixel = i / 2 % (H * W), n = i / (2 * H * W), at = (n * 2 + c) * H * W + pixel;
        assert_true(planes[2][at] == (float)get(d.gradient, M2SNET_DTYPE_F32, i));
    }
    for (int k = 0; k < 3; k++) {
        m2snet_tensor_destroy(views[k]);
    }
    release(&d);
    m2snet_context_destroy(context);
}

static void test_refusals(void **state)
{
    m2snet_context *context = open_context("cpu", 1), *other = open_context("cpu", 1);
    data d = make(context, M2SNET_DTYPE_F32, 1, 0), wide = make(context, M2SNET_DTYPE_F32, 2, 0);
    data exact = make(context, M2SNET_DTYPE_F64, 1, 0);
    m2snet_objective_values values = { .struct_size = sizeof values };
    m2snet_objective_options options;
    m2snet_lossnet *lossnet;
    m2snet_error error;
    const m2snet_status invalid = M2SNET_STATUS_INVALID_ARGUMENT;

    (void)state;
    m2snet_objective_options_init(&options);
#define EVALUATE() m2snet_objective_evaluate(context, &options, d.logits, d.mask, &values, NULL, NULL, &error)
    OK(EVALUATE());
    options.bce_weight = -1.0;
    REFUSE(EVALUATE(), invalid, "bce_weight");
    options.bce_weight = (double)NAN;
    REFUSE(EVALUATE(), invalid, "bce_weight");
    options.bce_weight = options.iou_weight = 0.0;
    REFUSE(EVALUATE(), invalid, "no term");
    options.cross_entropy_weight = 1.0;
    REFUSE(EVALUATE(), invalid, "softmax");
    options.softmax = 1;
    REFUSE(EVALUATE(), invalid, "classes");
    m2snet_objective_options_init(&options);
    options.lossnet_size_px = -1;
    REFUSE(EVALUATE(), invalid, "lossnet_size_px");
    m2snet_objective_options_init(&options);
    OK(m2snet_lossnet_create(other, "vgg16", 1, &lossnet, &error));
    options.lossnet = lossnet;
    REFUSE(EVALUATE(), invalid, "another context");
    m2snet_lossnet_destroy(lossnet);
    REFUSE(m2snet_objective_options_preset(&options, "best", &error), invalid, "\"best\"");
    REFUSE(m2snet_lossnet_create(context, "vgg99", 1, &lossnet, &error), invalid, "vgg99");
    assert_null(lossnet);
    m2snet_objective_options_init(&options);
    REFUSE(m2snet_objective_evaluate(context, NULL, d.logits, wide.mask, &values, NULL, NULL, &error),
           M2SNET_STATUS_MISMATCH, "2x20x24x2");
    REFUSE(m2snet_objective_evaluate(context, NULL, d.logits, d.mask, &values, wide.gradient, NULL, &error),
           M2SNET_STATUS_MISMATCH, "gradient");
    REFUSE(m2snet_objective_evaluate(context, NULL, exact.logits, exact.mask, &values, NULL, NULL, &error),
           M2SNET_STATUS_UNSUPPORTED, "ref");
    REFUSE(m2snet_objective_evaluate(context, NULL, NULL, d.mask, &values, NULL, NULL, &error), invalid, "logits");
    REFUSE(m2snet_objective_evaluate(context, NULL, d.logits, d.mask, NULL, NULL, NULL, &error), invalid, "values");
#undef EVALUATE
    release(&exact);
    release(&wide);
    release(&d);
    m2snet_context_destroy(other);
    m2snet_context_destroy(context);
}

/* A file with VGG-16's keys as torchvision has them, and a classifier that is ignored; all zeros. */
static void write_vgg(const char *path)
{
    static const int layers[][3] = { { 0, 3, 64 },     { 2, 64, 64 },    { 5, 64, 128 },   { 7, 128, 128 },
                                     { 10, 128, 256 }, { 12, 256, 256 }, { 14, 256, 256 }, { 17, 256, 512 },
                                     { 19, 512, 512 }, { 21, 512, 512 }, { 24, 512, 8 } };
    char header[4096];
    size_t used = 0, at = 0;

    used += (size_t)snprintf(header, sizeof header,
                             "{\"classifier.0.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}");
    at = 16;
    for (size_t i = 0; i < COUNT(layers); i++) {
        size_t in = (size_t)layers[i][1], out = (size_t)layers[i][2], bytes = 4 * 9 * in * out;
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 ",\"features.%d.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu,3,3],"
                                 "\"data_offsets\":[%zu,%zu]},\"features.%d.bias\":{\"dtype\":\"F32\",\"shape\":[%zu],"
                                 "\"data_offsets\":[%zu,%zu]}",
                                 layers[i][0], out, in, at, at + bytes, layers[i][0], out, at + bytes,
                                 at + bytes + 4 * out);
        at += bytes + 4 * out;
    }
    snprintf(header + used, sizeof header - used, "}");
    void *zeros = calloc(at, 1);
    assert_non_null(zeros);
    write_safetensors(path, header, zeros, at);
    free(zeros);
}

/* Files that are VGG-16, and that are not. */
static void test_lossnet_files(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_lossnet *lossnet = (m2snet_lossnet *)1;
    float numbers[64] = { 0.0f };
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "vgg.safetensors");
    REFUSE(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error), M2SNET_STATUS_IO, path);
    assert_null(lossnet);
    REFUSE(m2snet_lossnet_load_file(context, COMPACT_MODEL, NULL, &lossnet, &error), M2SNET_STATUS_MISMATCH,
           "features.0.weight");
    write_safetensors(path, "{\"features.0.weight\":{\"dtype\":\"F32\",\"shape\":[2,3,3,3],\"data_offsets\":[0,216]}}",
                      numbers, 216);
    REFUSE(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error), M2SNET_STATUS_MISMATCH,
           "features.0.weight is F32 2x3x3x3, expected 64x3x3x3");
    assert_non_null(strstr(error.message, "missing  features.0.bias 64"));
    assert_non_null(strstr(error.message, "20 tensors"));
    write_vgg(path);
    OK(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error));
    m2snet_lossnet_destroy(lossnet);
    write_whole(path, "no weights at all", 17);
    REFUSE(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error), M2SNET_STATUS_FORMAT, path);
    scratch_remove(&files);
    m2snet_context_destroy(context);
}

/* A file of zeros, F16, with the tensors of a list (tests/data/lossnets). Most of it is a hole. */
static void write_listed(const char *path, const char *list)
{
    char header[65536] = "{", line[256], name[160], shape[64];
    size_t used = 1, at = 0;
    unsigned char length[8];

    FILE *file = fopen(list, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file) != NULL) {
        size_t count = 1;
        assert_int_equal(sscanf(line, "%159s %63s", name, shape), 2);
        if (strcmp(shape, "scalar") == 0) {
            shape[0] = '\0';
        }
        for (char *p = shape; *p != '\0'; p += *p == 'x') {
            count *= (size_t)strtoul(p, &p, 10);
        }
        for (char *p = shape; *p != '\0'; p++) {
            *p = *p == 'x' ? ',' : *p;
        }
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                 at > 0 ? "," : "", name, shape, at, at + 2 * count);
        assert_true(used + 1 < sizeof header);
        at += 2 * count;
    }
    fclose(file);
    header[used++] = '}';
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)used >> (8 * i));
    }
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(length, 1, 8, file), 8);
    assert_int_equal(fwrite(header, 1, used, file), used);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, (off_t)(8 + used + at)), 0);
}

/* Files as torchvision and timm have them are told by their tensors; another family's weights do not fit. */
static void test_lossnet_families(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_lossnet_options options;
    m2snet_lossnet *lossnet;
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "listed.safetensors");
    write_listed(path, M2S_TEST_DATA "/lossnets/swin_t_timm.tsv");
    OK(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error));
    m2snet_lossnet_destroy(lossnet);
    m2snet_lossnet_options_init(&options);
    options.family = "resnet50";
    REFUSE(m2snet_lossnet_load_file(context, path, &options, &lossnet, &error), M2SNET_STATUS_MISMATCH,
           "missing  conv1.weight 64x3x7x7");
    write_listed(path, M2S_TEST_DATA "/lossnets/resnet50.tsv");
    OK(m2snet_lossnet_load_file(context, path, NULL, &lossnet, &error));
    m2snet_lossnet_destroy(lossnet);
    options.family = "swin_t";
    REFUSE(m2snet_lossnet_load_file(context, path, &options, &lossnet, &error), M2SNET_STATUS_MISMATCH,
           "missing  features.0.0.weight 96x3x4x4");
    options.family = "resnet50-stem";
    OK(m2snet_lossnet_load_file(context, path, &options, &lossnet, &error));
    m2snet_lossnet_destroy(lossnet);
    scratch_remove(&files);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),           cmocka_unit_test(test_gradients), cmocka_unit_test(test_lossnet),
        cmocka_unit_test(test_strides),          cmocka_unit_test(test_refusals),  cmocka_unit_test(test_lossnet_files),
        cmocka_unit_test(test_lossnet_families),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
