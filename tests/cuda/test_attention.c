/* SPDX-License-Identifier: Apache-2.0
 * Attention, attention within windows, and the joining of 2 x 2 pixels, kernel by kernel against the reference: maps of
 * one pixel, more and fewer keys and queries than a tile has, heads narrower and wider than one; in F32, F16 and BF16,
 * and from places that are not aligned for vectors. */
#include "cuda/bench.h"

typedef struct row {
    const char *op;
    m2s_attrs attrs;
    const char *kinds;              /* of the inputs, as bench.h has them */
    m2s_shape in[4], out[3];        /* n = 0: there is no more */
    const char *wide_in, *wide_out; /* one letter each: F is F32 always, s the storage type */
    double ulps; /* roundings of the result, in ulps of its largest number: of sums of products, and in an exponent */
} row;

/* clang-format off */
#define A(n_, h_, w_, c_) { .d = { n_, h_, w_, c_ } }
#define HEADS(n_, a_)     { .groups = n_, .alpha = a_ }
#define WINDOWS(k_, s_, n_) .kernel = k_, .begin = s_, .groups = n_, .alpha = 0.25
#define FORWARD "ss", "s"
#define BACK    "sss", "ss"

static const row rows[] = {
    { "attention", HEADS(1, 1.0), "aa", { A(1, 1, 1, 1), A(1, 1, 1, 2) }, { A(1, 1, 1, 1) }, FORWARD, 4 },
    { "attention", HEADS(2, 0.5), "aa", { A(2, 5, 7, 10), A(2, 2, 3, 20) }, { A(2, 5, 7, 10) }, FORWARD, 16 },
    { "attention", HEADS(5, 0.125), "aa", { A(1, 22, 3, 320), A(1, 11, 11, 640) }, { A(1, 22, 3, 320) }, FORWARD, 32 },
    { "attention", HEADS(2, 0.2), "aa", { A(2, 4, 8, 64), A(2, 8, 8, 128) }, { A(2, 4, 8, 64) }, FORWARD, 32 },
    { "attention", HEADS(1, 0.1), "aa", { A(1, 3, 11, 131), A(1, 5, 13, 262) }, { A(1, 3, 11, 131) }, FORWARD, 32 },
    { "attention", HEADS(1, 0.1), "aa", { A(1, 1, 33, 200), A(1, 1, 65, 400) }, { A(1, 1, 33, 200) }, FORWARD, 32 },
    { "attention", HEADS(1, 30.0), "aa", { A(1, 5, 9, 36), A(1, 14, 9, 72) }, { A(1, 5, 9, 36) }, FORWARD, 512 },
    { "attention_grad", HEADS(1, 1.0), "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 2) },
      { A(1, 1, 1, 1), A(1, 1, 1, 2) }, BACK, 8 },
    { "attention_grad", HEADS(2, 0.5), "aaa", { A(2, 5, 7, 10), A(2, 5, 7, 10), A(2, 2, 3, 20) },
      { A(2, 5, 7, 10), A(2, 2, 3, 20) }, BACK, 32 },
    { "attention_grad", HEADS(5, 0.125), "aaa", { A(1, 22, 3, 320), A(1, 22, 3, 320), A(1, 11, 11, 640) },
      { A(1, 22, 3, 320), A(1, 11, 11, 640) }, BACK, 64 },
    { "attention_grad", HEADS(1, 0.2), "aaa", { A(2, 16, 19, 32), A(2, 16, 19, 32), A(2, 4, 8, 64) },
      { A(2, 16, 19, 32), A(2, 4, 8, 64) }, BACK, 128 },
    { "attention_grad", HEADS(1, 0.1), "aaa", { A(1, 3, 11, 131), A(1, 3, 11, 131), A(1, 5, 13, 262) },
      { A(1, 3, 11, 131), A(1, 5, 13, 262) }, BACK, 64 },

    { "window_attention", { WINDOWS(1, 0, 1) }, "aa", { A(1, 1, 1, 3), A(1, 1, 1, 1) }, { A(1, 1, 1, 1) }, "sF", "s", 4 },
    { "window_attention", { WINDOWS(7, 3, 3) }, "aaa", { A(1, 16, 12, 288), A(169, 3, 1, 1), A(288, 1, 1, 1) },
      { A(1, 16, 12, 96) }, "sFs", "s", 32 },
    { "window_attention", { WINDOWS(8, 4, 1) }, "aa", { A(1, 16, 24, 33), A(225, 1, 1, 1) }, { A(1, 16, 24, 11) }, "sF", "s", 32 },
    { "window_attention", { WINDOWS(7, 0, 1) }, "aa", { A(1, 9, 5, 120), A(169, 1, 1, 1) }, { A(1, 9, 5, 40) }, "sF", "s", 32 },
    { "window_attention", { WINDOWS(16, 5, 2) }, "aaa", { A(1, 17, 16, 48), A(961, 2, 1, 1), A(48, 1, 1, 1) },
      { A(1, 17, 16, 16) }, "sFs", "s", 64 },
    { "window_attention_grad", { WINDOWS(1, 0, 1) }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 3), A(1, 1, 1, 1) },
      { A(1, 1, 1, 3), A(1, 1, 1, 1) }, "ssF", "sF", 8 },
    { "window_attention_grad", { WINDOWS(7, 3, 3), .frozen = 1 }, "aaaa",
      { A(1, 16, 12, 96), A(1, 16, 12, 288), A(169, 3, 1, 1), A(288, 1, 1, 1) }, { A(1, 16, 12, 288) }, "ssFs", "s", 64 },
    { "window_attention_grad", { WINDOWS(7, 3, 2) }, "aaaa",
      { A(2, 9, 12, 64), A(2, 9, 12, 192), A(169, 2, 1, 1), A(192, 1, 1, 1) },
      { A(2, 9, 12, 192), A(169, 2, 1, 1), A(192, 1, 1, 1) }, "ssFs", "sFF", 96 },
    { "window_attention_grad", { WINDOWS(4, 2, 1) }, "aaaa",
      { A(3, 8, 12, 5), A(3, 8, 12, 15), A(49, 1, 1, 1), A(15, 1, 1, 1) },
      { A(3, 8, 12, 15), A(49, 1, 1, 1), A(15, 1, 1, 1) }, "ssFs", "sFF", 64 }, /* nothing is padded */
    { "window_attention_grad", { WINDOWS(16, 5, 1) }, "aaaa",
      { A(1, 16, 17, 40), A(1, 16, 17, 120), A(961, 1, 1, 1), A(120, 1, 1, 1) },
      { A(1, 16, 17, 120), A(961, 1, 1, 1), A(120, 1, 1, 1) }, "ssFs", "sFF", 128 },

    { "merge_patches", { 0 }, "a", { A(1, 1, 1, 1) }, { A(1, 1, 1, 4) }, "s", "s", 0 },
    { "merge_patches", { 0 }, "a", { A(2, 5, 7, 13) }, { A(2, 3, 4, 52) }, "s", "s", 0 },
    { "merge_patches", { 0 }, "a", { A(2, 6, 8, 96) }, { A(2, 3, 4, 384) }, "s", "s", 0 },
    { "merge_patches_grad", { .h = 1, .w = 1 }, "a", { A(1, 1, 1, 4) }, { A(1, 1, 1, 1) }, "s", "s", 0 },
    { "merge_patches_grad", { .h = 5, .w = 7 }, "a", { A(2, 3, 4, 52) }, { A(2, 5, 7, 13) }, "s", "s", 0 },
    { "merge_patches_grad", { .h = 6, .w = 8 }, "a", { A(2, 3, 4, 384) }, { A(2, 6, 8, 96) }, "s", "s", 0 },
};
/* clang-format on */

static void run_row(const row *r, m2snet_dtype storage, size_t shift)
{
    bench b = { .truth = M2SNET_DTYPE_F64 };
    unsigned long long random = 77;
    size_t k = 0;
    const int64_t *d = r->in[0].d;

    while (strcmp(kernels[k].name, r->op) != 0) {
        k++;
    }
    if (!check_case("%s %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " heads %d window %d %s%s", r->op, d[0], d[1],
                    d[2], d[3], r->attrs.groups, r->attrs.kernel, m2s_dtype_name(storage),
                    shift != 0 ? " unaligned" : "")) {
        return;
    }
    b.device.attrs = &r->attrs;
    b.device.in_count = (int32_t)strlen(r->wide_in);
    b.device.out_count = (int32_t)strlen(r->wide_out);
    b.ref = b.device;
    for (int i = 0; i < b.device.in_count; i++) {
        bench_input(&b, i, r->kinds[i], r->in[i], r->wide_in[i] == 's' ? storage : M2SNET_DTYPE_F32, shift, &random);
    }
    for (int i = 0; i < b.device.out_count; i++) {
        bench_result(&b, i, r->out[i], r->wide_out[i] == 's' ? storage : M2SNET_DTYPE_F32, shift);
    }
    run_reference(&b, kernels[k].op);
    run_device(&b, r->ulps, kernels[k].kernel, storage);
    discard(&b);
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
    for (size_t i = 0; i < COUNT(rows); i++) {
        run_row(&rows[i], M2SNET_DTYPE_F32, 0);
        if (m2s_shape_elements(rows[i].in[0]) <= 6000) { /* larger ones take their time: once is enough */
            run_row(&rows[i], M2SNET_DTYPE_F32, 1);
            run_row(&rows[i], M2SNET_DTYPE_F16, 0);
            run_row(&rows[i], M2SNET_DTYPE_BF16, 3);
        }
    }
    m2s_cuda_leave(previous);
    return check_finish();
}
